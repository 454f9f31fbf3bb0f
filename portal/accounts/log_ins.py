"""Log-ins of browsers and programs: each is a row that its owner can see and end."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update

from portal.accounts.models import LogIn, User
from portal.db import session
from portal.errors import Forbidden

BROWSER, PROGRAM = "browser", "program"
LIFE = timedelta(days=30)
"""The longest that a browser stays logged in, however often it comes (NIST SP 800-63B, 2.1.3). Unused: 14 days."""
FRESH = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Device:
    """Where a log-in comes from, as its owner reads it in the list."""

    agent: str = ""
    address: str | None = None


def begin(
    user: User, kind: str, device: Device, now: datetime, *, login_id: uuid.UUID | None = None, life: timedelta = LIFE
) -> LogIn:
    """A new log-in of this user."""
    row = LogIn(
        login_id=login_id or uuid.uuid4(),
        user_id=user.user_id,
        kind=kind,
        agent=device.agent[:200],
        address=device.address,
        created_at=now,
        confirmed_at=now,
        expires_at=now + life,
    )
    session.add(row)
    session.flush()
    return row


def find_open(login_id: uuid.UUID, now: datetime) -> tuple[User, LogIn] | None:
    """The log-in and whose it is, if neither has ended; one statement."""
    row = session.execute(
        select(User, LogIn)
        .join(LogIn, LogIn.user_id == User.user_id)
        .where(
            LogIn.login_id == login_id,
            LogIn.ended_at.is_(None),
            LogIn.expires_at > now,
            User.closed_at.is_(None),
            User.suspended_at.is_(None),
        )
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def list_open(user_id: uuid.UUID, now: datetime) -> list[LogIn]:
    """The user's log-ins that have not ended, newest first (ix_log_ins_open)."""
    return list(
        session.scalars(
            select(LogIn)
            .where(LogIn.user_id == user_id, LogIn.ended_at.is_(None), LogIn.expires_at > now)
            .order_by(LogIn.created_at.desc(), LogIn.login_id)
        )
    )


def end(login_id: uuid.UUID, now: datetime) -> None:
    """End one log-in; of a program see tokens.revoke_family, which ends its tokens too."""
    session.execute(update(LogIn).where(LogIn.login_id == login_id, LogIn.ended_at.is_(None)).values(ended_at=now))


def end_all(user_id: uuid.UUID, now: datetime, *, keep: uuid.UUID | None = None) -> None:
    """End every log-in of the user but `keep`."""
    ending = update(LogIn).where(LogIn.user_id == user_id, LogIn.ended_at.is_(None))
    if keep is not None:
        ending = ending.where(LogIn.login_id != keep)
    session.execute(ending.values(ended_at=now))


def prolong(login_id: uuid.UUID, until: datetime) -> None:
    """A program that refreshed stays logged in as long as its new refresh token lives."""
    session.execute(update(LogIn).where(LogIn.login_id == login_id).values(expires_at=until))


def confirm(login_id: uuid.UUID, now: datetime) -> None:
    """Note that the password was given again."""
    session.execute(update(LogIn).where(LogIn.login_id == login_id).values(confirmed_at=now))


def is_fresh(row: LogIn, now: datetime) -> bool:
    """True if the password was given within the last 15 minutes."""
    return row.confirmed_at > now - FRESH


def check_fresh(login_id: uuid.UUID, now: datetime) -> None:
    """Raise Forbidden FRESH_LOGIN_REQUIRED unless the password was given within the last 15 minutes."""
    row = session.get(LogIn, login_id)
    if row is None or not is_fresh(row, now):
        raise Forbidden("Log in again: this needs a log-in of the last 15 minutes.", "FRESH_LOGIN_REQUIRED")
