"""Reads of bills. A customer's query carries their id in its WHERE: a foreign bill is as if it did not exist."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Select, func, select

from portal.billing.models import Invoice, InvoiceLine
from portal.db import session
from portal.errors import NotFound


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
