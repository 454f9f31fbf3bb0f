"""Log-ins that can be listed and ended one by one, reasons of suspension, and an audit log that says from where.

Revision ID: 20261127_04_log_ins
Revises: 20261127_03_user_words
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_04_log_ins"
down_revision = "20261127_03_user_words"
branch_labels = None
depends_on = None

# Programs that are logged in stay so; browsers log in again, because their cookies name no log-in.
KEEP_PROGRAMS = """
INSERT INTO log_ins (login_id, user_id, kind, created_at, confirmed_at, expires_at)
SELECT family_id, user_id, 'program', min(created_at), min(created_at), max(expires_at)
FROM tokens WHERE revoked_at IS NULL GROUP BY family_id, user_id
"""


def upgrade() -> None:
    op.create_table(
        "log_ins",
        sa.Column("login_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("agent", sa.String(length=200), server_default="", nullable=False),
        sa.Column("address", sa.String(length=45), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('browser', 'program')", name=op.f("ck_log_ins_kind")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.user_id"], name=op.f("fk_log_ins_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("login_id", name=op.f("pk_log_ins")),
    )
    op.create_index("ix_log_ins_open", "log_ins", ["user_id"], postgresql_where=sa.text("ended_at IS NULL"))
    op.execute(KEEP_PROGRAMS)
    op.drop_column("users", "session_version")
    op.add_column("users", sa.Column("suspended_reason", sa.String(length=300), nullable=True))
    op.add_column("audit_log", sa.Column("address", sa.String(length=45), nullable=True))
    op.create_index(op.f("ix_audit_log_actor_id_audit_id"), "audit_log", ["actor_id", "audit_id"])
    op.execute(
        "CREATE TRIGGER audit_log_never_emptied BEFORE TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_log_append_only()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER audit_log_never_emptied ON audit_log")
    op.drop_index(op.f("ix_audit_log_actor_id_audit_id"), table_name="audit_log")
    op.drop_column("audit_log", "address")
    op.drop_column("users", "suspended_reason")
    op.add_column("users", sa.Column("session_version", sa.Integer(), server_default="0", nullable=False))
    op.drop_table("log_ins")
