"""Billing runs as staff do them: a draft, its exceptions and decisions, its approval.

Revision ID: 20261127_31_run_steps
Revises: 20261127_18_recount
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261127_31_run_steps"
down_revision = "20261127_18_recount"
branch_labels = None
depends_on = None


def instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "billing_runs",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("year", sa.SmallInteger(), nullable=False),
        sa.Column("month", sa.SmallInteger(), nullable=False),
        sa.Column("region", sa.String(length=100), nullable=True),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        instant("created_at"),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("creator_id", sa.Uuid(), nullable=True),
        instant("calculated_at", nullable=True),
        instant("approved_at", nullable=True),
        sa.Column("approved_by", sa.String(length=200), nullable=True),
        instant("ended_at", nullable=True),
        sa.CheckConstraint(
            "status IN ('calculating', 'draft', 'issuing', 'issued', 'cancelled')", name=op.f("ck_billing_runs_status")
        ),
        sa.CheckConstraint("month BETWEEN 1 AND 12", name=op.f("ck_billing_runs_month")),
        sa.CheckConstraint(
            "status NOT IN ('issuing', 'issued') OR approved_at IS NOT NULL", name=op.f("ck_billing_runs_approved")
        ),
        sa.ForeignKeyConstraint(["region"], ["regions.name"], name=op.f("fk_billing_runs_region_regions")),
        sa.ForeignKeyConstraint(["creator_id"], ["users.user_id"], name=op.f("fk_billing_runs_creator_id_users")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_billing_runs")),
    )
    op.create_index(
        "uq_billing_runs_open",
        "billing_runs",
        ["year", "month", sa.text("coalesce(region, '')")],
        unique=True,
        postgresql_where=sa.text("status IN ('calculating', 'draft', 'issuing')"),
    )
    op.create_index("ix_billing_runs_created", "billing_runs", [sa.text("created_at DESC")])
    op.create_table(
        "billing_run_items",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=8), server_default="waiting", nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("meter_id", sa.String(length=50), nullable=True),
        sa.Column("exceptions", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("kwh", sa.Numeric(16, 6), nullable=True),
        sa.Column("usual_kwh", sa.Numeric(16, 6), nullable=True),
        sa.Column("unsure_percent", sa.SmallInteger(), nullable=True),
        sa.Column("total_cost", sa.Numeric(14, 2), nullable=True),
        sa.Column("amount_due", sa.Numeric(14, 2), nullable=True),
        sa.Column("code", sa.String(length=60), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("decision", sa.String(length=5), nullable=True),
        sa.Column("decided_by", sa.String(length=200), nullable=True),
        sa.Column("invoice_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'ready', 'refused', 'issued', 'done')", name=op.f("ck_billing_run_items_state")
        ),
        sa.CheckConstraint("decision IN ('issue', 'hold')", name=op.f("ck_billing_run_items_decision")),
        sa.CheckConstraint("(state = 'issued') = (invoice_id IS NOT NULL)", name=op.f("ck_billing_run_items_issued")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["billing_runs.run_id"], name=op.f("fk_billing_run_items_run_id_billing_runs")
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.connection_id"],
            name=op.f("fk_billing_run_items_connection_id_connections"),
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_billing_run_items_user_id_users")),
        sa.ForeignKeyConstraint(
            ["invoice_id"], ["invoices.invoice_id"], name=op.f("fk_billing_run_items_invoice_id_invoices")
        ),
        sa.PrimaryKeyConstraint("run_id", "connection_id", name=op.f("pk_billing_run_items")),
    )
    op.create_index("ix_billing_run_items_state", "billing_run_items", ["run_id", "state", "connection_id"])
    op.create_index(
        "ix_billing_run_items_odd",
        "billing_run_items",
        ["run_id", "connection_id"],
        postgresql_where=sa.text("exceptions <> '[]' OR state = 'refused'"),
    )


def downgrade() -> None:
    op.drop_table("billing_run_items")
    op.drop_table("billing_runs")
