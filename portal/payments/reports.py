"""What staff ask of all bills and payments: overdue, sums, ageing, and files of any length. Amounts are INR."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select, text

from portal.accounts.models import User
from portal.accounts.queries import zone_of
from portal.billing.models import Invoice
from portal.db import db, session
from portal.money import round_paisa
from portal.periods import local_date

CHUNK = 1_000
AGES = (30, 60, 90)
"""Ageing, in days since the due day: up to 30, to 60, to 90, more."""


@dataclass(frozen=True, slots=True)
class OverdueRow:
    """A bill whose due day is over. `payable` is what may be asked for: not what is disputed."""

    invoice: Invoice
    user_name: str
    user_email: str
    days_overdue: int

    @property
    def payable(self) -> Decimal:
        """The balance without what is disputed."""
        return max(self.invoice.balance - self.invoice.disputed_amount, Decimal(0))


def list_overdue(region: str, now: datetime, limit: int = 20, offset: int = 0) -> tuple[list[OverdueRow], int]:
    """A region's bills past their day that ask for money, the longest overdue first (ix_invoices_region_due).

    A bill is overdue by its day, whether or not the job has said so yet. What is disputed is not among them.
    """
    today = local_date(now, zone_of(region))
    which = (
        Invoice.region == region,
        Invoice.status.in_(("pending", "overdue")),
        Invoice.due_date < today,
        Invoice.amount_due - Invoice.amount_paid > Invoice.disputed_amount,
    )
    rows = session.execute(
        select(Invoice, User.name, User.email)
        .join(User, User.user_id == Invoice.user_id)
        .where(*which)
        .order_by(Invoice.due_date, Invoice.invoice_number)
        .limit(limit)
        .offset(offset)
    )
    found = [OverdueRow(bill, name, email, (today - bill.due_date).days) for bill, name, email in rows]
    return found, session.scalar(select(func.count()).select_from(Invoice).where(*which)) or 0


@dataclass(frozen=True, slots=True)
class AgeRow:
    """What a region's customers owe past its day: by age, and together."""

    region: str
    bills: int
    by_age: tuple[Decimal, ...]

    @property
    def total(self) -> Decimal:
        """All of it."""
        return sum(self.by_age, Decimal(0))


# Plan: ix_invoices_region_due from the oldest day to yesterday.
_AGEING = text("""
    SELECT region, count(*) AS bills,
        coalesce(sum(asked) FILTER (WHERE days <= 30), 0),
        coalesce(sum(asked) FILTER (WHERE days BETWEEN 31 AND 60), 0),
        coalesce(sum(asked) FILTER (WHERE days BETWEEN 61 AND 90), 0),
        coalesce(sum(asked) FILTER (WHERE days > 90), 0)
    FROM (
        SELECT bill.region, amount_due - amount_paid - disputed_amount AS asked,
            (CAST(:now AS timestamptz) AT TIME ZONE coalesce(region.timezone, 'Asia/Kolkata'))::date - due_date AS days
        FROM invoices AS bill LEFT JOIN regions AS region ON region.name = bill.region
        WHERE status IN ('pending', 'overdue')) AS open
    WHERE days > 0 AND asked > 0
    GROUP BY region ORDER BY sum(asked) DESC""")


def list_ageing(now: datetime) -> list[AgeRow]:
    """Each region with overdue bills, the most owed first."""
    return [AgeRow(row[0] or "", row[1], tuple(row[2:])) for row in session.execute(_AGEING, {"now": now})]


@dataclass(frozen=True, slots=True)
class Analytics:
    """Bills whose cycle begins in `[first, last]`, both included; cancelled ones are left out. INR and kWh.

    total_revenue is what the bills ask for, collected what was paid of it, outstanding the rest.
    """

    total_invoices: int
    paid_invoices: int
    pending_invoices: int
    overdue_invoices: int
    disputed_invoices: int
    total_revenue: Decimal
    collected_revenue: Decimal
    total_consumption_kwh: Decimal

    @property
    def outstanding_revenue(self) -> Decimal:
        """What is still to come."""
        return self.total_revenue - self.collected_revenue

    @property
    def average_bill_amount(self) -> Decimal:
        """Of a bill; 0 where there is none."""
        return round_paisa(self.total_revenue / self.total_invoices) if self.total_invoices else Decimal(0)


_SUMS = (
    func.count(),
    func.count().filter(Invoice.status == "paid"),
    func.count().filter(Invoice.status == "pending"),
    func.count().filter(Invoice.status == "overdue"),
    func.count().filter(Invoice.status == "disputed"),
    func.coalesce(func.sum(Invoice.amount_due), 0),
    func.coalesce(func.sum(Invoice.amount_paid), 0),
    func.coalesce(func.sum(Invoice.total_consumption_kwh), 0),
)


def _chosen(query: Any, region: str | None, first: date | None, last: date | None) -> Any:
    if region is not None:
        query = query.where(Invoice.region == region)
    if first is not None:
        query = query.where(Invoice.cycle_start >= first)
    return query if last is None else query.where(Invoice.cycle_start <= last)


def analytics(region: str | None, first: date, last: date) -> Analytics:
    """The sums of a region's bills, or of everybody's."""
    query = _chosen(select(*_SUMS).where(Invoice.status != "cancelled"), region, first, last)
    return Analytics(*session.execute(query).one())


def list_months(region: str | None, first: date, last: date) -> list[tuple[date, Analytics]]:
    """The same for each cycle, oldest first."""
    query = select(Invoice.cycle_start, *_SUMS).where(Invoice.status != "cancelled")
    query = _chosen(query, region, first, last).group_by(Invoice.cycle_start).order_by(Invoice.cycle_start)
    return [(row[0], Analytics(*row[1:])) for row in session.execute(query)]


EXPORTED = (
    "invoice_id",
    "invoice_number",
    "user_name",
    "user_email",
    "region",
    "meter_id",
    "period_start",
    "period_end",
    "total_consumption_kwh",
    "base_cost",
    "surcharges",
    "tax_amount",
    "discounts",
    "total_cost",
    "amount_due",
    "amount_paid",
    "currency",
    "status",
    "is_disputed",
    "due_date",
    "paid_at",
    "created_at",
)


def stream_invoices(
    region: str | None, status: str | None, first: date | None, last: date | None
) -> Iterator[dict[str, Any]]:
    """Bills of any number, oldest cycle first, one at a time over a cursor of the server: memory stays flat.

    It reads on a connection of its own, so that what the caller does meanwhile neither ends it nor is held up.
    """
    columns = [
        getattr(User, name.removeprefix("user_")).label(name) if name.startswith("user_") else getattr(Invoice, name)
        for name in EXPORTED
    ]
    query = select(*columns).join(User, User.user_id == Invoice.user_id)
    if status is not None:
        query = query.where(Invoice.status == status)
    query = _chosen(query, region, first, last).order_by(Invoice.cycle_start, Invoice.invoice_number)
    with db.engine.connect().execution_options(yield_per=CHUNK) as connection:
        for row in connection.execute(query).mappings():
            yield dict(row)
