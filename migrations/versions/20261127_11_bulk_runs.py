"""Long work can be stopped, goes on where it was, and a bulk run can be undone.

Revision ID: 20261127_11_bulk_runs
Revises: 20261127_10_supply_terms
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261127_11_bulk_runs"
down_revision = "20261127_10_supply_terms"
branch_labels = None
depends_on = None

STATUSES = "status IN ('queued', 'running', 'done', 'failed'{more})"


def upgrade() -> None:
    op.drop_constraint(op.f("ck_jobs_status"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_status"), "jobs", STATUSES.format(more=", 'cancelled'"))
    op.add_column("jobs", sa.Column("place", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False))
    op.add_column("jobs", sa.Column("started_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("moved_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("stop_asked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("about", sa.Uuid(), nullable=True))
    op.create_foreign_key(op.f("fk_jobs_about_jobs"), "jobs", "jobs", ["about"], ["job_id"])
    op.create_index("ix_jobs_about", "jobs", ["about"], postgresql_where=sa.text("about IS NOT NULL"))
    op.create_index("ix_jobs_created_at", "jobs", ["created_at", "job_id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_created_at", table_name="jobs")
    op.drop_index("ix_jobs_about", table_name="jobs")
    op.drop_constraint(op.f("fk_jobs_about_jobs"), "jobs")
    for name in ("about", "stop_asked_at", "moved_at", "started_at", "place"):
        op.drop_column("jobs", name)
    op.drop_constraint(op.f("ck_jobs_status"), "jobs")
    op.execute("UPDATE jobs SET status = 'failed' WHERE status = 'cancelled'")
    op.create_check_constraint(op.f("ck_jobs_status"), "jobs", STATUSES.format(more=""))
