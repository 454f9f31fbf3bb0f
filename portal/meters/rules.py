"""Numbers of meters (`MTR-` and eight digits), and the life of a meter as a table of allowed moves."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from portal.errors import Conflict, Invalid, NotFound

_METER_ID = re.compile(r"MTR-([0-9]{8})")

MOVES: dict[str, frozenset[str]] = {
    "in_stock": frozenset({"assigned", "quarantine", "faulty", "retired"}),
    "assigned": frozenset({"in_stock", "quarantine", "faulty", "retired"}),
    "quarantine": frozenset({"in_stock", "faulty", "retired"}),
    "faulty": frozenset({"in_stock", "retired"}),
    "retired": frozenset(),
}
"""From each status to which it may go. The trigger `meter_moves` holds the same table in the database."""

STATUS_WORDS = {
    "in_stock": "in stock",
    "assigned": "held by somebody",
    "quarantine": "in quarantine",
    "faulty": "faulty",
    "retired": "retired",
}


def check_move(meter: str, status: str, to: str) -> None:
    """Raises Invalid for a status that staff cannot give, Conflict for a move that the table does not allow.

    METER_ALREADY_ASSIGNED for a meter that somebody holds: taking it back, or a swap, moves it. METER_RETIRED for one
    that is out of use for good; METER_STATUS_UNCHANGED; METER_MOVE_REFUSED for the rest.
    """
    if to not in MOVES or to == "assigned":
        raise Invalid.field("status", "Give in_stock, quarantine, faulty or retired.")
    if status == "assigned":
        raise Conflict(f"{meter} is held by somebody. Take it back or swap it first.", "METER_ALREADY_ASSIGNED")
    if status == to:
        raise Conflict(f"{meter} is {STATUS_WORDS[to]} already.", "METER_STATUS_UNCHANGED")
    if status == "retired":
        raise Conflict(f"{meter} is retired; a retired meter never comes back.", "METER_RETIRED")
    if to not in MOVES[status]:
        raise Conflict(f"{meter} is {STATUS_WORDS[status]}; it cannot become {STATUS_WORDS[to]}.", "METER_MOVE_REFUSED")


def after_return(to: str | None, rest_days: int, end: datetime, now: datetime) -> tuple[str, datetime | None]:
    """(status, until when it rests) of a meter that came back at `end`. None asks the utility's rule, `rest_days`.

    A rest that staff ask for lasts until they end it where the utility has no rule. Raises Invalid on `to`.
    """
    if to is not None and (to not in MOVES["assigned"]):
        raise Invalid.field("to", "Give in_stock, quarantine, faulty or retired.")
    until = end + timedelta(days=rest_days) if rest_days else None
    if to is None:
        to = "quarantine" if until is not None and until > now else "in_stock"
    return to, until if to == "quarantine" else None


def meter_id(meter_key: int) -> str:
    """13 → MTR-00000013."""
    return f"MTR-{meter_key:08d}"


def find_meter_key(text: str) -> int | None:
    """MTR-00000013 → 13; None for anything else, also for number 0."""
    match = _METER_ID.fullmatch(text)
    return (int(match[1]) or None) if match else None


def meter_key(text: str) -> int:
    """MTR-00000013 → 13. Raises NotFound METER_NOT_FOUND for what is no meter number."""
    key = find_meter_key(text)
    if key is None:
        raise NotFound(f"{text!r} is not a meter number; they look like MTR-00000013.", "METER_NOT_FOUND")
    return key


def key_in_range(text: str, first: int, last: int) -> int:
    """The key of a meter of the range. Raises NotFound METER_NOT_FOUND."""
    key = meter_key(text)
    if not first <= key <= last:
        raise NotFound(
            f"{text} is outside the range of this utility, {meter_id(first)} to {meter_id(last)}.", "METER_NOT_FOUND"
        )
    return key
