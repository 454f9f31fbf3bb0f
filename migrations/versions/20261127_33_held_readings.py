"""What staff decided on readings that are held.

Revision ID: 20261127_33_held_readings
Revises: 20261127_32_word_scripts
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_33_held_readings"
down_revision = "20261127_32_word_scripts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("quarantine", sa.Column("state", sa.String(length=10), server_default="held", nullable=False))
    op.add_column("quarantine", sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("quarantine", sa.Column("decided_by", sa.String(length=200), nullable=True))
    op.add_column("quarantine", sa.Column("reason", sa.String(length=300), nullable=True))
    op.create_check_constraint(op.f("ck_quarantine_state"), "quarantine", "state IN ('held', 'released', 'discarded')")
    op.create_check_constraint(
        op.f("ck_quarantine_decided"),
        "quarantine",
        "(state = 'held') = (decided_at IS NULL) AND (state = 'held') = (decided_by IS NULL) "
        "AND (state = 'held') = (reason IS NULL)",
    )
    op.create_index(
        "ix_quarantine_held",
        "quarantine",
        ["received_at", "quarantine_id"],
        postgresql_where=sa.text("state = 'held'"),
    )


def downgrade() -> None:
    op.drop_index("ix_quarantine_held", table_name="quarantine")
    op.drop_constraint(op.f("ck_quarantine_decided"), "quarantine")
    op.drop_constraint(op.f("ck_quarantine_state"), "quarantine")
    for column in ("reason", "decided_by", "decided_at", "state"):
        op.drop_column("quarantine", column)
