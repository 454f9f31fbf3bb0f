"""Money: what came for bills, what is wrong with them, what is owed."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from flask import Response, request, stream_with_context
from pydantic import Field
from typing_extensions import TypedDict

from portal.accounts.queries import list_regions, zone_of
from portal.api.bill_presenters import WholeInvoiceJson
from portal.api.billing import InvoiceAnswer, invoice_id_of, whole
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import actor, caller, config, now, user
from portal.api.fields import Amount, Body, Day, Instant, Integer, Paging, Query, RegionName, Text
from portal.api.money_presenters import (
    AnalyticsJson,
    DisputeJson,
    OverdueJson,
    PaymentJson,
    analytics_json,
    csv_of,
    dispute_json,
    json_of,
    overdue_json,
    payment_json,
)
from portal.api.presenters import PaginationJson, pagination_json
from portal.billing.queries import get_invoice, list_lines
from portal.errors import Invalid, NotFound
from portal.gates import CUSTOMER, OPERATOR, SIGNED_IN
from portal.payments import actions, disputes, queries, reports
from portal.payments.actions import Receipt
from portal.pdf import Issuer, bill_pdf
from portal.periods import local_date

api = ApiBlueprint("payments", tag="Payments")
MOST_KEY = 100


class PaidBody(Body):
    """Money that was received outside the portal. Without `amount` it is what the bill still asks for."""

    payment_method: Text = Field(min_length=1, max_length=40)
    payment_reference: Text | None = Field(default=None, max_length=120)
    paid_at: Instant | None = None
    notes: Text | None = Field(default=None, max_length=2000)
    amount: Amount | None = None


class DisputeBody(Body):
    """What is wrong with a bill, or with single lines of it (their `line_item_id`)."""

    dispute_reason: Text = Field(min_length=10, max_length=2000)
    line_items: list[Integer] | None = Field(default=None, min_length=1, max_length=200)


class PaymentsAnswer(TypedDict):
    """`data` of a page of payments, newest first."""

    payments: list[PaymentJson]
    pagination: PaginationJson


class DisputedAnswer(TypedDict):
    """`data` of a disputed bill, and its dispute."""

    invoice: WholeInvoiceJson
    dispute: DisputeJson


class OverdueAnswer(TypedDict):
    """`data` of a region's overdue bills, the longest overdue first."""

    region: str
    invoices: list[OverdueJson]
    pagination: PaginationJson


class AnalyticsAnswer(TypedDict):
    """`data` of the sums of a period."""

    analytics: AnalyticsJson


def request_key() -> str | None:
    """`Idempotency-Key` of the request, of this caller alone. Raises Invalid where it is too long."""
    key = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > MOST_KEY or "\0" in key:
        raise Invalid.field("Idempotency-Key", f"Give a key of at most {MOST_KEY} characters.")
    return f"{caller().user.user_id}:{key}" if key else None


@api.get("/billing/payment-history", gate=CUSTOMER, query=Paging, answer=PaymentsAnswer, summary="One's payments")
def payment_history(query: Paging) -> Answer:
    """Newest first: what came, what was paid back, and what did not hold."""
    page = queries.list_payments(user().user_id, query.limit, query.offset)
    shown = [payment_json(row, user().region) for row in page.payments]
    data = {"payments": shown, "pagination": pagination_json(page.total, query.limit, query.offset)}
    return Answer(data, f"{page.total} payments.")


@api.get(
    "/billing/invoices/<invoice_id>/pdf", gate=SIGNED_IN, answer=str, content_type="application/pdf",
    errors={404: ("INVOICE_NOT_FOUND",)}, summary="One of one's bills to print",
)  # fmt: skip
def invoice_pdf(invoice_id: str) -> Response:
    """A4, one page, titled Bill of Supply. A foreign bill is not found."""
    invoice = get_invoice(invoice_id_of(invoice_id), user().user_id)
    issuer = Issuer(config().utility_name, config().utility_address, config().utility_gstin)
    response = Response(bill_pdf(invoice, issuer), mimetype="application/pdf", headers={"Cache-Control": "no-store"})
    response.headers.set("Content-Disposition", "inline", filename=f"{invoice.invoice_number}.pdf")
    return response


@api.put(
    "/billing/invoices/<invoice_id>/paid", gate=OPERATOR, body=PaidBody, answer=InvoiceAnswer,
    errors={
        404: ("INVOICE_NOT_FOUND",),
        409: ("INVOICE_ALREADY_PAID", "INVOICE_CANCELLED", "PAYMENT_ALREADY_RECORDED", "REQUEST_KEY_REUSED"),
    },
    summary="Record money received outside the portal",
)  # fmt: skip
def mark_paid(invoice_id: str, body: PaidBody) -> Answer:
    """Of any customer's bill. Nobody marks their own bill paid.

    With the header `Idempotency-Key` the call can be sent again. A smaller `amount` is a part of the payment; what is
    over becomes credit on the customer's account.
    """
    receipt = Receipt(body.payment_method, body.amount, body.payment_reference, body.paid_at, body.notes, request_key())
    payment = actions.receive(invoice_id_of(invoice_id), receipt, actor=actor(), now=now())
    invoice = get_invoice(invoice_id_of(invoice_id))
    said = "is paid" if invoice.status == "paid" else f"still asks for {invoice.balance} INR"
    return whole(invoice, f"{payment.amount} INR are recorded. Bill {invoice.invoice_number} {said}.")


@api.post(
    "/billing/invoices/<invoice_id>/dispute", gate=SIGNED_IN, body=DisputeBody, answer=DisputedAnswer,
    errors={
        404: ("INVOICE_NOT_FOUND",),
        409: ("INVOICE_ALREADY_PAID", "INVOICE_CANCELLED", "INVOICE_ALREADY_DISPUTED"),
    },
    summary="Dispute one of one's bills",
)  # fmt: skip
def dispute_invoice(invoice_id: str, body: DisputeBody) -> Answer:
    """Only one's own; a foreign bill is not found. With `line_items` only these lines are disputed."""
    found = invoice_id_of(invoice_id)
    lines = None
    if body.line_items is not None:
        get_invoice(found, user().user_id)
        positions = {line.line_item_id: line.position for line in list_lines(found)}
        lines = [positions.get(each, 0) for each in body.line_items]
    dispute = disputes.open_dispute(found, user().user_id, body.dispute_reason, lines, actor=actor(), now=now())
    invoice = get_invoice(found, user().user_id)
    shown: Any = whole(invoice, "").data
    data = {**shown, "dispute": dispute_json(dispute, invoice)}
    return Answer(data, f"Bill {invoice.invoice_number} is disputed. Staff will look at it.")


@api.get(
    "/billing/operator/overdue/<region>", gate=OPERATOR, query=Paging, answer=OverdueAnswer,
    errors={404: ("REGION_NOT_FOUND",)}, summary="Overdue bills of a region",
)  # fmt: skip
def list_overdue(region: str, query: Paging) -> Answer:
    """The longest overdue first. What is disputed is not asked for meanwhile and is not among them."""
    if all(region != known.name for known in list_regions()):
        raise NotFound("There is no region with this name.", "REGION_NOT_FOUND")
    rows, total = reports.list_overdue(region, now(), query.limit, query.offset)
    data = {
        "region": region,
        "invoices": [overdue_json(row) for row in rows],
        "pagination": pagination_json(total, query.limit, query.offset),
    }
    return Answer(data, f"{total} bills are overdue in {region}.")


class PeriodQuery(Query):
    """Which bills; the days are those on which a cycle begins, both included."""

    region: RegionName | None = None
    start_date: Day | None = None
    end_date: Day | None = None


def _period(query: PeriodQuery) -> tuple[date, date]:
    """The days asked for; without them the year up to today."""
    last = query.end_date or local_date(now(), zone_of(query.region))
    first = query.start_date or date(last.year - 1, last.month, 1)
    return first, last


@api.get(
    "/billing/operator/analytics", gate=OPERATOR, query=PeriodQuery, answer=AnalyticsAnswer, summary="Sums of bills"
)
def analytics(query: PeriodQuery) -> Answer:
    """`total_revenue` is what the bills ask for, `collected_revenue` what was paid of it, outstanding the rest."""
    first, last = _period(query)
    sums = reports.analytics(query.region, first, last)
    return Answer({"analytics": analytics_json(sums, query.region, first, last)}, f"{sums.total_invoices} bills.")


class ExportQuery(PeriodQuery):
    """Which bills, and as what."""

    format: Annotated[Literal["csv", "json"], Field(description="csv or json")] = "csv"
    status: Literal["pending", "paid", "overdue", "disputed", "cancelled"] | None = None


@api.get(
    "/billing/operator/export", gate=OPERATOR, query=ExportQuery, answer=str,
    content_type=("text/csv", "application/json"),
    summary="Bills as a file",
)  # fmt: skip
def export(query: ExportQuery) -> Response:
    """Streamed, as many as there are: `csv` for spreadsheets, `json` as one document in the envelope."""
    rows = reports.stream_invoices(query.region, query.status, query.start_date, query.end_date)
    pieces, kind = (csv_of(rows), "text/csv") if query.format == "csv" else (json_of(rows), "application/json")
    response = Response(stream_with_context(pieces), mimetype=kind, headers={"Cache-Control": "no-store"})
    response.headers.set("Content-Disposition", "attachment", filename=f"bills.{query.format}")
    return response
