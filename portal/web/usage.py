"""The page of use: a day by half hours, a month by days, a year by months."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from flask import url_for
from flask_babel import gettext as _

from portal.meters import queries as meters
from portal.periods import Period, local_date, local_day, local_midnight, next_month, previous_month
from portal.readings import queries as readings
from portal.web import charts, formats, words
from portal.web.use import ZERO, Day, Row, UseChart, daily_chart, days_of_customer

VIEWS = ("day", "month", "year")
EARLIEST = 2000
LATE = timedelta(hours=1)
TICK_HOURS, PHONE_TICK_HOURS = 3, 6


@dataclass(frozen=True, slots=True)
class UsagePage:
    """All that the page says of one day, month or year."""

    title: str
    short_title: str
    subtitle: str
    views: list[tuple[str, str, bool]]
    earlier: str
    later: str | None
    figures: list[tuple[str, str, str]]
    use: UseChart
    note: str
    none_title: str
    none_text: str


def read_day(text: str | None, today: date) -> date:
    """The day of the address; today for none, for no day, and for one that is still to come."""
    try:
        day = date.fromisoformat(text or "")
    except ValueError:
        return today
    return day if day.year >= EARLIEST and day <= today else today


def usage_page(user_id: uuid.UUID, view: str, on: date, zone: ZoneInfo, now: datetime) -> UsagePage:
    """The page of this customer; `view` is one of VIEWS, any other means the month."""
    today = local_date(now, zone)
    if view == "day":
        return _day(user_id, on, today, zone, now)
    return _year(user_id, on, today, zone, now) if view == "year" else _month(user_id, on, today, zone, now)


def _address(view: str, on: date) -> str:
    return url_for("customer.usage", view=view, on=on.isoformat())


def _views(view: str, on: date) -> list[tuple[str, str, bool]]:
    names = {"day": _("Day"), "month": _("Month"), "year": _("Year")}
    return [(names[each], _address(each, on), each == view) for each in VIEWS]


def _none_text() -> str:
    return _("Either no meter was yours then, or it sent nothing. Days without readings are never filled with guesses.")


def _figures(use: UseChart, highest: tuple[str, str] | None, word: str) -> list[tuple[str, str, str]]:
    figures = [(_("Used"), formats.number(use.total, 3), "kWh")]
    if highest:
        figures.append((word, *highest))
    if use.estimated:
        share = formats.percent(use.estimated / use.total * 100) if use.total else ""
        figures.append((_("Estimated"), formats.number(use.estimated, 3), f"kWh, {share}"))
    if use.missing_hours:
        figures.append((_("Without readings"), formats.hours(use.missing_hours), ""))
    return figures


def _month(user_id: uuid.UUID, on: date, today: date, zone: ZoneInfo, now: datetime) -> UsagePage:
    first = on.replace(day=1)
    until = date(*next_month(first.year, first.month), 1)
    days = days_of_customer(user_id, Period(local_midnight(first, zone), local_midnight(until, zone)), zone, now)
    use = daily_chart(_("Use each day in %(month)s, in kWh", month=formats.month(first)), days, today)
    best = max(days, key=lambda each: each.kwh)
    return UsagePage(
        title=formats.month(first),
        short_title=formats.month(first),
        subtitle=_("Use each day."),
        views=_views("month", on),
        earlier=_address("month", date(*previous_month(first.year, first.month), 1)),
        later=_address("month", until) if until <= today else None,
        figures=_figures(use, (formats.short_day(best.day), formats.kwh(best.kwh)), _("Highest day")),
        use=use,
        note="",
        none_title=_("No readings in %(month)s", month=formats.month(first)),
        none_text=_none_text(),
    )


def _year(user_id: uuid.UUID, on: date, today: date, zone: ZoneInfo, now: datetime) -> UsagePage:
    first, until = date(on.year, 1, 1), date(on.year + 1, 1, 1)
    days = days_of_customer(user_id, Period(local_midnight(first, zone), local_midnight(until, zone)), zone, now)
    months: dict[int, Day] = {}
    for each in days:
        month = months.setdefault(each.day.month, Day(each.day.replace(day=1)))
        month.kwh += each.kwh
        month.estimated += each.estimated
        # What of today has not come yet is late, not missing.
        month.covered += each.covered if each.day != today else each.expected
        month.expected += each.expected
    use = _monthly_chart(list(months.values()), today)
    best = max(months.values(), key=lambda each: each.kwh)
    return UsagePage(
        title=str(on.year),
        short_title=str(on.year),
        subtitle=_("Use each month."),
        views=_views("year", on),
        earlier=_address("year", date(on.year - 1, 12, 31)),
        later=_address("year", min(until, today)) if until <= today else None,
        figures=_figures(use, (formats.month_name(best.day), formats.kwh(best.kwh)), _("Highest month")),
        use=use,
        note="",
        none_title=_("No readings in %(year)s", year=on.year),
        none_text=_none_text(),
    )


def _monthly_chart(months: list[Day], today: date) -> UseChart:
    this_month = today.replace(day=1)
    bars, rows = [], []
    for month in months:
        tick = formats.month_short(month.day)
        kind = charts.RUNNING if month.day == this_month else charts.MEASURED
        if month.is_empty and month.kwh == 0 and month.day != this_month:
            kind = charts.MISSING
        gap = month.has_gap and month.day != this_month
        bars.append(
            charts.Bar(month.kwh, kind, month.estimated, tick=tick, phone_tick=month.day.month % 3 == 1, gap=gap)
        )
        if month.expected or month.kwh:
            mark = _("so far") if month.day == this_month else _missing_words(month) if gap else None
            rows.append(Row(formats.month(month.day), formats.number(month.kwh, 3), mark))
    chart = charts.bar_chart(_("Use each month, in kWh"), bars, "kWh")
    missing = sum(month.expected - month.covered for month in months if month.has_gap)
    legend = {kind: str(words.KIND_OF_BAR[kind]) for kind in chart.kinds} | {"running": _("This month, not over")}
    return UseChart(
        chart=chart,
        words=legend,
        rows=rows,
        total=sum((month.kwh for month in months), ZERO),
        estimated=sum((month.estimated for month in months), ZERO),
        missing_hours=Decimal(missing) / 3600,
        first_column=_("Month"),
    )


def _missing_words(day: Day) -> str:
    return _("%(hours)s without readings", hours=formats.hours(Decimal(day.expected - day.covered) / 3600))


def _day(user_id: uuid.UUID, on: date, today: date, zone: ZoneInfo, now: datetime) -> UsagePage:
    period = local_day(on, zone)
    slots = _half_hours(user_id, period, zone, now)
    use = _half_hour_chart(slots, on, zone)
    measured = [slot for slot in slots if slot.kwh is not None]
    best = max(measured, key=lambda each: each.kwh or ZERO, default=None)
    highest = (formats.clock(best.start, zone), formats.kwh(best.kwh or ZERO)) if best else None
    return UsagePage(
        title=formats.weekday(on),
        short_title=f"{formats.short_day(on)} {on.year}",
        subtitle=_("Use each half hour."),
        views=_views("day", on),
        earlier=_address("day", on - timedelta(days=1)),
        later=_address("day", on + timedelta(days=1)) if on < today else None,
        figures=_figures(use, highest, _("Highest half hour, from")),
        use=use,
        note=_("Half hours without readings stay empty. If the meter sends them later, they show here and on the bill.")
        if use.missing_hours
        else "",
        none_title=_("No readings on %(day)s", day=formats.day(on)),
        none_text=_none_text(),
    )


@dataclass(slots=True)
class Slot:
    """A half hour: kWh, None where the meter was not theirs, or where it sent nothing (`missing`)."""

    start: datetime
    kwh: Decimal | None = None
    estimated: bool = False
    missing: bool = False


def _half_hours(user_id: uuid.UUID, day: Period, zone: ZoneInfo, now: datetime) -> list[Slot]:
    assert day.end is not None
    starts = [day.start + timedelta(minutes=30 * n) for n in range(day.seconds // 1800)]
    slots = {start: Slot(start) for start in starts}
    for row in meters.list_assignments(user_id=user_id):
        held = meters.period_of(row).closed(now).intersect(day) if row.assigned_at < now else None
        for point in readings.list_history(row.meter_key, held, "30m", zone) if held else ():
            slot = slots[max(start for start in starts if start <= point.start)]
            if point.energy_kwh is None:
                # What is an hour old may still be on its way.
                slot.missing = point.start + LATE < now
                continue
            slot.kwh = (slot.kwh or ZERO) + point.energy_kwh
            slot.estimated = slot.estimated or point.quality == "estimated"
    return list(slots.values())


def _half_hour_chart(slots: list[Slot], on: date, zone: ZoneInfo) -> UseChart:
    bars, rows = [], []
    for slot in slots:
        local = slot.start.astimezone(zone)
        on_tick = local.minute == 0 and local.hour % TICK_HOURS == 0
        tick = formats.clock(slot.start, zone) if on_tick else None
        kwh = slot.kwh or ZERO
        kind = charts.MISSING if slot.kwh is None and slot.missing else charts.MEASURED
        estimated = kwh if slot.estimated else ZERO
        bars.append(charts.Bar(kwh, kind, estimated, tick, phone_tick=local.hour % PHONE_TICK_HOURS == 0))
        if slot.kwh is not None or slot.missing:
            mark = _("est.") if slot.estimated else _("no readings") if slot.kwh is None else None
            rows.append(
                Row(formats.clock(slot.start, zone), formats.number(kwh, 3) if slot.kwh is not None else "–", mark)
            )
    title = _("Use each half hour on %(day)s, in kWh", day=formats.day(on))
    chart = charts.bar_chart(title, bars, "kWh")
    return UseChart(
        chart=chart,
        words={kind: str(words.KIND_OF_BAR[kind]) for kind in chart.kinds},
        rows=rows,
        total=sum((slot.kwh or ZERO for slot in slots), ZERO),
        estimated=sum((slot.kwh or ZERO for slot in slots if slot.estimated), ZERO),
        missing_hours=Decimal(sum(1 for slot in slots if slot.missing and slot.kwh is None)) / 2,
        first_column=_("From"),
    )
