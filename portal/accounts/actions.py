"""Writes to users. Each call is one act; the caller commits."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sqlalchemy.exc import IntegrityError

from portal import audit
from portal.accounts import passwords, queries, rules
from portal.accounts.models import Region, User
from portal.audit import Actor
from portal.db import session
from portal.errors import Conflict, Invalid


def create_user(
    name: str,
    email: str,
    phone: str | None,
    region: str | None,
    password: str | None,
    role: str = "user",
    *,
    actor: Actor,
    now: datetime,
) -> User:
    """A new account. Raises Invalid with every wrong field at once, Conflict EMAIL_TAKEN (also in another case).

    The unique index decides about the address, so two registrations at once cannot both have it.
    """
    user = User(user_id=uuid.uuid4(), role=role, created_at=now)
    refused: list[Invalid] = []

    def check(take: Callable[[], object]) -> None:
        try:
            take()
        except Invalid as invalid:
            refused.append(invalid)

    check(lambda: setattr(user, "name", rules.check_name(name)))
    check(lambda: setattr(user, "email", rules.check_email(email)))
    check(lambda: setattr(user, "phone", rules.check_phone(phone)))
    check(lambda: setattr(user, "region", queries.get_region(region).name if region else None))
    if password is not None:
        check(lambda: rules.check_password(password))
    if refused:
        raise rules.merge(refused)
    if queries.find_user_by_email(user.email) is not None:
        raise _email_taken()
    if password is not None:
        user.password_hash = passwords.hash_password(password)
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError as error:
        if "uq_users_email" in str(error.orig):
            raise _email_taken() from None
        raise
    acts_for_self = replace(actor, user_id=user.user_id) if actor.kind == "user" else actor
    audit.record("user.created", acts_for_self, now, "user", user.user_id, {"role": role, "region": user.region})
    return user


def _email_taken() -> Conflict:
    return Conflict(
        "There is an account with this e-mail address already. Log in, or reset the password.", "EMAIL_TAKEN"
    )


def check_credentials(email: str, password: str) -> User | None:
    """The user whose address and password these are, or None: the same answer and time for every cause.

    A suspended user is given too; the face refuses them, after the right password only.
    """
    user = queries.find_user_by_email(email)
    right, renewed = passwords.verify(password, user.password_hash if user else None)
    if user is None or not right or user.closed_at is not None:
        return None
    if renewed:
        user.password_hash = renewed
    return user


def set_password(user: User, password: str, *, field: str = "password", actor: Actor, now: datetime) -> None:
    """Give the user this password. Raises Invalid on `field`."""
    user.password_hash = passwords.hash_password(rules.check_password(password, field))
    audit.record("user.password_set", actor, now, "user", user.user_id)


def change_profile(user: User, *, name: str | None, phone: str | None, actor: Actor, now: datetime) -> None:
    """Change what the customer may change; None leaves a field alone, an empty phone removes it. Raises Invalid."""
    before = {"name": user.name, "phone": user.phone}
    if name is not None:
        user.name = rules.check_name(name)
    if phone is not None:
        user.phone = rules.check_phone(phone)
    after = {"name": user.name, "phone": user.phone}
    changed = [field for field in before if before[field] != after[field]]
    if changed:
        details = {"before": {field: before[field] for field in changed}, "after": {f: after[f] for f in changed}}
        audit.record("user.profile_changed", actor, now, "user", user.user_id, details)


def add_region(name: str, timezone: str = "Asia/Kolkata", *, actor: Actor, now: datetime) -> Region:
    """A new region. Raises Conflict REGION_EXISTS."""
    if session.get(Region, name) is not None:
        raise Conflict(f"There is a region {name} already.", "REGION_EXISTS")
    region = Region(name=name, timezone=timezone)
    session.add(region)
    audit.record("region.added", actor, now, "region", name, {"timezone": timezone})
    return region
