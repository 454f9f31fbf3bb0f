"""What tariffs ask about a supply beside load and phases: options, and entitlements in kWh a month.

Revision ID: 20261127_10_supply_terms
Revises: 20261127_04_log_ins
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261127_10_supply_terms"
down_revision = "20261127_04_log_ins"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = postgresql.JSONB(astext_type=sa.Text())
    op.add_column("connections", sa.Column("options", json, server_default="[]", nullable=False))
    op.add_column("connections", sa.Column("entitlements", json, server_default="{}", nullable=False))


def downgrade() -> None:
    op.drop_column("connections", "entitlements")
    op.drop_column("connections", "options")
