"""Six-digit codes sent by mail, and the single-use token that one of them earns.

A code lives 15 minutes and takes five tries; what is kept is an HMAC under the portal's secret, because a plain hash of
six digits is undone by counting (NIST SP 800-63B, 3.1.3). Sending a new code ends the one before.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from sqlalchemy import func, select, update

from portal.accounts.models import Code, User
from portal.db import session

LIFE = timedelta(minutes=15)
TRIES = 5
SENT_AN_HOUR = 5
"""More than that is not sent: 25 guesses an hour at a million codes."""

VERIFY, RESET, SET_PASSWORD = "verify", "reset", "set_password"


def _hash(secret: str, purpose: str, owner: str, plain: str) -> bytes:
    return hmac.digest(f"portal code {secret}".encode(), f"{purpose}\n{owner}\n{plain}".encode(), hashlib.sha256)


def issue_code(user: User, purpose: str, *, secret: str, now: datetime) -> str | None:
    """A new code in plain, for the mail only; None when enough were sent within the hour (the last one stays good)."""
    sent = session.scalar(
        select(func.count()).where(
            Code.user_id == user.user_id, Code.purpose == purpose, Code.created_at > now - timedelta(hours=1)
        )
    )
    if (sent or 0) >= SENT_AN_HOUR:
        return None
    session.execute(
        update(Code)
        .where(Code.user_id == user.user_id, Code.purpose == purpose, Code.used_at.is_(None))
        .values(used_at=now)
    )
    plain = f"{secrets.randbelow(1_000_000):06d}"
    _keep(user, purpose, _hash(secret, purpose, str(user.user_id), plain), now)
    return plain


def redeem_code(user: User, purpose: str, plain: str, *, secret: str, now: datetime) -> bool:
    """True if this is the user's open code; then it is used up. A wrong one is counted: commit either way.

    The row is locked, so guesses at once are counted one by one.
    """
    code = session.scalar(
        select(Code)
        .where(
            Code.user_id == user.user_id,
            Code.purpose == purpose,
            Code.used_at.is_(None),
            Code.expires_at > now,
            Code.tries < TRIES,
        )
        .order_by(Code.code_id.desc())
        .limit(1)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if code is None:
        return False
    code.tries += 1
    right = hmac.compare_digest(code.code_hash, _hash(secret, purpose, str(user.user_id), plain))
    if right:
        code.used_at = now
    session.flush()
    return right


def issue_token(user: User, *, secret: str, now: datetime) -> str:
    """A single-use token with which the user sets their first password, in plain for the only time."""
    plain = secrets.token_urlsafe(32)
    _keep(user, SET_PASSWORD, _hash(secret, SET_PASSWORD, "", plain), now)
    return plain


def find_token(plain: str, *, secret: str) -> Code | None:
    """The row of a set-password token, locked: also one that has been used or has expired."""
    return session.scalar(
        select(Code)
        .where(Code.code_hash == _hash(secret, SET_PASSWORD, "", plain), Code.purpose == SET_PASSWORD)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _keep(user: User, purpose: str, code_hash: bytes, now: datetime) -> None:
    session.add(Code(user_id=user.user_id, purpose=purpose, code_hash=code_hash, created_at=now, expires_at=now + LIFE))
    session.flush()
