"""Remember where the pool began to draw from the range, so that METER_FIRST can be lowered later.

Revision ID: 20261127_32_range_start
Revises: 20261127_40_payments
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_32_range_start"
down_revision = "20261127_40_payments"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # So far ranges began at 1, unless METER_FIRST said otherwise; what lay before it is not drawn.
    op.add_column("pool_source", sa.Column("first_key", sa.Integer(), server_default="1", nullable=False))


def downgrade() -> None:
    op.drop_column("pool_source", "first_key")
