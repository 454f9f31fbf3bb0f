"""Keeps the energy that follows from registers (`registers`) up to date, as intervals in `register_usage`.

Called while usage is recomputed, under the lock of each meter: whatever changed, the stretches between the register
readings around it are worked out anew. What a reading that comes meanwhile changes, its own note brings about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text

from portal.db import session
from portal.readings.registers import Interval, Piece, Point, derive
from portal.readings.rules import half_hour

Touch = tuple[int, datetime]

# Plan: pk_register_meters and ix_meter_assignments_registers, one look-up each a meter.
_WITH_REGISTERS = text("""
    SELECT t.meter_key, m.digits, m.phase
    FROM unnest(CAST(:meters AS int[])) AS t(meter_key) JOIN meters AS m USING (meter_key)
    WHERE EXISTS (SELECT FROM register_meters AS r WHERE r.meter_key = t.meter_key)
        OR EXISTS (SELECT FROM meter_assignments AS a WHERE a.meter_key = t.meter_key
                   AND (a.opening_register IS NOT NULL OR a.closing_register IS NOT NULL))""")

# The last register reading before each half hour and the first after it; null where there is none.
_AROUND = text("""
    SELECT t.meter_key, t.half_hour,
        (SELECT max(at) FROM (
            (SELECT read_at AS at FROM readings
             WHERE meter_key = t.meter_key AND kind = 3 AND read_at < t.half_hour ORDER BY read_at DESC LIMIT 1)
            UNION ALL SELECT assigned_at FROM meter_assignments
            WHERE meter_key = t.meter_key AND opening_register IS NOT NULL AND assigned_at < t.half_hour
            UNION ALL SELECT unassigned_at FROM meter_assignments
            WHERE meter_key = t.meter_key AND closing_register IS NOT NULL AND unassigned_at < t.half_hour
        ) AS before) AS lo,
        (SELECT min(at) FROM (
            (SELECT read_at AS at FROM readings
             WHERE meter_key = t.meter_key AND kind = 3 AND read_at >= t.half_hour + interval '30 minutes'
             ORDER BY read_at LIMIT 1)
            UNION ALL SELECT assigned_at FROM meter_assignments
            WHERE meter_key = t.meter_key AND opening_register IS NOT NULL
                AND assigned_at >= t.half_hour + interval '30 minutes'
            UNION ALL SELECT unassigned_at FROM meter_assignments
            WHERE meter_key = t.meter_key AND closing_register IS NOT NULL
                AND unassigned_at >= t.half_hour + interval '30 minutes'
        ) AS after) AS hi
    FROM unnest(CAST(:meters AS int[]), CAST(:half_hours AS timestamptz[])) AS t(meter_key, half_hour)
    ORDER BY 1, 2""")

_STRETCHES = """
    SELECT s.place, {columns}
    FROM (
        SELECT place, meter_key, coalesce(since, '-infinity') AS since, coalesce(until, 'infinity') AS until
        FROM unnest(CAST(:meters AS int[]), CAST(:since AS timestamptz[]), CAST(:until AS timestamptz[]))
            WITH ORDINALITY AS given(meter_key, since, until, place)) AS s
    JOIN LATERAL ({rows}) AS r ON true
    ORDER BY s.place, r.at"""
_OF_POINTS = """
        SELECT read_at AS at, 1 AS side, value AS kwh FROM readings
        WHERE meter_key = s.meter_key AND kind = 3 AND read_at >= s.since AND read_at <= s.until
        UNION ALL SELECT assigned_at, 2, opening_register FROM meter_assignments
        WHERE meter_key = s.meter_key AND opening_register IS NOT NULL
            AND assigned_at >= s.since AND assigned_at <= s.until
        UNION ALL SELECT unassigned_at, 0, closing_register FROM meter_assignments
        WHERE meter_key = s.meter_key AND closing_register IS NOT NULL
            AND unassigned_at >= s.since AND unassigned_at <= s.until"""
_OF_INTERVALS = """
        SELECT read_at AS at, interval_seconds, value FROM readings
        WHERE meter_key = s.meter_key AND kind = 1 AND read_at >= s.since - interval '1 day' AND read_at < s.until"""
_OF_KNOWN = """
        SELECT read_at AS at, interval_seconds, value, quality FROM register_usage
        WHERE meter_key = s.meter_key AND read_at >= s.since AND read_at < s.until"""
_POINTS = text(_STRETCHES.format(columns="r.at, r.side, r.kwh", rows=_OF_POINTS) + ", r.side")
_INTERVALS = text(_STRETCHES.format(columns="r.at, r.interval_seconds, r.value", rows=_OF_INTERVALS))
_KNOWN = text(_STRETCHES.format(columns="r.at, r.interval_seconds, r.value, r.quality", rows=_OF_KNOWN))

_REMOVE = text("""
    DELETE FROM register_usage AS r
    USING unnest(CAST(:meters AS int[]), CAST(:starts AS timestamptz[])) AS g(meter_key, read_at)
    WHERE r.meter_key = g.meter_key AND r.read_at = g.read_at""")
_ADD = text("""
    INSERT INTO register_usage (meter_key, read_at, interval_seconds, value, quality)
    SELECT * FROM unnest(CAST(:meters AS int[]), CAST(:starts AS timestamptz[]), CAST(:seconds AS int[]),
        CAST(:kwh AS numeric[]), CAST(:qualities AS smallint[]))""")


@dataclass(slots=True)
class _Stretch:
    """Time of one meter between two register readings, over others between them; None reaches without end."""

    meter_key: int
    since: datetime | None
    until: datetime | None
    points: list[Point] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)


def derive_registers(touched: Iterable[Touch]) -> set[Touch]:
    """Bring `register_usage` up to date around these half hours; gives the half hours (UTC) in which it changed."""
    pairs = sorted(set(touched))
    meters = {
        row.meter_key: (row.digits, row.phase)
        for row in session.execute(_WITH_REGISTERS, {"meters": sorted({meter_key for meter_key, _ in pairs})})
    }
    stretches = _stretches([pair for pair in pairs if pair[0] in meters]) if meters else []
    if not stretches:
        return set()
    _read_points(stretches)
    _read_intervals(stretches)
    known = _read_known(stretches)
    gone: set[tuple[int, Piece]] = set()
    new: set[tuple[int, Piece]] = set()
    for place, stretch in enumerate(stretches):
        pieces = set(derive(stretch.points, stretch.intervals, *meters[stretch.meter_key]))
        gone |= {(stretch.meter_key, piece) for piece in known[place] - pieces}
        new |= {(stretch.meter_key, piece) for piece in pieces - known[place]}
    _write(sorted(gone), sorted(new))
    return {(meter_key, half_hour(piece.start)) for meter_key, piece in gone | new}


def _stretches(pairs: Sequence[Touch]) -> list[_Stretch]:
    """The time between the register readings around each of these half hours; what overlaps is one."""
    if not pairs:
        return []
    rows = session.execute(
        _AROUND, {"meters": [meter for meter, _ in pairs], "half_hours": [half for _, half in pairs]}
    ).all()
    found: list[_Stretch] = []
    for row in rows:
        last = found[-1] if found else None
        # By half hour, so neither end ever lies before that of the row above.
        if last and last.meter_key == row.meter_key and _touches(last.until, row.lo):
            last.until = row.hi
        else:
            found.append(_Stretch(row.meter_key, row.lo, row.hi))
    return found


def _touches(until: datetime | None, since: datetime | None) -> bool:
    return until is None or since is None or since <= until


def _bounds(stretches: Sequence[_Stretch]) -> dict[str, Any]:
    return {
        "meters": [each.meter_key for each in stretches],
        "since": [each.since for each in stretches],
        "until": [each.until for each in stretches],
    }


def _read_points(stretches: Sequence[_Stretch]) -> None:
    for row in session.execute(_POINTS, _bounds(stretches)):
        stretches[row.place - 1].points.append(Point(row.at, row.side, row.kwh))


def _read_intervals(stretches: Sequence[_Stretch]) -> None:
    between = [each for each in stretches if len(each.points) > 1]
    bounds = {
        "meters": [each.meter_key for each in between],
        "since": [each.points[0].at for each in between],
        "until": [each.points[-1].at for each in between],
    }
    for row in session.execute(_INTERVALS, bounds):
        between[row.place - 1].intervals.append(Interval(row.at, row.interval_seconds, row.value))


def _read_known(stretches: Sequence[_Stretch]) -> dict[int, set[Piece]]:
    known: dict[int, set[Piece]] = defaultdict(set)
    for row in session.execute(_KNOWN, _bounds(stretches)):
        known[row.place - 1].add(Piece(row.at, row.interval_seconds, row.value, row.quality))
    return known


def _write(gone: Sequence[tuple[int, Piece]], new: Sequence[tuple[int, Piece]]) -> None:
    if gone:
        session.execute(_REMOVE, {"meters": [meter for meter, _ in gone], "starts": [piece.start for _, piece in gone]})
    if new:
        session.execute(
            _ADD,
            {
                "meters": [meter for meter, _ in new],
                "starts": [piece.start for _, piece in new],
                "seconds": [piece.seconds for _, piece in new],
                "kwh": [piece.kwh for _, piece in new],
                "qualities": [piece.quality for _, piece in new],
            },
        )
