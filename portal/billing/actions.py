"""Making bills, and what becomes of them. Callers commit: a run asks for it after each chunk."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from portal import audit
from portal.accounts import queries as accounts
from portal.audit import Actor
from portal.billing import chain, proof, queries
from portal.billing.drafting import Draft, draft, parts_of, served_in, terms_of
from portal.billing.models import Invoice, InvoiceLine, InvoiceSeries
from portal.billing.rules import cycle_ending, hours_of, settle
from portal.db import session
from portal.errors import Conflict, PortalError
from portal.logs import get_logger
from portal.meters.models import Connection
from portal.meters.rules import meter_id
from portal.money import kwh_str
from portal.periods import Period, local_date, local_midnight
from portal.readings import actions as readings
from portal.readings.queries import has_only_registers
from portal.tariffs.queries import Catalogue

CHUNK = 100
DUE_DAYS = 21


@dataclass(frozen=True, slots=True)
class RunError:
    """A connection that got no bill, and why."""

    connection_id: int
    user_id: uuid.UUID | None
    code: str
    error: str


@dataclass(slots=True)
class RunResult:
    """A run: bills made, connections refused, and those that had their bill already or are not due this month."""

    success: int = 0
    failed: int = 0
    existing: int = 0
    not_due: int = 0
    errors: list[RunError] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Bills that this run set out to make."""
        return self.success + self.failed


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: connections seen, of how many."""

    done: int
    total: int
    result: RunResult


def generate_month(
    year: int,
    month: int,
    region: str | None = None,
    *,
    actor: Actor,
    now: datetime,
    due_days: int = DUE_DAYS,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunResult:
    """Bills for the cycles that end with the month: everyone's, or a region's. Run again, it makes no second bill.

    `on_progress` is called after each chunk; that is where the caller commits, so that a killed run keeps what it
    had done. A connection that cannot be billed is listed with the reason and does not stop the others. Raises Invalid
    for a month or region that does not exist, Conflict MONTH_NOT_OVER for a month that lasts in the region's zone.
    """
    cycle_ending(year, month)
    if region is not None:
        accounts.get_region(region)
    queries.check_month_over(year, month, region, now)
    connection_ids = queries.list_due_connections(year, month, region)
    result, catalogue = RunResult(existing=queries.count_invoices(year, month, region)), Catalogue()
    for start in range(0, len(connection_ids), CHUNK):
        chunk = connection_ids[start : start + CHUNK]
        made = result.success
        for connection_id in chunk:
            _bill_one(connection_id, year, month, catalogue, result, now, due_days)
        if result.success > made:
            details = {"bills": result.success - made, "region": region, "connections": [chunk[0], chunk[-1]]}
            audit.record("bills.issued", actor, now, "month", f"{year}-{month:02}", details)
        session.flush()
        if on_progress is not None:
            on_progress(Progress(start + len(chunk), len(connection_ids), result))
    return result


def hold_user(connection_id: int) -> None:
    """Keep whose connection it is, before the connection is locked (ADR 2): a bill's foreign key locks them after."""
    session.execute(_HOLD_USER, {"connection": connection_id})


_HOLD_USER = text("""
    SELECT FROM users WHERE user_id = (SELECT user_id FROM connections WHERE connection_id = :connection)
    FOR KEY SHARE""")


@dataclass(frozen=True, slots=True)
class Due:
    """A bill that a connection is owed, and what its bills before leave for it."""

    draft: Draft
    earlier: queries.Earlier


NotNow = Literal["not_due", "existing"]


def find_due(connection_id: int, year: int, month: int, catalogue: Catalogue) -> Due | NotNow:
    """The bill of the cycle that ends with the month, worked out; or that none is due, or that it has its bill.

    Locks the connection until the transaction ends. Raises as `drafting.draft`, and Conflict ONLY_REGISTERS.
    """
    # The user first, as whoever takes a meter back does; the bill's foreign key would lock them after.
    hold_user(connection_id)
    # Two runs at once meet here: the second waits until the first has committed, and then sees its bill.
    connection = session.get_one(Connection, connection_id, with_for_update={"key_share": True}, populate_existing=True)
    terms = terms_of(connection, catalogue, date(year, month, 1))
    cycle = cycle_ending(year, month, terms.cycle_months)
    served = served_in(connection, cycle, terms.zone) if cycle is not None else None
    if cycle is None or served is None:
        return "not_due"
    earlier = queries.sum_earlier(connection_id, cycle.first_day)
    if earlier.billed:
        return "existing"
    parts = parts_of(connection, served)
    for assignment, part in parts:
        readings.refresh_meter(assignment.meter_key, part)
        _check_intervals(assignment.meter_key, part)
    drafted = draft(connection, cycle, terms, catalogue, served, parts, credit_brought_kwh=earlier.credit_kwh)
    return Due(drafted, earlier)


def _bill_one(
    connection_id: int, year: int, month: int, catalogue: Catalogue, result: RunResult, now: datetime, due_days: int
) -> None:
    """One bill in a savepoint of its own: what fails is undone, its number included."""
    user_id = session.scalar(select(Connection.user_id).where(Connection.connection_id == connection_id))
    try:
        with session.begin_nested():
            due = find_due(connection_id, year, month, catalogue)
            if due == "not_due":
                result.not_due += 1
                return
            if due == "existing":
                result.existing += 1
                return
            issue(due.draft, due.earlier.carried, catalogue, now, due_days)
        result.success += 1
    except PortalError as refusal:
        _refuse(result, connection_id, user_id, refusal.code, refusal.message)
    except Exception as fault:
        if isinstance(fault, DBAPIError) and fault.connection_invalidated:
            raise
        # A fault in one bill must not cost the others theirs; the log has the cause, the list says where to look.
        get_logger().exception("bill_failed", connection_id=connection_id, year=year, month=month)
        _refuse(result, connection_id, user_id, "FAULT", "The bill could not be made; the log has the cause.")


def _check_intervals(meter_key: int, part: Period) -> None:
    """Hold back what would be billed as nothing though the meter counts: a bill is final."""
    if has_only_registers(meter_key, part):
        raise Conflict(
            f"{meter_id(meter_key)} told its register, but no energy follows from it: one more reading, or a look at a "
            "register that fell, is needed for a bill.",
            "ONLY_REGISTERS",
        )


def _refuse(result: RunResult, connection_id: int, user_id: uuid.UUID | None, code: str, error: str) -> None:
    result.failed += 1
    result.errors.append(RunError(connection_id, user_id, code, error))


def issue(drafted: Draft, carried_in: Decimal, catalogue: Catalogue, now: datetime, due_days: int) -> Invoice:
    """The draft as a bill with the next number of its month; from here on it never changes.

    `carried_in` is what roundings left over on the connection's bills before. The connection is locked meanwhile.
    """
    bill, cycle = drafted.bill, drafted.cycle
    first = drafted.versions[0].version
    rounding, due = settle(bill.total, carried_in, first.payable_step)
    place, previous = chain.hold_chain(drafted.connection.user_id)
    last_month = cycle.until - timedelta(days=1)
    invoice = Invoice(
        invoice_id=uuid.uuid4(),
        invoice_number=next_number(f"{last_month:%Y%m}", "INV"),
        connection_id=drafted.connection.connection_id,
        user_id=drafted.connection.user_id,
        region=drafted.connection.region,
        meter_id=drafted.meters[-1].meter_id,
        cycle_start=cycle.first_day,
        period_start=drafted.served.start,
        period_end=drafted.served.end,
        total_consumption_kwh=drafted.use.kwh,
        export_kwh=drafted.use.export_kwh or Decimal(0),
        estimated_kwh=sum((meter.estimated_kwh for meter in drafted.meters), Decimal(0)),
        missing_hours=hours_of(drafted.missing_seconds),
        credit_carried_kwh=bill.credit_carried_kwh,
        base_cost=bill.base_cost,
        surcharges=bill.surcharges,
        tax_amount=bill.tax_amount,
        discounts=bill.discounts,
        total_cost=bill.total,
        carried_in=carried_in,
        rounding=rounding,
        amount_due=due,
        tariff_code=first.tariff,
        illustrative=any(part.version.illustrative for part in drafted.versions),
        marks=_marks(drafted),
        computed_from=proof.write_proof(drafted, carried_in, catalogue.fuel),
        line_count=len(bill.lines),
        due_date=local_date(now, drafted.zone) + timedelta(days=due_days),
        created_at=now,
        chain_place=place,
        previous_hash=previous,
    )
    lines = [_line(invoice, drafted, n) for n in range(len(bill.lines))]
    invoice.proof_hash = chain.hash_of(chain.write_document(invoice, lines))
    session.add(invoice)
    session.flush()
    session.execute(insert(InvoiceLine), lines)
    return invoice


def _marks(drafted: Draft) -> list[dict[str, str]]:
    """What whoever reads the bill must know: where it rests on something that is not a measured, published figure."""
    marks = [{"code": mark.code, "text": mark.text} for mark in drafted.bill.marks]
    if any(part.version.illustrative for part in drafted.versions):
        marks.append({"code": "ILLUSTRATIVE", "text": "The rates are illustrative: no utility bills by them."})
    if credited := drafted.bill.credit_used_kwh:
        carried = kwh_str(drafted.bill.credit_carried_kwh)
        text = f"{kwh_str(credited)} kWh that were given to the grid are taken off; {carried} kWh are carried on."
        marks.append({"code": "NET_METERED", "text": text})
    if drafted.missing_seconds:
        hours = hours_of(drafted.missing_seconds)
        text = f"No reading came for {hours} hours of the period. Their energy is not on this bill."
        marks.append({"code": "READINGS_MISSING", "text": text})
    if estimated := sum((meter.estimated_kwh for meter in drafted.meters), Decimal(0)):
        text = f"{kwh_str(estimated)} kWh of the energy are estimated."
        marks.append({"code": "ENERGY_ESTIMATED", "text": text})
    if any(meter.overlap_seconds for meter in drafted.meters):
        text = "Some readings overlap in time; each of them is counted."
        marks.append({"code": "READINGS_OVERLAP", "text": text})
    return marks


def _line(invoice: Invoice, drafted: Draft, number: int) -> dict[str, Any]:
    """A line's row. Its period is that of the tariff that priced it, within the time of supply."""
    line = drafted.bill.lines[number]
    start, end = drafted.served.start, drafted.served.end
    if line.first_day is not None and line.until is not None and end is not None:
        start = max(start, local_midnight(line.first_day, drafted.zone))
        end = min(end, local_midnight(line.until, drafted.zone)) if line.until < drafted.cycle.until else end
    return {
        "invoice_id": invoice.invoice_id,
        "position": number + 1,
        "code": line.code,
        "category": line.category,
        "description": line.description,
        "period_start": start,
        "period_end": end,
        "kwh_consumed": line.kwh,
        "rate_per_kwh": line.rate,
        "amount": line.amount,
    }


def next_number(series: str, prefix: str) -> str:
    """The next number of a series. Its row stays locked until the transaction ends, so a rollback leaves no gap."""
    number = session.scalar(
        insert(InvoiceSeries)
        .values(series=series, last_number=1)
        .on_conflict_do_update(
            index_elements=[InvoiceSeries.series], set_={"last_number": InvoiceSeries.last_number + 1}
        )
        .returning(InvoiceSeries.last_number)
    )
    return f"{prefix}-{series.removeprefix(prefix + '-')}-{number:07}"


def mark_overdue(now: datetime) -> int:
    """Bills whose due day is over in their region become overdue; how many. What is disputed is not dunned.

    A bill of which only lines are disputed is overdue for the rest of it.
    """
    done = session.execute(
        text("""
            UPDATE invoices AS bill SET status = 'overdue'
            WHERE (status = 'pending' OR (status = 'disputed' AND amount_due - amount_paid > disputed_amount))
                AND due_date < (CAST(:now AS timestamptz) AT TIME ZONE coalesce(
                    (SELECT timezone FROM regions WHERE name = bill.region), 'Asia/Kolkata'))::date"""),
        {"now": now},
    )
    return int(done.rowcount)  # type: ignore[attr-defined]
