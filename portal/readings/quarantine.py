"""Readings that are held for staff: they look at each, and release or discard it. Callers commit.

What depends on the meter (retired, commissioned later, beyond its type's limit) staff may overrule. What no meter can
tell (a value beyond all measure, a time to come, a number outside the range) stays held until it is right: the range
was raised, the time has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from portal import audit
from portal.audit import Actor
from portal.config import Config
from portal.db import session
from portal.errors import Conflict, Invalid, NotFound
from portal.readings import actions, incoming, rules
from portal.readings.incoming import Row
from portal.readings.models import Quarantined

STATES = ("held", "released", "discarded")
MIN_REASON, MAX_REASON = 3, 300
LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class HeldPage:
    """Some of the rows in a state, newest first, and how many there are."""

    rows: list[Quarantined]
    total: int


def list_held(state: str = "held", limit: int = 20, offset: int = 0) -> HeldPage:
    """Rows in a state, newest first (ix_quarantine_held for those that are held)."""
    there = Quarantined.state == state
    order = (Quarantined.received_at.desc(), Quarantined.quarantine_id.desc())
    rows = session.scalars(select(Quarantined).where(there).order_by(*order).limit(limit).offset(offset)).all()
    return HeldPage(list(rows), count_held(state))


def count_held(state: str = "held") -> int:
    """How many there are in a state."""
    return session.scalar(select(func.count()).select_from(Quarantined).where(Quarantined.state == state)) or 0


def get_held(quarantine_id: int) -> Quarantined:
    """The row. Raises NotFound HELD_READING_NOT_FOUND."""
    row = session.get(Quarantined, quarantine_id) if 0 < quarantine_id <= LARGEST_ID else None
    return _there(row)


def row_of(held: Quarantined) -> Row:
    """What its sender told."""
    row = incoming.decode_one(held.payload.encode())
    assert isinstance(row, Row)
    return row


def release(quarantine_id: int, reason: str, *, actor: Actor, now: datetime, config: Config) -> Quarantined:
    """It is right after all: it becomes a reading, once, and usage follows. Also what was discarded before.

    As any reading it counts from now on: where its meter has told another value for the same time, this one is in force
    and the other on record. Raises NotFound HELD_READING_NOT_FOUND, Invalid for the reason, Conflict ALREADY_RELEASED,
    or STILL_HELD where it cannot be right yet.
    """
    held = _locked(quarantine_id)
    if held.state == "released":
        raise Conflict("This reading was released already.", "ALREADY_RELEASED")
    checked = rules.check(0, row_of(held), actions.limits_of(config, now))
    if not isinstance(checked, list):
        raise Conflict(f"It cannot be released yet: {checked.message}", "STILL_HELD")
    _decide(held, "released", reason, actor, now)
    actions.settle(checked, held.source, now)
    return held


def discard(quarantine_id: int, reason: str, *, actor: Actor, now: datetime) -> Quarantined:
    """It is wrong: it stays on record and is no reading. It can be released later all the same.

    Raises NotFound HELD_READING_NOT_FOUND, Invalid for the reason, Conflict ALREADY_RELEASED, ALREADY_DISCARDED.
    """
    held = _locked(quarantine_id)
    if held.state != "held":
        code = f"ALREADY_{held.state.upper()}"
        raise Conflict(f"This reading was {held.state} already.", code)
    _decide(held, "discarded", reason, actor, now)
    return held


def _decide(held: Quarantined, state: str, reason: str, actor: Actor, now: datetime) -> None:
    reason = reason.strip()
    if not MIN_REASON <= len(reason) <= MAX_REASON:
        raise Invalid.field("reason", f"Say why in {MIN_REASON} to {MAX_REASON} characters.")
    about = {
        "meter_id": held.meter_id,
        "read_at": held.read_at.isoformat(),
        "code": held.code,
        "before": held.state,
        "after": state,
        "reason": reason,
    }
    audit.record(f"reading.{state}", actor, now, "held_reading", held.quarantine_id, about)
    held.state, held.reason, held.decided_at, held.decided_by = state, reason, now, actor.label
    session.flush()


def _locked(quarantine_id: int) -> Quarantined:
    if not 0 < quarantine_id <= LARGEST_ID:
        return _there(None)
    return _there(session.get(Quarantined, quarantine_id, with_for_update=True, populate_existing=True))


def _there(row: Quarantined | None) -> Quarantined:
    if row is None:
        raise NotFound("There is no such held reading.", "HELD_READING_NOT_FOUND")
    return row
