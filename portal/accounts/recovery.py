"""Proving an address, and getting a password by it. No answer, and no time, tells who has an account."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from portal import audit
from portal.accounts import actions, codes, log_ins, passwords, queries, tokens
from portal.accounts.models import User
from portal.audit import Actor
from portal.db import session
from portal.errors import Conflict, Invalid, Unauthorized
from portal.outbox import send_mail


def wrong_code() -> Unauthorized:
    """INVALID_CODE: one answer for a wrong, used, expired or never sent code, and for an unknown address."""
    return Unauthorized("This code is wrong, or it has been used or has expired. Ask for a new one.", "INVALID_CODE")


def send_code(email: str, purpose: str, *, secret: str, now: datetime) -> None:
    """Mail a code to the address, if an open account has it and it is of use there; else do the same work for nothing.

    `verify` is of use while the address is unproven or there is no password; `reset` always.
    """
    user = _find_open(email)
    if user is not None and (purpose == codes.RESET or user.email_verified_at is None or user.password_hash is None):
        send_code_to(user, purpose, secret=secret, now=now)
    else:
        _work_for_nothing(now)


def send_code_to(user: User, purpose: str, *, secret: str, now: datetime) -> None:
    """Mail a code to this user; nothing more than five an hour."""
    plain = codes.issue_code(user, purpose, secret=secret, now=now)
    if plain is None:
        _work_for_nothing(now)
        return
    use = "confirm your address" if purpose == codes.VERIFY else "set a new password"
    body = (
        f"Hello {user.name},\n\n{plain} is your code to {use}. It is good for 15 minutes.\n\n"
        "If you did not ask for it, you need not do anything: without the code nothing changes.\n"
    )
    send_mail(f"code_{purpose}", user.email, f"{plain} is your code", body, now)


@dataclass(frozen=True, slots=True)
class Verified:
    """An address that is proven. `set_password_token` only while the account has no password."""

    user: User
    set_password_token: str | None


def verify_email(email: str, code: str, *, secret: str, now: datetime, address: str | None = None) -> Verified | None:
    """Take the code of a mail as proof of the address. None for a wrong one: commit that too, it is counted."""
    user = _redeem(email, codes.VERIFY, code, secret=secret, now=now)
    if user is None:
        return None
    _mark_verified(user, now, address)
    token = None if user.password_hash else codes.issue_token(user, secret=secret, now=now)
    return Verified(user, token)


def set_first_password(
    token: str, password: str, confirmation: str, *, secret: str, now: datetime, address: str | None = None
) -> User:
    """Give an account its first password. Raises Unauthorized INVALID_TOKEN, Conflict PASSWORD_ALREADY_SET, Invalid."""
    row = codes.find_token(token, secret=secret)
    user = queries.lock_user(row.user_id) if row is not None else None
    if user is not None and user.password_hash is not None:
        raise Conflict("This account has a password. Log in, or reset it.", "PASSWORD_ALREADY_SET")
    if row is None or user is None or user.closed_at is not None or row.used_at is not None or row.expires_at <= now:
        raise Unauthorized("This token is not known, or it has been used or has expired.", "INVALID_TOKEN")
    _confirm(password, confirmation, "confirmPassword")
    actions.set_password(user, password, actor=_self(user, address), now=now)
    row.used_at = now
    return user


def reset_password(
    email: str,
    code: str,
    password: str,
    confirmation: str,
    *,
    secret: str,
    now: datetime,
    address: str | None = None,
) -> User | None:
    """Give an account a new password for the code of a mail, and end every log-in. None for a wrong code: commit it.

    Raises Invalid for the password; then the code stays good.
    """
    user = _redeem(email, codes.RESET, code, secret=secret, now=now)
    if user is None:
        return None
    _confirm(password, confirmation, "confirmPassword")
    actions.set_password(user, password, field="newPassword", actor=_self(user, address), now=now)
    _mark_verified(user, now, address)
    tokens.revoke_all(user, now)
    _tell_of_new_password(user, now)
    return user


def change_password(
    user: User,
    old: str,
    new: str,
    confirmation: str | None,
    *,
    keep: uuid.UUID | None,
    now: datetime,
    address: str | None = None,
) -> None:
    """A new password for the old one, and an end to every log-in but `keep`.

    Raises Unauthorized INVALID_CREDENTIALS, Invalid.
    """
    if not passwords.verify(old, user.password_hash)[0]:
        raise Unauthorized("The present password is not right.", "INVALID_CREDENTIALS")
    if confirmation is not None:
        _confirm(new, confirmation, "confirmPassword")
    actions.set_password(user, new, field="newPassword", actor=_self(user, address), now=now)
    tokens.revoke_all(user, now, keep=keep)
    _tell_of_new_password(user, now)


def confirm_password(user: User, password: str, login_id: uuid.UUID, now: datetime) -> None:
    """Make a log-in fresh by the password. Raises Unauthorized INVALID_CREDENTIALS."""
    if not passwords.verify(password, user.password_hash)[0]:
        raise Unauthorized("The password is not right.", "INVALID_CREDENTIALS")
    log_ins.confirm(login_id, now)


def _tell_of_new_password(user: User, now: datetime) -> None:
    body = (
        f"Hello {user.name},\n\nThe password of your account was changed just now. Every other log-in has ended.\n\n"
        "If this was not you, ask for a new code at once on the page “Forgot your password?”.\n"
    )
    send_mail("password_changed", user.email, "Your password was changed", body, now)


def _confirm(password: str, confirmation: str, field: str) -> None:
    if password != confirmation:
        raise Invalid.field(field, "The two passwords are not the same.")


def _redeem(email: str, purpose: str, code: str, *, secret: str, now: datetime) -> User | None:
    # Whoever asks: the one row that a counted try writes does not show beside this.
    _work_for_nothing(now)
    user = _find_open(email)
    if user is None:
        return None
    return user if codes.redeem_code(user, purpose, code, secret=secret, now=now) else None


def _find_open(email: str) -> User | None:
    user = queries.find_user_by_email(email)
    return user if user is not None and user.closed_at is None else None


def _mark_verified(user: User, now: datetime, address: str | None) -> None:
    if user.email_verified_at is None:
        user.email_verified_at = now
        audit.record("user.email_verified", _self(user, address), now, "user", user.user_id)


def _self(user: User, address: str | None) -> Actor:
    return Actor("user", user.email, user.user_id, address)


def _work_for_nothing(now: datetime) -> None:
    """Write about as much as a code and its mail do, and take it back, so that the commit costs the same."""
    nested = session.begin_nested()
    for _ in range(2):
        send_mail("nobody", "nobody@example.com", "nothing", "nothing", now)
        session.flush()
    nested.rollback()
