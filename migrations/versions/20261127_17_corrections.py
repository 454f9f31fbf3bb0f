"""Bills that differ and what was decided; credit notes, which never change; a cancelled bill makes room for another.

Revision ID: 20261127_17_corrections
Revises: 20261127_16_ingest_keys
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261127_17_corrections"
down_revision = "20261127_16_ingest_keys"
branch_labels = None
depends_on = None

JSON = postgresql.JSONB(astext_type=sa.Text())


def money(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Numeric(14, 2), nullable=False)


def instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.drop_index("uq_invoices_connection_cycle", table_name="invoices")
    op.create_index(
        "uq_invoices_connection_cycle",
        "invoices",
        ["connection_id", "cycle_start"],
        unique=True,
        postgresql_where=sa.text("status <> 'cancelled'"),
    )
    op.create_index("ix_invoices_connection", "invoices", ["connection_id"])
    op.create_table(
        "invoice_reviews",
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(length=10), server_default="open", nullable=False),
        sa.Column("reasons", JSON, nullable=False),
        sa.Column("kwh_before", sa.Numeric(16, 6), nullable=False),
        sa.Column("kwh_after", sa.Numeric(16, 6), nullable=False),
        money("total_before"),
        money("total_after"),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        instant("found_at"),
        instant("decided_at", nullable=True),
        sa.Column("decided_by", sa.String(length=200), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("status IN ('open', 'kept', 'corrected', 'gone')", name=op.f("ck_invoice_reviews_status")),
        sa.CheckConstraint("(status = 'open') = (decided_at IS NULL)", name=op.f("ck_invoice_reviews_decided")),
        sa.ForeignKeyConstraint(
            ["invoice_id"], ["invoices.invoice_id"], name=op.f("fk_invoice_reviews_invoice_id_invoices")
        ),
        sa.PrimaryKeyConstraint("invoice_id", name=op.f("pk_invoice_reviews")),
    )
    op.create_index(
        "ix_invoice_reviews_open", "invoice_reviews", ["found_at"], postgresql_where=sa.text("status = 'open'")
    )
    op.create_table(
        "credit_notes",
        sa.Column("credit_note_id", sa.Uuid(), nullable=False),
        sa.Column("credit_note_number", sa.String(length=30), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("replacement_id", sa.Uuid(), nullable=True),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        money("total_cost"),
        money("amount"),
        sa.Column("reasons", JSON, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("line_count", sa.SmallInteger(), nullable=False),
        sa.Column("document_hash", sa.String(length=64), nullable=False),
        instant("created_at"),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.CheckConstraint("length(note) BETWEEN 3 AND 2000", name=op.f("ck_credit_notes_note")),
        sa.ForeignKeyConstraint(
            ["invoice_id"], ["invoices.invoice_id"], name=op.f("fk_credit_notes_invoice_id_invoices")
        ),
        sa.ForeignKeyConstraint(
            ["replacement_id"], ["invoices.invoice_id"], name=op.f("fk_credit_notes_replacement_id_invoices")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_credit_notes_user_id_users")),
        sa.PrimaryKeyConstraint("credit_note_id", name=op.f("pk_credit_notes")),
        sa.UniqueConstraint("credit_note_number", name=op.f("uq_credit_notes_credit_note_number")),
    )
    op.create_index("uq_credit_notes_invoice", "credit_notes", ["invoice_id"], unique=True)
    op.create_index("ix_credit_notes_user", "credit_notes", ["user_id", "created_at"])
    op.create_table(
        "credit_note_lines",
        sa.Column("line_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("credit_note_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("code", sa.String(length=60), nullable=False),
        sa.Column("description", sa.String(length=200), nullable=False),
        sa.Column("kwh", sa.Numeric(16, 6), nullable=True),
        sa.Column("rate", sa.Numeric(14, 6), nullable=True),
        money("amount"),
        sa.ForeignKeyConstraint(
            ["credit_note_id"],
            ["credit_notes.credit_note_id"],
            name=op.f("fk_credit_note_lines_credit_note_id_credit_notes"),
        ),
        sa.PrimaryKeyConstraint("line_id", name=op.f("pk_credit_note_lines")),
    )
    op.create_index("uq_credit_note_lines_position", "credit_note_lines", ["credit_note_id", "position"], unique=True)
    _make_final()


def _make_final() -> None:
    """A credit note is as final as the bill that it takes back, which must be cancelled by its commit."""
    op.execute("""
        CREATE FUNCTION credit_notes_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'a credit note never changes'
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'credit_notes_are_final';
        END $$""")
    for table in ("credit_notes", "credit_note_lines"):
        op.execute(f"""
            CREATE TRIGGER credit_notes_are_final BEFORE UPDATE OR DELETE ON {table}
                FOR EACH ROW EXECUTE FUNCTION credit_notes_are_final()""")
    op.execute("""
        CREATE FUNCTION credit_notes_are_whole() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            note credit_notes;
            bill invoices;
            lines bigint;
            amount numeric;
        BEGIN
            SELECT * INTO note FROM credit_notes WHERE credit_note_id = NEW.credit_note_id;
            SELECT * INTO bill FROM invoices WHERE invoice_id = note.invoice_id;
            SELECT count(*), coalesce(sum(line.amount), 0) INTO lines, amount
                FROM credit_note_lines AS line WHERE line.credit_note_id = note.credit_note_id;
            IF lines <> note.line_count OR amount <> note.total_cost OR note.total_cost <> -bill.total_cost
                OR bill.status <> 'cancelled' OR note.user_id <> bill.user_id
            THEN
                RAISE EXCEPTION 'credit note % does not take bill % back as a whole',
                    note.credit_note_number, bill.invoice_number
                    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'credit_notes_are_whole';
            END IF;
            RETURN NULL;
        END $$""")
    for table in ("credit_notes", "credit_note_lines"):
        op.execute(f"""
            CREATE CONSTRAINT TRIGGER credit_notes_are_whole AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION credit_notes_are_whole()""")


def downgrade() -> None:
    op.drop_table("credit_note_lines")
    op.drop_table("credit_notes")
    op.drop_table("invoice_reviews")
    for name in ("credit_notes_are_final", "credit_notes_are_whole"):
        op.execute(f"DROP FUNCTION {name}()")
    op.drop_index("ix_invoices_connection", table_name="invoices")
    op.drop_index("uq_invoices_connection_cycle", table_name="invoices")
    op.create_index("uq_invoices_connection_cycle", "invoices", ["connection_id", "cycle_start"], unique=True)
