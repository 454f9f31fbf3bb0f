"""Account and meter in one transaction; the meter in a savepoint: want of one never loses the account (promise 2)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import DBAPIError

from portal import audit
from portal.accounts import actions as accounts
from portal.accounts import staff
from portal.accounts.models import User
from portal.audit import Actor
from portal.db import session
from portal.errors import PortalError, Unavailable
from portal.logs import get_logger
from portal.meters import actions as meters
from portal.meters import holding
from portal.meters.pool import Pool


@dataclass(frozen=True, slots=True)
class Registered:
    """A new customer. `refusal` says why no meter could be had; then `user.meter_id` is None."""

    user: User
    refusal: PortalError | None


def register(
    name: str,
    email: str,
    phone: str | None,
    region: str | None,
    password: str | None,
    pool: Pool,
    *,
    actor: Actor,
    now: datetime,
) -> Registered:
    """A new customer with the next free meter of their region.

    Raises Invalid, Conflict EMAIL_TAKEN. Without a meter the customer stands on the list of those who wait, and the
    next bulk run serves them; the refusal is logged with the user's id and the code.
    """
    user = accounts.create_user(name, email, phone, region, password, actor=actor, now=now)
    try:
        with session.begin_nested():
            if holding.count_room_for_unverified(pool) == 0:
                raise holding.cap_reached(pool)
            meters.assign(user.user_id, pool, how="registration", actor=actor, now=now)
    except (PortalError, DBAPIError) as fault:
        if isinstance(fault, DBAPIError) and fault.connection_invalidated:
            raise
        refusal = fault if isinstance(fault, PortalError) else _failed()
        get_logger().warning("registered_without_meter", user_id=str(user.user_id), code=refusal.code)
        audit.record("meter.pending", actor, now, "user", user.user_id, {"code": refusal.code})
        session.refresh(user)
        return Registered(user, refusal)
    return Registered(user, None)


def _failed() -> Unavailable:
    return Unavailable("The meter could not be assigned just now; staff will assign one.", "METER_ASSIGNMENT_FAILED")


def close_account(user_id: uuid.UUID, pool: Pool, *, actor: Actor, now: datetime) -> User:
    """Close an account and take its meter back, in one act. What was billed stays.

    Raises NotFound USER_NOT_FOUND, also for a closed one; Conflict OWN_ACCOUNT, LAST_ADMIN.
    """
    user = staff.get_to_close(user_id)
    if user.meter_id is not None:
        meters.unassign(user_id, pool, actor=actor, now=now, how="closing")
        session.refresh(user)
    staff.close(user, actor=actor, now=now)
    return user


def close_own_account(user_id: uuid.UUID, pool: Pool, *, actor: Actor, now: datetime) -> User:
    """A customer ends their account, and with it their supply. What was billed stays. Raises Conflict STAFF_ACCOUNT."""
    user = staff.get_open(user_id)
    if user.meter_id is not None:
        meters.unassign(user_id, pool, actor=actor, now=now, how="closing")
        session.refresh(user)
    staff.close_own(user, actor=actor, now=now)
    return user
