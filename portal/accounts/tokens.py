"""Opaque access and refresh tokens, and the keys of programs.

A token is random; the database keeps its SHA-256. One log-in is a family: refresh gives a new pair and ends
the old one, and a dead refresh token that comes again ends the whole family (RFC 9700, 4.14.2).
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update

from portal import audit
from portal.accounts import log_ins
from portal.accounts.log_ins import Device
from portal.accounts.models import ApiKey, LogIn, Token, User
from portal.audit import Actor
from portal.db import session
from portal.errors import Forbidden, NotFound, Unauthorized

REFRESH_LIFE = timedelta(days=30)
SCOPES = ("ingest",)
NOTED_AGAIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a log-in gives. `expires_in` is the access token's life in seconds."""

    access: str
    refresh: str
    expires_in: int


def _hash(plain: str) -> bytes:
    return hashlib.sha256(plain.encode()).digest()


def issue_tokens(
    user: User,
    now: datetime,
    *,
    access_seconds: int,
    family_id: uuid.UUID | None = None,
    device: Device | None = None,
) -> TokenPair:
    """A new pair for the user, in a new log-in unless the family of one is named."""
    family = family_id or uuid.uuid4()
    if family_id is None:
        log_ins.begin(user, log_ins.PROGRAM, device or Device(), now, login_id=family, life=REFRESH_LIFE)
    else:
        log_ins.prolong(family, now + REFRESH_LIFE)
    access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    for kind, plain, life in (
        ("access", access, timedelta(seconds=access_seconds)),
        ("refresh", refresh, REFRESH_LIFE),
    ):
        session.add(
            Token(
                token_hash=_hash(plain),
                family_id=family,
                user_id=user.user_id,
                kind=kind,
                created_at=now,
                expires_at=now + life,
            )
        )
    session.flush()
    return TokenPair(access, refresh, access_seconds)


def get_access(plain: str, now: datetime) -> tuple[User, uuid.UUID]:
    """The user of an access token, and its family. Raises Unauthorized, Forbidden ACCOUNT_SUSPENDED."""
    token = session.get(Token, _hash(plain))
    if token is None or token.kind != "access":
        raise Unauthorized("This access token is not known. Log in again.")
    if token.revoked_at is not None:
        raise Unauthorized("This access token has been ended. Log in again.", "TOKEN_REVOKED")
    if token.expires_at <= now:
        raise Unauthorized("This access token has expired. Refresh it or log in again.", "TOKEN_EXPIRED")
    user = session.get_one(User, token.user_id)
    if user.closed_at is not None:
        raise Unauthorized("This account is closed.", "TOKEN_REVOKED")
    if user.suspended_at is not None:
        raise suspended(user)
    return user, token.family_id


def suspended(user: User) -> Forbidden:
    """ACCOUNT_SUSPENDED, with the reason that staff wrote for the person."""
    why = f" {user.suspended_reason.rstrip('.')}." if user.suspended_reason else ""
    return Forbidden(f"This account is suspended.{why} Ask your utility.", "ACCOUNT_SUSPENDED")


def rotate(plain: str, now: datetime, *, access_seconds: int) -> TokenPair | None:
    """A new pair for a refresh token; the old pair ends. None when a dead token came again: its family has ended.

    Raises Unauthorized for a token that is unknown, expired or revoked. The row is locked, so of two uses at once
    one is first and the other is a reuse. None (not an error) because that ending must be committed.
    """
    token = session.get(Token, _hash(plain), with_for_update=True, populate_existing=True)
    if token is None or token.kind != "refresh":
        raise Unauthorized("This refresh token is not known. Log in again.")
    if token.used_at is not None:
        revoke_family(token.family_id, now)
        return None
    if token.revoked_at is not None:
        raise Unauthorized("This refresh token has been ended. Log in again.", "TOKEN_REVOKED")
    if token.expires_at <= now:
        raise Unauthorized("This refresh token has expired. Log in again.", "TOKEN_EXPIRED")
    user = session.get_one(User, token.user_id)
    if user.closed_at is not None or user.suspended_at is not None:
        raise Unauthorized("This account is not open.", "TOKEN_REVOKED")
    _revoke_tokens(token.family_id, now)
    token.used_at = now
    return issue_tokens(user, now, access_seconds=access_seconds, family_id=token.family_id)


def revoke_family(family_id: uuid.UUID, now: datetime) -> None:
    """End one log-in, and every token of it."""
    _revoke_tokens(family_id, now)
    log_ins.end(family_id, now)


def end_log_in(user: User, login_id: uuid.UUID, *, actor: Actor, now: datetime) -> None:
    """End one of the user's own log-ins. Raises NotFound SESSION_NOT_FOUND, for somebody else's too."""
    row = session.scalar(select(LogIn).where(LogIn.login_id == login_id, LogIn.user_id == user.user_id))
    if row is None or row.ended_at is not None:
        raise NotFound("There is no such log-in, or it has ended.", "SESSION_NOT_FOUND")
    revoke_family(login_id, now)
    audit.record("session.ended", actor, now, "user", user.user_id, {"kind": row.kind})


def _revoke_tokens(family_id: uuid.UUID, now: datetime) -> None:
    session.execute(
        update(Token).where(Token.family_id == family_id, Token.revoked_at.is_(None)).values(revoked_at=now)
    )


def revoke_refresh(user: User, plain: str, now: datetime) -> None:
    """End the log-in of a refresh token, if it is this user's."""
    token = session.get(Token, _hash(plain))
    if token is not None and token.user_id == user.user_id:
        revoke_family(token.family_id, now)


def revoke_all(user: User, now: datetime, *, keep: uuid.UUID | None = None) -> None:
    """End every log-in of the user, in programs and browsers; all but the one that asks for it, `keep`."""
    ending = update(Token).where(Token.user_id == user.user_id, Token.revoked_at.is_(None))
    if keep is not None:
        ending = ending.where(Token.family_id != keep)
    session.execute(ending.values(revoked_at=now))
    log_ins.end_all(user.user_id, now, keep=keep)


def create_key(name: str, scope: str, meter_key: int | None = None, *, actor: Actor, now: datetime) -> str:
    """A new key for a program, in plain for the only time; for one meter alone where that is given."""
    plain = f"pk_{secrets.token_urlsafe(32)}"
    key = ApiKey(name=name, key_hash=_hash(plain), scope=scope, meter_key=meter_key, created_at=now)
    session.add(key)
    session.flush()
    about = {"name": name, "scope": scope, "meter_key": meter_key}
    audit.record("key.created", actor, now, "api_key", key.key_id, about)
    return plain


def note_use(key: ApiKey, now: datetime) -> None:
    """Remember that the key was used, to within five minutes: not one write a call, and nobody waits for it."""
    if key.last_used_at is None or key.last_used_at < now - NOTED_AGAIN:
        mine = (
            select(ApiKey.key_id).where(ApiKey.key_id == key.key_id).with_for_update(key_share=True, skip_locked=True)
        )
        session.execute(
            update(ApiKey)
            .where(ApiKey.key_id.in_(mine.scalar_subquery()))
            .values(last_used_at=now)
            .execution_options(synchronize_session=False)
        )


def find_key(plain: str) -> ApiKey | None:
    """The key, unless it is unknown or revoked."""
    return session.scalar(select(ApiKey).where(ApiKey.key_hash == _hash(plain), ApiKey.revoked_at.is_(None)))


def is_access_token(plain: str) -> bool:
    """True if this is a person's token: a person who knocks at a program's door is forbidden, not unknown."""
    token = session.get(Token, _hash(plain))
    return token is not None and token.kind == "access"
