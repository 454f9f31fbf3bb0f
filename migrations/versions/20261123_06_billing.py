"""Bills and their lines, which never change once issued, and the series of their numbers.

Revision ID: 20261123_06_billing
Revises: 20261123_04_tariffs
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261123_06_billing"
down_revision = "20261123_04_tariffs"
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


def money(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Numeric(14, 2), nullable=False)


def kwh(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Numeric(16, 6), nullable=nullable)


def instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "invoice_series",
        sa.Column("series", sa.String(length=20), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("series", name=op.f("pk_invoice_series")),
    )
    op.create_table(
        "invoices",
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("invoice_number", sa.String(length=30), nullable=False),
        sa.Column("connection_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("region", sa.String(length=100), nullable=True),
        sa.Column("meter_id", sa.String(length=50), nullable=False),
        sa.Column("cycle_start", sa.Date(), nullable=False),
        instant("period_start"),
        instant("period_end"),
        kwh("total_consumption_kwh"),
        kwh("export_kwh"),
        kwh("estimated_kwh"),
        sa.Column("missing_hours", sa.Numeric(10, 2), nullable=False),
        kwh("credit_carried_kwh"),
        money("base_cost"),
        money("surcharges"),
        money("tax_amount"),
        money("discounts"),
        money("total_cost"),
        money("carried_in"),
        money("rounding"),
        money("amount_due"),
        sa.Column("currency", sa.String(length=3), server_default="INR", nullable=False),
        sa.Column("tariff_code", sa.String(length=60), nullable=False),
        sa.Column("illustrative", sa.Boolean(), nullable=False),
        sa.Column("marks", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("computed_from", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("line_count", sa.SmallInteger(), nullable=False),
        sa.Column("due_date", sa.Date(), nullable=False),
        instant("created_at"),
        sa.Column("status", sa.String(length=10), server_default="pending", nullable=False),
        instant("paid_at", nullable=True),
        sa.Column("payment_method", sa.String(length=40), nullable=True),
        sa.Column("payment_reference", sa.String(length=120), nullable=True),
        sa.Column("payment_notes", sa.Text(), nullable=True),
        sa.Column("is_disputed", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("dispute_reason", sa.Text(), nullable=True),
        instant("disputed_at", nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'paid', 'overdue', 'disputed', 'cancelled')", name=op.f("ck_invoices_status")
        ),
        sa.CheckConstraint("period_end > period_start", name=op.f("ck_invoices_period")),
        sa.CheckConstraint(
            "total_cost = base_cost + surcharges + tax_amount - discounts", name=op.f("ck_invoices_total_cost")
        ),
        sa.CheckConstraint("amount_due = total_cost + carried_in + rounding", name=op.f("ck_invoices_amount_due")),
        sa.CheckConstraint("(status = 'paid') = (paid_at IS NOT NULL)", name=op.f("ck_invoices_paid_at")),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.connection_id"], name=op.f("fk_invoices_connection_id_connections")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_invoices_user_id_users")),
        sa.ForeignKeyConstraint(["region"], ["regions.name"], name=op.f("fk_invoices_region_regions")),
        sa.ForeignKeyConstraint(["tariff_code"], ["tariffs.code"], name=op.f("fk_invoices_tariff_code_tariffs")),
        sa.PrimaryKeyConstraint("invoice_id", name=op.f("pk_invoices")),
        sa.UniqueConstraint("invoice_number", name=op.f("uq_invoices_invoice_number")),
    )
    op.create_index("uq_invoices_connection_cycle", "invoices", ["connection_id", "cycle_start"], unique=True)
    op.create_index("ix_invoices_user_cycle", "invoices", ["user_id", sa.text("cycle_start DESC")])
    op.create_index(
        "ix_invoices_region_due",
        "invoices",
        ["region", "due_date"],
        postgresql_where=sa.text("status IN ('pending', 'overdue')"),
    )
    op.create_table(
        "invoice_lines",
        sa.Column("line_item_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("code", sa.String(length=60), nullable=False),
        sa.Column("category", sa.String(length=10), nullable=False),
        sa.Column("description", sa.String(length=200), nullable=False),
        instant("period_start"),
        instant("period_end"),
        kwh("kwh_consumed", nullable=True),
        sa.Column("rate_per_kwh", sa.Numeric(14, 6), nullable=True),
        money("amount"),
        sa.CheckConstraint(
            "category IN ('base', 'surcharge', 'tax', 'discount')", name=op.f("ck_invoice_lines_category")
        ),
        sa.ForeignKeyConstraint(
            ["invoice_id"], ["invoices.invoice_id"], name=op.f("fk_invoice_lines_invoice_id_invoices")
        ),
        sa.PrimaryKeyConstraint("line_item_id", name=op.f("pk_invoice_lines")),
    )
    op.create_index("uq_invoice_lines_position", "invoice_lines", ["invoice_id", "position"], unique=True)
    _make_final()


def _make_final() -> None:
    """Promise 6. What a bill says is compared as a whole, so that a column added later is protected from the start."""
    fate = ", ".join(f"'{name}'" for name in FATE)
    op.execute(f"""
        CREATE FUNCTION invoices_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - ARRAY[{fate}] = to_jsonb(OLD) - ARRAY[{fate}] THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'bill % is issued: a correction is a credit note and a new bill', OLD.invoice_number
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'invoices_are_final';
        END $$""")
    op.execute("""
        CREATE TRIGGER invoices_are_final BEFORE UPDATE OR DELETE ON invoices
            FOR EACH ROW EXECUTE FUNCTION invoices_are_final()""")
    op.execute("""
        CREATE FUNCTION invoice_lines_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'line % belongs to an issued bill', OLD.line_item_id
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'invoice_lines_are_final';
        END $$""")
    op.execute("""
        CREATE TRIGGER invoice_lines_are_final BEFORE UPDATE OR DELETE ON invoice_lines
            FOR EACH ROW EXECUTE FUNCTION invoice_lines_are_final()""")
    # Once all lines of a bill are there (checked at its commit), one more is one too many.
    op.execute("""
        CREATE FUNCTION invoice_lines_not_added() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                SELECT FROM invoices AS bill
                WHERE bill.invoice_id IN (SELECT invoice_id FROM added)
                    AND bill.line_count < (SELECT count(*) FROM invoice_lines WHERE invoice_id = bill.invoice_id))
            THEN
                RAISE EXCEPTION 'an issued bill takes no more lines'
                    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'invoice_lines_are_final';
            END IF;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE TRIGGER invoice_lines_not_added AFTER INSERT ON invoice_lines REFERENCING NEW TABLE AS added
            FOR EACH STATEMENT EXECUTE FUNCTION invoice_lines_not_added()""")
    op.execute("""
        CREATE FUNCTION invoices_are_whole() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            lines bigint;
            amount numeric;
        BEGIN
            SELECT count(*), coalesce(sum(line.amount), 0) INTO lines, amount
                FROM invoice_lines AS line WHERE line.invoice_id = NEW.invoice_id;
            IF lines <> NEW.line_count OR amount <> NEW.total_cost THEN
                RAISE EXCEPTION 'bill % says % in % lines, but has % in %',
                    NEW.invoice_number, NEW.total_cost, NEW.line_count, amount, lines
                    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'invoices_are_whole';
            END IF;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE CONSTRAINT TRIGGER invoices_are_whole AFTER INSERT ON invoices DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION invoices_are_whole()""")


def downgrade() -> None:
    op.drop_table("invoice_lines")
    op.drop_table("invoices")
    op.drop_table("invoice_series")
    for name in ("invoices_are_final", "invoices_are_whole", "invoice_lines_are_final", "invoice_lines_not_added"):
        op.execute(f"DROP FUNCTION {name}()")
