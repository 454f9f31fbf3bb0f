"""A CSV file of stock, as rows that can be written, or what is wrong beside each of them. Pure: looks at no database.

Columns by their heading, in any order: meter, region, make, model, phase, multiplier, digits, commissioned. A column
that is not there changes nothing; an empty cell is the usual (no region, no make, single phase, multiplier 1, 6
digits). What the portal writes beside these into a file of its own (status and so on) is passed over, so such a file
can come back.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from portal.errors import Invalid
from portal.meters import rules
from portal.money import read_decimal

COLUMNS = ("meter", "region", "make", "model", "phase", "multiplier", "digits", "commissioned")
PASSED_OVER = ("status", "rests_until", "holder")
MOST_ROWS = 20_000
MOST_WRONG = 200
MAX_CELL = 100
HIGHEST_MULTIPLIER = Decimal(10_000)
_FORMULA = "=+-@\t\r"


@dataclass(frozen=True, slots=True)
class StockRow:
    """A row of the file: its line from 1, the meter, and the value of each column that it gives.

    `commissioned_on` is a local day of the meter's region.
    """

    line: int
    key: int
    values: dict[str, Any]
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WrongRow:
    """A row that cannot be taken: what was written there, and what is wrong, column by column."""

    line: int
    cells: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(slots=True)
class Checked:
    """A file that was read: its heading, the rows that can be taken, the first of the wrong ones, and how many."""

    heading: tuple[str, ...]
    rows: list[StockRow] = field(default_factory=list)
    wrong: list[WrongRow] = field(default_factory=list)
    wrong_count: int = 0

    def refuse(self, line: int, cells: tuple[str, ...], *errors: str) -> None:
        """Note a wrong row."""
        self.wrong_count += 1
        if len(self.wrong) < MOST_WRONG:
            self.wrong.append(WrongRow(line, cells, errors))


def read(content: bytes, first: int, last: int, regions: Collection[str], today: date) -> Checked:
    """Check every row of a file: numbers from `first` to `last`, the regions there are, no day after `today`.

    Raises Invalid on the field `file` for what is no such file at all.
    """
    rows = cells_of(content)
    number, heading = next(rows, (1, ()))
    names = _names_of(heading)
    checked, lines = Checked(names), dict[int, int]()
    parser = _Parser(first, last, regions, today)
    for number, cells in rows:
        if len(lines) + checked.wrong_count >= MOST_ROWS:
            raise _refused(f"The file has more than {MOST_ROWS} rows. Send it in parts.")
        if len(cells) != len(names):
            checked.refuse(number, cells, f"This row has {len(cells)} cells, the heading {len(names)}.")
            continue
        key, values, errors = parser.read(dict(zip(names, cells, strict=True)))
        if key is not None and key in lines:
            errors.append(f"{rules.meter_id(key)} stands in line {lines[key]} already.")
        if errors or key is None:
            checked.refuse(number, cells, *errors)
        else:
            lines[key] = number
            checked.rows.append(StockRow(number, key, values, cells))
    if not checked.rows and not checked.wrong:
        raise _refused("The file has a heading, but no row under it.")
    return checked


def _refused(message: str) -> Invalid:
    return Invalid.field("file", message)


def cells_of(content: bytes) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The rows that are not empty, with their line; comma, semicolon or tab, whichever the heading has most of."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _refused("This is not a text in UTF-8. Save it as CSV UTF-8.") from None
    if "\0" in text:
        raise _refused("This is not a CSV file. Save the sheet as CSV.")
    heading = text.lstrip().split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=heading.count), strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, tuple(_plain(cell) for cell in cells)
    except csv.Error:
        raise _refused(f"Line {reader.line_num} cannot be read: a quotation mark there has no partner.") from None


def _plain(cell: str) -> str:
    """A cell without blanks around it, and without the mark that keeps a spreadsheet from running it."""
    text = cell.strip()
    return text[1:] if text[:1] == "'" and text[1:2] and text[1] in _FORMULA else text


def write(rows: Iterable[Sequence[str | None]]) -> str:
    """Rows as lines of a file."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([[cell(value) for value in row] for row in rows])
    return lines.getvalue()


def cell(value: str | None) -> str:
    """A cell for a file: a spreadsheet runs one that begins like a formula, so such a one gets a mark in front."""
    return f"'{value}" if value and value[0] in _FORMULA else value or ""


def _names_of(heading: tuple[str, ...]) -> tuple[str, ...]:
    if not heading:
        raise _refused("The file is empty.")
    names = tuple(re.sub(r"[\s-]+", "_", name.lower()) for name in heading)
    names = tuple("meter" if name in ("meter_id", "meter_number") else name for name in names)
    if "meter" not in names:
        raise _refused(f"The first row must name the columns, “meter” among them: {', '.join(COLUMNS)}.")
    for name in names:
        if name not in COLUMNS and name not in PASSED_OVER:
            raise _refused(f"There is no column “{name[:40]}”. There are: {', '.join(COLUMNS)}.")
        if names.count(name) > 1:
            raise _refused(f"The column “{name}” is there twice.")
    return names


class _Parser:
    """Turns cells into values. Each way gives the value, or raises ValueError with what is wrong."""

    def __init__(self, first: int, last: int, regions: Collection[str], today: date) -> None:
        self.first, self.last, self.regions, self.today = first, last, regions, today

    def read(self, cells: dict[str, str]) -> tuple[int | None, dict[str, Any], list[str]]:
        """(key, new values, what is wrong)."""
        errors: list[str] = []
        values: dict[str, Any] = {}
        ways: dict[str, tuple[str, Callable[[str], Any]]] = {
            "region": ("region", self._region),
            "make": ("make", _name),
            "model": ("model", _name),
            "phase": ("phase", _phase),
            "multiplier": ("multiplier", _multiplier),
            "digits": ("digits", _digits),
            "commissioned": ("commissioned_on", self._commissioned),
        }
        try:
            key = self._key(cells["meter"])
        except ValueError as error:
            key = None
            errors.append(str(error))
        for name, (column, way) in ways.items():
            if name in cells:
                try:
                    values[column] = way(cells[name])
                except ValueError as error:
                    errors.append(f"{name}: {error}")
        return key, values, errors

    def _key(self, text: str) -> int:
        key = rules.find_meter_key(text.upper())
        if key is None:
            raise ValueError(f"{_shown(text)} is not a meter number; they look like MTR-00000013.")
        if not self.first <= key <= self.last:
            span = f"{rules.meter_id(self.first)} to {rules.meter_id(self.last)}"
            raise ValueError(f"{rules.meter_id(key)} is outside the range of this utility, {span}.")
        return key

    def _region(self, text: str) -> str | None:
        if text and text not in self.regions:
            raise ValueError(f"there is no region {_shown(text)}. The regions are: {', '.join(sorted(self.regions))}.")
        return text or None

    def _commissioned(self, text: str) -> date | None:
        if not text:
            return None
        try:
            day = date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{_shown(text)} is not a day such as 2026-01-31.") from None
        if day.year < 2000 or day > self.today:
            raise ValueError(f"{text} is not a day between the year 2000 and today.")
        return day


def _shown(text: str) -> str:
    return f"“{text if len(text) <= 40 else text[:40] + '…'}”" if text else "an empty cell"


def _name(text: str) -> str | None:
    if len(text) > 60:
        raise ValueError("at most 60 characters.")
    return text or None


def _phase(text: str) -> int:
    if text not in ("", "1", "3"):
        raise ValueError(f"{_shown(text)} is neither 1 nor 3.")
    return int(text or 1)


def _multiplier(text: str) -> Decimal:
    wrong = ValueError(
        f"{_shown(text)} is not a number above 0, {HIGHEST_MULTIPLIER} at most, with up to three decimals."
    )
    try:
        value = read_decimal(text or "1") if len(text) <= MAX_CELL else Decimal(0)
    except ValueError:
        raise wrong from None
    if not value.is_finite() or not 0 < value <= HIGHEST_MULTIPLIER or value != round(value, 3):
        raise wrong
    if value != 1:
        # Neither readings nor bills weigh by it: such a meter would be billed for a part of its energy.
        raise ValueError(f"{_shown(text)}: meters with a multiplier cannot be billed yet. Leave the cell empty, or 1.")
    return value


def _digits(text: str) -> int:
    if text not in ("", "4", "5", "6", "7", "8", "9"):
        raise ValueError(f"{_shown(text)} is not a number of digits from 4 to 9.")
    return int(text or 6)
