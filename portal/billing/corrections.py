"""Bills that would come out otherwise today: found, shown, and corrected by a credit note and a new bill (promise 6).

A bill is worked out again from what is stored now (readings, assignments, published fuel values), by the terms that it
was made by: a load or option that changed since is no fault of it. Nothing is corrected until a person says so.
Callers commit.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from portal import audit
from portal.audit import Actor
from portal.billing import actions, chain, queries
from portal.billing.correction_models import CreditNote, CreditNoteLine, Review
from portal.billing.drafting import Draft, MeterUse, Terms, draft, parts_of, served_in
from portal.billing.models import Invoice
from portal.billing.rules import Cycle, settle
from portal.db import session
from portal.errors import Conflict, Invalid, NotFound, PortalError
from portal.logs import get_logger
from portal.meters.models import Connection
from portal.periods import local_date
from portal.readings import actions as readings
from portal.tariffs.fraction import BillableUse
from portal.tariffs.models import RegionTariff
from portal.tariffs.queries import Catalogue

CHUNK = 100
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A bill as issued and as it would be today; `today` is None where there is nothing to bill any more."""

    invoice: Invoice
    today: Draft | None
    amount_due: Decimal
    reasons: tuple[str, ...]

    @property
    def total(self) -> Decimal:
        """What the bill would cost today (INR)."""
        return self.today.bill.total if self.today else ZERO

    @property
    def kwh(self) -> Decimal:
        """The energy that it would be for."""
        return self.today.use.kwh if self.today else ZERO

    @property
    def fingerprint(self) -> str:
        """The compared figures in one number."""
        bill = self.today.bill if self.today else None
        lines = [[line.code, str(line.amount)] for line in bill.lines] if bill else []
        kwh, carried = str(self.kwh.normalize()), str(bill.credit_carried_kwh.normalize()) if bill else ""
        return chain.hash_of({"kwh": kwh, "carried": carried, "total": str(self.total), "lines": lines})


def compare(invoice: Invoice, catalogue: Catalogue) -> Comparison:
    """Work the bill out again by its own terms. Raises as `drafting.draft` where that is not possible."""
    stored = invoice.computed_from
    use = msgspec.convert(stored["use"], BillableUse)
    cycle, zone = msgspec.convert(stored["cycle"], Cycle), ZoneInfo(stored["zone"])
    connection = _by_its_terms(session.get_one(Connection, invoice.connection_id), use)
    served = served_in(connection, cycle, zone)
    parts = parts_of(connection, served) if served is not None else []
    if served is None or not parts:
        return Comparison(invoice, None, ZERO, ("supply",))
    for assignment, part in parts:
        readings.refresh_meter(assignment.meter_key, part)
    region = RegionTariff(tariff_code=invoice.tariff_code, licensee=use.licensee, options=sorted(use.options))
    earlier = queries.sum_earlier(invoice.connection_id, invoice.cycle_start)
    terms = Terms(region, zone, 1)
    today = draft(connection, cycle, terms, catalogue, served, parts, credit_brought_kwh=earlier.credit_kwh)
    _, due = settle(today.bill.total, invoice.carried_in, today.versions[0].version.payable_step)
    return Comparison(invoice, today, due, tuple(_reasons(invoice, use, today)))


def _by_its_terms(connection: Connection, use: BillableUse) -> Connection:
    """The supply as it stands today, with the load, phases, options and entitlements that the bill was made by."""
    return Connection(
        connection_id=connection.connection_id,
        user_id=connection.user_id,
        region=connection.region,
        tariff_category=connection.tariff_category,
        sanctioned_load_kw=use.load_kw,
        phase=use.phase,
        options=[],
        entitlements={code: str(kwh) for code, kwh in use.entitled_kwh.items()},
        starts_at=connection.starts_at,
        ends_at=connection.ends_at,
    )


def _reasons(invoice: Invoice, use: BillableUse, today: Draft) -> Iterable[str]:
    """Why it differs; nothing where a person would see no difference on the bill."""
    lines = [(line.code, line.description, line.amount) for line in queries.list_lines(invoice.invoice_id)]
    same = lines == [(line.code, line.description, line.amount) for line in today.bill.lines]
    same &= (invoice.total_consumption_kwh, invoice.export_kwh) == (today.use.kwh, today.use.export_kwh or ZERO)
    same &= (invoice.period_start, invoice.period_end) == (today.served.start, today.served.end)
    if same and invoice.credit_carried_kwh == today.bill.credit_carried_kwh:
        return
    before = msgspec.convert(invoice.computed_from["meters"], list[MeterUse])
    places = [[(each.assignment_id, each.start, each.end) for each in meters] for meters in (before, today.meters)]
    figures = [
        [(each.import_kwh, each.export_kwh, each.estimated_kwh) for each in meters] for meters in (before, today.meters)
    ]
    other_credit = use.credit_brought_kwh != today.use.credit_brought_kwh
    if places[0] != places[1]:
        yield "supply"
    elif figures[0] != figures[1]:
        yield "readings"
    if other_credit:
        yield "credit"
    if places[0] == places[1] and figures[0] == figures[1] and not other_credit:
        yield "tariff"


def review(invoice: Invoice, catalogue: Catalogue, now: datetime) -> Review | None:
    """Note whether a bill differs; gives the open note. One that a person left as it is stays so for the same figures.

    Raises as `compare`.
    """
    if invoice.status == "cancelled":
        return None
    found = compare(invoice, catalogue)
    known = session.get(Review, invoice.invoice_id, with_for_update=True)
    if not found.reasons:
        if known is not None and known.status == "open":
            known.status, known.decided_at, known.decided_by = "gone", now, "the portal"
        return None
    if known is not None and known.status == "kept" and known.fingerprint == found.fingerprint:
        return None
    if known is None:
        known = Review(invoice_id=invoice.invoice_id, found_at=now)
        session.add(known)
    elif known.status != "open":
        known.found_at = now
    known.status, known.decided_at, known.decided_by, known.note = "open", None, None, None
    known.reasons, known.fingerprint = list(found.reasons), found.fingerprint
    known.kwh_before, known.kwh_after = invoice.total_consumption_kwh, found.kwh
    known.total_before, known.total_after = invoice.total_cost, found.total
    session.flush()
    return known


# The bills whose time these instants lie in. Plan: assignments by their meter, bills by uq_invoices_connection_cycle.
_TOUCHED = text("""
    SELECT DISTINCT bill.invoice_id
    FROM unnest(CAST(:meters AS int[]), CAST(:instants AS timestamptz[])) AS touched(meter_key, at)
        JOIN meter_assignments AS held ON held.meter_key = touched.meter_key
            AND held.assigned_at < touched.at + interval '30 minutes'
            AND (held.unassigned_at IS NULL OR held.unassigned_at > touched.at)
        JOIN invoices AS bill ON bill.connection_id = held.connection_id AND bill.status <> 'cancelled'
            AND bill.period_start < touched.at + interval '30 minutes' AND bill.period_end > touched.at""")


def review_touched(touched: Iterable[tuple[int, datetime]], now: datetime) -> int:
    """Look at the bills of meters and half hours whose readings changed; how many differ. Only past months have bills.

    A bill that cannot be worked out is left to the log: the readings are stored all the same.
    """
    past = [(meter, at) for meter, at in touched if at < now - timedelta(days=now.day - 2)]
    if not past:
        return 0
    values = {"meters": [meter for meter, _ in past], "instants": [at for _, at in past]}
    return sum(_review_one(each, Catalogue(), now) for each in session.scalars(_TOUCHED, values).all())


def review_issued(
    since: datetime, now: datetime, region: str | None = None, on_chunk: Any = lambda seen, found: None
) -> tuple[int, int]:
    """(bills looked at, bills that differ) of all that were issued since; `on_chunk` commits after each hundred."""
    query = select(Invoice.invoice_id).where(Invoice.created_at >= since, Invoice.status != "cancelled")
    if region is not None:
        query = query.where(Invoice.region == region)
    seen = found = 0
    after: uuid.UUID | None = None
    catalogue = Catalogue()
    while chunk := session.scalars(
        (query if after is None else query.where(Invoice.invoice_id > after)).order_by(Invoice.invoice_id).limit(CHUNK)
    ).all():
        for invoice_id in chunk:
            seen, found = seen + 1, found + _review_one(invoice_id, catalogue, now)
        after = chunk[-1]
        on_chunk(seen, found)
    return seen, found


def _review_one(invoice_id: uuid.UUID, catalogue: Catalogue, now: datetime) -> bool:
    try:
        with session.begin_nested():
            return review(queries.get_invoice(invoice_id), catalogue, now) is not None
    except PortalError as refusal:
        get_logger().warning("bill_not_reviewed", invoice_id=str(invoice_id), code=refusal.code)
    except Exception as fault:
        # A deadlock or a lost connection passes: the caller's transaction goes, its notes stay, and it is tried again.
        if isinstance(fault, OperationalError) or (isinstance(fault, DBAPIError) and fault.connection_invalidated):
            raise
        get_logger().exception("bill_not_reviewed", invoice_id=str(invoice_id))
    return False


def keep(invoice_id: uuid.UUID, note: str, *, actor: Actor, now: datetime) -> Review:
    """A person leaves the bill as it is, and says why. Raises NotFound REVIEW_NOT_FOUND, Invalid for the note."""
    known = _open_review(invoice_id)
    known.status, known.decided_at, known.decided_by, known.note = "kept", now, actor.label[:200], _said(note)
    audit.record("bill.kept", actor, now, "invoice", invoice_id, {"note": known.note})
    session.flush()
    return known


@dataclass(frozen=True, slots=True)
class Corrected:
    """What a correction made."""

    note: CreditNote
    replacement: Invoice | None


def correct(
    invoice_id: uuid.UUID,
    note: str,
    *,
    expected: str | None = None,
    actor: Actor,
    now: datetime,
    due_days: int = actions.DUE_DAYS,
) -> Corrected:
    """Take the bill back by a credit note and make the one that it should be, in one act. Money paid stays entered.

    `expected` is the fingerprint that the person saw: they confirm that difference, not another. The new bill takes up
    what the old one had carried in, so the bills after it stay as they are. Raises NotFound INVOICE_NOT_FOUND, Conflict
    INVOICE_CANCELLED, NOTHING_TO_CORRECT, DIFFERENCE_CHANGED, Invalid for the note.
    """
    said = _said(note)
    invoice = queries.get_invoice(invoice_id)
    actions.hold_user(invoice.connection_id)
    session.get_one(Connection, invoice.connection_id, with_for_update={"key_share": True}, populate_existing=True)
    session.refresh(invoice, with_for_update=True)
    if invoice.status == "cancelled":
        raise Conflict("This bill was taken back already.", "INVOICE_CANCELLED")
    catalogue = Catalogue()
    found = compare(invoice, catalogue)
    if not found.reasons:
        raise Conflict("The bill would come out the same today; there is nothing to correct.", "NOTHING_TO_CORRECT")
    if expected is not None and expected != found.fingerprint:
        raise Conflict("The figures have changed since you looked; look at the difference again.", "DIFFERENCE_CHANGED")
    invoice.status, invoice.is_disputed, invoice.paid_at = "cancelled", False, None
    session.flush()
    replacement = None
    if found.today is not None:
        today = replace(found.today, connection=session.get_one(Connection, invoice.connection_id))
        replacement = actions.issue(today, invoice.carried_in, catalogue, now, due_days)
    credit = _credit(invoice, replacement, found.reasons, said, actor, now)
    known = session.get(Review, invoice_id)
    if known is not None:
        known.status, known.decided_at, known.decided_by, known.note = "corrected", now, actor.label[:200], said
    details = {"credit_note": credit.credit_note_number, "reasons": list(found.reasons)}
    if replacement is not None:
        details["replacement"] = replacement.invoice_number
    audit.record("bill.corrected", actor, now, "invoice", invoice_id, details)
    session.flush()
    return Corrected(credit, replacement)


def _credit(
    invoice: Invoice, replacement: Invoice | None, reasons: Iterable[str], note: str, actor: Actor, now: datetime
) -> CreditNote:
    lines = [
        CreditNoteLine(
            position=line.position,
            code=line.code,
            description=line.description,
            kwh=line.kwh_consumed,
            rate=line.rate_per_kwh,
            amount=-line.amount,
        )
        for line in queries.list_lines(invoice.invoice_id)
    ]
    zone = ZoneInfo(invoice.computed_from["zone"])
    credit = CreditNote(
        credit_note_id=uuid.uuid4(),
        credit_note_number=actions.next_number(f"CN-{local_date(now, zone):%Y%m}", "CN"),
        invoice_id=invoice.invoice_id,
        replacement_id=replacement.invoice_id if replacement else None,
        user_id=invoice.user_id,
        total_cost=-invoice.total_cost,
        amount=-invoice.amount_due,
        reasons=list(reasons),
        note=note,
        line_count=len(lines),
        created_at=now,
        created_by=actor.label[:200],
    )
    credit.document_hash = chain.hash_of(
        {
            "number": credit.credit_note_number,
            "invoice": invoice.invoice_number,
            "invoice_sha256": invoice.proof_hash,
            "total": str(credit.total_cost),
            "lines": [line.as_document() for line in lines],
        }
    )
    session.add(credit)
    session.flush()
    for line in lines:
        line.credit_note_id = credit.credit_note_id
    session.add_all(lines)
    session.flush()
    return credit


def _said(note: str) -> str:
    if not 3 <= len(note.strip()) <= 2000:
        raise Invalid.field("note", "Say in 3 to 2000 characters why.")
    return note.strip()


def _open_review(invoice_id: uuid.UUID) -> Review:
    known = session.get(Review, invoice_id, with_for_update=True, populate_existing=True)
    if known is None or known.status != "open":
        raise NotFound("There is no open difference for this bill.", "REVIEW_NOT_FOUND")
    return known


def list_open(limit: int = 20, offset: int = 0) -> tuple[list[tuple[Review, Invoice]], int]:
    """Bills that wait for a decision, longest first, and how many (ix_invoice_reviews_open)."""
    query = (
        select(Review, Invoice).join(Invoice, Invoice.invoice_id == Review.invoice_id).where(Review.status == "open")
    )
    rows = session.execute(query.order_by(Review.found_at, Review.invoice_id).limit(limit).offset(offset)).all()
    return [(row[0], row[1]) for row in rows], count_open()


def count_open() -> int:
    """Bills that wait for a decision."""
    return session.scalar(select(func.count()).select_from(Review).where(Review.status == "open")) or 0


def find_credit_note(invoice_id: uuid.UUID) -> CreditNote | None:
    """The note that took a bill back, if one did (uq_credit_notes_invoice)."""
    return session.scalar(select(CreditNote).where(CreditNote.invoice_id == invoice_id))


def list_credit_lines(credit_note_id: uuid.UUID) -> list[CreditNoteLine]:
    """The lines of a credit note, in the bill's order."""
    query = select(CreditNoteLine).where(CreditNoteLine.credit_note_id == credit_note_id)
    return list(session.scalars(query.order_by(CreditNoteLine.position)))
