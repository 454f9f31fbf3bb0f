"""Another meter for somebody who holds one: in the same supply (a swap), or in another region (a relocation)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.orm.attributes import set_committed_value

from portal import audit
from portal.accounts import queries as accounts
from portal.accounts.models import User
from portal.audit import Actor
from portal.db import session
from portal.errors import Conflict, FieldError
from portal.meters import holding, rules
from portal.meters.actions import check_free_since
from portal.meters.holding import Assigned
from portal.meters.models import Assignment, Meter
from portal.meters.pool import Pool


@dataclass(frozen=True, slots=True)
class Swapped:
    """One meter out and another in, at the same instant (UTC) and in the same supply."""

    user_id: uuid.UUID
    email: str
    region: str | None
    old_meter_id: str
    meter_id: str
    at: datetime


def swap(
    user_id: uuid.UUID,
    pool: Pool,
    meter_id: str | None = None,
    *,
    actor: Actor,
    now: datetime,
    at: datetime | None = None,
    reason: str = "",
    closing_register: Decimal | None = None,
    opening_register: Decimal | None = None,
    rolled_over: bool = False,
    to: str | None = None,
) -> Swapped:
    """The user's meter out, the named or next free one in. The connection goes on, so it stays one bill.

    `closing_register` and `opening_register` (kWh) are what the old and the new one show at that instant; `to` says
    what becomes of the old one, as in `unassign`. Raises as `assign` and `unassign` do.
    """
    user = accounts.lock_user(user_id)
    key = rules.key_in_range(meter_id, pool.first, pool.last) if meter_id is not None else None
    held = holding.get_held_to_return(user_id, pool)
    old_key, end = held.meter_key, holding.end_of(held, at, now)
    if key == old_key:
        raise Conflict(f"{user.email} holds {meter_id} already.", "METER_ALREADY_ASSIGNED")
    key = _claim(key, user, pool, at)
    if at is None:
        # Where the new meter's last period ended a moment later than our clock: no gap, no overlap.
        end = max(end, _last_end(key) or end)
    _check_registers(held, key, closing_register, opening_register, rolled_over=rolled_over)
    about = {
        "old_meter_id": rules.meter_id(old_key),
        "meter_id": rules.meter_id(key),
        "region": user.region,
        "at": end.isoformat(),
        "reason": reason,
        **holding.becomes(to, pool, end, now),
    }
    act = audit.record("meter.swapped", actor, now, "user", user_id, about)
    session.flush()
    holding.close_assignment(held, end, how="swap", act=act.audit_id, actor=actor, closing_register=closing_register)
    session.add(
        Assignment(
            connection_id=held.connection_id,
            user_id=user_id,
            meter_key=key,
            assigned_at=end,
            opening_register=opening_register,
            how="swap",
            assigned_by=actor.label,
            assigned_act=act.audit_id,
        )
    )
    user.meter_id = rules.meter_id(key)
    session.flush()
    holding.bring_back(old_key, to, pool, end, now)
    return Swapped(user_id, user.email, user.region, rules.meter_id(old_key), rules.meter_id(key), end)


def relocate(
    user_id: uuid.UUID,
    region: str,
    pool: Pool,
    meter_id: str | None = None,
    *,
    actor: Actor,
    now: datetime,
    at: datetime | None = None,
    reason: str = "",
    closing_register: Decimal | None = None,
    opening_register: Decimal | None = None,
    rolled_over: bool = False,
    to: str | None = None,
) -> Assigned:
    """A customer moves to another region: the old supply ends with its meter, a new one begins there, in one act.

    The old meter stays in its region. Nothing happens when the new region has no meter. Raises Invalid for an unknown
    region or the present one, and as `assign` and `unassign` do.
    """
    user = accounts.lock_user(user_id)
    key = rules.key_in_range(meter_id, pool.first, pool.last) if meter_id is not None else None
    held = holding.get_held_to_return(user_id, pool)
    there = accounts.get_region(region).name
    if there == user.region:
        message = f"{user.email} is in {region} already. To change the meter only, swap it."
        raise Conflict(message, "REGION_UNCHANGED", [FieldError("region", message)])
    old_key, end, before = held.meter_key, holding.end_of(held, at, now), user.region
    user.region = there
    key = _claim(key, user, pool, at)
    _check_registers(held, key, closing_register, opening_register, rolled_over=rolled_over)
    about = {
        "old_meter_id": rules.meter_id(old_key),
        "meter_id": rules.meter_id(key),
        "before": before,
        "after": there,
        "at": end.isoformat(),
        "reason": reason,
        "becomes": holding.becomes(to, pool, end, now)["after"],
    }
    act = audit.record("meter.relocated", actor, now, "user", user_id, about)
    session.flush()
    holding.close_assignment(
        held, end, how="relocation", act=act.audit_id, actor=actor, closing_register=closing_register
    )
    holding.close_supply(user, held, end)
    holding.bring_back(old_key, to, pool, end, now)
    session.flush()
    [assigned] = holding.open_assignments(
        [(user_id, key)],
        how="relocation",
        act=act.audit_id,
        actor=actor,
        now=end,
        opening_register=opening_register,
    )
    set_committed_value(user, "meter_id", assigned.meter_id)
    return assigned


def _claim(key: int | None, user: User, pool: Pool, at: datetime | None) -> int:
    """A meter for the user's region, marked as assigned; dated back, one that nobody held since."""
    if key is None:
        key = holding.claim_next(user.region, pool, at)
    else:
        holding.claim_named(key, user.region, pool)
    if at is not None:
        check_free_since(at, user_id=user.user_id, email=user.email, meter_key=key)
    return key


def _last_end(meter_key: int) -> datetime | None:
    return session.scalar(select(func.max(Assignment.unassigned_at)).where(Assignment.meter_key == meter_key))


def _check_registers(
    held: Assignment, key: int, closing: Decimal | None, opening: Decimal | None, *, rolled_over: bool
) -> None:
    if closing is not None:
        old = session.get_one(Meter, held.meter_key)
        holding.check_registers(held.opening_register, closing, old.digits, rolled_over=rolled_over)
    if opening is not None:
        new = session.get_one(Meter, key, populate_existing=True)
        holding.check_registers(opening, None, new.digits, rolled_over=False)
