"""Payments and their entries, which are never edited; what of a bill is paid is the sum of its entries.

Revision ID: 20261127_40_payments
Revises: 20261127_33_held_readings
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261127_40_payments"
down_revision = "20261127_33_held_readings"
branch_labels = None
depends_on = None

FATE = (
    "status",
    "paid_at",
    "payment_method",
    "payment_reference",
    "payment_notes",
    "is_disputed",
    "dispute_reason",
    "disputed_at",
)

# What lies on a bill that asks for nothing: it belongs on the account.
GIVES_BACK = (
    "(status = 'cancelled' AND amount_paid > 0)"
    " OR (status IN ('pending', 'overdue', 'disputed') AND amount_due <= amount_paid)"
)


def instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    for name in ("amount_paid", "disputed_amount"):
        op.add_column("invoices", sa.Column(name, sa.Numeric(14, 2), server_default="0", nullable=False))
    _say_fate((*FATE, "amount_paid", "disputed_amount"))
    op.create_table(
        "payments",
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("amount", sa.Numeric(14, 2), nullable=False),
        sa.Column("method", sa.String(length=40), nullable=False),
        sa.Column("reference", sa.String(length=120), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("reverses", sa.Uuid(), nullable=True),
        sa.Column("request_key", sa.String(length=200), nullable=True),
        instant("received_at"),
        instant("recorded_at"),
        sa.Column("recorded_by", sa.String(length=200), nullable=False),
        sa.CheckConstraint(
            "kind IN ('receipt', 'refund', 'reversal', 'credit_use', 'credit_note')", name=op.f("ck_payments_kind")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_payments_amount")),
        sa.CheckConstraint("(kind = 'reversal') = (reverses IS NOT NULL)", name=op.f("ck_payments_reverses")),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_payments_user_id_users")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.invoice_id"], name=op.f("fk_payments_invoice_id_invoices")),
        sa.ForeignKeyConstraint(["reverses"], ["payments.payment_id"], name=op.f("fk_payments_reverses_payments")),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_payments")),
    )
    op.create_index(op.f("ix_payments_invoice_id"), "payments", ["invoice_id"])
    op.create_index(
        "uq_payments_reverses", "payments", ["reverses"], unique=True, postgresql_where=sa.text("reverses IS NOT NULL")
    )
    op.create_index(
        "uq_payments_request",
        "payments",
        ["request_key"],
        unique=True,
        postgresql_where=sa.text("request_key IS NOT NULL"),
    )
    op.create_index("ix_payments_user", "payments", ["user_id", sa.text("recorded_at DESC")])
    op.create_index("ix_payments_recorded", "payments", [sa.text("recorded_at DESC")])
    op.create_table(
        "payment_entries",
        sa.Column("entry_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=True),
        sa.Column("amount", sa.Numeric(14, 2), nullable=False),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_payment_entries_amount")),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["payments.payment_id"], name=op.f("fk_payment_entries_payment_id_payments")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_payment_entries_user_id_users")),
        sa.ForeignKeyConstraint(
            ["invoice_id"], ["invoices.invoice_id"], name=op.f("fk_payment_entries_invoice_id_invoices")
        ),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_payment_entries")),
    )
    op.create_index(op.f("ix_payment_entries_payment_id"), "payment_entries", ["payment_id"])
    op.create_index(op.f("ix_payment_entries_invoice_id"), "payment_entries", ["invoice_id"])
    op.create_index(
        "ix_payment_entries_credit", "payment_entries", ["user_id"], postgresql_where=sa.text("invoice_id IS NULL")
    )
    _create_disputes()
    op.create_index("ix_invoices_gives_back", "invoices", ["user_id"], postgresql_where=sa.text(GIVES_BACK))
    _keep_sums()
    _carry_over()
    _hold_paid_to_entries()


def _create_disputes() -> None:
    op.create_table(
        "disputes",
        sa.Column("dispute_id", sa.Uuid(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("lines", postgresql.ARRAY(sa.SmallInteger()), nullable=True),
        sa.Column("amount", sa.Numeric(14, 2), nullable=False),
        instant("opened_at"),
        sa.Column("status", sa.String(length=10), server_default="open", nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("credit_reference", sa.String(length=120), nullable=True),
        sa.Column("credit_amount", sa.Numeric(14, 2), nullable=True),
        instant("decided_at", nullable=True),
        sa.Column("decided_by", sa.String(length=200), nullable=True),
        sa.CheckConstraint("status IN ('open', 'explained', 'credited', 'withdrawn')", name=op.f("ck_disputes_status")),
        sa.CheckConstraint("(status = 'open') = (decided_at IS NULL)", name=op.f("ck_disputes_decided")),
        sa.CheckConstraint("(status = 'credited') = (credit_amount IS NOT NULL)", name=op.f("ck_disputes_credited")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.invoice_id"], name=op.f("fk_disputes_invoice_id_invoices")),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_disputes_user_id_users")),
        sa.PrimaryKeyConstraint("dispute_id", name=op.f("pk_disputes")),
    )
    op.create_index(
        "uq_disputes_open", "disputes", ["invoice_id"], unique=True, postgresql_where=sa.text("status = 'open'")
    )
    op.create_index(op.f("ix_disputes_invoice_id"), "disputes", ["invoice_id"])
    op.create_index("ix_disputes_inbox", "disputes", ["opened_at"], postgresql_where=sa.text("status = 'open'"))
    op.execute("""
        INSERT INTO disputes (dispute_id, invoice_id, user_id, reason, amount, opened_at)
        SELECT gen_random_uuid(), invoice_id, user_id, coalesce(dispute_reason, ''), greatest(amount_due, 0),
            coalesce(disputed_at, created_at) FROM invoices WHERE status = 'disputed'""")
    op.execute("""
        CREATE FUNCTION disputes_stand() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            decision text[] := ARRAY['status', 'answer', 'credit_reference', 'credit_amount', 'decided_at',
                'decided_by'];
        BEGIN
            IF TG_OP = 'UPDATE' AND OLD.status = 'open' AND to_jsonb(NEW) - decision = to_jsonb(OLD) - decision THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'a dispute stands as it was told and as it was decided'
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'disputes_stand';
        END $$""")
    op.execute("""
        CREATE TRIGGER disputes_stand BEFORE UPDATE OR DELETE ON disputes
            FOR EACH ROW EXECUTE FUNCTION disputes_stand()""")


def _say_fate(columns: tuple[str, ...]) -> None:
    """The columns of a bill that may change after it is issued; everything else is compared as a whole."""
    fate = ", ".join(f"'{name}'" for name in columns)
    op.execute(f"""
        CREATE OR REPLACE FUNCTION invoices_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - ARRAY[{fate}] = to_jsonb(OLD) - ARRAY[{fate}] THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'bill % is issued: a correction is a credit note and a new bill', OLD.invoice_number
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'invoices_are_final';
        END $$""")


def _keep_sums() -> None:
    op.execute("""
        CREATE FUNCTION payments_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'payments are never edited: a mistake is answered by a new entry'
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'payments_are_final';
        END $$""")
    for table in ("payments", "payment_entries"):
        op.execute(f"""
            CREATE TRIGGER {table}_are_final BEFORE UPDATE OR DELETE ON {table}
                FOR EACH ROW EXECUTE FUNCTION payments_are_final()""")
    op.execute("""
        CREATE FUNCTION payment_entries_add_up() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE invoices SET amount_paid = amount_paid + NEW.amount
                WHERE invoice_id = NEW.invoice_id AND user_id = NEW.user_id;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'bill % is not of customer %', NEW.invoice_id, NEW.user_id
                    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'payment_entries_add_up';
            END IF;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE TRIGGER payment_entries_add_up AFTER INSERT ON payment_entries
            FOR EACH ROW WHEN (NEW.invoice_id IS NOT NULL) EXECUTE FUNCTION payment_entries_add_up()""")
    op.execute("""
        CREATE FUNCTION payments_are_whole() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            stated numeric;
            entered numeric;
        BEGIN
            SELECT CASE kind WHEN 'credit_use' THEN 0 WHEN 'refund' THEN -amount WHEN 'reversal' THEN -amount
                ELSE amount END INTO stated FROM payments WHERE payment_id = NEW.payment_id;
            SELECT coalesce(sum(amount), 0) INTO entered FROM payment_entries WHERE payment_id = NEW.payment_id;
            IF stated <> entered THEN
                RAISE EXCEPTION 'payment % is %, its entries come to %', NEW.payment_id, stated, entered
                    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'payments_are_whole';
            END IF;
            RETURN NULL;
        END $$""")
    for table in ("payments", "payment_entries"):
        op.execute(f"""
            CREATE CONSTRAINT TRIGGER {table}_are_whole AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION payments_are_whole()""")


def _carry_over() -> None:
    """What was marked paid before there were entries was paid in full."""
    op.execute("""
        INSERT INTO payments (payment_id, user_id, invoice_id, kind, amount, method, reference, notes,
            received_at, recorded_at, recorded_by)
        SELECT gen_random_uuid(), user_id, invoice_id, 'receipt', amount_due, coalesce(payment_method, 'other'),
            payment_reference, payment_notes, paid_at, paid_at, 'the portal'
        FROM invoices WHERE status = 'paid' AND amount_due > 0""")
    op.execute("""
        INSERT INTO payment_entries (payment_id, user_id, invoice_id, amount)
        SELECT payment_id, user_id, invoice_id, amount FROM payments""")
    op.execute("UPDATE invoices SET disputed_amount = greatest(amount_due, 0) WHERE status = 'disputed'")
    # What is checked at commit is checked here: a table with such checks pending takes no new trigger.
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")
    op.execute("SET CONSTRAINTS ALL DEFERRED")


def _hold_paid_to_entries() -> None:
    op.execute("""
        CREATE FUNCTION invoices_paid_by_entries() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM invoices
                WHERE invoice_id = NEW.invoice_id AND status = 'paid' AND amount_paid < amount_due) THEN
                RAISE EXCEPTION 'bill % is not paid: its entries say so', NEW.invoice_number
                    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'invoices_paid_by_entries';
            END IF;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE CONSTRAINT TRIGGER invoices_paid_by_entries AFTER UPDATE OF status, amount_paid ON invoices
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status = 'paid')
            EXECUTE FUNCTION invoices_paid_by_entries()""")


def downgrade() -> None:
    op.execute("DROP TRIGGER invoices_paid_by_entries ON invoices")
    op.drop_table("disputes")
    op.drop_table("payment_entries")
    op.drop_table("payments")
    for name in (
        "disputes_stand",
        "payments_are_final",
        "payment_entries_add_up",
        "payments_are_whole",
        "invoices_paid_by_entries",
    ):
        op.execute(f"DROP FUNCTION {name}()")
    _say_fate(FATE)
    op.drop_index("ix_invoices_gives_back", "invoices")
    op.drop_column("invoices", "amount_paid")
    op.drop_column("invoices", "disputed_amount")
