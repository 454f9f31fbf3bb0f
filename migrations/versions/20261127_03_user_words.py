"""Words to find users by, kept where an assignment does not touch them; chr(31) stands between e-mail and name.

Revision ID: 20261127_03_user_words
Revises: 20261127_02_tallies
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_03_user_words"
down_revision = "20261127_02_tallies"
branch_labels = None
depends_on = None

KEPT = """
CREATE FUNCTION keep_user_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO user_words (user_id, created_at, role, words)
    VALUES (NEW.user_id, NEW.created_at, NEW.role, lower(NEW.email || chr(31) || NEW.name))
    ON CONFLICT (user_id) DO UPDATE
        SET created_at = excluded.created_at, role = excluded.role, words = excluded.words;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_user_words AFTER INSERT OR UPDATE OF email, name, role, created_at ON users
    FOR EACH ROW EXECUTE FUNCTION keep_user_words();
INSERT INTO user_words (user_id, created_at, role, words)
SELECT user_id, created_at, role, lower(email || chr(31) || name) FROM users;
"""


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.create_table(
        "user_words",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("words", sa.String(length=400), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.user_id"], name=op.f("fk_user_words_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_words")),
    )
    op.execute(KEPT)
    op.create_index("ix_user_words_newest", "user_words", ["created_at", "user_id"], unique=False)
    op.create_index(
        "ix_user_words_staff",
        "user_words",
        ["role", "created_at", "user_id"],
        unique=False,
        postgresql_where=sa.text("role <> 'user'"),
    )
    # New words wait in the index's own list, which the worker empties: no registration ever does that work.
    op.create_index(
        "ix_user_words_words",
        "user_words",
        ["words"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"words": "gin_trgm_ops"},
        postgresql_with={"gin_pending_list_limit": "65536"},
    )
    # How rare a word is decides how it is looked for.
    op.execute("ALTER TABLE user_words ALTER COLUMN words SET STATISTICS 1000")


def downgrade() -> None:
    op.execute("DROP TRIGGER keep_user_words ON users; DROP FUNCTION keep_user_words()")
    op.drop_table("user_words")
    op.execute("DROP EXTENSION IF EXISTS pg_trgm")
