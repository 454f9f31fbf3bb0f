"""Keys of programs: for one meter alone, and when they were used last.

Revision ID: 20261127_16_ingest_keys
Revises: 20261127_15_bill_chain
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_16_ingest_keys"
down_revision = "20261127_15_bill_chain"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("meter_key", sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("api_keys", "last_used_at")
    op.drop_column("api_keys", "meter_key")
