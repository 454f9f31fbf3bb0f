"""What a customer used: the energy of their meters, each only while it was theirs (promise 3)."""

from __future__ import annotations

import uuid
from datetime import date
from zoneinfo import ZoneInfo

from portal.meters import queries as meters
from portal.periods import Period, days_of
from portal.readings import queries
from portal.readings.queries import DailyUsage, UsagePoint


def parts_of(user_id: uuid.UUID, period: Period) -> list[tuple[int, Period]]:
    """(meter key, time that it was theirs) within the (closed) period, oldest first.

    Raises NotFound METER_NOT_ASSIGNED for who never held a meter.
    """
    assignments = meters.list_assignments(user_id=user_id)
    if not assignments:
        raise meters.no_meter()
    found = ((row.meter_key, meters.period_of(row).intersect(period)) for row in assignments)
    return [(meter_key, part) for meter_key, part in found if part is not None]


def list_daily_of(user_id: uuid.UUID, period: Period, zone: ZoneInfo) -> list[DailyUsage]:
    """Every local day that the (closed) period touches. Seconds are expected only while a meter was theirs.

    Raises NotFound METER_NOT_ASSIGNED.
    """
    days = {day: _nothing(day) for day in days_of(period, zone)}
    for meter_key, part in parts_of(user_id, period):
        for used in queries.list_daily(meter_key, part, zone):
            days[used.day] = _together(days[used.day], used)
    return list(days.values())


def list_history_of(
    user_id: uuid.UUID, period: Period, resolution: queries.Resolution, zone: ZoneInfo
) -> list[UsagePoint]:
    """The buckets of the (closed) period while a meter was theirs. Raises NotFound METER_NOT_ASSIGNED, Invalid."""
    return [
        point
        for meter_key, part in parts_of(user_id, period)
        for point in queries.list_history(meter_key, part, resolution, zone)
    ]


def _nothing(day: date) -> DailyUsage:
    return DailyUsage(day, queries.ZERO, queries.ZERO, queries.ZERO, 0, 0)


def _together(one: DailyUsage, other: DailyUsage) -> DailyUsage:
    return DailyUsage(
        day=one.day,
        import_kwh=one.import_kwh + other.import_kwh,
        export_kwh=one.export_kwh + other.export_kwh,
        estimated_kwh=one.estimated_kwh + other.estimated_kwh,
        covered_seconds=one.covered_seconds + other.covered_seconds,
        expected_seconds=one.expected_seconds + other.expected_seconds,
        overlap_seconds=one.overlap_seconds + other.overlap_seconds,
    )
