"""Reads of readings and usage.

Every sum is exact at the instant of the read: it takes the hours or days that are up to date from the derived usage,
and all that is touched, cut by the period's edge, or not there straight from the readings, in one statement (so of one
snapshot). A bucket, or a period, owns the intervals whose start lies in it; sums of parts are the sum of the whole.
Energy that follows from registers is there once they have been worked through: in seconds, at once by `refresh_meter`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

from sqlalchemy import Row, TextClause, text

from portal.db import session
from portal.errors import Invalid
from portal.periods import Period, days_of, local_day
from portal.readings.models import Quality

Resolution = Literal["15m", "30m", "1h", "1d"]
STEPS = {"15m": timedelta(minutes=15), "30m": timedelta(minutes=30), "1h": timedelta(hours=1)}
MAX_POINTS = 3_000
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Energy:
    """Sums over a period, kWh. `estimated_kwh` is part of `import_kwh`.

    `covered_seconds` is the time that import intervals cover, overlaps counted once; the last interval may reach beyond
    the end of the period; `estimated_seconds` of it are estimates. `overlap_seconds` above 0 says that some energy may
    be in there twice.
    """

    import_kwh: Decimal
    export_kwh: Decimal
    estimated_kwh: Decimal
    covered_seconds: int
    overlap_seconds: int = 0
    estimated_seconds: int = 0


@dataclass(frozen=True, slots=True)
class DailyUsage:
    """A local day, or the part of it that lies in the period: kWh, seconds covered of those expected (promise 5)."""

    day: date
    import_kwh: Decimal
    export_kwh: Decimal
    estimated_kwh: Decimal
    covered_seconds: int
    expected_seconds: int
    overlap_seconds: int = 0


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """A bucket of a chart that begins at `start`. `energy_kwh` is None where no reading came (`missing`).

    A bucket with some of its readings is `measured`, with `covered_seconds` below `expected_seconds`. `export_kwh` is
    None for meters that told none.
    """

    start: datetime
    energy_kwh: Decimal | None
    export_kwh: Decimal | None
    quality: Literal["measured", "estimated", "missing"]
    covered_seconds: int
    expected_seconds: int


@dataclass(frozen=True, slots=True)
class Latest:
    """The last interval that a meter told, and its last register reading; None what it never told."""

    read_at: datetime | None = None
    interval_seconds: int | None = None
    energy_kwh: Decimal | None = None
    export_kwh: Decimal | None = None
    quality: Literal["measured", "estimated"] | None = None
    received_at: datetime | None = None
    register_kwh: Decimal | None = None
    register_at: datetime | None = None

    @property
    def seen_at(self) -> datetime | None:
        """The later of the two instants."""
        return max((each for each in (self.read_at, self.register_at) if each is not None), default=None)


# Plan: one index scan (pk_readings, backwards) per partition of the period, each stopped at its first row.
_LATEST = text("""
    SELECT read_at, interval_seconds, value, quality, received_at FROM readings
    WHERE meter_key = :meter_key AND kind = :kind AND read_at >= :start AND read_at < :end
    ORDER BY read_at DESC LIMIT 1""")


def find_latest(meter_key: int, period: Period) -> Latest:
    """The meter's last readings that began in the period (closed or open); all None if there is none."""
    values = {"meter_key": meter_key, "start": period.start, "end": period.end or "infinity"}
    interval = session.execute(_LATEST, values | {"kind": 1}).one_or_none()
    register = session.execute(_LATEST, values | {"kind": 3}).one_or_none()
    export = session.execute(_LATEST, values | {"kind": 2}).one_or_none() if interval else None
    return Latest(
        read_at=interval.read_at if interval else None,
        interval_seconds=interval.interval_seconds if interval else None,
        energy_kwh=interval.value if interval else None,
        export_kwh=export.value if export and interval and export.read_at == interval.read_at else None,
        quality=_quality(interval.quality) if interval else None,
        received_at=interval.received_at if interval else None,
        register_kwh=register.value if register else None,
        register_at=register.read_at if register else None,
    )


def _quality(number: int) -> Literal["measured", "estimated"]:
    return "estimated" if number == Quality.ESTIMATED else "measured"


# `:edges` are the starts of the buckets and the end of the last. `fresh`: rows of usage that lie in one bucket and that
# no reading has touched since; `gaps`: the time between them, added up from the readings. Plan: pk of usage, then one
# index scan of pk_readings per gap. `reach` is where the intervals of a bucket end.
_BUCKETS = """
    WITH edge AS (SELECT CAST(:edges AS timestamptz[]) AS edges),
    fresh AS MATERIALIZED (
        SELECT u.starts_at, u.ends_at, width_bucket(u.starts_at, (SELECT edges FROM edge)) AS bucket,
            u.import_kwh, u.export_kwh, u.estimated_kwh, u.measured_seconds + u.estimated_seconds AS seconds,
            u.estimated_seconds, u.overlap_seconds, u.reaches_at
        FROM {usage} u
        WHERE u.meter_key = :meter_key AND u.starts_at >= :start AND u.starts_at < :end AND u.ends_at <= :end
            AND width_bucket(u.starts_at, (SELECT edges FROM edge))
                = width_bucket(u.ends_at - interval '1 microsecond', (SELECT edges FROM edge))
            AND NOT EXISTS (
                SELECT FROM usage_touched t WHERE t.meter_key = :meter_key
                AND t.half_hour > u.starts_at - interval '30 minutes' AND t.half_hour < u.ends_at)),
    gaps AS (
        SELECT since, until FROM (
            SELECT lag(ends_at, 1, CAST(:start AS timestamptz)) OVER (ORDER BY starts_at) AS since, starts_at AS until
            FROM (SELECT starts_at, ends_at FROM fresh
                  UNION ALL SELECT CAST(:end AS timestamptz), CAST(:end AS timestamptz)) AS stops) AS between_stops
        WHERE since < until),
    raw AS (
        SELECT width_bucket(r.read_at, (SELECT edges FROM edge)) AS bucket, r.kind, r.value, r.interval_seconds,
            r.quality, r.read_at, r.read_at + r.interval_seconds * interval '1 second' AS ends,
            max(r.read_at + r.interval_seconds * interval '1 second') OVER (
                PARTITION BY g.since, r.kind ORDER BY r.read_at
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_ends
        FROM gaps g CROSS JOIN LATERAL (
            SELECT kind, value, interval_seconds, quality, read_at FROM usage_intervals
            WHERE meter_key = :meter_key AND read_at >= g.since AND read_at < g.until
                AND read_at >= :start AND read_at < :end) AS r)
    SELECT bucket, sum(import_kwh) AS import_kwh, sum(export_kwh) AS export_kwh, sum(estimated_kwh) AS estimated_kwh,
        sum(seconds) AS seconds, sum(estimated_seconds) AS estimated_seconds, sum(overlap_seconds) AS overlap_seconds,
        max(reach) AS reach
    FROM (
        SELECT bucket, import_kwh, export_kwh, estimated_kwh, seconds, estimated_seconds, overlap_seconds,
            reaches_at AS reach
        FROM fresh
        UNION ALL
        SELECT bucket, coalesce(sum(value) FILTER (WHERE kind = 1), 0), sum(value) FILTER (WHERE kind = 2),
            coalesce(sum(value) FILTER (WHERE kind = 1 AND quality = 1), 0),
            coalesce(sum(interval_seconds) FILTER (WHERE kind = 1), 0),
            coalesce(sum(interval_seconds) FILTER (WHERE kind = 1 AND quality = 1), 0),
            coalesce(sum(least(interval_seconds, greatest(0, extract(epoch FROM before_ends - read_at)))::int)
                FILTER (WHERE kind = 1), 0),
            max(ends) FILTER (WHERE kind = 1)
        FROM raw GROUP BY bucket) AS parts
    GROUP BY bucket ORDER BY bucket"""
_FROM_DAYS = text(_BUCKETS.format(usage="usage_daily"))
_FROM_HOURS = text(_BUCKETS.format(usage="usage_hourly"))

Bucket = Row[int, Decimal, Decimal | None, Decimal, int, int, int, datetime | None]


def _read(statement: TextClause, meter_key: int, edges: Sequence[datetime]) -> dict[int, Bucket]:
    """The buckets that hold readings, by their place in `edges` from 0."""
    rows = session.execute(
        statement, {"meter_key": meter_key, "edges": list(edges), "start": edges[0], "end": edges[-1]}
    )
    return {row.bucket - 1: row for row in rows}


def sum_energy(meter_key: int, period: Period, zone: ZoneInfo) -> Energy:
    """All that the meter measured in intervals that began in the (closed) period, to the last digit, at any cut.

    Whole days come from the daily usage, the rest from the readings. `zone` names the days and changes no sum.
    Raises ValueError when the period is open.
    """
    if period.end is None:
        raise ValueError("an open period has no sum")
    row = _read(_FROM_DAYS, meter_key, (period.start, period.end)).get(0)
    if row is None:
        return Energy(ZERO, ZERO, ZERO, 0)
    return Energy(
        import_kwh=row.import_kwh,
        export_kwh=row.export_kwh or ZERO,
        estimated_kwh=row.estimated_kwh,
        covered_seconds=int(row.seconds - row.overlap_seconds),
        overlap_seconds=int(row.overlap_seconds),
        estimated_seconds=int(row.estimated_seconds),
    )


def has_only_registers(meter_key: int, period: Period) -> bool:
    """True if the meter told its register in the (closed) period, its end included, and no energy follows from it.

    That is so where only one reading came, or the register was reset: whoever needs the energy must say that it is not
    known.
    """
    values = {"meter_key": meter_key, "start": period.start, "end": period.end}
    return bool(session.scalar(_ONLY_REGISTERS, values))


_ONLY_REGISTERS = text("""
    SELECT EXISTS (SELECT FROM readings
        WHERE meter_key = :meter_key AND kind = 3 AND read_at >= :start AND read_at <= :end)
    AND NOT EXISTS (SELECT FROM usage_intervals
        WHERE meter_key = :meter_key AND kind = 1 AND read_at >= :start AND read_at < :end)""")


def list_daily(meter_key: int, period: Period, zone: ZoneInfo) -> list[DailyUsage]:
    """Every local day that the (closed) period touches, days without a reading too, cut to the period at both ends."""
    days = days_of(period, zone)
    edges = _edges_of_days(period, days, zone)
    rows = _read(_FROM_DAYS, meter_key, edges)
    result = []
    for place, (day, (since, until)) in enumerate(zip(days, pairwise(edges), strict=True)):
        row = rows.get(place)
        expected = int((until - since).total_seconds())
        covered = int(row.seconds - row.overlap_seconds) if row else 0
        result.append(
            DailyUsage(
                day=day,
                import_kwh=row.import_kwh if row else ZERO,
                export_kwh=(row.export_kwh if row else None) or ZERO,
                estimated_kwh=row.estimated_kwh if row else ZERO,
                covered_seconds=min(covered, expected),
                expected_seconds=expected,
                overlap_seconds=int(row.overlap_seconds) if row else 0,
            )
        )
    return result


def _edges_of_days(period: Period, days: Sequence[date], zone: ZoneInfo) -> list[datetime]:
    assert period.end is not None
    return [period.start, *(local_day(day, zone).start for day in days[1:]), period.end]


def list_history(meter_key: int, period: Period, resolution: Resolution, zone: ZoneInfo) -> list[UsagePoint]:
    """The (closed) period in buckets of local time, each with its energy or `missing`; the sum of all is `sum_energy`.

    A bucket without a start of its own, inside a longer interval that began before it, is left out: its energy stands
    at the start of that interval. Buckets are cut to the period at both ends.
    Raises Invalid when there would be more than 3,000 points.
    """
    edges = _edges(period, resolution, zone)
    # No hour fits into a shorter bucket: then all of it comes from the readings.
    rows = _read(_FROM_DAYS if resolution == "1d" else _FROM_HOURS, meter_key, edges)
    reach = _reach_before(meter_key, period.start)
    points = []
    for place, (since, until) in enumerate(pairwise(edges)):
        row = rows.get(place)
        if row is None and reach is not None and reach >= until:
            continue
        if row is not None and row.reach is not None:
            reach = max(reach or row.reach, row.reach)
        points.append(_point(since, until, row))
    return points


def _point(since: datetime, until: datetime, row: Bucket | None) -> UsagePoint:
    expected = int((until - since).total_seconds())
    if row is None:
        return UsagePoint(since, None, None, "missing", 0, expected)
    if row.seconds == 0:
        # Only export was told.
        return UsagePoint(since, None, row.export_kwh, "missing", 0, expected)
    return UsagePoint(
        start=since,
        energy_kwh=row.import_kwh,
        export_kwh=row.export_kwh,
        quality="estimated" if row.estimated_seconds else "measured",
        covered_seconds=min(int(row.seconds - row.overlap_seconds), expected),
        expected_seconds=expected,
    )


def _edges(period: Period, resolution: Resolution, zone: ZoneInfo) -> list[datetime]:
    """Starts of the buckets, counted from local midnight, and the period's end."""
    assert period.end is not None
    days = days_of(period, zone)
    starts: list[datetime] = []
    step = STEPS.get(resolution)
    if len(days) * (1 if step is None else timedelta(days=1) // step) > MAX_POINTS + 200:
        raise _too_long(resolution)
    for day in days:
        whole = local_day(day, zone)
        assert whole.end is not None
        start = whole.start
        while start < whole.end:
            starts.append(start)
            start = whole.end if step is None else start + step
    inner = [each for each in starts if period.start < each < period.end]
    if len(inner) >= MAX_POINTS:
        raise _too_long(resolution)
    return [period.start, *inner, period.end]


def _too_long(resolution: str) -> Invalid:
    return Invalid.field(
        "resolution",
        f"{resolution} over this time gives more than {MAX_POINTS} points. Ask for less, or more coarsely.",
    )


# The interval that began last before the period and may reach into it. Plan: pk_readings backwards, first row.
_BEFORE = text("""
    SELECT read_at + interval_seconds * interval '1 second' FROM usage_intervals
    WHERE meter_key = :meter_key AND kind = 1 AND read_at < :start AND read_at >= :start - interval '1 day'
    ORDER BY read_at DESC LIMIT 1""")


def _reach_before(meter_key: int, start: datetime) -> datetime | None:
    reach: datetime | None = session.scalar(_BEFORE, {"meter_key": meter_key, "start": start})
    return reach
