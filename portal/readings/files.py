"""Files of interval energy: CSV, the start of the interval in the first column and its kWh in the second.

A file is read twice, as a stream: once to learn its interval, once to take its rows.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo

from portal.errors import Invalid
from portal.money import read_decimal, round_wh
from portal.periods import local_date

MAX_CELL = 64


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the file: its line number from 1, the start (UTC) and the energy in kWh, to the Wh."""

    number: int
    start: datetime
    kwh: Decimal


@dataclass(frozen=True, slots=True)
class BadLine:
    """A row that cannot be taken, and why."""

    number: int
    reason: str


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError:
        raise Invalid(f"{path.name} is not a text in UTF-8.") from None
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise Invalid(f"{path.name} is not a whole gzip file.") from None
    except csv.Error as fault:
        raise Invalid(f"{path.name} is not a CSV file: {fault}.") from None


def read_lines(path: Path, zone: ZoneInfo, last_year: LastYear | None = None) -> Iterator[Line | BadLine]:
    """The rows of a .csv or .csv.gz, in order. Raises Invalid when it is no such file.

    Instants with an offset are taken as they are, others are wall time of `zone`. A first row without an instant is the
    heading. Separated by comma, semicolon or tab.
    """
    with _open(path) as file:
        first = file.readline()
        file.seek(0)
        separator = max(",;\t", key=first.count)
        clock = _Clock(zone, last_year)
        for number, cells in _numbered(csv.reader(file, delimiter=separator)):
            if not any(cell.strip() for cell in cells):
                continue
            line = _line(number, cells, clock)
            if number == 1 and isinstance(line, BadLine) and _instant(cells[0]) is None:
                continue
            yield line


def _numbered(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    for cells in reader:
        yield reader.line_num, cells  # type: ignore[attr-defined]


def _line(number: int, cells: list[str], clock: _Clock) -> Line | BadLine:
    if len(cells) < 2:
        return BadLine(number, "there is no second column with the energy")
    told = _instant(cells[0])
    if told is None:
        return BadLine(number, f"{_shown(cells[0])} is not a time such as 2026-11-01 00:30 or 2026-11-01T00:30+05:30")
    kwh = _energy(cells[1])
    if isinstance(kwh, str):
        return BadLine(number, kwh)
    start = clock.read(told)
    if isinstance(start, str):
        return BadLine(number, start)
    return Line(number, start, kwh)


def _shown(cell: str) -> str:
    text = cell.strip()
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _instant(cell: str) -> datetime | None:
    text = cell.strip()
    # A bare date or week is no start of an interval.
    if ":" not in text or len(text) > MAX_CELL:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _energy(cell: str) -> Decimal | str:
    text = cell.strip()
    if not text:
        return "the energy is missing"
    try:
        kwh = read_decimal(text) if len(text) <= MAX_CELL else None
    except ValueError:
        kwh = None
    if kwh is None or not kwh.is_finite():
        return f"{_shown(cell)} is not a number of kWh"
    if kwh < 0:
        return f"{_shown(cell)} is negative"
    if kwh > 1_000_000:
        return f"{_shown(cell)} kWh in one interval cannot be right"
    return round_wh(kwh)


class LastYear:
    """Puts a date into the last twelve full months before `today`, keeping day and month."""

    def __init__(self, today: date) -> None:
        self.today = today
        self._from: dict[datetime, int] = {}

    def find_day(self, day: date) -> date | None:
        """The day in those months; None for a 29 February that they do not have."""
        year = self.today.year if day.month < self.today.month else self.today.year - 1
        try:
            return day.replace(year=year)
        except ValueError:
            return None

    def is_taken(self, start: datetime, year: int) -> bool:
        """True if a row of another year came to the same instant before."""
        return self._from.setdefault(start, year) != year


class _Clock:
    """Turns what a file tells into instants, going with it from row to row."""

    def __init__(self, zone: ZoneInfo, last_year: LastYear | None) -> None:
        self._zone = zone
        self._last_year = last_year
        self._before: datetime | None = None

    def read(self, told: datetime) -> datetime | str:
        """The instant in UTC, or why there is none."""
        try:
            if self._last_year is None and told.tzinfo is not None:
                return told.astimezone(UTC)
            local = told if told.tzinfo is None else told.astimezone(self._zone)
            day = local.date()
            if self._last_year is not None:
                moved = self._last_year.find_day(local.date())
                if moved is None:
                    return "29 February is not among the last twelve months"
                day = moved
            start = self._instant_of(datetime.combine(day, local.time().replace(fold=local.fold)))
        except OverflowError:
            return "the time is beyond the calendar"
        if start is None:
            return f"{local:%Y-%m-%d %H:%M} is skipped by the clock of {self._zone.key}"
        if self._last_year is not None and self._last_year.is_taken(start, local.year):
            return "another year's row stands at the same time of the last twelve months"
        self._before = start
        return start

    def _instant_of(self, wall: datetime) -> datetime | None:
        """The instant of a wall time; None if the clock skips it. An hour that comes twice is told in order."""
        start = wall.replace(tzinfo=self._zone).astimezone(UTC)
        if start.astimezone(self._zone).replace(tzinfo=None) != wall.replace(fold=0):
            return None
        again = wall.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
        return again if again > start and self._before is not None and self._before >= start else start


def find_interval(path: Path, zone: ZoneInfo) -> int:
    """The most common gap between one row and the next, in seconds. Raises Invalid when two rows cannot be found."""
    gaps: Counter[int] = Counter()
    before: datetime | None = None
    for line in read_lines(path, zone):
        if isinstance(line, Line):
            if before is not None and line.start > before:
                gaps[int((line.start - before).total_seconds())] += 1
            before = line.start
    if not gaps:
        raise Invalid(f"{path.name} does not show its interval; say it with --interval SECONDS.")
    # Of gaps that come equally often the shortest: the longer ones are holes.
    return min(gaps, key=lambda gap: (-gaps[gap], gap))


def today_of(now: datetime, zone: ZoneInfo) -> LastYear:
    """The last twelve full months before now, by the calendar of `zone`."""
    return LastYear(local_date(now, zone))
