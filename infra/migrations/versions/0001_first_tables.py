"""First tables: registry and event log"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _versions()
    _consumers()
    _event_log()


def _versions() -> None:
    op.create_table(
        "instance",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "embedding_versions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("family", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False, index=True),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("failure", sa.String()),
        sa.Column("run", sa.String(128), nullable=False, unique=True),
        sa.Column("artifact", sa.String(), nullable=False),
        sa.Column("parent", sa.String(64), sa.ForeignKey("embedding_versions.id")),
        sa.Column("snapshot", sa.String(128), nullable=False),
        sa.Column("data_from", sa.DateTime(timezone=True)),
        sa.Column("data_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("feature_schema", sa.JSON(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("code_revision", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("family", "number"),
    )
    op.create_table(
        "backfills",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("version", sa.String(64), sa.ForeignKey("embedding_versions.id"), nullable=False, index=True),
        sa.Column("snapshot", sa.String(128), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("buckets_done", sa.JSON(), nullable=False),
        sa.Column("users_expected", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("version", "snapshot"),
    )
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("version", sa.String(64), sa.ForeignKey("embedding_versions.id"), nullable=False, index=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("task", sa.String(128), nullable=False),
        sa.Column("metric", sa.String(64), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )


def _consumers() -> None:
    op.create_table(
        "consumers",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("task", sa.String(256), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "assignments",
        sa.Column("consumer", sa.String(64), sa.ForeignKey("consumers.name"), primary_key=True),
        sa.Column("stable", sa.String(64), sa.ForeignKey("embedding_versions.id"), nullable=False, index=True),
        sa.Column("canary", sa.String(64), sa.ForeignKey("embedding_versions.id"), index=True),
        sa.Column("canary_share", sa.Float()),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("canary_share > 0 AND canary_share < 1", name="canary_share_is_a_share"),
    )
    op.create_table(
        "promotions",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("consumer", sa.String(64), sa.ForeignKey("consumers.name"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("from_version", sa.String(64), sa.ForeignKey("embedding_versions.id")),
        sa.Column("to_version", sa.String(64), sa.ForeignKey("embedding_versions.id"), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("gates", sa.JSON(), nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("consumer", "revision"),
    )
    op.create_index("promotions_by_time", "promotions", ["consumer", "promoted_at"])


def _event_log() -> None:
    op.create_table(
        "buckets",
        sa.Column("bucket", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("next_position", sa.BigInteger(), nullable=False),
        sa.Column("published", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "segments",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("first_position", sa.BigInteger(), nullable=False),
        sa.Column("oldest", sa.DateTime(timezone=True)),
        sa.Column("newest", sa.DateTime(timezone=True)),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("segments_by_bucket", "segments", ["kind", "bucket", "first_position"])


def downgrade() -> None:
    for table in (
        "segments",
        "buckets",
        "promotions",
        "assignments",
        "consumers",
        "evaluations",
        "backfills",
        "embedding_versions",
        "instance",
    ):
        op.drop_table(table)
