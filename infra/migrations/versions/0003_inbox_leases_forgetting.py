"""Inbox, leases, forgetting, refresh shards, consumers' max age"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _add_filled_column("buckets", sa.Column("commits", sa.BigInteger()), 0)
    _add_filled_column("segments", sa.Column("last_position", sa.BigInteger()), sa.text("first_position + rows - 1"))
    _add_filled_column("segments", sa.Column("positioned", sa.Boolean()), False)
    _add_filled_column("replicas", sa.Column("role", sa.String(8)), "gateway")
    _add_filled_column("replicas", sa.Column("facts", sa.JSON()), {})
    with op.batch_alter_table("consumers") as consumers:
        consumers.add_column(sa.Column("max_age_seconds", sa.Float()))
    op.create_table(
        "inbox",
        sa.Column("bucket", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("event_id", sa.Text(), unique=True),
        sa.Column("user_id", sa.Text()),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("bucket", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("owner", sa.String(64)),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied", sa.BigInteger(), nullable=False),
        sa.Column("applied_lazily", sa.BigInteger(), nullable=False),
        sa.Column("stream_id", sa.String(64)),
    )
    op.create_table(
        "refresh_requests",
        sa.Column("user_id", sa.Text(), primary_key=True),
        sa.Column("bucket", sa.Integer(), nullable=False, index=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "forgotten",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("report", sa.JSON(), nullable=False),
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
    for table in ("forgotten", "refresh_requests", "leases", "inbox"):
        op.drop_table(table)
    with op.batch_alter_table("consumers") as consumers:
        consumers.drop_column("max_age_seconds")
    for table, columns in (
        ("replicas", ("facts", "role")),
        ("segments", ("positioned", "last_position")),
        ("buckets", ("commits",)),
    ):
        with op.batch_alter_table(table) as altered:
            for column in columns:
                altered.drop_column(column)
