"""Usage per local hour and day, recomputed from the readings wherever they changed.

Usage is a function of the readings: a touched hour is added up anew and replaced, its day is added up from its hours.
Nothing is added to what is there, so running it twice, late, or by many at once gives the same.

One meter is recomputed by one transaction at a time (an advisory lock that recomputing only tries, so it never waits).
Its notes are removed in one statement and the readings read in a later one, whose snapshot holds at least all that
those notes told of; a reading that comes meanwhile brings a note of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from sqlalchemy import text

from portal.accounts.queries import DEFAULT_ZONE
from portal.db import session
from portal.periods import Period, local_date, local_day
from portal.readings.spread import derive_registers

_HOUR = timedelta(hours=1)
_HALF_HOUR = timedelta(minutes=30)
# Namespace of the advisory locks on meters; the trigger usage_follows_zone takes them too.
METER_LOCK = 7_406_002

# Oldest notes first. Plan: pk_usage_touched from its head, passing over what others are removing.
_TAKE = text("""
    WITH head AS MATERIALIZED (
        SELECT touch_id, meter_key FROM usage_touched ORDER BY touch_id LIMIT :limit FOR UPDATE SKIP LOCKED),
    mine AS MATERIALIZED (
        SELECT meter_key FROM (SELECT DISTINCT meter_key FROM head) AS meters
        WHERE pg_try_advisory_xact_lock(:lock, meter_key))
    DELETE FROM usage_touched AS t USING head JOIN mine USING (meter_key) WHERE t.touch_id = head.touch_id
    RETURNING t.meter_key, t.half_hour""")

# A register reading makes the usage back to the one before it, however long ago: then all notes of the meter count.
# Only looked at: the notes stay for the worker, who reviews the bills that they concern (promise 6).
_NOTED_OF_METER = text("""
    SELECT meter_key, half_hour FROM usage_touched
    WHERE meter_key = :meter_key AND (half_hour > CAST(:start AS timestamptz) - interval '1 day'
        AND half_hour < CAST(:end AS timestamptz) + interval '1 day'
        OR EXISTS (SELECT FROM register_meters AS r WHERE r.meter_key = :meter_key)
        OR EXISTS (SELECT FROM meter_assignments AS a WHERE a.meter_key = :meter_key
                   AND (a.opening_register IS NOT NULL OR a.closing_register IS NOT NULL)))""")

_ZONES = text("""
    SELECT m.meter_key, r.timezone FROM meters m JOIN regions r ON r.name = m.region
    WHERE m.meter_key = ANY (:meters)""")

# One row: (13, 2026-11-14 18:30Z, 19:30Z, 0.250, null, 0, 3600, 0, 0, 2026-11-14 19:30Z). An interval overlaps as far
# as one before it reaches; of those before the hour the last is looked at. Plan: one index scan of pk_readings an hour.
# `:first` and `:last` bound all hours: partitions beyond are left out once, instead of being passed over for each hour.
_HOURS = text("""
    INSERT INTO usage_hourly AS u (meter_key, starts_at, ends_at, import_kwh, export_kwh, estimated_kwh,
        measured_seconds, estimated_seconds, overlap_seconds, reaches_at)
    SELECT h.meter_key, h.starts_at, h.ends_at, s.import_kwh, s.export_kwh, s.estimated_kwh,
        s.measured_seconds, s.estimated_seconds, s.overlap_seconds, s.reaches_at
    FROM unnest(CAST(:meters AS int[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
        AS h(meter_key, starts_at, ends_at)
    CROSS JOIN LATERAL (
        SELECT count(*) AS count,
            coalesce(sum(value) FILTER (WHERE kind = 1), 0) AS import_kwh,
            sum(value) FILTER (WHERE kind = 2) AS export_kwh,
            coalesce(sum(value) FILTER (WHERE kind = 1 AND quality = 1), 0) AS estimated_kwh,
            coalesce(sum(interval_seconds) FILTER (WHERE kind = 1 AND quality = 0), 0) AS measured_seconds,
            coalesce(sum(interval_seconds) FILTER (WHERE kind = 1 AND quality = 1), 0) AS estimated_seconds,
            coalesce(sum(least(interval_seconds, greatest(0,
                extract(epoch FROM greatest(before_ends, b.ends) - read_at)))::int)
                FILTER (WHERE kind = 1), 0) AS overlap_seconds,
            max(r.ends) FILTER (WHERE kind = 1) AS reaches_at
        FROM (
            SELECT kind, value, quality, interval_seconds, read_at,
                read_at + interval_seconds * interval '1 second' AS ends,
                max(read_at + interval_seconds * interval '1 second') OVER (
                    PARTITION BY kind ORDER BY read_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_ends
            FROM usage_intervals
            WHERE meter_key = h.meter_key AND read_at >= h.starts_at AND read_at < h.ends_at
                AND read_at >= CAST(:first AS timestamptz) AND read_at < CAST(:last AS timestamptz)) AS r
        LEFT JOIN LATERAL (
            SELECT read_at + interval_seconds * interval '1 second' AS ends FROM usage_intervals
            WHERE meter_key = h.meter_key AND kind = 1
                AND read_at < h.starts_at AND read_at >= h.starts_at - interval '1 day'
                AND read_at < CAST(:last AS timestamptz) AND read_at >= CAST(:first AS timestamptz) - interval '1 day'
            ORDER BY read_at DESC LIMIT 1) AS b ON true) AS s
    WHERE s.count > 0
    ON CONFLICT (meter_key, starts_at) DO UPDATE SET ends_at = excluded.ends_at, import_kwh = excluded.import_kwh,
        export_kwh = excluded.export_kwh, estimated_kwh = excluded.estimated_kwh,
        measured_seconds = excluded.measured_seconds, estimated_seconds = excluded.estimated_seconds,
        overlap_seconds = excluded.overlap_seconds, reaches_at = excluded.reaches_at""")

_DAYS = text("""
    INSERT INTO usage_daily AS u (meter_key, day, starts_at, ends_at, import_kwh, export_kwh, estimated_kwh,
        measured_seconds, estimated_seconds, overlap_seconds, reaches_at)
    SELECT d.meter_key, d.day, d.starts_at, d.ends_at, sum(h.import_kwh), sum(h.export_kwh), sum(h.estimated_kwh),
        sum(h.measured_seconds), sum(h.estimated_seconds), sum(h.overlap_seconds), max(h.reaches_at)
    FROM unnest(CAST(:meters AS int[]), CAST(:days AS date[]), CAST(:starts AS timestamptz[]),
        CAST(:ends AS timestamptz[])) AS d(meter_key, day, starts_at, ends_at)
    JOIN usage_hourly AS h
        ON h.meter_key = d.meter_key AND h.starts_at >= d.starts_at AND h.starts_at < d.ends_at
    GROUP BY d.meter_key, d.day, d.starts_at, d.ends_at
    ON CONFLICT (meter_key, starts_at) DO UPDATE SET day = excluded.day, ends_at = excluded.ends_at,
        import_kwh = excluded.import_kwh, export_kwh = excluded.export_kwh, estimated_kwh = excluded.estimated_kwh,
        measured_seconds = excluded.measured_seconds, estimated_seconds = excluded.estimated_seconds,
        overlap_seconds = excluded.overlap_seconds, reaches_at = excluded.reaches_at""")

# Energy of registers can go away again: a hour, or day, of which nothing is left.
_EMPTY_HOURS = text("""
    DELETE FROM usage_hourly AS u USING unnest(CAST(:meters AS int[]), CAST(:starts AS timestamptz[]))
        AS h(meter_key, starts_at)
    WHERE u.meter_key = h.meter_key AND u.starts_at = h.starts_at AND NOT EXISTS (
        SELECT FROM usage_intervals AS r
        WHERE r.meter_key = u.meter_key AND r.read_at >= u.starts_at AND r.read_at < u.ends_at)""")
_EMPTY_DAYS = text("""
    DELETE FROM usage_daily AS u USING unnest(CAST(:meters AS int[]), CAST(:starts AS timestamptz[]))
        AS d(meter_key, starts_at)
    WHERE u.meter_key = d.meter_key AND u.starts_at = d.starts_at AND NOT EXISTS (
        SELECT FROM usage_hourly AS h
        WHERE h.meter_key = u.meter_key AND h.starts_at >= u.starts_at AND h.starts_at < u.ends_at)""")

# When a meter was heard of last, to within the hour: not one write a reading. Whoever changes the meter's row is not
# waited for; the next reading tells it.
_SEEN = text("""
    WITH told AS (
        SELECT meter_key, max(half_hour) AS half_hour
        FROM unnest(CAST(:meters AS int[]), CAST(:half_hours AS timestamptz[])) AS t(meter_key, half_hour)
        GROUP BY meter_key),
    behind AS (
        SELECT m.meter_key, r.read_at FROM told AS t JOIN meters AS m USING (meter_key)
        CROSS JOIN LATERAL (
            SELECT max(read_at) AS read_at FROM readings
            WHERE meter_key = t.meter_key AND kind IN (1, 2, 3)
                AND read_at >= t.half_hour - interval '1 hour' AND read_at < t.half_hour + interval '30 minutes'
                AND read_at >= CAST(:first AS timestamptz) - interval '1 hour'
                AND read_at < CAST(:last AS timestamptz) + interval '30 minutes') AS r
        WHERE (m.last_seen_at IS NULL OR m.last_seen_at < t.half_hour - interval '1 hour')
            AND (m.last_seen_at IS NULL OR m.last_seen_at < r.read_at) AND r.read_at IS NOT NULL
        ORDER BY m.meter_key FOR NO KEY UPDATE OF m SKIP LOCKED)
    UPDATE meters AS m SET last_seen_at = behind.read_at FROM behind WHERE m.meter_key = behind.meter_key""")

Touched = Iterable[tuple[int, datetime]]


def refresh_usage(limit: int = 2_000, touched: list[tuple[int, datetime]] | None = None) -> int:
    """Recompute what the oldest `limit` notes touch; gives how many notes that settled, 0 when nothing is left to do.

    Many may run at once; each takes meters that no other is at. The caller commits, soon. What was changed, meter and
    half hour, is put into `touched`, also what registers changed beyond their own: for whoever keeps figures of it.
    """
    taken = [(row.meter_key, row.half_hour) for row in session.execute(_TAKE, {"limit": limit, "lock": METER_LOCK})]
    changed = _recompute(taken)
    _note_seen(taken)
    if touched is not None:
        touched += sorted(changed)
    return len(taken)


def _note_seen(touched: Touched) -> None:
    pairs = list(touched)
    if pairs:
        meters, half_hours = zip(*pairs, strict=True)
        bounds = {"first": min(half_hours), "last": max(half_hours)}
        session.execute(_SEEN, {"meters": list(meters), "half_hours": list(half_hours)} | bounds)


def refresh_meter(meter_key: int, period: Period) -> None:
    """Bring the usage of one meter in a (closed) period up to date now. Waits while another one recomputes the meter.

    `queries` give exact sums without it; this makes them fast before many are read.
    """
    if not session.scalar(
        text("SELECT EXISTS (SELECT FROM usage_touched WHERE meter_key = :meter_key)"), {"meter_key": meter_key}
    ):
        return
    session.execute(text("SELECT pg_advisory_xact_lock(:lock, :key)"), {"lock": METER_LOCK, "key": meter_key})
    values = {"meter_key": meter_key, "start": period.start, "end": period.end or "infinity"}
    _recompute((row.meter_key, row.half_hour) for row in session.execute(_NOTED_OF_METER, values).all())


def _recompute(touched: Touched) -> set[tuple[int, datetime]]:
    """Recompute; gives every meter and half hour that it concerned."""
    pairs = set(touched)
    if not pairs:
        return pairs
    from_registers = derive_registers(pairs)
    pairs |= from_registers
    meters = sorted({meter_key for meter_key, _ in pairs})
    zones = {meter_key: ZoneInfo(zone) for meter_key, zone in session.execute(_ZONES, {"meters": meters})}
    buckets = sorted(
        {
            (meter_key, hour)
            for meter_key, instant in pairs
            for hour in hours_of_half_hour(instant, zones.get(meter_key, DEFAULT_ZONE))
        },
        key=lambda each: (each[0], each[1].start),
    )
    session.execute(
        _HOURS,
        {
            "meters": [meter_key for meter_key, _ in buckets],
            "starts": [hour.start for _, hour in buckets],
            "ends": [hour.end for _, hour in buckets],
            "first": min(hour.start for _, hour in buckets),
            "last": max(hour.end or hour.start for _, hour in buckets),
        },
    )
    days = sorted({(meter_key, _day_of(hour.start, zones.get(meter_key, DEFAULT_ZONE))) for meter_key, hour in buckets})
    whole = [local_day(day, zones.get(meter_key, DEFAULT_ZONE)) for meter_key, day in days]
    starts = {"meters": [meter_key for meter_key, _ in buckets], "starts": [hour.start for _, hour in buckets]}
    if from_registers:
        session.execute(_EMPTY_HOURS, starts)
    session.execute(
        _DAYS,
        {
            "meters": [meter_key for meter_key, _ in days],
            "days": [day for _, day in days],
            "starts": [day.start for day in whole],
            "ends": [day.end for day in whole],
        },
    )
    if from_registers:
        starts = {"meters": [meter_key for meter_key, _ in days], "starts": [day.start for day in whole]}
        session.execute(_EMPTY_DAYS, starts)
    return pairs


@lru_cache(maxsize=50_000)
def hours_of_half_hour(half_hour: datetime, zone: ZoneInfo) -> tuple[Period, ...]:
    """The local hours that the half hour (UTC) lies in: one, or two where the zone's hours begin at :15 or :45."""
    last = half_hour + _HALF_HOUR - timedelta(microseconds=1)
    first_hour, last_hour = hour_of(half_hour, zone), hour_of(last, zone)
    return (first_hour,) if first_hour == last_hour else (first_hour, last_hour)


def hour_of(instant: datetime, zone: ZoneInfo) -> Period:
    """The local hour of the instant, counted from local midnight (in Kolkata they begin at :30 UTC).

    A day is always cut into hours without a remainder but for its last; on the days when a clock moves by half an hour
    (Lord Howe Island) that last one is half an hour long.
    """
    day = _whole_day(_day_of(instant, zone), zone)
    assert day.end is not None
    start = day.start + (instant - day.start) // _HOUR * _HOUR
    return Period(start, min(start + _HOUR, day.end))


@lru_cache(maxsize=50_000)
def _day_of(instant: datetime, zone: ZoneInfo) -> date:
    return local_date(instant, zone)


@lru_cache(maxsize=20_000)
def _whole_day(day: date, zone: ZoneInfo) -> Period:
    return local_day(day, zone)
