"""What a customer used, by day and month, with the sums that a page or a program would make of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from pydantic import Field
from typing_extensions import TypedDict

from portal.accounts.queries import zone_of
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import now, user
from portal.api.fields import Day, KwhText, LocalDay, Query, Time, Whole
from portal.api.presenters import time_str
from portal.errors import Invalid
from portal.gates import CUSTOMER
from portal.money import kwh_str, round_energy, round_places
from portal.periods import Period, local_date, local_midnight, local_month, previous_month
from portal.readings import held
from portal.readings.queries import DailyUsage

api = ApiBlueprint("usage", tag="Telemetry")

MAX_DAYS = 366
NO_METER = {404: ("METER_NOT_ASSIGNED",)}


class DaysQuery(Query):
    """Local days, `end_date` not included. Without `end_date` until today, without `start_date` thirty days."""

    start_date: Day | None = None
    end_date: Day | None = None


class MonthsQuery(Query):
    """How many months, this one included."""

    months: Whole = Field(default=12, ge=1, le=36)


class UsedJson(TypedDict):
    """Energy of a stretch of time, and how much of it readings cover."""

    energy_kwh: KwhText
    export_kwh: KwhText
    estimated_kwh: KwhText
    covered_seconds: int
    expected_seconds: int


class DayJson(UsedJson):
    """A local day."""

    date: LocalDay


class MonthJson(UsedJson):
    """A local month, `YYYY-MM`."""

    month: str


class PeakJson(TypedDict):
    """The day of the most energy."""

    date: LocalDay
    energy_kwh: KwhText


class PeakHourJson(TypedDict):
    """The hour of the most energy."""

    start: Time
    energy_kwh: KwhText


class DaysAnswer(TypedDict):
    """`data` of daily usage."""

    days: list[DayJson]


class MonthsAnswer(TypedDict):
    """`data` of monthly usage, oldest first."""

    months: list[MonthJson]


class StatsAnswer(UsedJson):
    """`data` of the statistics. The mean is that of the days that have readings."""

    start_date: LocalDay
    end_date: LocalDay
    mean_daily_kwh: KwhText | None
    peak_day: PeakJson | None
    peak_hour: PeakHourJson | None


class SpanJson(UsedJson):
    """Energy between two instants."""

    start_time: Time
    end_time: Time


class CompareAnswer(TypedDict):
    """`data` of the comparison; the change in per cent of the month before, null without use then."""

    current: SpanJson
    previous: SpanJson
    difference_kwh: KwhText
    change_percent: str | None


def used_json(days: Sequence[DailyUsage]) -> UsedJson:
    """The sum of some days."""
    return {
        "energy_kwh": kwh_str(sum((day.import_kwh for day in days), Decimal(0))),
        "export_kwh": kwh_str(sum((day.export_kwh for day in days), Decimal(0))),
        "estimated_kwh": kwh_str(sum((day.estimated_kwh for day in days), Decimal(0))),
        "covered_seconds": sum(day.covered_seconds for day in days),
        "expected_seconds": sum(day.expected_seconds for day in days),
    }


def _zone() -> ZoneInfo:
    return zone_of(user().region)


def _days(query: DaysQuery) -> tuple[date, date]:
    """The days asked for. Raises Invalid for none or more than a year."""
    last = query.end_date or local_date(now(), _zone()) + timedelta(days=1)
    first = query.start_date or max(last, date(2000, 1, 1)) - timedelta(days=30)
    if first >= last:
        raise Invalid.field("start_date", "start_date must be before end_date.")
    if (last - first).days > MAX_DAYS:
        raise Invalid.field("start_date", f"Ask for {MAX_DAYS} days at most.")
    if first.year < 2000 or last.year > 9000:
        raise Invalid.field("start_date", "There are no readings of those years.")
    return first, last


def _used(first: date, until: date) -> list[DailyUsage]:
    """The customer's days until now: what has not happened yet is not missing."""
    zone = _zone()
    asked = Period(local_midnight(first, zone), local_midnight(until, zone))
    if asked.start >= now():
        held.parts_of(user().user_id, asked)
        return []
    return held.list_daily_of(user().user_id, asked.closed(now()), zone)


@api.get(
    "/telemetry/my-meter/daily",
    gate=CUSTOMER,
    query=DaysQuery,
    answer=DaysAnswer,
    errors=NO_METER,
    summary="What you used, day by day",
)
def show_my_days(query: DaysQuery) -> Answer:
    """Local days, each with the seconds that its readings cover of those in which a meter was yours."""
    days = _used(*_days(query))
    listed = [{"date": day.day.isoformat(), **used_json([day])} for day in days]
    return Answer({"days": listed}, f"{len(listed)} days." if len(listed) != 1 else "1 day.")


@api.get(
    "/telemetry/my-meter/monthly",
    gate=CUSTOMER,
    query=MonthsQuery,
    answer=MonthsAnswer,
    errors=NO_METER,
    summary="What you used, month by month",
)
def show_my_months(query: MonthsQuery) -> Answer:
    """Local months up to this one."""
    today = local_date(now(), _zone())
    first = (today.year, today.month)
    for _ in range(query.months - 1):
        first = previous_month(*first)
    by_month: dict[str, list[DailyUsage]] = {}
    for day in _used(date(*first, 1), today + timedelta(days=1)):
        by_month.setdefault(f"{day.day:%Y-%m}", []).append(day)
    return Answer({"months": [{"month": month, **used_json(days)} for month, days in by_month.items()]}, "Your months.")


@api.get(
    "/telemetry/my-meter/stats",
    gate=CUSTOMER,
    query=DaysQuery,
    answer=StatsAnswer,
    errors=NO_METER,
    summary="Sums, means and peaks of what you used",
)
def show_my_stats(query: DaysQuery) -> Answer:
    """Local days; the peak hour is looked for in the last 31 of them."""
    first, last = _days(query)
    days = _used(first, last)
    told = [day for day in days if day.covered_seconds]
    total = sum((day.import_kwh for day in told), Decimal(0))
    peak = max(told, key=lambda day: day.import_kwh, default=None)
    return Answer(
        {
            "start_date": first.isoformat(),
            "end_date": last.isoformat(),
            **used_json(days),
            "mean_daily_kwh": kwh_str(round_energy(total / len(told))) if told else None,
            "peak_day": {"date": peak.day.isoformat(), "energy_kwh": kwh_str(peak.import_kwh)} if peak else None,
            "peak_hour": _peak_hour(max(first, last - timedelta(days=31)), last),
        },
        "Your use in numbers.",
    )


def _peak_hour(first: date, last: date) -> PeakHourJson | None:
    zone = _zone()
    period = Period(local_midnight(first, zone), local_midnight(last, zone))
    points = held.list_history_of(user().user_id, period, "1h", zone)
    told = [(point.energy_kwh, point.start) for point in points if point.energy_kwh is not None]
    if not told:
        return None
    energy, start = max(told, key=lambda each: each[0])
    return {"start": time_str(start), "energy_kwh": kwh_str(energy)}


@api.get(
    "/telemetry/my-meter/compare",
    gate=CUSTOMER,
    answer=CompareAnswer,
    errors=NO_METER,
    summary="This month so far beside the one before",
)
def compare_my_months() -> Answer:
    """The same number of days of the month before, or all of it where it is shorter."""
    zone = _zone()
    today = local_date(now(), zone)
    current = Period(local_month(today.year, today.month, zone).start, now())
    before = local_month(*previous_month(today.year, today.month), zone)
    assert before.end is not None
    previous = Period(before.start, min(before.end, before.start + (now() - current.start)))
    spans = [held.list_daily_of(user().user_id, period, zone) for period in (current, previous)]
    here, there = (sum((day.import_kwh for day in days), Decimal(0)) for days in spans)
    return Answer(
        {
            "current": _span(current, spans[0]),
            "previous": _span(previous, spans[1]),
            "difference_kwh": kwh_str(here - there),
            "change_percent": str(round_places((here - there) * 100 / there, 1)) if there else None,
        },
        "This month so far beside the one before.",
    )


def _span(period: Period, days: Sequence[DailyUsage]) -> SpanJson:
    assert period.end is not None
    return {"start_time": time_str(period.start), "end_time": time_str(period.end), **used_json(days)}
