"""What a register tells of the time between its readings: pure arithmetic, no database.

Interval energy makes the usage. A register (a running total) makes it where no interval energy came: what it counted
between two readings, less what the intervals between them told, is spread evenly over the time that no interval covers,
and marked as estimated (promise 5). Two readings up to an hour apart with no interval between them are as good as an
interval: that energy is measured.

What cannot be told is not made up: a register that went backwards (it was reset), or ran faster than any supply of its
kind can, leaves its time missing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from portal.money import round_energy
from portal.readings.models import Quality
from portal.readings.rules import MAX_INTERVAL, half_hour

CLOSING, READING, OPENING = 0, 1, 2
"""Where a point comes from, in their order at one instant: a holder's end, the meter itself, the next one's begin."""

# Mean power (kW) beyond which no register of a meter with 1 or 3 phases runs. Constants, not settings: usage has to be
# a function of what is stored. Five times a large household's supply, and a low-voltage supply at its largest.
MAX_KW = {1: Decimal(50), 3: Decimal(500)}
# A register that shows whole kWh jumps: over less than this nothing is too fast.
_SHORTEST = timedelta(minutes=15)
_MEASURED = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
_HALF_HOUR = timedelta(minutes=30)
_HOUR_US = 3_600_000_000
_ZERO = Decimal(0)


class Point(NamedTuple):
    """A register reading: kWh at an instant. Sorted, they are in the order in which they count."""

    at: datetime
    side: int
    kwh: Decimal


class Interval(NamedTuple):
    """Interval energy that was told, kWh."""

    start: datetime
    seconds: int
    kwh: Decimal

    @property
    def end(self) -> datetime:
        """Where it ends."""
        return self.start + timedelta(seconds=self.seconds)


class Piece(NamedTuple):
    """Energy that follows from registers, as an interval: kWh, seconds."""

    start: datetime
    seconds: int
    kwh: Decimal
    quality: int


def counted(one: Point, other: Point, digits: int, phase: int) -> Decimal | None:
    """kWh that the register counted from `one` to `other`; None where that cannot be told.

    A register of `digits` begins again at 0 after 10**digits − 1: a fall is that where the energy it would mean is
    possible, and otherwise a reset.
    """
    kwh, size = other.kwh - one.kwh, Decimal(10) ** digits
    if kwh < 0:
        kwh += size
        if one.kwh >= size or kwh < 0 or kwh > size / 2:
            return None
    time = max(other.at - one.at, _SHORTEST)
    return kwh if kwh <= MAX_KW[phase] * _microseconds(time) / _HOUR_US else None


def derive(points: Sequence[Point], intervals: Sequence[Interval], digits: int, phase: int) -> list[Piece]:
    """The energy that sorted points tell beside the (sorted) import intervals, in order of time.

    A function of what it is given, so the order of arrival never matters, and a corrected point moves both neighbours.
    """
    pieces: list[Piece] = []
    starts = [each.start for each in intervals]
    longest = timedelta(seconds=MAX_INTERVAL)
    for one, other in pairwise(points):
        if one.at == other.at:
            continue
        kwh = counted(one, other, digits, phase)
        if kwh is None:
            continue
        # An interval that began before may reach in.
        first, last = bisect_left(starts, one.at - longest), bisect_left(starts, other.at)
        within = [each for each in intervals[first:last] if each.end > one.at]
        pieces += _between(one.at, other.at, kwh, within)
    return pieces


def _between(start: datetime, end: datetime, kwh: Decimal, intervals: Sequence[Interval]) -> list[Piece]:
    if not intervals and end - start <= _MEASURED:
        return [Piece(start, _seconds(end - start), round_energy(kwh), Quality.MEASURED)]
    told = sum((_part(each, start, end) for each in intervals), _ZERO)
    parts = [cut for gap in _gaps(start, end, intervals) for cut in _by_half_hours(*gap)]
    if told > kwh or not parts:
        # Intervals that tell more than the register, or cover all of the time: the register only checks them.
        return []
    return _spread(kwh - told, parts)


def _part(interval: Interval, start: datetime, end: datetime) -> Decimal:
    """The energy of the part of an interval that lies in the time, as if it were even."""
    inside = min(interval.end, end) - max(interval.start, start)
    if inside == timedelta(seconds=interval.seconds):
        return interval.kwh
    return interval.kwh * _microseconds(inside) / (interval.seconds * 1_000_000)


def _gaps(start: datetime, end: datetime, intervals: Sequence[Interval]) -> Iterator[tuple[datetime, datetime]]:
    """The time that no interval covers."""
    reach = start
    for each in intervals:
        if each.start - reach >= _SECOND:
            yield reach, each.start
        reach = max(reach, each.end)
    if end - reach >= _SECOND:
        yield reach, end


def _by_half_hours(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Cut at half hours of UTC, so that hours and days of (nearly) every zone get their share."""
    while start < end:
        until = min(half_hour(start + _SECOND) + _HALF_HOUR, end)
        if end - until < _SECOND:
            until = end
        yield start, until
        start = until


def _spread(kwh: Decimal, parts: Sequence[tuple[datetime, datetime]]) -> list[Piece]:
    """Shares by time that add up to `kwh` to the last digit."""
    whole = sum(_microseconds(end - start) for start, end in parts)
    pieces, passed, given = [], 0, _ZERO
    for start, end in parts:
        passed += _microseconds(end - start)
        upto = round_energy(kwh * passed / whole)
        pieces.append(Piece(start, _seconds(end - start), upto - given, Quality.ESTIMATED))
        given = upto
    return pieces


def _seconds(time: timedelta) -> int:
    return max(1, time // _SECOND)


def _microseconds(time: timedelta) -> int:
    return time // timedelta(microseconds=1)
