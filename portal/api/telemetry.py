"""What readings add up to, for customers and operators."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NotRequired
from zoneinfo import ZoneInfo

from typing_extensions import TypedDict

from portal.accounts import queries as accounts
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import now, pool, user
from portal.api.fields import Instant, KwhText, MeterId, Query, Time
from portal.api.presenters import time_str
from portal.errors import Invalid
from portal.gates import CUSTOMER, OPERATOR
from portal.meters import queries as meters
from portal.meters import rules as meter_rules
from portal.money import kwh_str, round_energy
from portal.periods import Period
from portal.readings import held, queries, rules
from portal.readings.queries import Latest, UsagePoint

api = ApiBlueprint("telemetry", tag="Telemetry")


class HistoryQuery(Query):
    """Which time, half-open, and how fine. Without `end` until now, without `start` the day before `end`."""

    start: Instant | None = None
    end: Instant | None = None
    resolution: Literal["15m", "30m", "1h", "1d"] = "1h"


class LatestAnswer(TypedDict):
    """`data` of a meter's last reading; null what it never told."""

    meter_id: MeterId
    timestamp: Time | None
    interval_seconds: int | None
    energy_kwh: KwhText | None
    export_kwh: KwhText | None
    power_kw: KwhText | None
    quality: str | None
    received_at: Time | None
    register_kwh: KwhText | None
    register_at: Time | None
    age_seconds: int | None


class PointJson(TypedDict):
    """A bucket: `energy_kwh` is null where readings are missing; `covered_seconds` of `expected_seconds` were told."""

    start: Time
    energy_kwh: KwhText | None
    export_kwh: NotRequired[KwhText]
    quality: Literal["measured", "estimated", "missing"]
    covered_seconds: int
    expected_seconds: int


class HistoryAnswer(TypedDict):
    """`data` of a history. The sum of all points is the energy of the time."""

    meter_id: MeterId
    start_time: Time
    end_time: Time
    resolution: str
    points: list[PointJson]


def latest_json(meter_key: int, latest: Latest, now: datetime) -> LatestAnswer:
    """A meter's last reading. The age counts from the end of the interval."""
    power = None
    ended = latest.register_at
    if latest.read_at is not None and latest.interval_seconds and latest.energy_kwh is not None:
        power = kwh_str(round_energy(latest.energy_kwh * 3600 / latest.interval_seconds))
        interval_end = latest.read_at + timedelta(seconds=latest.interval_seconds)
        ended = max(ended, interval_end) if ended else interval_end
    return {
        "meter_id": meter_rules.meter_id(meter_key),
        "timestamp": time_str(latest.read_at) if latest.read_at else None,
        "interval_seconds": latest.interval_seconds,
        "energy_kwh": _kwh(latest.energy_kwh),
        "export_kwh": _kwh(latest.export_kwh),
        "power_kw": power,
        "quality": latest.quality,
        "received_at": time_str(latest.received_at) if latest.received_at else None,
        "register_kwh": _kwh(latest.register_kwh),
        "register_at": time_str(latest.register_at) if latest.register_at else None,
        "age_seconds": max(0, int((now - ended).total_seconds())) if ended else None,
    }


def _kwh(value: Decimal | None) -> str | None:
    return None if value is None else kwh_str(value)


def point_json(point: UsagePoint) -> PointJson:
    """A bucket of a history."""
    shown: PointJson = {
        "start": time_str(point.start),
        "energy_kwh": _kwh(point.energy_kwh),
        "quality": point.quality,
        "covered_seconds": point.covered_seconds,
        "expected_seconds": point.expected_seconds,
    }
    if point.export_kwh is not None:
        shown["export_kwh"] = kwh_str(point.export_kwh)
    return shown


@api.get(
    "/telemetry/my-meter",
    gate=CUSTOMER,
    answer=LatestAnswer,
    errors={404: ("METER_NOT_ASSIGNED",)},
    summary="The last reading of your meter",
)
def show_my_meter() -> Answer:
    """Only readings since the meter is yours; null where there is none yet."""
    mine = meters.find_open_assignment(user().user_id)
    if mine is None:
        raise meters.no_meter()
    latest = queries.find_latest(mine.meter_key, meters.period_of(mine))
    return Answer({**latest_json(mine.meter_key, latest, now())}, "The last reading of your meter.")


@api.get(
    "/telemetry/my-meter/history",
    gate=CUSTOMER,
    query=HistoryQuery,
    answer=HistoryAnswer,
    errors={404: ("METER_NOT_ASSIGNED",)},
    summary="What you used, in buckets of time",
)
def show_my_history(query: HistoryQuery) -> Answer:
    """Only the time in which a meter was yours; with several meters one after the other, `meter_id` is the last one."""
    asked = _period(query)
    shown = asked.intersect(Period(rules.EARLIEST, now()))
    mine = held.parts_of(user().user_id, asked)
    points = (
        held.list_history_of(user().user_id, shown, query.resolution, accounts.zone_of(user().region)) if shown else []
    )
    last = meters.list_assignments(user_id=user().user_id)[-1].meter_key
    return _history(mine[-1][0] if mine else last, asked, query, points)


@api.get(
    "/telemetry/meters/<meter_id>",
    gate=OPERATOR,
    answer=LatestAnswer,
    errors={404: ("METER_NOT_FOUND",)},
    summary="The last reading of a meter",
)
def show_meter_reading(meter_id: str) -> Answer:
    """Any number of the range, whoever holds it; null what it never told."""
    meter_key = _key_of(meter_id)
    latest = queries.find_latest(meter_key, Period(rules.EARLIEST))
    return Answer({**latest_json(meter_key, latest, now())}, f"The last reading of {meter_id}.")


@api.get(
    "/telemetry/meters/<meter_id>/history",
    gate=OPERATOR,
    query=HistoryQuery,
    answer=HistoryAnswer,
    errors={404: ("METER_NOT_FOUND",)},
    summary="What a meter measured, in buckets of time",
)
def show_meter_history(meter_id: str, query: HistoryQuery) -> Answer:
    """Any number of the range, whoever holds it."""
    meter_key = _key_of(meter_id)
    asked = _period(query)
    return _history(meter_key, asked, query, _points(meter_key, asked, query))


def _key_of(meter_id: str) -> int:
    return meter_rules.key_in_range(meter_id, pool().first, pool().last)


def _period(query: HistoryQuery) -> Period:
    end = query.end or now()
    start = query.start or max(end, rules.EARLIEST) - timedelta(days=1)
    if start >= end:
        raise Invalid.field("start", "start must be before end.")
    return Period(start, end)


def _points(meter_key: int, part: Period, query: HistoryQuery) -> list[UsagePoint]:
    """The points until now: what has not happened yet is not missing."""
    shown = part.intersect(Period(rules.EARLIEST, now()))
    return queries.list_history(meter_key, shown, query.resolution, _zone_of(meter_key)) if shown else []


def _zone_of(meter_key: int) -> ZoneInfo:
    meter = meters.get_meter(meter_rules.meter_id(meter_key), pool())
    return accounts.zone_of(meter.region if meter else None)


def _history(meter_key: int, asked: Period, query: HistoryQuery, points: list[UsagePoint]) -> Answer:
    assert asked.end is not None
    data: HistoryAnswer = {
        "meter_id": meter_rules.meter_id(meter_key),
        "start_time": time_str(asked.start),
        "end_time": time_str(asked.end),
        "resolution": query.resolution,
        "points": [point_json(point) for point in points],
    }
    return Answer({**data}, "1 point." if len(points) == 1 else f"{len(points)} points.")
