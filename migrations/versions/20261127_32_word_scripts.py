"""Find names in any script: pg_trgm passes over the vowel signs of Devanagari, so it sees no three letters in a row.

Revision ID: 20261127_32_word_scripts
Revises: 20261127_31_run_steps
"""

from alembic import op

revision = "20261127_32_word_scripts"
down_revision = "20261127_31_run_steps"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION word_trigrams(words text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
            SELECT array_agg(DISTINCT substr(words, n, 3)) FROM generate_series(1, length(words) - 2) AS n
        $$""")
    op.execute("""
        CREATE INDEX ix_user_words_scripts ON user_words USING gin (word_trigrams(words))
        WHERE octet_length(words) > length(words)""")


def downgrade() -> None:
    op.drop_index("ix_user_words_scripts", table_name="user_words")
    op.execute("DROP FUNCTION word_trigrams")
