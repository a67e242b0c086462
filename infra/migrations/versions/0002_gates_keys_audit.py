"""Gates, canaries, heads, retirement, keys, audit"""

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

WINDOW = timedelta(days=14)
KEPT = ["embedding_versions.id", "embedding_versions.kept"]


def upgrade() -> None:
    _versions()
    _consumers()
    _operations()


def _versions() -> None:
    _add_filled_column("instance", sa.Column("projected", sa.BigInteger()), 0)
    _add_filled_column("embedding_versions", sa.Column("kept", sa.Boolean()), True)
    op.execute("UPDATE embedding_versions SET kept = (state NOT IN ('retiring', 'retired'))")
    with op.batch_alter_table("embedding_versions") as versions:
        versions.create_unique_constraint("version_is_kept", ["id", "kept"])
        versions.create_check_constraint("kept_follows_state", "kept = (state NOT IN ('retiring', 'retired'))")
    with op.batch_alter_table("evaluations") as evaluations:
        evaluations.add_column(sa.Column("data_stamp", sa.String(128)))
    op.create_table(
        "evidence",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("version", sa.String(64), sa.ForeignKey("embedding_versions.id"), nullable=False, index=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("measured_by", sa.String(128), nullable=False),
    )


def _consumers() -> None:
    _add_filled_column("consumers", sa.Column("gates", sa.JSON()), {})
    _add_filled_column("consumers", sa.Column("wants_head", sa.Boolean()), False)
    op.create_table(
        "heads",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("consumer", sa.String(64), sa.ForeignKey("consumers.name"), nullable=False),
        sa.Column("version", sa.String(64), sa.ForeignKey("embedding_versions.id"), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("task", sa.String(128), nullable=False),
        sa.Column("data_stamp", sa.String(128), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
    )
    op.create_index("heads_by_consumer", "heads", ["consumer", "version"])
    _add_filled_column("assignments", sa.Column("kept", sa.Boolean()), True)
    with op.batch_alter_table("assignments") as assignments:
        assignments.create_check_constraint("assigned_versions_are_kept", "kept")
        assignments.create_foreign_key("stable_is_kept", "embedding_versions", ["stable", "kept"], ["id", "kept"])
        assignments.create_foreign_key("canary_is_kept", "embedding_versions", ["canary", "kept"], ["id", "kept"])
    op.create_table(
        "rollback_windows",
        sa.Column("consumer", sa.String(64), sa.ForeignKey("consumers.name"), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.CheckConstraint("kept", name="versions_to_go_back_to_are_kept"),
        sa.ForeignKeyConstraint(["version", "kept"], KEPT, name="left_version_is_kept"),
    )
    _open_rollback_windows()
    with op.batch_alter_table("promotions") as promotions:
        promotions.add_column(sa.Column("canary", sa.String(64)))
        promotions.add_column(sa.Column("canary_share", sa.Float()))
        promotions.create_foreign_key("promotions_canary_fkey", "embedding_versions", ["canary"], ["id"])


def _open_rollback_windows() -> None:
    """Versions that consumers left in the last 14 days stay for as long as if they were left today."""
    time = sa.DateTime(timezone=True)
    promotions = sa.table("promotions", sa.column("consumer"), sa.column("kind"), sa.column("from_version"))
    promotions.append_column(sa.column("promoted_at", time))
    versions = sa.table("embedding_versions", sa.column("id"), sa.column("kept"))
    windows = sa.table("rollback_windows", sa.column("consumer"), sa.column("version"), sa.column("until", time))
    windows.append_column(sa.column("kept", sa.Boolean()))
    now = datetime.now(UTC)
    left = (
        sa.select(promotions.c.consumer, promotions.c.from_version)
        .join(versions, versions.c.id == promotions.c.from_version)
        .where(promotions.c.kind == "promote", promotions.c.promoted_at > now - WINDOW, versions.c.kept)
        .distinct()
    )
    rows = op.get_bind().execute(left).all()
    if rows:
        until = now + WINDOW
        op.bulk_insert(windows, [{"consumer": c, "version": v, "until": until, "kept": True} for c, v in rows])


def _operations() -> None:
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("grants", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(160), nullable=False, index=True),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
    )


def _add_filled_column(table: str, column: sa.Column[Any], value: object) -> None:
    """Add a column that may not be null, with this value in the rows that are there."""
    name, kind = column.name, column.type
    with op.batch_alter_table(table) as altered:
        altered.add_column(column)
    rows = sa.table(table, sa.column(name, kind))
    op.execute(rows.update().values({name: value}))
    with op.batch_alter_table(table) as altered:
        altered.alter_column(name, existing_type=kind, nullable=False)


def downgrade() -> None:
    for table in ("audit_events", "api_keys", "replicas", "rollback_windows", "heads", "evidence"):
        op.drop_table(table)
    with op.batch_alter_table("promotions") as promotions:
        promotions.drop_constraint("promotions_canary_fkey", type_="foreignkey")
        promotions.drop_column("canary_share")
        promotions.drop_column("canary")
    with op.batch_alter_table("assignments") as assignments:
        for reference in ("canary_is_kept", "stable_is_kept"):
            assignments.drop_constraint(reference, type_="foreignkey")
        assignments.drop_constraint("assigned_versions_are_kept", type_="check")
        assignments.drop_column("kept")
    with op.batch_alter_table("consumers") as consumers:
        consumers.drop_column("wants_head")
        consumers.drop_column("gates")
    with op.batch_alter_table("evaluations") as evaluations:
        evaluations.drop_column("data_stamp")
    with op.batch_alter_table("embedding_versions") as versions:
        versions.drop_constraint("kept_follows_state", type_="check")
        versions.drop_constraint("version_is_kept", type_="unique")
        versions.drop_column("kept")
    with op.batch_alter_table("instance") as instance:
        instance.drop_column("projected")
