"""Long work: job rows and the queue (procrastinate).

Revision ID: 20261123_03_jobs
Revises: 20261123_02_meters
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261123_03_jobs"
down_revision = "20261123_02_meters"
branch_labels = None
depends_on = None

QUEUE_SCHEMA = Path(__file__).parent.parent / "procrastinate_3_10.sql"


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=10), server_default="queued", nullable=False),
        sa.Column("args", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('queued', 'running', 'done', 'failed')", name=op.f("ck_jobs_status")),
        sa.ForeignKeyConstraint(["created_by"], ["users.user_id"], name=op.f("fk_jobs_created_by_users")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_jobs")),
    )
    # A % in the file is no parameter.
    op.get_bind().exec_driver_sql(QUEUE_SCHEMA.read_text().replace("%", "%%"))


def downgrade() -> None:
    op.drop_table("jobs")
    op.execute("""
        DO $$
        DECLARE thing text;
        BEGIN
            FOR thing IN SELECT format('DROP TABLE IF EXISTS %s CASCADE', oid::regclass) FROM pg_class
                WHERE relname LIKE 'procrastinate\\_%' AND relkind = 'r' LOOP EXECUTE thing; END LOOP;
            FOR thing IN SELECT format('DROP FUNCTION IF EXISTS %s CASCADE', oid::regprocedure) FROM pg_proc
                WHERE proname LIKE 'procrastinate\\_%' LOOP EXECUTE thing; END LOOP;
            FOR thing IN SELECT format('DROP TYPE IF EXISTS %s CASCADE', oid::regtype) FROM pg_type
                WHERE typname LIKE 'procrastinate\\_%' AND typtype IN ('e', 'c') LOOP EXECUTE thing; END LOOP;
        END $$""")
