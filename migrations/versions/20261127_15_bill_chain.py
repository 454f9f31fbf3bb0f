"""The proof of a bill: its hash, and its place in the chain of the customer's bills.

Revision ID: 20261127_15_bill_chain
Revises: 20261127_14_registers
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_15_bill_chain"
down_revision = "20261127_14_registers"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The trigger invoices_are_final compares whole rows but for the bill's fate: these are protected at once.
    op.add_column("invoices", sa.Column("chain_place", sa.Integer(), nullable=True))
    op.add_column("invoices", sa.Column("proof_hash", sa.String(length=64), nullable=True))
    op.add_column("invoices", sa.Column("previous_hash", sa.String(length=64), nullable=True))
    op.create_check_constraint(op.f("ck_invoices_chain"), "invoices", "(proof_hash IS NULL) = (chain_place IS NULL)")
    op.create_index("uq_invoices_chain", "invoices", ["user_id", "chain_place"], unique=True)


def downgrade() -> None:
    op.drop_index("uq_invoices_chain", table_name="invoices")
    op.drop_constraint(op.f("ck_invoices_chain"), "invoices")
    for name in ("previous_hash", "proof_hash", "chain_place"):
        op.drop_column("invoices", name)
