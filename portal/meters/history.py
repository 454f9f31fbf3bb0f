"""Everything that happened to a meter, or to a user's supply: what, when, by whom, how and why. Reads only."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Row, select

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
    when it was entered, and `act` the row of the audit log that one act, or one bulk run, wrote.
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


def of_meter(meter_key: int) -> list[Event]:
    """A meter's history, newest first."""
    meter_id = rules.meter_id(meter_key)
    entries = session.scalars(
        select(AuditEntry)
        .where(AuditEntry.subject_type == "meter", AuditEntry.subject_id == meter_id)
        .where(AuditEntry.action == "meter.status_changed")
    )
    moves = [
        Event(
            each.at,
            each.details["after"],
            meter_id,
            each.actor_label,
            why=each.details.get("reason", ""),
            told_at=each.at,
            act=each.audit_id,
        )
        for each in entries
    ]
    return _newest_first([*_of_assignments(Assignment.meter_key == meter_key), *moves])


def of_user(user_id: uuid.UUID) -> list[Event]:
    """A user's history of meters, newest first."""
    entries = session.scalars(
        select(AuditEntry)
        .where(AuditEntry.subject_type == "user", AuditEntry.subject_id == str(user_id))
        .where(AuditEntry.action == "meter.start_moved")
    )
    moved = [
        Event(
            each.at,
            "start_moved",
            each.details["meter_id"],
            each.actor_label,
            why=f"{each.details['before']} → {each.details['start']}",
            told_at=each.at,
            act=each.audit_id,
        )
        for each in entries
    ]
    return _newest_first([*_of_assignments(Assignment.user_id == user_id), *moved])


def _of_assignments(condition: object) -> Iterable[Event]:
    rows = session.execute(
        select(Assignment, User.email).join(User, User.user_id == Assignment.user_id).where(condition)  # type: ignore[arg-type]
    ).all()
    acts = _acts(rows)
    for row, email in rows:
        meter_id, swapped = rules.meter_id(row.meter_key), row.how == "swap"
        why, told_at = acts.get(row.assigned_act, ("", None))
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
            why, told_at = acts.get(row.unassigned_act, ("", None))
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
            )


def _acts(rows: Iterable[Row[Assignment, str]]) -> dict[int | None, tuple[str, datetime | None]]:
    """(why, when it was entered) of every act that these assignments refer to."""
    wanted = {act for row, _email in rows for act in (row.assigned_act, row.unassigned_act) if act is not None}
    if not wanted:
        return {}
    entries = session.scalars(select(AuditEntry).where(AuditEntry.audit_id.in_(wanted)))
    return {each.audit_id: (each.details.get("reason", ""), each.at) for each in entries}


def _newest_first(events: list[Event]) -> list[Event]:
    """What ended at an instant stands before (so, below) what began with it."""
    began = ("assigned", "swapped_in")
    return sorted(events, key=lambda each: (each.at, each.what in began), reverse=True)
