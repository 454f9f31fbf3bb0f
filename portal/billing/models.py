"""Bills as issued. What a bill says can never change (promise 6): triggers refuse it; its fate is written beside it."""

from __future__ import annotations

import uuid
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Numeric,
    SmallInteger,
    String,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from portal.accounts.models import Region, User
from portal.db import Base, Kwh, Money, Rate, UtcTime
from portal.meters.models import Connection
from portal.tariffs.models import Tariff

STATUSES = ("pending", "paid", "overdue", "disputed", "cancelled")


class Invoice(Base):
    """One bill of one connection for one cycle, in INR and kWh.

    `cycle_start` is the first local day of the cycle; `[period_start, period_end)` is the part of it for which the
    connection had supply (UTC). `total_cost` = base_cost + surcharges + tax_amount − discounts, the sum of the lines;
    `amount_due` = total_cost + carried_in + rounding is what a payment settles; what rounding leaves over on the
    connection's bills is carried to the next one. `missing_hours`: time for which no reading came; that energy is not
    on the bill. `computed_from` holds what the figures were computed from. A trigger refuses changes but to the columns
    below "its fate"; another checks at commit that the lines are all there and come to the total.
    """

    __tablename__ = "invoices"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'paid', 'overdue', 'disputed', 'cancelled')", name="status"),
        CheckConstraint("period_end > period_start", name="period"),
        CheckConstraint("total_cost = base_cost + surcharges + tax_amount - discounts", name="total_cost"),
        CheckConstraint("amount_due = total_cost + carried_in + rounding", name="amount_due"),
        CheckConstraint("(status = 'paid') = (paid_at IS NOT NULL)", name="paid_at"),
        # No second bill for a cycle, however many runs there are at once; a cancelled one has its credit note.
        Index(
            "uq_invoices_connection_cycle",
            "connection_id",
            "cycle_start",
            unique=True,
            postgresql_where=text("status <> 'cancelled'"),
        ),
        # All bills of a supply, cancelled ones too: what they leave for the next.
        Index("ix_invoices_connection", "connection_id"),
        CheckConstraint("(proof_hash IS NULL) = (chain_place IS NULL)", name="chain"),
        # One bill at each place of a customer's chain.
        Index("uq_invoices_chain", "user_id", "chain_place", unique=True),
        # A customer's bills, newest first.
        Index("ix_invoices_user_cycle", "user_id", text("cycle_start DESC")),
        # Staff: what is overdue in a region.
        Index(
            "ix_invoices_region_due", "region", "due_date", postgresql_where=text("status IN ('pending', 'overdue')")
        ),
        # What lies on a bill that asks for nothing belongs on the account: the few of them.
        Index(
            "ix_invoices_gives_back",
            "user_id",
            postgresql_where=text(
                "(status = 'cancelled' AND amount_paid > 0)"
                " OR (status IN ('pending', 'overdue', 'disputed') AND amount_due <= amount_paid)"
            ),
        ),
    )

    invoice_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    invoice_number: Mapped[str] = mapped_column(String(30), unique=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey(Connection.connection_id))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.user_id))
    region: Mapped[str | None] = mapped_column(String(100), ForeignKey(Region.name))
    meter_id: Mapped[str] = mapped_column(String(50))
    cycle_start: Mapped[date]
    period_start: Mapped[UtcTime]
    period_end: Mapped[UtcTime]
    total_consumption_kwh: Mapped[Kwh]
    export_kwh: Mapped[Kwh]
    estimated_kwh: Mapped[Kwh]
    missing_hours: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    credit_carried_kwh: Mapped[Kwh]
    base_cost: Mapped[Money]
    surcharges: Mapped[Money]
    tax_amount: Mapped[Money]
    discounts: Mapped[Money]
    total_cost: Mapped[Money]
    carried_in: Mapped[Money]
    rounding: Mapped[Money]
    amount_due: Mapped[Money]
    currency: Mapped[str] = mapped_column(String(3), server_default="INR")
    tariff_code: Mapped[str] = mapped_column(ForeignKey(Tariff.code))
    illustrative: Mapped[bool]
    marks: Mapped[list[dict[str, str]]] = mapped_column(JSONB)
    computed_from: Mapped[dict[str, Any]] = mapped_column(JSONB)
    line_count: Mapped[int] = mapped_column(SmallInteger)
    due_date: Mapped[date]
    created_at: Mapped[UtcTime]
    # Its proof (billing.chain): its place among the customer's bills, its hash and that of the bill before. None on
    # bills from before there was a chain.
    chain_place: Mapped[int | None]
    proof_hash: Mapped[str | None] = mapped_column(String(64))
    previous_hash: Mapped[str | None] = mapped_column(String(64))
    # Its fate.
    status: Mapped[str] = mapped_column(String(10), server_default="pending", default="pending")
    paid_at: Mapped[UtcTime | None]
    payment_method: Mapped[str | None] = mapped_column(String(40))
    payment_reference: Mapped[str | None] = mapped_column(String(120))
    payment_notes: Mapped[str | None] = mapped_column(Text)
    is_disputed: Mapped[bool] = mapped_column(server_default="false", default=False)
    dispute_reason: Mapped[str | None] = mapped_column(Text)
    disputed_at: Mapped[UtcTime | None]
    # The sum of the bill's entries in payment_entries; their trigger keeps it.
    amount_paid: Mapped[Money] = mapped_column(server_default="0", default=Decimal(0))
    disputed_amount: Mapped[Money] = mapped_column(server_default="0", default=Decimal(0))

    @property
    def balance(self) -> Decimal:
        """What is still to be settled; negative: the bill owes the customer."""
        return self.amount_due - self.amount_paid


class InvoiceLine(Base):
    """One line of a bill: INR, and kWh and INR per kWh where it has them. Triggers refuse every later change."""

    __tablename__ = "invoice_lines"
    __table_args__ = (
        CheckConstraint("category IN ('base', 'surcharge', 'tax', 'discount')", name="category"),
        Index("uq_invoice_lines_position", "invoice_id", "position", unique=True),
    )

    line_item_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    invoice_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Invoice.invoice_id))
    position: Mapped[int] = mapped_column(SmallInteger)
    code: Mapped[str] = mapped_column(String(60))
    category: Mapped[str] = mapped_column(String(10))
    description: Mapped[str] = mapped_column(String(200))
    period_start: Mapped[UtcTime]
    period_end: Mapped[UtcTime]
    kwh_consumed: Mapped[Kwh | None]
    rate_per_kwh: Mapped[Rate | None]
    amount: Mapped[Money]


class InvoiceSeries(Base):
    """The last number given in a series of bills. Counted up in the transaction that uses it: no gaps, no doubles."""

    __tablename__ = "invoice_series"

    series: Mapped[str] = mapped_column(String(20), primary_key=True)
    last_number: Mapped[int] = mapped_column(BigInteger)
