"""What the pages of bills show: amounts and their working, gaps said plainly, and the same sum done again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
from flask import url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from portal.accounts.queries import zone_of
from portal.billing import proof
from portal.billing.drafting import MeterUse
from portal.billing.models import Invoice, InvoiceLine
from portal.payments import disputes
from portal.payments import queries as payments
from portal.periods import Period, local_date
from portal.tariffs.queries import Catalogue
from portal.web import charts, formats, words
from portal.web.slabs import slabs_of
from portal.web.timeline import Entry
from portal.web.use import UseChart, average_note, daily_chart, days_of_customer
from portal.web.workings import workings_of

ZERO = Decimal(0)
SOON = 7
# Marks that the notes of the page say in words of their own.
SAID = ("READINGS_MISSING", "ENERGY_ESTIMATED", "ILLUSTRATIVE")


def state_of(invoice: Invoice, today: date) -> tuple[str, str]:
    """The badge of a bill: words and tone. A bill past its day is overdue, whether or not a job has said so yet."""
    if invoice.status == "pending" and today > invoice.due_date:
        text, tone = words.INVOICE_STATUS["overdue"]
        return str(text), tone
    if invoice.status == "pending":
        return formats.due(invoice.due_date, today), "warn" if (invoice.due_date - today).days <= SOON else "accent"
    text, tone = words.INVOICE_STATUS[invoice.status]
    return str(text), tone


_DECISIONS = {
    "explained": _l("Answered, the bill stands"),
    "credited": _l("Answered with a credit"),
    "withdrawn": _l("Dispute taken back"),
}
_RECEIVED = {
    "receipt": _l("Received"),
    "credit_note": _l("Credited"),
    "credit_use": _l("Paid from your credit"),
}
_TAKEN_BACK = _l("Taken back")


def is_open(invoice: Invoice) -> bool:
    """True while money is expected for it."""
    return invoice.status in ("pending", "overdue")


def last_day_of(invoice: Invoice, zone: ZoneInfo) -> date:
    """The last local day that the bill is for."""
    return local_date(invoice.period_end - timedelta(microseconds=1), zone)


def month_of(invoice: Invoice, zone: ZoneInfo) -> str:
    """October 2026; for a cycle of two months September–October 2026."""
    last = last_day_of(invoice, zone)
    if (last.year, last.month) == (invoice.cycle_start.year, invoice.cycle_start.month):
        return formats.month(invoice.cycle_start)
    return f"{formats.month_name(invoice.cycle_start)}{formats.EN_DASH}{formats.month(last)}"


@dataclass(frozen=True, slots=True)
class BillRow:
    """A bill in a list."""

    address: str
    month: str
    number: str
    period: str
    used: str
    used_exact: str
    amount: str
    amount_exact: str
    due: str
    state: str
    tone: str
    short_month: str
    short_state: str


def bill_row(invoice: Invoice, zone: ZoneInfo, today: date) -> BillRow:
    """The bill as a line of a list."""
    state, tone = state_of(invoice, today)
    return BillRow(
        address=url_for("customer.bill", invoice_id=invoice.invoice_id),
        month=month_of(invoice, zone),
        number=invoice.invoice_number,
        period=formats.period(invoice.period_start, invoice.period_end, zone),
        used=formats.kwh(invoice.total_consumption_kwh, 0),
        used_exact=formats.kwh(invoice.total_consumption_kwh),
        amount=formats.rupees(invoice.amount_due),
        amount_exact=formats.money(invoice.amount_due),
        due=formats.day(invoice.due_date),
        state=state,
        tone=tone,
        short_month=formats.short_month(invoice.cycle_start),
        short_state=str(words.INVOICE_STATUS["overdue" if tone == "bad" else invoice.status][0]),
    )


@dataclass(frozen=True, slots=True)
class BillLine:
    """A line of the bill: what, how it comes about, how much."""

    description: str
    working: str
    amount: str
    days: str = ""
    sum: bool = False


@dataclass(slots=True)
class BillPage:
    """All that the page of one bill says."""

    title: str
    subtitle: str
    month: str
    number: str
    tariff: str
    amount: str
    to_pay: str
    when: str
    state: str
    tone: str
    pay_how: str
    lines: list[BillLine]
    use: UseChart
    use_fact: str
    readings: list[tuple[str, str]]
    history: list[Entry]
    notes: list[tuple[str, str, str]] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    slabs: charts.SlabBar | None = None
    slab_sentence: str = ""
    proof: tuple[str, str, str] = ("", "", "")
    pdf: str = ""
    dispute: str = ""
    withdraw: str = ""
    disputed: str = ""
    proof_hash: str = ""
    proof_file: str = ""


def bill_page(invoice: Invoice, lines: list[InvoiceLine], tariff_name: str, now: datetime) -> BillPage:
    """The page of a customer's own bill, from the bill as issued and the readings under it."""
    zone = zone_of(invoice.region)
    period = Period(invoice.period_start, invoice.period_end)
    days = days_of_customer(invoice.user_id, period, zone, invoice.period_end)
    month = month_of(invoice, zone)
    use = daily_chart(_("Use each day in %(month)s, in kWh", month=month), days)
    state, tone = state_of(invoice, local_date(now, zone))
    catalogue = Catalogue()
    slabs, sentence = slabs_of(invoice, catalogue)
    return BillPage(
        title=_("Bill for %(month)s", month=month),
        subtitle=_(
            "Bill %(number)s, issued %(day)s, for %(period)s.",
            number=invoice.invoice_number,
            day=formats.day(local_date(invoice.created_at, zone)),
            period=formats.period(invoice.period_start, invoice.period_end, zone),
        ),
        month=month,
        number=invoice.invoice_number,
        tariff=_tariff(invoice, tariff_name),
        amount=formats.money(invoice.amount_due),
        to_pay=formats.money(invoice.balance if is_open(invoice) or invoice.status == "disputed" else ZERO),
        pdf=url_for("customer.bill_as_pdf", invoice_id=invoice.invoice_id),
        dispute=url_for("customer.dispute", invoice_id=invoice.invoice_id)
        if not invoice.is_disputed and is_open(invoice)
        else "",
        withdraw=url_for("customer.dispute_withdraw", invoice_id=invoice.invoice_id) if invoice.is_disputed else "",
        disputed=formats.money(min(invoice.disputed_amount, invoice.balance)) if invoice.is_disputed else "",
        when=_when(invoice, zone),
        state=state,
        tone=tone,
        pay_how=_(
            "Nothing can be paid here yet. Pay your utility as usual and name the bill's number; staff record it."
        )
        if is_open(invoice) and invoice.balance > 0
        else "",
        lines=_lines(invoice, lines, zone),
        use=use,
        use_fact=average_note(use, len(days)),
        readings=_meters(invoice, zone),
        history=_history(invoice, zone),
        notes=notes_of(invoice),
        marks=[mark["text"] for mark in invoice.marks if mark["code"] not in SAID],
        slabs=slabs,
        slab_sentence=sentence,
        proof=_proof(invoice, lines, catalogue),
        proof_hash=invoice.proof_hash or "",
        proof_file=url_for("customer.bill_proof", invoice_id=invoice.invoice_id),
    )


def _tariff(invoice: Invoice, name: str) -> str:
    first_days = [msgspec.convert(part["first_day"], date) for part in invoice.computed_from["versions"]]
    if len(first_days) > 1:
        return _("Tariff %(name)s, changed on %(day)s", name=name, day=formats.day(first_days[-1]))
    return _("Tariff %(name)s", name=name)


def _when(invoice: Invoice, zone: ZoneInfo) -> str:
    if invoice.paid_at is not None:
        paid_on = formats.day(local_date(invoice.paid_at, zone))
        return _(
            "Nothing is due. %(amount)s was paid on %(day)s.", amount=formats.money(invoice.amount_due), day=paid_on
        )
    if invoice.status == "cancelled":
        return _("This bill was cancelled. Nothing is due for it.")
    if invoice.amount_due <= 0:
        return _("Nothing is due. What is left goes to the next bill.")
    return _("Pay by %(day)s", day=formats.weekday(invoice.due_date))


def _en_dashes(text: str) -> str:
    """0-100 kWh as 0–100 kWh."""
    return re.sub(r"(?<=\d)-(?=\d)", formats.EN_DASH, text)


def _lines(invoice: Invoice, lines: list[InvoiceLine], zone: ZoneInfo) -> list[BillLine]:
    """The lines as issued, then their total and what leads from it to the amount due."""
    whole = (invoice.period_start, invoice.period_end)
    workings = workings_of(invoice, lines)
    shown = []
    for line in lines:
        working = workings.get(line.position, "")
        if line.kwh_consumed is not None and line.rate_per_kwh is not None:
            working = f"{formats.kwh(line.kwh_consumed)} × {formats.rate(line.rate_per_kwh)}"
        part = (line.period_start, line.period_end) != whole
        days = formats.period(line.period_start, line.period_end, zone) if part else ""
        shown.append(BillLine(_en_dashes(line.description), working, formats.money(line.amount), days))
    if invoice.carried_in or invoice.rounding:
        shown.append(BillLine(_("This bill"), _("sum of the lines above"), formats.money(invoice.total_cost), sum=True))
    if invoice.carried_in:
        shown.append(BillLine(_("Carried from earlier roundings"), "", formats.money(invoice.carried_in)))
    if invoice.rounding:
        before = formats.money(invoice.total_cost + invoice.carried_in)
        shown.append(BillLine(_("Rounded"), _("from %(amount)s", amount=before), formats.money(invoice.rounding)))
    return shown


def _meters(invoice: Invoice, zone: ZoneInfo) -> list[tuple[str, str]]:
    """Each meter of the bill with its time and energy, and their sum where there are two."""
    uses = msgspec.convert(invoice.computed_from["meters"], list[MeterUse])
    rows = []
    for used in uses:
        since, until = formats.full_moment(used.start, zone), formats.full_moment(used.end, zone)
        name = _("%(meter)s, %(since)s to %(until)s", meter=used.meter_id, since=since, until=until)
        rows.append((name, formats.kwh(used.import_kwh)))
    if len(uses) > 1:
        rows.append((_("Together"), formats.kwh(invoice.total_consumption_kwh)))
    return rows


def _history(invoice: Invoice, zone: ZoneInfo) -> list[Entry]:
    events = [(invoice.created_at, Entry(_("Issued"), formats.full_moment(invoice.created_at, zone)))]
    for dispute in disputes.list_of_bill(invoice.invoice_id):
        opened = Entry(_("Disputed: %(reason)s", reason=dispute.reason), formats.full_moment(dispute.opened_at, zone))
        events.append((dispute.opened_at, opened))
        if dispute.decided_at is not None:
            outcome = str(_DECISIONS[dispute.status])
            what = f"{outcome}: {dispute.answer}" if dispute.answer else outcome
            events.append((dispute.decided_at, Entry(what, formats.full_moment(dispute.decided_at, zone))))
    for settled in payments.list_settlements(invoice.invoice_id):
        payment = settled.payment
        name = _RECEIVED.get(payment.kind, _TAKEN_BACK) if settled.amount > 0 else _TAKEN_BACK
        how = f", {payment.method}" if payment.kind == "receipt" else ""
        how += f", {payment.reference}" if payment.reference else ""
        what = f"{name}: {formats.money(abs(settled.amount))}"
        events.append((payment.recorded_at, Entry(what, formats.full_moment(payment.received_at, zone) + how)))
    return [event for _at, event in sorted(events, key=lambda each: each[0], reverse=True)]


def notes_of(invoice: Invoice) -> list[tuple[str, str, str]]:
    """(tone, fact, text): what whoever reads the bill must know before the lines."""
    notes = []
    if invoice.missing_hours > 0:
        notes.append(
            (
                "warn",
                _("No readings came for %(hours)s.", hours=formats.hours(invoice.missing_hours)),
                _("The energy of that time is not on this bill; nothing was guessed."),
            )
        )
    if invoice.estimated_kwh > 0:
        estimated = formats.kwh(invoice.estimated_kwh)
        notes.append(("info", _("%(kwh)s of it is estimated.", kwh=estimated), _("The chart shows on which days.")))
    if invoice.illustrative:
        notes.append(
            (
                "info",
                _("The tariff is illustrative."),
                _("Its rates are invented to show how a bill looks in this region; nobody is charged by them."),
            )
        )
    return notes


def _proof(invoice: Invoice, lines: list[InvoiceLine], catalogue: Catalogue) -> tuple[str, str, str]:
    """(badge, tone, text) of the same sum, done again now from what is stored."""
    verdict = proof.verify(invoice, lines, catalogue)
    if not verdict.holds:
        return _("Differs"), "bad", _("The stored figures no longer give this bill. Call 1912 and name its number.")
    if verdict.later_readings:
        text = _("Readings came after this bill was issued. Staff decide about a correction; this bill stays as it is.")
        return _("Later readings"), "warn", text
    text = _("We have just computed this bill again from the stored readings and tariff: the same to the paisa.")
    return _("Unchanged"), "good", text
