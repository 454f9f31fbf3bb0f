"""A customer's energy day by day: only what was used while a meter was theirs, gaps shown as gaps."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from flask_babel import gettext as _

from portal.meters import queries as meters
from portal.money import round_places
from portal.periods import Period, days_of, local_date
from portal.readings import queries as readings
from portal.web import charts, formats, words

ZERO = Decimal(0)
# A day is whole when no more than a minute of it is missing: clocks of meters are not exact to the second.
TOLERANCE = 60


@dataclass(slots=True)
class Day:
    """One local day: kWh, and how many of its seconds there are readings for, of those that could be."""

    day: date
    kwh: Decimal = ZERO
    estimated: Decimal = ZERO
    covered: int = 0
    expected: int = 0

    @property
    def has_gap(self) -> bool:
        """True if readings are missing."""
        return self.expected - self.covered > TOLERANCE

    @property
    def is_empty(self) -> bool:
        """True if there should be readings and there is none."""
        return self.expected > TOLERANCE and self.covered <= 0


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table behind the chart."""

    day: str
    kwh: str
    mark: str | None


@dataclass(frozen=True, slots=True)
class UseChart:
    """A chart of days, its legend, the same numbers as a table, and the total."""

    chart: charts.BarChart
    words: dict[str, str]
    rows: list[Row]
    total: Decimal
    estimated: Decimal
    missing_hours: Decimal
    first_column: str


def days_of_customer(user_id: uuid.UUID, period: Period, zone: ZoneInfo, now: datetime) -> list[Day]:
    """Every local day of the (closed) period, with what the customer's meters measured while theirs, until now."""
    days = {each: Day(each) for each in days_of(period, zone)}
    for row in meters.list_assignments(user_id=user_id):
        held = meters.period_of(row).closed(now).intersect(period) if row.assigned_at < now else None
        for used in readings.list_daily(row.meter_key, held, zone) if held else ():
            day = days[used.day]
            day.kwh += used.import_kwh
            day.estimated += used.estimated_kwh
            day.covered += used.covered_seconds
            day.expected += used.expected_seconds
    return list(days.values())


def is_whole(days: Sequence[Day], length: timedelta) -> bool:
    """True if readings were due for all of this time, and nineteen twentieths of them came: fit to be compared."""
    seconds = int(length.total_seconds())
    return (
        sum(day.expected for day in days) >= seconds - TOLERANCE and sum(day.covered for day in days) >= seconds * 0.95
    )


def daily_chart(
    title: str, days: Sequence[Day], today: date | None = None, expected: Decimal | None = None
) -> UseChart:
    """The chart of these days. `today` is drawn as not over; `expected` kWh a day is drawn for the days after it."""
    bars = [_bar(each, index, len(days), today, expected) for index, each in enumerate(days)]
    chart = charts.bar_chart(title, bars, "kWh")
    shown = [each for each in days if today is None or each.day <= today]
    # What of today has not come yet is late, not missing.
    missing = sum(each.expected - each.covered for each in shown if each.has_gap and each.day != today)
    return UseChart(
        chart=chart,
        words={kind: str(words.KIND_OF_BAR[kind]) for kind in chart.kinds},
        rows=[_row(each, today) for each in shown if each.expected > 0 or each.kwh > 0],
        total=sum((each.kwh for each in shown), ZERO),
        estimated=sum((each.estimated for each in shown), ZERO),
        missing_hours=Decimal(missing) / 3600,
        first_column=_("Day"),
    )


def _bar(day: Day, index: int, count: int, today: date | None, expected: Decimal | None) -> charts.Bar:
    number = day.day.day
    tick = (
        str(number) if count <= 10 or number == 1 or (number % 5 == 0 and number < 30) or index == count - 1 else None
    )
    if today is not None and day.day > today:
        return charts.Bar(expected or ZERO, charts.EXPECTED, tick=tick)
    if day.is_empty and day.kwh == 0 and day.day != today:
        return charts.Bar(ZERO, charts.MISSING, tick=tick)
    kind = charts.RUNNING if day.day == today else charts.MEASURED
    return charts.Bar(
        day.kwh, kind, estimated=min(day.estimated, day.kwh), tick=tick, gap=day.has_gap and day.day != today
    )


def _row(day: Day, today: date | None) -> Row:
    marks = []
    if day.estimated > 0:
        marks.append(_("est. %(kwh)s", kwh=formats.kwh(day.estimated)))
    if day.day == today:
        marks.append(_("so far"))
    elif day.is_empty:
        marks.append(_("no readings"))
    elif day.has_gap:
        gone = formats.hours(Decimal(day.expected - day.covered) / 3600)
        marks.append(_("%(hours)s without readings", hours=gone))
    return Row(formats.short_day(day.day), formats.number(day.kwh, 3), ", ".join(marks) or None)


def average_note(chart: UseChart, days: int) -> str:
    """238.412 kWh, 7.691 a day."""
    if days <= 0:
        return formats.kwh(chart.total)
    mean = formats.number(round_places(chart.total / days, 3), 3)
    return _("%(kwh)s, %(mean)s a day", kwh=formats.kwh(chart.total), mean=mean)


def today_of(now: datetime, zone: ZoneInfo) -> date:
    """The local day of now."""
    return local_date(now, zone)
