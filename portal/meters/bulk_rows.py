"""A CSV file of assignments, as rows, and the rules by which a row can be done. Pure: looks at no database.

Columns by their heading, in any order: user (e-mail or id), meter, region, date (since when, a local day). Only `user`
must be there. An empty meter is the next free one, an empty date is now. A column `error`, which the portal adds for
whoever corrects the file, is passed over.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from portal.errors import Invalid
from portal.meters import rules
from portal.meters.stock_rows import cells_of
from portal.periods import local_date, local_midnight

COLUMNS = ("user", "meter", "region", "date")
PASSED_OVER = ("error",)
SAME = {"email": "user", "e_mail": "user", "user_id": "user", "userid": "user", "meter_id": "meter", "since": "date"}
MOST_ROWS = 100_000
EARLIEST = date(2000, 1, 1)


@dataclass(slots=True)
class AskedRow:
    """A row of the file: its line from 1, who shall hold which meter since when, and what is wrong with it."""

    line: int
    cells: tuple[str, ...]
    user: str = ""
    user_id: uuid.UUID | None = None
    meter_key: int | None = None
    region: str | None = None
    day: date | None = None
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says about a row: the user, the meter (status None: no row), and until when both were taken."""

    user_id: uuid.UUID
    email: str
    is_customer: bool
    region: str | None
    holds: str | None
    held_since: datetime | None
    status: str | None
    meter_region: str | None
    meter_taken_until: datetime | None
    user_taken_until: datetime | None


@dataclass(slots=True)
class Sheet:
    """A file that was read: its columns and its rows."""

    names: tuple[str, ...]
    rows: list[AskedRow] = field(default_factory=list)


def read(content: bytes, first: int, last: int, zones: Mapping[str | None, ZoneInfo], now: datetime) -> Sheet:
    """Read a file; numbers are from `first` to `last`, `zones` are the regions there are.

    Raises Invalid on the field `file` for what is no such file at all.
    """
    rows = cells_of(content)
    _line, heading = next(rows, (1, ()))
    if heading and heading[0].lower().startswith("sep="):  # what a spreadsheet writes for itself
        _line, heading = next(rows, (1, ()))
    sheet = Sheet(_names_of(heading))
    users: dict[str, int] = {}
    meters: dict[int, int] = {}
    for line, cells in rows:
        if len(sheet.rows) >= MOST_ROWS:
            raise _refused(f"The file has more than {MOST_ROWS:,} rows. Send it in parts.")
        row = AskedRow(line, cells)
        sheet.rows.append(row)
        if len(cells) > len(sheet.names) and any(cells[len(sheet.names) :]):
            row.errors.append(f"This row has {len(cells)} cells, the heading {len(sheet.names)}.")
            continue
        given = dict.fromkeys(COLUMNS, "") | dict(zip(sheet.names, cells, strict=False))
        _read_row(row, given, first, last, zones, now)
        _note_twice(row, users, meters)
    if not sheet.rows:
        raise _refused("The file has a heading, but no row under it.")
    return sheet


def _read_row(
    row: AskedRow, given: dict[str, str], first: int, last: int, zones: Mapping[str | None, ZoneInfo], now: datetime
) -> None:
    for name in COLUMNS:
        if given[name][:1] in ("=", "@", "+", "-"):
            row.errors.append(f"{name}: this begins like a formula; write the value itself.")
            return
    row.user = given["user"]
    if not row.user:
        row.errors.append("user: give the e-mail address or the id of a customer.")
    elif "@" not in row.user:
        try:
            row.user_id = uuid.UUID(row.user)
        except ValueError:
            row.errors.append("user: this is neither an e-mail address nor an id.")
    if given["meter"]:
        row.meter_key = rules.find_meter_key(given["meter"].upper())
        if row.meter_key is None:
            row.errors.append("meter: this is not a meter number; they look like MTR-00000013.")
        elif not first <= row.meter_key <= last:
            row.errors.append(f"meter: outside the range, {rules.meter_id(first)} to {rules.meter_id(last)}.")
    if given["region"]:
        row.region = given["region"]
        if row.region not in zones:
            row.errors.append(
                f"region: there is none of this name. There are: {', '.join(sorted(filter(None, zones)))}."
            )
    if given["date"]:
        _read_day(row, given["date"], zones, now)


def _read_day(row: AskedRow, text: str, zones: Mapping[str | None, ZoneInfo], now: datetime) -> None:
    try:
        row.day = date.fromisoformat(text) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII) else None
    except ValueError:
        row.day = None
    if row.day is None:
        row.errors.append("date: write the day as 2026-01-31.")
    elif row.day > local_date(now, zones.get(row.region) or zones[None]):
        row.errors.append("date: this day is in the future.")
    elif row.day < EARLIEST:
        row.errors.append(f"date: give a day after {EARLIEST.year}; no smart meter was there before.")


def _note_twice(row: AskedRow, users: dict[str, int], meters: dict[int, int]) -> None:
    key = str(row.user_id) if row.user_id else row.user.lower()
    if key and users.setdefault(key, row.line) != row.line:
        row.errors.append(f"user: stands in line {users[key]} already.")
    if row.meter_key and meters.setdefault(row.meter_key, row.line) != row.line:
        row.errors.append(f"meter: stands in line {meters[row.meter_key]} already.")


def _names_of(heading: tuple[str, ...]) -> tuple[str, ...]:
    if not heading:
        raise _refused("The file is empty.")
    names = tuple(re.sub(r"[\s-]+", "_", name.lower()) for name in heading)
    names = tuple(SAME.get(name, name) for name in names)
    while names and not names[-1]:  # a spreadsheet leaves empty columns at the end
        names = names[:-1]
    if "user" not in names:
        raise _refused(f"The first row must name the columns, “user” among them: {', '.join(COLUMNS)}.")
    for name in names:
        if name not in COLUMNS and name not in PASSED_OVER:
            raise _refused(f"There is no column “{name[:40]}”. There are: {', '.join(COLUMNS)}.")
        if names.count(name) > 1:
            raise _refused(f"The column “{name}” is there twice.")
    return names


def _refused(message: str) -> Invalid:
    return Invalid.field("file", message)


def since_of(row: AskedRow, facts: Facts, zones: Mapping[str | None, ZoneInfo]) -> datetime | None:
    """The instant at which the row's day begins where the user lives; None for a row without a day."""
    return local_midnight(row.day, zones[row.region or facts.region]) if row.day else None


def is_done(row: AskedRow, facts: Facts, zones: Mapping[str | None, ZoneInfo]) -> bool:
    """Whether what the row asks for is so already, as it is when a file is taken again."""
    if facts.holds is None or (row.meter_key is not None and facts.holds != rules.meter_id(row.meter_key)):
        return False
    if row.region is not None and row.region != facts.region:
        return False
    return row.day is None or facts.held_since == since_of(row, facts, zones)


def refusals(row: AskedRow, facts: Facts | None, zones: Mapping[str | None, ZoneInfo]) -> list[str]:
    """Why the row cannot be done as things are; empty when it can."""
    if facts is None:
        return ["user: there is no such customer."]
    if not facts.is_customer:
        return ["user: only customers with an open account hold meters."]
    if facts.holds is not None:
        if row.meter_key is not None and facts.holds != rules.meter_id(row.meter_key):
            return [f"user: holds {facts.holds} already. Unassign it first."]
        return [
            f"user: holds {facts.holds} already, in {facts.region or 'no region'} since {facts.held_since:%Y-%m-%d}."
        ]
    since, found = since_of(row, facts, zones), []
    region = row.region or facts.region
    if facts.status == "assigned":
        found.append("meter: held by somebody else.")
    elif facts.status in ("faulty", "retired", "quarantine"):
        found.append(f"meter: {rules.STATUS_WORDS[facts.status]}, so it cannot be assigned.")
    elif facts.meter_region is not None and facts.meter_region != region:
        found.append(f"meter: stocked for {facts.meter_region}, the user is in {region or 'no region yet'}.")
    if since is not None:
        if facts.meter_taken_until is not None and since < facts.meter_taken_until:
            found.append(f"date: the meter was taken until {facts.meter_taken_until:%Y-%m-%d %H:%M} UTC.")
        if facts.user_taken_until is not None and since < facts.user_taken_until:
            found.append(f"date: the user held a meter until {facts.user_taken_until:%Y-%m-%d %H:%M} UTC.")
    return found
