"""A billing run step by step: open, calculate, decide, approve, issue, try again, cancel. Callers commit.

Every step is safe to run again: a killed calculation or issue goes on with what is left, and the constraint of one bill
for a connection and cycle stands below all of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, IntegrityError

from portal import audit
from portal.accounts import queries as accounts
from portal.accounts.models import User
from portal.audit import Actor
from portal.billing import actions, queries
from portal.billing.actions import Due
from portal.billing.exceptions import KINDS, Facts, find_exceptions
from portal.billing.models import Invoice
from portal.billing.rules import cycle_ending, settle
from portal.billing.run_models import OPEN, BillingRun, BillingRunItem
from portal.db import session
from portal.errors import Conflict, Invalid, NotFound, PortalError
from portal.logs import get_logger
from portal.tariffs.queries import Catalogue

CHUNK = 100
Item = BillingRunItem


def open_run(year: int, month: int, region: str | None, *, actor: Actor, now: datetime) -> BillingRun:
    """A run with every connection that may be due, nothing worked out yet.

    Raises as `actions.generate_month`, and Conflict RUN_OPEN where one for the month and region is not finished.
    """
    cycle_ending(year, month)
    if region is not None:
        accounts.get_region(region)
    queries.check_month_over(year, month, region, now)
    run = BillingRun(
        run_id=uuid.uuid4(),
        year=year,
        month=month,
        region=region,
        status="calculating",
        created_at=now,
        created_by=actor.label[:200],
        creator_id=actor.user_id,
    )
    try:
        with session.begin_nested():
            session.add(run)
    except IntegrityError as error:
        raise Conflict(
            "A run for this month and region is not finished: go on with it, or cancel it.", "RUN_OPEN"
        ) from error
    ids = queries.list_due_connections(year, month, region)
    for start in range(0, len(ids), 10_000):
        rows = [{"run_id": run.run_id, "connection_id": each} for each in ids[start : start + 10_000]]
        session.execute(insert(Item), rows)
    audit.record("run.opened", actor, now, "billing_run", run.run_id, {"month": f"{year}-{month:02}", "region": region})
    session.flush()
    return run


def get_run(run_id: uuid.UUID, *, lock: bool = False) -> BillingRun:
    """The run. Raises NotFound RUN_NOT_FOUND."""
    run = session.get(BillingRun, run_id, with_for_update=lock or None, populate_existing=lock)
    if run is None:
        raise NotFound("There is no billing run with this id.", "RUN_NOT_FOUND")
    return run


def calculate_chunk(run: BillingRun, catalogue: Catalogue, hold_percent: int, now: datetime) -> int:
    """Work out the next hundred that wait; how many. With none left the run becomes a draft."""
    if run.status != "calculating":
        return 0
    items = _next(run, select(Item).where(Item.state == "waiting"))
    for item in items:
        _preview(run, item, catalogue, hold_percent)
    if not items:
        run.status, run.calculated_at = "draft", now
    session.flush()
    return len(items)


def _next(run: BillingRun, query: Select[Item]) -> list[Item]:
    mine = query.where(Item.run_id == run.run_id).order_by(Item.connection_id).limit(CHUNK)
    return list(session.scalars(mine.with_for_update()))


def _preview(run: BillingRun, item: Item, catalogue: Catalogue, hold_percent: int) -> None:
    """Fill one item, in a savepoint: a fault costs only itself."""
    try:
        with session.begin_nested():
            due = actions.find_due(item.connection_id, run.year, run.month, catalogue)
            if isinstance(due, str):
                item.state = "done"
                return
            _note(item, due, hold_percent)
            item.state, item.code, item.error = "ready", None, None
    except PortalError as refusal:
        item.state, item.code, item.error = "refused", refusal.code, refusal.message
    except Exception as fault:
        if isinstance(fault, DBAPIError) and fault.connection_invalidated:
            raise
        get_logger().exception("bill_not_previewed", connection_id=item.connection_id)
        item.state, item.code, item.error = (
            "refused",
            "FAULT",
            "The bill could not be worked out; the log has the cause.",
        )


def _note(item: Item, due: Due, hold_percent: int) -> None:
    draft = due.draft
    usual = usual_kwh(item.connection_id)
    facts = Facts(
        kwh=draft.use.kwh,
        usual_kwh=usual,
        is_first=draft.served.start == draft.connection.starts_at,
        is_last=draft.served.end == draft.connection.ends_at,
        unsure_seconds=draft.missing_seconds + sum(meter.estimated_seconds for meter in draft.meters),
        seconds=draft.served.seconds,
    )
    item.user_id, item.meter_id = draft.connection.user_id, draft.meters[-1].meter_id
    item.kwh, item.usual_kwh = facts.kwh, usual
    item.unsure_percent = min(facts.unsure_percent, 999)
    item.exceptions = find_exceptions(facts, hold_percent)
    item.total_cost = draft.bill.total
    _, item.amount_due = settle(draft.bill.total, due.earlier.carried, draft.versions[0].version.payable_step)


def usual_kwh(connection_id: int) -> Decimal | None:
    """The mean of the connection's last three bills, kWh; None where there is none (ix_invoices_connection)."""
    last = (
        select(Invoice.total_consumption_kwh.label("kwh"))
        .where(Invoice.connection_id == connection_id, Invoice.status != "cancelled")
        .order_by(Invoice.cycle_start.desc())
        .limit(3)
        .subquery()
    )
    return session.scalar(select(func.avg(last.c.kwh)))


def decide(
    run_id: uuid.UUID, decision: str, *, connection_id: int | None = None, kind: str | None = None, actor: Actor
) -> int:
    """Include (issue) or hold one connection, or all with an exception of a kind that nobody has decided; how many.

    Raises NotFound RUN_NOT_FOUND, Conflict RUN_NOT_DRAFT, Invalid for another decision or kind.
    """
    if decision not in ("issue", "hold"):
        raise Invalid.field("decision", "A bill is issued or held.")
    if (connection_id is None) == (kind is None) or (kind is not None and kind not in KINDS):
        raise Invalid.field("kind", "Name a connection, or one kind of exception.")
    run = get_run(run_id, lock=True)
    if run.status not in ("draft", "issued"):
        raise Conflict("Decisions are taken on a run that is calculated and not being issued.", "RUN_NOT_DRAFT")
    change = update(Item).where(Item.run_id == run_id, Item.state == "ready")
    if connection_id is not None:
        change = change.where(Item.connection_id == connection_id)
    else:
        change = change.where(Item.exceptions.contains([kind]), Item.decision.is_(None))
    done: Any = session.execute(change.values(decision=decision, decided_by=actor.label[:200]))
    return int(done.rowcount)


def approve(run_id: uuid.UUID, *, by_other: bool, actor: Actor, now: datetime) -> BillingRun:
    """Let a draft be issued. Whoever calculated it may not, where `by_other` says so.

    Raises NotFound RUN_NOT_FOUND, Conflict RUN_NOT_DRAFT, Conflict APPROVAL_BY_OTHER.
    """
    run = get_run(run_id, lock=True)
    if run.status != "draft":
        raise Conflict("Only a run that is calculated can be approved.", "RUN_NOT_DRAFT")
    if by_other and actor.user_id == run.creator_id:
        raise Conflict("Whoever calculated a run may not approve it; somebody else must.", "APPROVAL_BY_OTHER")
    run.status, run.approved_at, run.approved_by = "issuing", now, actor.label[:200]
    audit.record("run.approved", actor, now, "billing_run", run_id, {"bills": totals(run).included})
    session.flush()
    return run


def try_again(run_id: uuid.UUID, *, actor: Actor, now: datetime) -> BillingRun:
    """Work out those that failed once more, and issue what can be issued now: these, and held ones decided meanwhile.

    Raises NotFound RUN_NOT_FOUND, Conflict RUN_NOT_ISSUED.
    """
    run = get_run(run_id, lock=True)
    if run.status != "issued":
        raise Conflict("A run is tried again when it has ended.", "RUN_NOT_ISSUED")
    session.execute(
        update(Item).where(Item.run_id == run_id, Item.state == "refused").values(state="ready", code=None, error=None)
    )
    try:
        with session.begin_nested():
            run.status, run.ended_at = "issuing", None
    except IntegrityError as error:
        raise Conflict("Another run for this month and region is not finished.", "RUN_OPEN") from error
    audit.record("run.tried_again", actor, now, "billing_run", run_id)
    session.flush()
    return run


def cancel(run_id: uuid.UUID, *, actor: Actor, now: datetime) -> BillingRun:
    """Give a run up before anything of it is issued. Raises NotFound RUN_NOT_FOUND, Conflict RUN_NOT_DRAFT."""
    run = get_run(run_id, lock=True)
    if run.status not in ("calculating", "draft"):
        raise Conflict("This run is approved; its bills are issued or on their way.", "RUN_NOT_DRAFT")
    run.status, run.ended_at = "cancelled", now
    audit.record("run.cancelled", actor, now, "billing_run", run_id)
    session.flush()
    return run


def _issuable() -> Any:
    return (Item.state == "ready") & ((Item.exceptions == []) | (Item.decision == "issue"))


def issue_chunk(run: BillingRun, catalogue: Catalogue, hold_percent: int, now: datetime, due_days: int) -> int:
    """Issue the next hundred; how many were taken up. With none left the run is issued.

    A bill that would not be the one that people saw is held, marked as changed, with its figures of now.
    """
    if run.status != "issuing":
        return 0
    items = _next(run, select(Item).where(_issuable()))
    for item in items:
        _issue(run, item, catalogue, hold_percent, now, due_days)
    if not items:
        run.status, run.ended_at = "issued", now
    session.flush()
    return len(items)


def _issue(run: BillingRun, item: Item, catalogue: Catalogue, hold_percent: int, now: datetime, due_days: int) -> None:
    try:
        with session.begin_nested():
            due = actions.find_due(item.connection_id, run.year, run.month, catalogue)
            if isinstance(due, str):
                item.state = "done"
                return
            seen = (item.kwh, item.total_cost)
            if item.kwh is not None and seen != (due.draft.use.kwh, due.draft.bill.total):
                _note(item, due, hold_percent)
                item.exceptions = [*item.exceptions, "changed"]
                item.decision = item.decided_by = None
                return
            if item.kwh is None:
                _note(item, due, hold_percent)
                if item.exceptions:
                    return
            invoice = actions.issue(due.draft, due.earlier.carried, catalogue, now, due_days)
            item.state, item.invoice_id = "issued", invoice.invoice_id
    except PortalError as refusal:
        item.state, item.code, item.error = "refused", refusal.code, refusal.message
    except Exception as fault:
        if isinstance(fault, DBAPIError) and fault.connection_invalidated:
            raise
        get_logger().exception("bill_failed", connection_id=item.connection_id)
        item.state, item.code, item.error = "refused", "FAULT", "The bill could not be made; the log has the cause."


@dataclass(frozen=True, slots=True)
class Totals:
    """What a run comes to: counts of connections, kWh and INR of those that can be billed."""

    waiting: int
    ready: int
    included: int
    included_amount: Decimal
    held: int
    undecided: int
    refused: int
    issued: int
    kwh: Decimal
    amount: Decimal

    @property
    def bills(self) -> int:
        """Those that can have a bill, or have it."""
        return self.ready + self.issued

    @property
    def all(self) -> int:
        """All that the run looks at."""
        return self.waiting + self.ready + self.refused + self.issued


_TOTALS = text("""
    SELECT count(*) FILTER (WHERE state = 'waiting') AS waiting,
        count(*) FILTER (WHERE state = 'ready') AS ready,
        count(*) FILTER (WHERE state = 'ready' AND (exceptions = '[]' OR decision = 'issue')) AS included,
        coalesce(sum(total_cost) FILTER (WHERE state = 'ready' AND (exceptions = '[]' OR decision = 'issue')), 0)
            AS included_amount,
        count(*) FILTER (WHERE state = 'ready' AND exceptions <> '[]' AND decision = 'hold') AS held,
        count(*) FILTER (WHERE state = 'ready' AND exceptions <> '[]' AND decision IS NULL) AS undecided,
        count(*) FILTER (WHERE state = 'refused') AS refused,
        count(*) FILTER (WHERE state = 'issued') AS issued,
        coalesce(sum(kwh) FILTER (WHERE state IN ('ready', 'issued')), 0) AS kwh,
        coalesce(sum(total_cost) FILTER (WHERE state IN ('ready', 'issued')), 0) AS amount
    FROM billing_run_items WHERE run_id = :run_id""")


def totals(run: BillingRun) -> Totals:
    """What the run comes to now."""
    return Totals(**session.execute(_TOTALS, {"run_id": run.run_id}).one()._mapping)


def count_kinds(run_id: uuid.UUID) -> dict[str, int]:
    """How many items have each exception, and how many are refused (ix_billing_run_items_odd)."""
    rows = session.execute(
        text("""
            SELECT kind, count(*) FROM billing_run_items, jsonb_array_elements_text(exceptions) AS kind
            WHERE run_id = :run_id AND exceptions <> '[]' AND state IN ('ready', 'issued') GROUP BY kind
            UNION ALL
            SELECT 'refused', count(*) FROM billing_run_items WHERE run_id = :run_id AND state = 'refused'"""),
        {"run_id": run_id},
    )
    return {kind: count for kind, count in rows if count}


def list_odd(
    run_id: uuid.UUID, kind: str | None = None, limit: int = 20, offset: int = 0
) -> tuple[list[tuple[Item, User | None]], int]:
    """Items that a person must look at, undecided ones first, with their customer; and how many."""
    odd = (Item.exceptions != []) | (Item.state == "refused")
    query = select(Item, User).outerjoin(User, User.user_id == Item.user_id).where(Item.run_id == run_id, odd)
    if kind == "refused":
        query = query.where(Item.state == "refused")
    elif kind == "undecided":
        query = query.where(Item.state == "ready", Item.decision.is_(None))
    elif kind in KINDS:
        query = query.where(Item.exceptions.contains([kind]))
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    first = query.order_by(Item.decision.is_not(None), Item.state != "refused", Item.connection_id)
    return [(row[0], row[1]) for row in session.execute(first.limit(limit).offset(offset))], total


def list_runs(limit: int = 20, offset: int = 0) -> tuple[list[BillingRun], int]:
    """Runs, newest first (ix_billing_runs_created)."""
    total = session.scalar(select(func.count()).select_from(BillingRun)) or 0
    runs = session.scalars(select(BillingRun).order_by(BillingRun.created_at.desc()).limit(limit).offset(offset))
    return list(runs), total


def is_open(run: BillingRun) -> bool:
    """True until it is issued or given up."""
    return run.status in OPEN


def names_of(kinds: Iterable[str]) -> list[str]:
    """The kinds in their order."""
    present = set(kinds)
    return [kind for kind in (*KINDS, "refused") if kind in present]
