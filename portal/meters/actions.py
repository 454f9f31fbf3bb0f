"""Give a customer a meter, take it back, move the start of what they hold. Callers commit.

The parts that these acts are made of, and the order of locks, are in `holding`.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select, update
from sqlalchemy.orm.attributes import set_committed_value

from portal import audit
from portal.accounts import queries as accounts
from portal.audit import Actor
from portal.db import session
from portal.errors import Conflict
from portal.meters import history, holding, rules
from portal.meters.holding import Assigned
from portal.meters.models import Assignment, Connection, Meter
from portal.meters.pool import Pool


def assign(
    user_id: uuid.UUID,
    pool: Pool,
    meter_id: str | None = None,
    region: str | None = None,
    *,
    how: str,
    actor: Actor,
    now: datetime,
    since: datetime | None = None,
    reason: str = "",
    opening_register: Decimal | None = None,
) -> Assigned:
    """Give a customer a meter: the named one, or the next free one of their region. `region` becomes the user's.

    `since` (UTC) dates the act back; paper may be late, but nobody else may have held meter or user after it. The next
    free one is then the next that was free since.

    Raises, the first that applies: NotFound USER_NOT_FOUND, NotFound METER_NOT_FOUND, Conflict USER_HAS_METER,
    METER_NOT_ASSIGNABLE, METER_ALREADY_ASSIGNED, REGION_MISMATCH, NO_METERS_AVAILABLE; Invalid for an unknown region,
    Conflict USER_NOT_CUSTOMER for staff and closed accounts; for a `since` in the future INSTANT_NOT_POSSIBLE, before
    the end of a neighbouring period METER_ALREADY_ASSIGNED or USER_HAS_METER, which say until when, and
    METER_NOT_ASSIGNABLE where the meter was out of use since then.
    """
    user = accounts.lock_user(user_id)
    key = rules.key_in_range(meter_id, pool.first, pool.last) if meter_id is not None else None
    if user.meter_id is not None:
        raise Conflict(f"{user.email} holds {user.meter_id} already. Unassign it first.", "USER_HAS_METER")
    if user.role != "user" or user.closed_at is not None:
        raise Conflict("Only customers with an open account hold meters.", "USER_NOT_CUSTOMER")
    if since is not None:
        holding.check_dated_back(since, now, "since")
    if region is not None:
        user.region = accounts.get_region(region).name
    if key is None:
        key = holding.claim_next(user.region, pool, since)
    else:
        holding.claim_named(key, user.region, pool)
    if since is not None:
        check_free_since(since, user_id=user_id, email=user.email, meter_key=key)
    if opening_register is not None:
        holding.check_registers(
            opening_register, None, session.get_one(Meter, key, populate_existing=True).digits, rolled_over=False
        )
    about = {"meter_id": rules.meter_id(key), "region": user.region, "how": how, "reason": reason}
    if since is not None:
        about["since"] = since.isoformat()
    act = audit.record("meter.assigned", actor, now, "user", user_id, about)
    session.flush()
    [assigned] = holding.open_assignments(
        [(user_id, key)],
        how=how,
        act=act.audit_id,
        actor=actor,
        now=since or now,
        opening_register=opening_register,
    )
    set_committed_value(user, "meter_id", assigned.meter_id)
    return assigned


def unassign(
    user_id: uuid.UUID,
    pool: Pool,
    *,
    actor: Actor,
    now: datetime,
    at: datetime | None = None,
    how: str = "admin",
    reason: str = "",
    closing_register: Decimal | None = None,
    rolled_over: bool = False,
    to: str | None = None,
) -> Assigned:
    """Take the user's meter back. It keeps its region; `to` says what becomes of it, None by the pool's `rest_days`.

    `at` (UTC) dates the act back. Raises NotFound USER_NOT_FOUND, METER_NOT_ASSIGNED; Conflict for an `at` in the
    future or not after the start, for a register that is below the opening one, and for an unknown `to`.
    """
    user = accounts.lock_user(user_id)
    held = holding.get_held_to_return(user_id, pool)
    key, end = held.meter_key, holding.end_of(held, at, now)
    if closing_register is not None:
        digits = session.get_one(Meter, key).digits
        holding.check_registers(held.opening_register, closing_register, digits, rolled_over=rolled_over)
    about = {"meter_id": rules.meter_id(key), "region": user.region, "how": how, "reason": reason}
    about |= holding.becomes(to, pool, end, now)
    if at is not None:
        about["at"] = at.isoformat()
    act = audit.record("meter.unassigned", actor, now, "user", user_id, about)
    session.flush()
    holding.close_assignment(held, end, how=how, act=act.audit_id, actor=actor, closing_register=closing_register)
    holding.close_supply(user, held, end)
    holding.bring_back(key, to, pool, end, now)
    session.flush()
    return Assigned(user.user_id, user.email, rules.meter_id(key), user.region, end)


def move_start(user_id: uuid.UUID, start: datetime, *, actor: Actor, now: datetime) -> Assigned:
    """Move the start of the user's open assignment and connection back to `start` (UTC).

    Raises NotFound METER_NOT_ASSIGNED; Conflict INSTANT_NOT_POSSIBLE if `start` is not before the present start,
    METER_ALREADY_ASSIGNED if the meter, USER_HAS_METER if the user was taken then (naming until when).
    """
    user = accounts.lock_user(user_id)
    row = holding.get_held(user_id)
    meter_id = rules.meter_id(row.meter_key)
    holding.check_dated_back(start, now, "from")
    if start >= row.assigned_at:
        raise holding.not_possible(
            "from", f"{meter_id} is theirs since {row.assigned_at.isoformat()}; give an earlier instant."
        )
    # Locked before the look: nobody may slip an older period of this meter in between.
    session.get_one(Meter, row.meter_key, with_for_update=True)
    check_free_since(start, user_id=user_id, email=user.email, meter_key=row.meter_key, but_for=row.assignment_id)
    before, row.assigned_at = row.assigned_at, start
    session.execute(
        update(Connection)
        .where(Connection.connection_id == row.connection_id, Connection.starts_at > start)
        .values(starts_at=start)
    )
    about = {"meter_id": meter_id, "region": user.region, "before": before.isoformat(), "start": start.isoformat()}
    audit.record("meter.start_moved", actor, now, "user", user_id, about)
    session.flush()
    return Assigned(user.user_id, user.email, meter_id, user.region, start)


def check_free_since(
    start: datetime, *, user_id: uuid.UUID, email: str, meter_key: int, but_for: int | None = None
) -> None:
    """Raises Conflict METER_ALREADY_ASSIGNED or USER_HAS_METER, saying until when, if either was taken after `start`.

    METER_NOT_ASSIGNABLE if the meter was faulty or rested in quarantine after it: it may have hung, and counted, in the
    home that it came from, and nobody pays for another's use (promise 3). Both are locked by the caller. `but_for` is
    the assignment that is being moved itself.
    """
    for column, value, code, who in (
        (Assignment.meter_key, meter_key, "METER_ALREADY_ASSIGNED", rules.meter_id(meter_key)),
        (Assignment.user_id, user_id, "USER_HAS_METER", email),
    ):
        until = session.scalar(
            select(Assignment.unassigned_at)
            .where(
                column == value, Assignment.unassigned_at > start, Assignment.assignment_id.is_distinct_from(but_for)
            )
            .order_by(Assignment.unassigned_at.desc())
            .limit(1)
        )
        if until is not None:
            raise Conflict(f"{who} was taken until {until.isoformat()}; the start cannot go back before that.", code)
    blocked = history.find_blocked_until(meter_key, start)
    if blocked is not None:
        raise Conflict(
            f"{rules.meter_id(meter_key)} was in quarantine or faulty until {blocked.isoformat()}; the start cannot go "
            "back before that.",
            "METER_NOT_ASSIGNABLE",
        )
