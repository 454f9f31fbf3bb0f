"""What admins do with accounts: roles, and closing. The other half of closing, the meter, is in portal.registration."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import select

from portal import audit
from portal.accounts import queries, rules, tokens
from portal.accounts.models import User
from portal.audit import Actor
from portal.db import session
from portal.errors import Conflict, NotFound


def get_open(user_id: uuid.UUID) -> User:
    """The user, locked, if the account is not closed. Raises NotFound USER_NOT_FOUND."""
    user = queries.lock_user(user_id)
    if user.closed_at is not None:
        raise NotFound("This account is closed.", "USER_NOT_FOUND")
    return user


def get_to_close(user_id: uuid.UUID) -> User:
    """As get_open; the admins are locked first, as every act on one does it, so two such acts cannot deadlock."""
    _lock_admins()
    return get_open(user_id)


def change_role(user_id: uuid.UUID, role: str, *, actor: Actor, now: datetime) -> User:
    """Make somebody a customer (`user`), an operator or an admin.

    Raises NotFound USER_NOT_FOUND; Conflict OWN_ACCOUNT for one's own role, LAST_ADMIN, USER_HAS_METER for staff-to-be
    who hold one.
    """
    _lock_admins()
    user = get_open(user_id)
    _check_not_self(user, actor, "change their own role")
    if user.role == role:
        return user
    if user.role == "admin" and user.suspended_at is None:
        _check_not_last(user)
    if user.meter_id is not None and role != "user":
        raise Conflict(f"{user.email} holds {user.meter_id}; staff hold none. Unassign it first.", "USER_HAS_METER")
    before, user.role = user.role, role
    audit.record("user.role_changed", actor, now, "user", user_id, {"before": before, "after": role})
    session.flush()
    return user


def suspend(user_id: uuid.UUID, reason: str, *, actor: Actor, now: datetime) -> User:
    """Keep somebody out, for a reason that they read when they log in; every log-in ends. The meter stays theirs.

    Raises NotFound USER_NOT_FOUND, Invalid on `reason`, Conflict OWN_ACCOUNT, LAST_ADMIN, ALREADY_SUSPENDED.
    """
    _lock_admins()
    user = get_open(user_id)
    clean = rules.check_suspension_reason(reason)
    _check_not_self(user, actor, "suspend their own account")
    if user.suspended_at is not None:
        raise Conflict(f"{user.email} is suspended already.", "ALREADY_SUSPENDED")
    if user.role == "admin":
        _check_not_last(user)
    user.suspended_at, user.suspended_reason = now, clean
    tokens.revoke_all(user, now)
    audit.record("user.suspended", actor, now, "user", user_id, {"reason": clean})
    session.flush()
    return user


def lift_suspension(user_id: uuid.UUID, *, actor: Actor, now: datetime) -> User:
    """Let a suspended person in again. Raises NotFound USER_NOT_FOUND, Conflict NOT_SUSPENDED."""
    user = get_open(user_id)
    if user.suspended_at is None:
        raise Conflict(f"{user.email} is not suspended.", "NOT_SUSPENDED")
    before, user.suspended_at, user.suspended_reason = user.suspended_reason, None, None
    audit.record("user.suspension_lifted", actor, now, "user", user_id, {"before": before})
    session.flush()
    return user


def end_sessions(user_id: uuid.UUID, *, actor: Actor, now: datetime) -> User:
    """End every log-in of somebody, for a lost phone or a doubt. Raises NotFound USER_NOT_FOUND."""
    user = get_open(user_id)
    tokens.revoke_all(user, now)
    audit.record("user.sessions_ended", actor, now, "user", user_id)
    session.flush()
    return user


def close_own(user: User, *, actor: Actor, now: datetime) -> None:
    """A customer closes their own account, which holds no meter any more. Raises Conflict STAFF_ACCOUNT."""
    if user.role != "user":
        raise Conflict("Accounts of staff are closed by another administrator.", "STAFF_ACCOUNT")
    _close(user, actor=actor, now=now)


def close(user: User, *, actor: Actor, now: datetime) -> None:
    """Close an account that holds no meter. Its bills stay, its address stays taken, every log-in ends.

    Raises Conflict OWN_ACCOUNT, LAST_ADMIN.
    """
    _lock_admins()
    _check_not_self(user, actor, "close their own account here")
    if user.role == "admin" and user.suspended_at is None:
        _check_not_last(user)
    _close(user, actor=actor, now=now)


def _close(user: User, *, actor: Actor, now: datetime) -> None:
    user.closed_at = now
    tokens.revoke_all(user, now)
    audit.record("user.closed", actor, now, "user", user.user_id)
    session.flush()


def _check_not_self(user: User, actor: Actor, what: str) -> None:
    if user.user_id == actor.user_id:
        raise Conflict(f"Nobody can {what}.", "OWN_ACCOUNT")


def _check_not_last(user: User) -> None:
    if len(_lock_admins()) < 2:
        raise Conflict(f"{user.email} is the last admin. Make somebody else an admin first.", "LAST_ADMIN")


def _lock_admins() -> list[uuid.UUID]:
    """The admins who can log in, locked in order: of two who demote each other one is first."""
    return list(
        session.scalars(
            select(User.user_id)
            .where(User.role == "admin", User.closed_at.is_(None), User.suspended_at.is_(None))
            .order_by(User.user_id)
            .with_for_update()
        )
    )
