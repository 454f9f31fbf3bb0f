"""Bills: one's own, the cycle that runs, and what staff do with them."""

from __future__ import annotations

import uuid
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field
from typing_extensions import TypedDict

from portal import jobs
from portal.accounts.queries import get_region, zone_of
from portal.api.bill_presenters import (
    CycleJson,
    EstimateJson,
    InvoiceJson,
    RunJson,
    WholeInvoiceJson,
    cycle_json,
    estimate_json,
    invoice_json,
    whole_invoice_json,
)
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import actor, config, now, user
from portal.api.fields import Body, Day, Integer, Paging, RegionName
from portal.api.ids import find_uuid
from portal.api.jobs import JobAnswer, get_job
from portal.api.presenters import PaginationJson, job_json, pagination_json
from portal.billing import actions, estimates, queries
from portal.billing.models import Invoice
from portal.db import session
from portal.errors import NotFound
from portal.gates import CUSTOMER, OPERATOR, SIGNED_IN
from portal.jobs import billing_run
from portal.payments.actions import use_credit

api = ApiBlueprint("billing", tag="Billing")

RUNS = "/api/v1/billing/operator/jobs"
AT_ONCE = 1_000
"""How many bills a run makes before it answers; more are a job."""


class InvoicesQuery(Paging):
    """Which of one's bills; the days are those on which a cycle begins, both included."""

    status: Literal["pending", "paid", "overdue", "disputed", "cancelled"] | None = None
    start_date: Day | None = None
    end_date: Day | None = None


class GenerateBody(Body):
    """Which month to bill, of everybody or of a region."""

    year: Integer = Field(ge=2000, le=2100)
    month: Integer = Field(ge=1, le=12)
    region: RegionName | None = None


class InvoicesAnswer(TypedDict):
    """`data` of a page of bills, newest first."""

    invoices: list[InvoiceJson]
    pagination: PaginationJson


class InvoiceAnswer(TypedDict):
    """`data` of a bill."""

    invoice: WholeInvoiceJson


def _my_zone() -> ZoneInfo:
    return zone_of(user().region)


def invoice_id_of(text: str) -> uuid.UUID:
    """The id of a bill in a path. Raises NotFound INVOICE_NOT_FOUND for what is none."""
    found = find_uuid(text)
    if found is None:
        raise NotFound("There is no bill with this id.", "INVOICE_NOT_FOUND")
    return found


def whole(invoice: Invoice, message: str) -> Answer:
    """The answer of every call that gives one bill."""
    lines = queries.list_lines(invoice.invoice_id)
    return Answer({"invoice": whole_invoice_json(invoice, lines, zone_of(invoice.region))}, message)


@api.get("/billing/invoices", gate=SIGNED_IN, query=InvoicesQuery, answer=InvoicesAnswer, summary="One's bills")
def list_invoices(query: InvoicesQuery) -> Answer:
    """Newest first."""
    page = queries.list_invoices(
        user().user_id, query.status, query.start_date, query.end_date, query.limit, query.offset
    )
    shown = [invoice_json(invoice, zone_of(invoice.region)) for invoice in page.invoices]
    data = {"invoices": shown, "pagination": pagination_json(page.total, query.limit, query.offset)}
    return Answer(data, f"{page.total} bills.")


@api.get(
    "/billing/invoices/<invoice_id>", gate=SIGNED_IN, answer=InvoiceAnswer, errors={404: ("INVOICE_NOT_FOUND",)},
    summary="One of one's bills",
)  # fmt: skip
def get_invoice(invoice_id: str) -> Answer:
    """With its lines. A foreign bill is not found."""
    invoice = queries.get_invoice(invoice_id_of(invoice_id), user().user_id)
    return whole(invoice, f"Bill {invoice.invoice_number}.")


@api.get(
    "/billing/current-cycle", gate=CUSTOMER, answer=CycleJson, errors={404: ("METER_NOT_ASSIGNED", "NO_TARIFF")},
    summary="The cycle that runs now",
)  # fmt: skip
def current_cycle() -> Answer:
    """What it will come to, if it goes on as it did."""
    return Answer({**cycle_json(estimates.current_cycle(user(), now()), _my_zone())}, "Your running cycle.")


@api.get(
    "/billing/estimated", gate=CUSTOMER, answer=EstimateJson, errors={404: ("METER_NOT_ASSIGNED", "NO_TARIFF")},
    summary="An estimate of the coming bill",
)  # fmt: skip
def estimated_bill() -> Answer:
    """`confidence_level` is high where 95 % of the elapsed time is measured, medium from 70 %, else low."""
    return Answer({**estimate_json(estimates.estimate(user(), now()), _my_zone())}, "An estimate of your next bill.")


@api.post(
    "/billing/operator/generate-monthly", gate=OPERATOR, body=GenerateBody, answer=RunJson, also={202: JobAnswer},
    errors={409: ("MONTH_NOT_OVER",)}, summary="Make the bills of a month",
)  # fmt: skip
def generate_monthly(body: GenerateBody) -> Answer:
    """Of a month that is over. Up to 1,000 at once; more are a job. Running it again makes no second bill."""
    if body.region is not None:
        get_region(body.region)
    queries.check_month_over(body.year, body.month, body.region, now())
    due = len(queries.list_due_connections(body.year, body.month, body.region))
    if due > AT_ONCE:
        args = billing_run.arguments(body.year, body.month, body.region, actor=actor())
        job = jobs.start(billing_run.KIND, args, total=due, created_by=user().user_id, now=now())
        return Answer({"job": job_json(job, RUNS)}, f"{due} bills are due. A job makes them.", status=202)
    # Committed chunk by chunk: a bill that was made keeps its number, whatever happens to this call.
    result = actions.generate_month(
        body.year, body.month, body.region, actor=actor(), now=now(), due_days=config().bill_due_days,
        on_progress=lambda _progress: session.commit(),
    )  # fmt: skip
    use_credit(actor=actor(), now=now())
    message = f"{result.success} bills made, {result.failed} failed."
    return Answer(billing_run.run_json(body.year, body.month, body.region, result), message)


@api.get(
    "/billing/operator/jobs/<job_id>", gate=OPERATOR, answer=JobAnswer, errors={404: ("JOB_NOT_FOUND",)},
    summary="How far a billing run is",
)  # fmt: skip
def show_run(job_id: str) -> Answer:
    """A billing run only: operators may start one, and the jobs of admins are not theirs to see."""
    job = get_job(job_id)
    if job.kind != billing_run.KIND:
        raise NotFound("There is no billing run with this id.", "JOB_NOT_FOUND")
    return Answer({"job": job_json(job, RUNS)}, f"The run is {job.status}.")
