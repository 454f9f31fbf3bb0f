"""The customer's home page: how much so far, what will it be, what must I pay, is the meter alive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from flask import url_for
from flask_babel import gettext as _

from portal.accounts.models import User
from portal.billing import queries as billing
from portal.billing.estimates import CurrentCycle, Estimate, find_current_cycle
from portal.billing.models import Invoice
from portal.meters import queries as meters
from portal.meters.models import Assignment
from portal.periods import Period, local_date, local_month
from portal.web import charts, formats
from portal.web.bill import BillRow, bill_row, is_open, state_of
from portal.web.compare import Comparison, compare
from portal.web.meter import MeterCard, meter_card
from portal.web.use import UseChart, daily_chart, days_of_customer
from portal.web.welcome import first_bill

ZERO = Decimal(0)
# An expectation needs a day behind it: from a few minutes it would only be noise.
ENOUGH = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class CycleCard:
    """The running cycle in three figures and a bar."""

    used: str
    used_note: str
    cost: str
    cost_note: str
    expected_title: str
    expected: str
    expected_note: str
    bar: charts.RangeBar | None
    illustrative: str


@dataclass(frozen=True, slots=True)
class DueCard:
    """The newest bill for which money is expected, or the newest of all."""

    title: str
    amount: str
    when: str
    state: str
    tone: str
    address: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Why something is not there, and what next."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class HomePage:
    """All that the home page says."""

    title: str
    subtitle: str
    cycle: CycleCard | None
    no_cycle: Missing | None
    use: UseChart | None
    due: DueCard | None
    next_bill: str
    meter: MeterCard
    bills: list[BillRow]
    no_bill: str
    comparison: Comparison | None


def home_page(user: User, zone: ZoneInfo, now: datetime) -> HomePage:
    """The page of this customer at this instant."""
    today = local_date(now, zone)
    open_row = meters.find_open_assignment(user.user_id)
    running, refusal = find_current_cycle(user, now)
    newest = billing.list_invoices(user.user_id, limit=4).invoices
    due = next((each for each in reversed(newest) if is_open(each)), newest[0] if newest else None)
    month = local_month(today.year, today.month, zone)
    assert month.end is not None
    last = local_date(month.end - timedelta(microseconds=1), zone)
    use = _use(user, month, running, zone, now)
    days = _(
        "%(days)s, %(gone)s of %(all)s days.",
        days=formats.span(today.replace(day=1), today),
        gone=today.day,
        all=last.day,
    )
    return HomePage(
        title=_("%(month)s so far", month=formats.month_name(today)),
        subtitle=days + " " + _("Updated %(when)s.", when=formats.moment(now, now, zone).lower()),
        cycle=_cycle(running, newest, use, zone, now) if running else None,
        no_cycle=None if running else _no_cycle(open_row, refusal.message if refusal else ""),
        use=use,
        due=_due(due, zone, now) if due else None,
        next_bill=next_bill(open_row, zone, now),
        meter=meter_card(user, open_row, zone, now),
        bills=[bill_row(each, zone, today) for each in newest],
        no_bill=no_bill(open_row, zone, now),
        comparison=compare(user, month, zone, now),
    )


def _cycle(
    running: CurrentCycle, newest: list[Invoice], use: UseChart | None, zone: ZoneInfo, now: datetime
) -> CycleCard:
    its = running.estimate
    ends_on = formats.short_day(local_date(its.period_end - timedelta(microseconds=1), zone))
    known = now - its.period_start >= ENOUGH and its.consumption_to_date_kwh > 0
    return CycleCard(
        used=formats.number(its.consumption_to_date_kwh, 1 if its.consumption_to_date_kwh >= 1 else 3),
        used_note=_used_note(its, use, zone),
        cost=formats.rupees(its.cost_to_date),
        cost_note=_("with charges and duty"),
        expected_title=_("Expected by %(day)s", day=ends_on),
        expected=formats.rupees(its.estimated_total) if known else "–",
        expected_note=_expected_note(its) if known else _("Shown after one day of readings."),
        bar=_bar(its, newest, zone) if known else None,
        illustrative=_("Priced by an illustrative tariff: its rates are invented, nobody is charged by them.")
        if its.illustrative
        else "",
    )


def _used_note(its: Estimate, use: UseChart | None, zone: ZoneInfo) -> str:
    if its.consumption_to_date_kwh == 0 and its.confidence_level == "low":
        return _("nothing has come in yet")
    notes = []
    if use and use.estimated > 0:
        notes.append(_("%(kwh)s of it estimated", kwh=formats.kwh(use.estimated, 1)))
    if its.missing_hours >= 1:
        notes.append(_("%(hours)s without readings", hours=formats.hours(its.missing_hours)))
    since = formats.short_day(local_date(its.period_start, zone))
    return ", ".join(notes) or _("all measured, since %(day)s", day=since)


def _expected_note(its: Estimate) -> str:
    """How sure it is, in words, from the share of time that is measured."""
    kwh = formats.kwh(its.projected_consumption_kwh, 0)
    how_sure = {
        "high": _("%(kwh)s, if it goes on like this", kwh=kwh),
        "medium": _("about %(kwh)s, as some readings are missing", kwh=kwh),
        "low": _("a rough %(kwh)s, as many readings are missing", kwh=kwh),
    }
    return how_sure[its.confidence_level]


def _bar(its: Estimate, newest: list[Invoice], zone: ZoneInfo) -> charts.RangeBar:
    before = newest[0] if newest else None
    used, expected = formats.number(its.consumption_to_date_kwh), formats.number(its.projected_consumption_kwh)
    title = _("Used %(used)s kWh so far, %(expected)s kWh expected", used=used, expected=expected)
    return charts.range_bar(
        title,
        its.consumption_to_date_kwh,
        its.projected_consumption_kwh,
        _("Expected %(kwh)s", kwh=expected),
        before.total_consumption_kwh if before else None,
        f"{formats.month_name(before.cycle_start)} {formats.number(before.total_consumption_kwh)}" if before else "",
    )


def _no_cycle(open_row: Assignment | None, refusal: str) -> Missing:
    if open_row is None:
        return Missing(
            _("Nothing to show yet"),
            _("As soon as you have a meter, your use and what it costs show here. Earlier bills stay in the list."),
        )
    return Missing(_("No cost can be shown"), refusal)


def _use(user: User, month: Period, running: CurrentCycle | None, zone: ZoneInfo, now: datetime) -> UseChart | None:
    days = days_of_customer(user.user_id, month, zone, now)
    if not any(day.expected or day.kwh for day in days):
        return None
    today = local_date(now, zone)
    expected = None
    if running and now - running.estimate.period_start >= ENOUGH:
        its = running.estimate
        expected = its.projected_consumption_kwh * 86_400 / Decimal((its.period_end - its.period_start).total_seconds())
    return daily_chart(_("Use each day in %(month)s, in kWh", month=formats.month(today)), days, today, expected)


def _due(invoice: Invoice, zone: ZoneInfo, now: datetime) -> DueCard:
    today = local_date(now, zone)
    state, tone = state_of(invoice, today)
    if invoice.status == "paid":
        amount = formats.money(ZERO)
        when = _("Nothing is due. %(amount)s is paid.", amount=formats.money(invoice.amount_due))
    else:
        amount = formats.money(invoice.amount_due)
        when = _("Pay by %(day)s", day=formats.weekday(invoice.due_date))
    return DueCard(
        title=_("%(month)s bill", month=formats.month_name(invoice.cycle_start)),
        amount=amount,
        when=when,
        state=state,
        tone=tone,
        address=url_for("customer.bill", invoice_id=invoice.invoice_id),
    )


def next_bill(open_row: Assignment | None, zone: ZoneInfo, now: datetime) -> str:
    """When the next bill comes."""
    if open_row is None:
        return ""
    today = local_date(now, zone)
    end = local_month(today.year, today.month, zone).end
    assert end is not None
    return _(
        "Next bill: about %(day)s, for %(month)s.",
        day=formats.short_day(local_date(end, zone)),
        month=formats.month_name(today),
    )


def no_bill(open_row: Assignment | None, zone: ZoneInfo, now: datetime) -> str:
    """Why there is no bill yet, and when the first one comes."""
    if open_row is None:
        return _("Bills begin when you have a meter.")
    on, days = first_bill(open_row.assigned_at, zone)
    if on <= local_date(now, zone):
        return _("Your first bill, for %(days)s, comes with the next billing run.", days=days)
    return _(
        "Your first bill comes about %(day)s, for %(days)s. Until then you see your use day by day.",
        day=formats.short_day(on),
        days=days,
    )
