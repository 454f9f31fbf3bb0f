"""Reads of bills. A customer's query carries their id in its WHERE: a foreign bill is as if it did not exist."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import Select, func, select, text

from portal.accounts import queries as accounts
from portal.billing.models import Invoice, InvoiceLine
from portal.db import session
from portal.errors import Conflict, NotFound
from portal.periods import local_midnight, next_month, previous_month


@dataclass(frozen=True, slots=True)
class InvoicePage:
    """One page of bills, and how many there are in all."""

    invoices: list[Invoice]
    total: int


def list_invoices(
    user_id: uuid.UUID,
    status: str | None = None,
    start_date: date | None = None,
    end_date: date | None = None,
    limit: int = 20,
    offset: int = 0,
) -> InvoicePage:
    """A customer's bills, newest first (ix_invoices_user_cycle).

    `start_date` and `end_date` are local days, both included: bills whose cycle begins between them. `status` is one of
    `models.STATUSES`; an unknown one finds nothing.
    """
    return _page(
        _between(select(Invoice).where(Invoice.user_id == user_id), status, start_date, end_date), limit, offset
    )


def search_invoices(
    region: str | None = None,
    status: str | None = None,
    start_date: date | None = None,
    end_date: date | None = None,
    limit: int = 20,
    offset: int = 0,
) -> InvoicePage:
    """For staff: everybody's bills, or a region's; days as in `list_invoices`."""
    query = select(Invoice)
    if region is not None:
        query = query.where(Invoice.region == region)
    return _page(_between(query, status, start_date, end_date), limit, offset)


def get_invoice(invoice_id: uuid.UUID, user_id: uuid.UUID | None = None) -> Invoice:
    """The bill; with `user_id` only if it is theirs. Raises NotFound INVOICE_NOT_FOUND, also for a foreign one."""
    query = select(Invoice).where(Invoice.invoice_id == invoice_id)
    if user_id is not None:
        query = query.where(Invoice.user_id == user_id)
    invoice = session.scalar(query)
    if invoice is None:
        raise NotFound("There is no bill with this id.", "INVOICE_NOT_FOUND")
    return invoice


def find_last_invoice(user_id: uuid.UUID) -> Invoice | None:
    """A customer's newest bill that stands, not one that a correction took back (ix_invoices_user_cycle)."""
    return session.scalar(
        select(Invoice)
        .where(Invoice.user_id == user_id, Invoice.status != "cancelled")
        .order_by(Invoice.cycle_start.desc())
        .limit(1)
    )


def list_lines(invoice_id: uuid.UUID) -> list[InvoiceLine]:
    """The lines of a bill, in its order (uq_invoice_lines_position). Get the bill first: it checks whose it is."""
    return list(
        session.scalars(select(InvoiceLine).where(InvoiceLine.invoice_id == invoice_id).order_by(InvoiceLine.position))
    )


def _between(
    query: Select[Invoice], status: str | None, start_date: date | None, end_date: date | None
) -> Select[Invoice]:
    if status is not None:
        query = query.where(Invoice.status == status)
    if start_date is not None:
        query = query.where(Invoice.cycle_start >= start_date)
    if end_date is not None:
        query = query.where(Invoice.cycle_start <= end_date)
    return query


def _page(query: Select[Invoice], limit: int, offset: int) -> InvoicePage:
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    newest_first = query.order_by(Invoice.cycle_start.desc(), Invoice.invoice_number.desc())
    return InvoicePage(list(session.scalars(newest_first.limit(limit).offset(offset))), total)


# What a run needs.


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a connection's bills leave for the next one.

    `billed`: the cycle has its bill. `carried`: what roundings left over (INR; negative: too much was paid). A bill
    settles amount_due = total_cost + carried_in + rounding, so each leaves −carried_in, and −rounding where its
    tariff carries the difference. `credit_kwh`: exported energy that the bill of the cycle before carries on.
    """

    billed: bool
    carried: Decimal
    credit_kwh: Decimal


# Plan: the few bills of one connection by ix_invoices_connection.
_EARLIER = text("""
    SELECT coalesce(bool_or(cycle_start = :cycle_start AND status <> 'cancelled'), false) AS billed,
        coalesce(sum(-carried_in - CASE WHEN (computed_from ->> 'carries')::boolean THEN rounding ELSE 0 END)
            FILTER (WHERE status <> 'cancelled'), 0) AS carried,
        coalesce((array_agg(credit_carried_kwh ORDER BY cycle_start DESC)
            FILTER (WHERE status <> 'cancelled' AND cycle_start < :cycle_start))[1], 0) AS credit_kwh
    FROM invoices WHERE connection_id = :connection_id""")


def sum_earlier(connection_id: int, cycle_start: date) -> Earlier:
    """What the connection's bills leave for the one of a cycle."""
    row = session.execute(_EARLIER, {"connection_id": connection_id, "cycle_start": cycle_start}).one()
    return Earlier(row.billed, row.carried, row.credit_kwh)


def check_month_over(year: int, month: int, region: str | None, now: datetime) -> None:
    """Raises Conflict MONTH_NOT_OVER while the month lasts in the region's zone, or in any region's for all of them."""
    zones = {accounts.zone_of(region)} if region else {ZoneInfo(each.timezone) for each in accounts.list_regions()}
    if any(now < local_midnight(date(*next_month(year, month), 1), zone) for zone in zones):
        raise Conflict(
            f"{date(year, month, 1):%B %Y} is not over yet. Bills are made when the month has ended.", "MONTH_NOT_OVER"
        )


def count_invoices(year: int, month: int, region: str | None = None) -> int:
    """Bills whose cycle begins with the month."""
    query = (
        select(func.count())
        .select_from(Invoice)
        .where(Invoice.cycle_start == date(year, month, 1), Invoice.status != "cancelled")
    )
    return session.scalar(query if region is None else query.where(Invoice.region == region)) or 0


def list_due_connections(year: int, month: int, region: str | None = None) -> list[int]:
    """Connections that may be owed a bill for a cycle ending with the month, and have none that begins with it; by id.

    Those that ended in the month before are among them: a cycle can be two months long.
    """
    first_year, first_month = previous_month(year, month)
    end_year, end_month = next_month(year, month)
    rows = session.scalars(
        text("""
            SELECT connection.connection_id
            FROM connections AS connection
                LEFT JOIN regions AS region ON region.name = connection.region
                CROSS JOIN LATERAL (SELECT coalesce(region.timezone, 'Asia/Kolkata') AS name) AS zone
            WHERE connection.starts_at < CAST(:until AS timestamp) AT TIME ZONE zone.name
                AND (connection.ends_at IS NULL
                    OR connection.ends_at > CAST(:first AS timestamp) AT TIME ZONE zone.name)
                AND (CAST(:region AS text) IS NULL OR connection.region = :region)
                AND NOT EXISTS (
                    SELECT FROM invoices AS bill
                    WHERE bill.connection_id = connection.connection_id AND bill.cycle_start = :month
                        AND bill.status <> 'cancelled')
                -- A bulk run that was undone gave nobody supply.
                AND NOT EXISTS (
                    SELECT FROM meter_assignments AS held
                    WHERE held.connection_id = connection.connection_id AND held.unassigned_how = 'undo')
            ORDER BY connection.connection_id"""),
        {
            "first": date(first_year, first_month, 1),
            "month": date(year, month, 1),
            "until": date(end_year, end_month, 1),
            "region": region,
        },
    )
    return list(rows)
