"""What payments, overdue bills and sums look like in answers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from typing_extensions import TypedDict

from portal.accounts.queries import zone_of
from portal.api.bill_presenters import InvoiceJson, invoice_json, local_str
from portal.api.fields import KwhText, LocalDay, MoneyText, Time, Uuid
from portal.billing.models import Invoice
from portal.money import kwh_str, money_str
from portal.payments.models import Dispute
from portal.payments.queries import PaymentRow
from portal.payments.reports import EXPORTED, Analytics, OverdueRow


class PaymentJson(TypedDict):
    """Money that came (receipt, credit_note) or went back (refund, reversal). `amount` is positive."""

    transaction_id: Uuid
    invoice_id: Uuid | None
    invoice_number: str | None
    kind: Literal["receipt", "refund", "reversal", "credit_note"]
    amount: MoneyText
    currency: str
    payment_method: str
    payment_reference: str | None
    status: Literal["completed", "reversed"]
    received_at: Time
    created_at: Time


def payment_json(row: PaymentRow, region: str | None) -> PaymentJson:
    """A payment in the history."""
    payment, zone = row.payment, zone_of(region)
    return {
        "transaction_id": str(payment.payment_id),
        "invoice_id": str(payment.invoice_id) if payment.invoice_id else None,
        "invoice_number": row.invoice_number,
        "kind": payment.kind,  # type: ignore[typeddict-item]
        "amount": money_str(payment.amount),
        "currency": "INR",
        "payment_method": payment.method,
        "payment_reference": payment.reference,
        "status": row.status,  # type: ignore[typeddict-item]
        "received_at": local_str(payment.received_at, zone),
        "created_at": local_str(payment.recorded_at, zone),
    }


class OverdueJson(InvoiceJson):
    """A bill whose due day is over; `payable` is its balance without what is disputed."""

    user_name: str
    user_email: str
    days_overdue: int
    payable: MoneyText


def overdue_json(row: OverdueRow) -> OverdueJson:
    """An overdue bill with its customer."""
    return {
        **invoice_json(row.invoice, zone_of(row.invoice.region)),
        "user_name": row.user_name,
        "user_email": row.user_email,
        "days_overdue": row.days_overdue,
        "payable": money_str(row.payable),
    }


class AnalyticsJson(TypedDict):
    """Bills whose cycle begins in the period, both days included; cancelled ones are left out."""

    region: str | None
    period_start: LocalDay
    period_end: LocalDay
    total_invoices: int
    paid_invoices: int
    pending_invoices: int
    overdue_invoices: int
    disputed_invoices: int
    total_revenue: MoneyText
    collected_revenue: MoneyText
    outstanding_revenue: MoneyText
    average_bill_amount: MoneyText
    total_consumption_kwh: KwhText
    currency: str


def analytics_json(sums: Analytics, region: str | None, first: date, last: date) -> AnalyticsJson:
    """The sums of a period."""
    return {
        "region": region,
        "period_start": first.isoformat(),
        "period_end": last.isoformat(),
        "total_invoices": sums.total_invoices,
        "paid_invoices": sums.paid_invoices,
        "pending_invoices": sums.pending_invoices,
        "overdue_invoices": sums.overdue_invoices,
        "disputed_invoices": sums.disputed_invoices,
        "total_revenue": money_str(sums.total_revenue),
        "collected_revenue": money_str(sums.collected_revenue),
        "outstanding_revenue": money_str(sums.outstanding_revenue),
        "average_bill_amount": money_str(sums.average_bill_amount),
        "total_consumption_kwh": kwh_str(sums.total_consumption_kwh),
        "currency": "INR",
    }


class DisputeJson(TypedDict):
    """A dispute of a bill. `line_positions` null: the whole bill; `amount` is not asked for until the decision."""

    dispute_id: Uuid
    reason: str
    line_positions: list[int] | None
    amount: MoneyText
    status: Literal["open", "explained", "credited", "withdrawn"]
    answer: str | None
    credit_amount: MoneyText | None
    credit_reference: str | None
    opened_at: Time
    decided_at: Time | None


def dispute_json(dispute: Dispute, invoice: Invoice) -> DisputeJson:
    """One dispute, as its customer may see it."""
    zone = zone_of(invoice.region)
    return {
        "dispute_id": str(dispute.dispute_id),
        "reason": dispute.reason,
        "line_positions": dispute.lines,
        "amount": money_str(dispute.amount),
        "status": dispute.status,  # type: ignore[typeddict-item]
        "answer": dispute.answer,
        "credit_amount": money_str(dispute.credit_amount) if dispute.credit_amount is not None else None,
        "credit_reference": dispute.credit_reference,
        "opened_at": local_str(dispute.opened_at, zone),
        "decided_at": local_str(dispute.decided_at, zone) if dispute.decided_at else None,
    }


def _text(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Decimal):
        return kwh_str(value) if name.endswith("_kwh") else money_str(value)
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def exported_json(row: dict[str, Any]) -> dict[str, Any]:
    """A bill of an export; instants in the zone of its region."""
    zone = zone_of(row["region"])
    return {
        name: _text(name, value.astimezone(zone) if isinstance(value, datetime) else value)
        for name, value in row.items()
    }


def harmless(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe before what begins like one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else str(value)


def csv_of(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """CSV in pieces. It begins with a mark that makes spreadsheets read it as UTF-8; amounts keep their minus sign."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(EXPORTED)
    yield "\ufeff"
    for number, row in enumerate(rows, 1):
        shown = exported_json(row)
        writer.writerow([shown[name] if isinstance(row[name], Decimal) else harmless(shown[name]) for name in EXPORTED])
        if number % 500 == 0:
            yield _drained(buffer)
    yield _drained(buffer)


def _drained(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def json_of(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The envelope in pieces, its list written as it is read."""
    yield '{"success": true, "message": "Bills.", "data": {"invoices": ['
    piece, first = [], True
    for number, row in enumerate(rows, 1):
        piece.append(("" if first else ",\n") + json.dumps(exported_json(row), ensure_ascii=False))
        first = False
        if number % 500 == 0:
            yield "".join(piece)
            piece.clear()
    yield "".join(piece) + "]}}"
