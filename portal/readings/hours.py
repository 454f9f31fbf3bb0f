"""Energy by hour of the local day, for tariffs that price some hours apart. Straight from the intervals in force."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import text

from portal.db import session
from portal.periods import Period

# One row: (9, 1, 12.345). Plan: an index scan of pk_readings and one of pk_register_usage.
_BY_HOUR = text("""
    SELECT extract(hour FROM read_at AT TIME ZONE :zone)::int AS hour, kind, sum(value) AS kwh
    FROM usage_intervals
    WHERE meter_key = :meter_key AND read_at >= :start AND read_at < :end
    GROUP BY 1, 2""")


@dataclass(frozen=True, slots=True)
class HourlyEnergy:
    """kWh by hour of the local day, 0 to 23: taken and given."""

    imported: tuple[Decimal, ...]
    exported: tuple[Decimal, ...]


def sum_by_hour(meter_key: int, period: Period, zone: ZoneInfo) -> HourlyEnergy:
    """All intervals that began in the (closed) period, each in the local hour in which it began (promise 8)."""
    sums = {1: [Decimal(0)] * 24, 2: [Decimal(0)] * 24}
    values = {"meter_key": meter_key, "start": period.start, "end": period.end, "zone": zone.key}
    for row in session.execute(_BY_HOUR, values):
        sums[row.kind][row.hour] = row.kwh
    return HourlyEnergy(tuple(sums[1]), tuple(sums[2]))
