"""Reads of users and regions."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from sqlalchemy import func, select

from portal.accounts.models import Region, User
from portal.db import session
from portal.errors import Invalid, NotFound

DEFAULT_ZONE = ZoneInfo("Asia/Kolkata")


def get_user(user_id: uuid.UUID) -> User:
    """The user, also a closed one. Raises NotFound USER_NOT_FOUND."""
    user = session.get(User, user_id)
    if user is None:
        raise NotFound("There is no user with this id.", "USER_NOT_FOUND")
    return user


def lock_user(user_id: uuid.UUID) -> User:
    """The user, locked until the transaction ends and read anew. Raises NotFound USER_NOT_FOUND."""
    user = session.get(User, user_id, with_for_update=True, populate_existing=True)
    if user is None:
        raise NotFound("There is no user with this id.", "USER_NOT_FOUND")
    return user


def find_user_by_email(email: str) -> User | None:
    """The user with this address, whatever its case (uq_users_email)."""
    return session.scalar(select(User).where(func.lower(User.email) == func.lower(email.strip())))


def get_user_by_email(email: str) -> User:
    """The user with this address. Raises NotFound USER_NOT_FOUND."""
    user = find_user_by_email(email)
    if user is None:
        raise NotFound(f"There is no user with the address {email}.", "USER_NOT_FOUND")
    return user


def emails_of(user_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The addresses of these users, in one statement."""
    rows = session.execute(select(User.user_id, User.email).where(User.user_id.in_(list(user_ids))))
    return {row[0]: row[1] for row in rows}


def list_regions() -> list[Region]:
    """Every region, by name."""
    return list(session.scalars(select(Region).order_by(Region.name)))


def get_region(name: str) -> Region:
    """The region. Raises Invalid on the field `region`, naming those there are."""
    region = session.get(Region, name)
    if region is None:
        known = ", ".join(each.name for each in list_regions())
        raise Invalid.field("region", f"There is no region {name!r}. The regions are: {known}.")
    return region


def zone_of(region_name: str | None) -> ZoneInfo:
    """The zone in which the region's days are counted; Asia/Kolkata where no region is known."""
    region = session.get(Region, region_name) if region_name else None
    return ZoneInfo(region.timezone) if region else DEFAULT_ZONE
