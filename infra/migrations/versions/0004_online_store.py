"""The mark of the online store, buckets whose rows it lost"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("buckets") as buckets:
        buckets.add_column(sa.Column("lost", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("buckets") as buckets:
        buckets.alter_column("lost", existing_type=sa.Boolean(), server_default=None)
    op.create_table(
        "online_store",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("store", sa.String(32), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("online_store")
    with op.batch_alter_table("buckets") as buckets:
        buckets.drop_column("lost")
