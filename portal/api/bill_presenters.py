"""What bills look like in answers. Instants are in the zone of the bill's region: a cycle begins at midnight."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, NotRequired
from zoneinfo import ZoneInfo

from typing_extensions import TypedDict

from portal.api.fields import KwhText, LocalDay, MeterId, MoneyText, RateText, Time, Uuid
from portal.api.presenters import SummaryJson
from portal.billing.estimates import CurrentCycle, Estimate
from portal.billing.models import Invoice, InvoiceLine
from portal.money import kwh_str, money_str, round_places


def local_str(instant: datetime, zone: ZoneInfo) -> str:
    """ISO 8601 with the zone's offset."""
    return instant.astimezone(zone).isoformat()


def rate_str(rate: Decimal) -> str:
    """INR per kWh, four places or as many as were published."""
    text = format(round_places(rate, 6), "f").rstrip("0")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(4, '0')}"


class InvoiceJson(TypedDict):
    """A bill in a list. `billing_period_end` is exclusive; `amount_due` is what a payment settles."""

    invoice_id: Uuid
    invoice_number: str
    billing_period_start: Time
    billing_period_end: Time
    total_consumption_kwh: KwhText
    total_cost: MoneyText
    amount_due: MoneyText
    amount_paid: MoneyText
    balance: MoneyText
    currency: str
    status: Literal["pending", "paid", "overdue", "disputed", "cancelled"]
    due_date: LocalDay
    is_disputed: bool
    created_at: Time


def invoice_json(invoice: Invoice, zone: ZoneInfo) -> InvoiceJson:
    """A bill in a list."""
    return {
        "invoice_id": str(invoice.invoice_id),
        "invoice_number": invoice.invoice_number,
        "billing_period_start": local_str(invoice.period_start, zone),
        "billing_period_end": local_str(invoice.period_end, zone),
        "total_consumption_kwh": kwh_str(invoice.total_consumption_kwh),
        "total_cost": money_str(invoice.total_cost),
        "amount_due": money_str(invoice.amount_due),
        "amount_paid": money_str(invoice.amount_paid),
        "balance": money_str(invoice.balance),
        "currency": invoice.currency,
        "status": invoice.status,  # type: ignore[typeddict-item]
        "due_date": invoice.due_date.isoformat(),
        "is_disputed": invoice.is_disputed,
        "created_at": local_str(invoice.created_at, zone),
    }


class LineItemJson(TypedDict):
    """One line of a bill. `period_end` is exclusive."""

    line_item_id: int
    code: str
    category: Literal["base", "surcharge", "tax", "discount"]
    description: str
    period_start: Time
    period_end: Time
    kwh_consumed: KwhText | None
    rate_per_kwh: RateText | None
    amount: MoneyText


def line_item_json(line: InvoiceLine, zone: ZoneInfo) -> LineItemJson:
    """One line of a bill."""
    return {
        "line_item_id": line.line_item_id,
        "code": line.code,
        "category": line.category,  # type: ignore[typeddict-item]
        "description": line.description,
        "period_start": local_str(line.period_start, zone),
        "period_end": local_str(line.period_end, zone),
        "kwh_consumed": kwh_str(line.kwh_consumed) if line.kwh_consumed is not None else None,
        "rate_per_kwh": rate_str(line.rate_per_kwh) if line.rate_per_kwh is not None else None,
        "amount": money_str(line.amount),
    }


class MarkJson(TypedDict):
    """What whoever reads the bill must know of its figures."""

    code: str
    text: str


class WholeInvoiceJson(InvoiceJson):
    """A bill with all that stands on it.

    `total_cost` = base_cost + surcharges + tax_amount − discounts; `amount_due` = total_cost + carried_in + rounding.
    `missing_hours`: time for which no reading came; its energy is not on the bill.
    """

    meter_id: MeterId
    region: str | None
    base_cost: MoneyText
    tax_amount: MoneyText
    surcharges: MoneyText
    discounts: MoneyText
    carried_in: MoneyText
    rounding: MoneyText
    export_kwh: KwhText
    estimated_kwh: KwhText
    missing_hours: str
    tariff_code: str
    illustrative: bool
    marks: list[MarkJson]
    paid_at: Time | None
    payment_method: str | None
    payment_reference: str | None
    dispute_reason: str | None
    disputed_at: Time | None
    line_items: list[LineItemJson]


def whole_invoice_json(invoice: Invoice, lines: list[InvoiceLine], zone: ZoneInfo) -> WholeInvoiceJson:
    """A bill with all that stands on it."""
    return {
        **invoice_json(invoice, zone),
        "meter_id": invoice.meter_id,
        "region": invoice.region,
        "base_cost": money_str(invoice.base_cost),
        "tax_amount": money_str(invoice.tax_amount),
        "surcharges": money_str(invoice.surcharges),
        "discounts": money_str(invoice.discounts),
        "carried_in": money_str(invoice.carried_in),
        "rounding": money_str(invoice.rounding),
        "export_kwh": kwh_str(invoice.export_kwh),
        "estimated_kwh": kwh_str(invoice.estimated_kwh),
        "missing_hours": format(invoice.missing_hours, "f"),
        "tariff_code": invoice.tariff_code,
        "illustrative": invoice.illustrative,
        "marks": [{"code": mark["code"], "text": mark["text"]} for mark in invoice.marks],
        "paid_at": local_str(invoice.paid_at, zone) if invoice.paid_at else None,
        "payment_method": invoice.payment_method,
        "payment_reference": invoice.payment_reference,
        "dispute_reason": invoice.dispute_reason,
        "disputed_at": local_str(invoice.disputed_at, zone) if invoice.disputed_at else None,
        "line_items": [line_item_json(line, zone) for line in lines],
    }


class CycleJson(TypedDict):
    """The cycle that runs now. `cycle_end` is exclusive."""

    cycle_start: Time
    cycle_end: Time
    days_remaining: int
    estimated_consumption_kwh: KwhText
    estimated_cost: MoneyText
    currency: str
    current_month_invoice: InvoiceJson | None


def cycle_json(cycle: CurrentCycle, zone: ZoneInfo) -> CycleJson:
    """The cycle that runs now."""
    invoice = cycle.current_month_invoice
    return {
        "cycle_start": local_str(cycle.cycle_start, zone),
        "cycle_end": local_str(cycle.cycle_end, zone),
        "days_remaining": cycle.days_remaining,
        "estimated_consumption_kwh": kwh_str(cycle.estimated_consumption_kwh),
        "estimated_cost": money_str(cycle.estimated_cost),
        "currency": cycle.estimate.currency,
        "current_month_invoice": invoice_json(invoice, zone) if invoice is not None else None,
    }


class EstimateJson(TypedDict):
    """What the running cycle will come to. `period_end` is exclusive; the rate is INR per kWh of the whole bill."""

    period_start: Time
    period_end: Time
    days_elapsed: int
    total_days: int
    consumption_to_date_kwh: KwhText
    projected_consumption_kwh: KwhText
    avg_tariff_rate: RateText
    estimated_base_cost: MoneyText
    estimated_tax: MoneyText
    estimated_total: MoneyText
    cost_to_date: MoneyText
    currency: str
    confidence_level: Literal["high", "medium", "low"]
    missing_hours: str
    tariff_code: str
    illustrative: bool


def estimate_json(estimate: Estimate, zone: ZoneInfo) -> EstimateJson:
    """What the running cycle will come to."""
    return {
        "period_start": local_str(estimate.period_start, zone),
        "period_end": local_str(estimate.period_end, zone),
        "days_elapsed": estimate.days_elapsed,
        "total_days": estimate.total_days,
        "consumption_to_date_kwh": kwh_str(estimate.consumption_to_date_kwh),
        "projected_consumption_kwh": kwh_str(estimate.projected_consumption_kwh),
        "avg_tariff_rate": rate_str(estimate.avg_tariff_rate),
        "estimated_base_cost": money_str(estimate.estimated_base_cost),
        "estimated_tax": money_str(estimate.estimated_tax),
        "estimated_total": money_str(estimate.estimated_total),
        "cost_to_date": money_str(estimate.cost_to_date),
        "currency": estimate.currency,
        "confidence_level": estimate.confidence_level,  # type: ignore[typeddict-item]
        "missing_hours": format(estimate.missing_hours, "f"),
        "tariff_code": estimate.tariff_code,
        "illustrative": estimate.illustrative,
    }


class RunErrorJson(TypedDict):
    """A connection that got no bill, and why."""

    connection_id: int
    user_id: Uuid | None
    code: str
    error: str


class RunJson(TypedDict):
    """A billing run. `existing`: bills that were there before it."""

    year: int
    month: int
    region: str | None
    summary: SummaryJson
    existing: int
    errors: NotRequired[list[RunErrorJson]]
