"""Half-open periods and the edges of local days and months (promise 8).

Instants are aware datetimes in UTC; a period is `[start, end)`, and `end=None` means that it is still open.
A local day may have 23 or 25 hours: its edges are always computed, never added up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Period:
    """`[start, end)` in UTC. Raises ValueError for naive instants or an end that is not after its start."""

    start: datetime
    end: datetime | None = None

    def __post_init__(self) -> None:
        for edge in (self.start, self.end):
            if edge is not None and edge.tzinfo is None:
                raise ValueError("a period needs instants with a zone")
        if self.end is not None and self.end <= self.start:
            raise ValueError("a period ends after it starts")

    def contains(self, instant: datetime) -> bool:
        """True from the start, inclusive, to the end, exclusive."""
        return self.start <= instant and (self.end is None or instant < self.end)

    def intersect(self, other: Period) -> Period | None:
        """What both cover, or None."""
        start = max(self.start, other.start)
        ends = [edge for edge in (self.end, other.end) if edge is not None]
        end = min(ends) if ends else None
        if end is not None and end <= start:
            return None
        return Period(start, end)

    def overlaps(self, other: Period) -> bool:
        """True if they share an instant; touching edges do not."""
        return self.intersect(other) is not None

    def closed(self, end: datetime) -> Period:
        """This period, ended at `end` where it is open or later; needs `end` after the start."""
        return Period(self.start, end if self.end is None else min(self.end, end))

    @property
    def seconds(self) -> int:
        """Length in whole seconds. Raises ValueError when it is open."""
        if self.end is None:
            raise ValueError("an open period has no length")
        return int((self.end - self.start).total_seconds())


def local_midnight(day: date, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which the local day begins."""
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def local_day(day: date, zone: ZoneInfo) -> Period:
    """The local day, 23 to 25 hours long."""
    return Period(local_midnight(day, zone), local_midnight(day + timedelta(days=1), zone))


def local_date(instant: datetime, zone: ZoneInfo) -> date:
    """The local day that the instant belongs to."""
    return instant.astimezone(zone).date()


def next_month(year: int, month: int) -> tuple[int, int]:
    """(year, month) of the month after."""
    return (year + month // 12, month % 12 + 1)


def previous_month(year: int, month: int) -> tuple[int, int]:
    """(year, month) of the month before."""
    return (year, month - 1) if month > 1 else (year - 1, 12)


def local_month(year: int, month: int, zone: ZoneInfo) -> Period:
    """The local calendar month. Raises ValueError for a month outside 1..12 or a year outside 1..9998."""
    year_after, month_after = next_month(year, month)
    return Period(local_midnight(date(year, month, 1), zone), local_midnight(date(year_after, month_after, 1), zone))


def iterate_days(first: date, until: date) -> Iterator[date]:
    """The days from `first` up to and without `until`."""
    day = first
    while day < until:
        yield day
        day += timedelta(days=1)


def days_of(period: Period, zone: ZoneInfo) -> list[date]:
    """Every local day that the (closed) period touches, in order. Raises ValueError when it is open."""
    if period.end is None:
        raise ValueError("an open period has no last day")
    last = local_date(period.end - timedelta(microseconds=1), zone)
    return list(iterate_days(local_date(period.start, zone), last + timedelta(days=1)))
