"""Everything that happened to a meter, or to a user's supply: what, when, by whom, how and why. Reads only."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import ColumnElement, select

from portal.accounts.models import User
from portal.audit import AuditEntry
from portal.db import session
from portal.meters import rules
from portal.meters.models import Assignment


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, at the instant (UTC) from which it counts.

    `what` is a code: assigned, taken_back, swapped_in, swapped_out, start_moved, in_stock, quarantine, faulty, retired.
    `how` is that of an assignment (registration, bulk …), `register` its opening or closing reading in kWh, `told_at`
    when it was entered, `act` the row of the audit log that one act, or one bulk run, wrote, and `becomes` the status
    of a meter that was taken back.
    """

    at: datetime
    what: str
    meter_id: str
    who: str
    how: str | None = None
    why: str = ""
    user_id: uuid.UUID | None = None
    email: str | None = None
    register: Decimal | None = None
    told_at: datetime | None = None
    act: int | None = None
    becomes: str | None = None


def of_meter(meter_key: int) -> list[Event]:
    """A meter's history, newest first."""
    meter_id = rules.meter_id(meter_key)
    held = _held(Assignment.meter_key == meter_key)
    holders = {str(row.user_id): (row.user_id, email) for row, email in held}
    events = [
        Event(
            each.at,
            each.details["after"],
            meter_id,
            each.actor_label,
            why=each.details.get("reason", ""),
            told_at=each.at,
            act=each.audit_id,
        )
        for each in _entries("meter", [meter_id], "meter.status_changed")
    ]
    events += [
        _start_moved(each, *holders[each.subject_id])
        for each in _entries("user", list(holders), "meter.start_moved")
        if each.details["meter_id"] == meter_id
    ]
    return _newest_first([*_of_assignments(held), *events])


def of_user(user_id: uuid.UUID) -> list[Event]:
    """A user's history of meters, newest first."""
    held = _held(Assignment.user_id == user_id)
    email = session.scalar(select(User.email).where(User.user_id == user_id))
    events = [_start_moved(each, user_id, email) for each in _entries("user", [str(user_id)], "meter.start_moved")]
    return _newest_first([*_of_assignments(held), *events])


def find_blocked_until(meter_key: int, start: datetime) -> datetime | None:
    """When the meter last came out of quarantine or repair, or was brought back from use, if after `start`."""
    entries = _entries("meter", [rules.meter_id(meter_key)], "meter.status_changed")
    ends = [each.at for each in entries if each.at > start and each.details["before"] in ("quarantine", "faulty")]
    return max(ends, default=None)


def _entries(subject_type: str, subjects: list[str], action: str) -> list[AuditEntry]:
    """The acts of this kind on these subjects (ix_audit_log_subject_type_subject_id_audit_id)."""
    return list(
        session.scalars(
            select(AuditEntry)
            .where(AuditEntry.subject_type == subject_type, AuditEntry.subject_id.in_(subjects))
            .where(AuditEntry.action == action)
        )
    )


def _start_moved(entry: AuditEntry, user_id: uuid.UUID, email: str | None) -> Event:
    return Event(
        entry.at,
        "start_moved",
        entry.details["meter_id"],
        entry.actor_label,
        why=f"{entry.details['before']} → {entry.details['start']}",
        user_id=user_id,
        email=email,
        told_at=entry.at,
        act=entry.audit_id,
    )


def _held(condition: ColumnElement[bool]) -> list[tuple[Assignment, str]]:
    rows = session.execute(
        select(Assignment, User.email).join(User, User.user_id == Assignment.user_id).where(condition)
    )
    return [(assignment, email) for assignment, email in rows]


def _of_assignments(rows: list[tuple[Assignment, str]]) -> Iterable[Event]:
    acts = _acts(rows)
    for row, email in rows:
        meter_id, swapped = rules.meter_id(row.meter_key), row.how == "swap"
        why, told_at, _ = acts.get(row.assigned_act, _UNKNOWN)
        yield Event(
            row.assigned_at,
            "swapped_in" if swapped else "assigned",
            meter_id,
            row.assigned_by,
            how=row.how,
            why=why,
            user_id=row.user_id,
            email=email,
            register=row.opening_register,
            told_at=told_at,
            act=row.assigned_act,
        )
        if row.unassigned_at is not None:
            why, told_at, becomes = acts.get(row.unassigned_act, _UNKNOWN)
            yield Event(
                row.unassigned_at,
                "swapped_out" if row.unassigned_how == "swap" else "taken_back",
                meter_id,
                row.unassigned_by or "",
                how=row.unassigned_how,
                why=why,
                user_id=row.user_id,
                email=email,
                register=row.closing_register,
                told_at=told_at,
                act=row.unassigned_act,
                becomes=becomes,
            )


Act = tuple[str, datetime | None, str | None]
_UNKNOWN: Act = ("", None, None)


def _acts(rows: Iterable[tuple[Assignment, str]]) -> dict[int | None, Act]:
    """(why, when it was entered, what became of the meter) of every act that these assignments refer to."""
    wanted = {act for row, _email in rows for act in (row.assigned_act, row.unassigned_act) if act is not None}
    if not wanted:
        return {}
    entries = session.scalars(select(AuditEntry).where(AuditEntry.audit_id.in_(wanted)))
    return {
        each.audit_id: (
            each.details.get("reason", ""),
            each.at,
            each.details.get("becomes", each.details.get("after")),
        )
        for each in entries
    }


def _newest_first(events: list[Event]) -> list[Event]:
    """What ended at an instant stands before (so, below) what began with it."""
    began = ("assigned", "swapped_in")
    return sorted(events, key=lambda each: (each.at, each.what in began), reverse=True)
