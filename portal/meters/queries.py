"""Reads of meters, their holders and who waits for one."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, and_, func, or_, select, text

from portal.accounts.models import User
from portal.db import session
from portal.errors import NotFound
from portal.meters import rules
from portal.meters.models import Assignment, Connection, Meter
from portal.meters.pool import Pool
from portal.periods import Period


def no_meter() -> NotFound:
    """METER_NOT_ASSIGNED."""
    return NotFound("This user holds no meter.", "METER_NOT_ASSIGNED")


def get_meter(meter_id: str, pool: Pool) -> Meter | None:
    """The meter's row; None for a number of the range that nobody stocked or heard of yet.

    Raises NotFound METER_NOT_FOUND for a number outside the range.
    """
    return session.get(Meter, rules.key_in_range(meter_id, pool.first, pool.last))


def find_open_assignment(user_id: uuid.UUID) -> Assignment | None:
    """What the user holds now (uq_meter_assignments_user_open)."""
    return session.scalar(select(Assignment).where(Assignment.user_id == user_id, Assignment.unassigned_at.is_(None)))


def find_holder(meter_key: int) -> User | None:
    """Who holds the meter now (uq_meter_assignments_meter_open)."""
    return session.scalar(
        select(User)
        .join(Assignment, Assignment.user_id == User.user_id)
        .where(Assignment.meter_key == meter_key, Assignment.unassigned_at.is_(None))
    )


def list_assignments(
    *, user_id: uuid.UUID | None = None, meter_key: int | None = None, connection_id: int | None = None
) -> list[Assignment]:
    """The assignments of a user, a meter or a connection, oldest first."""
    query = select(Assignment).order_by(Assignment.assigned_at)
    if user_id is not None:
        query = query.where(Assignment.user_id == user_id)
    if meter_key is not None:
        query = query.where(Assignment.meter_key == meter_key)
    if connection_id is not None:
        query = query.where(Assignment.connection_id == connection_id)
    return list(session.scalars(query))


def period_of(row: Assignment | Connection) -> Period:
    """When an assignment or a connection held, half-open, UTC."""
    if isinstance(row, Assignment):
        return Period(row.assigned_at, row.unassigned_at)
    return Period(row.starts_at, row.ends_at)


def list_connections(period: Period, region: str | None = None) -> list[Connection]:
    """The connections that had supply at some time of the (closed) period, by id (ix_connections_region_starts_at)."""
    query = (
        select(Connection)
        .where(Connection.starts_at < period.end, or_(Connection.ends_at.is_(None), Connection.ends_at > period.start))
        .order_by(Connection.connection_id)
    )
    if region is not None:
        query = query.where(Connection.region == region)
    return list(session.scalars(query))


def waiting(region: str | None = None) -> Select[User]:
    """Customers with an open account and no meter (ix_users_waiting)."""
    query = select(User).where(User.meter_id.is_(None), User.role == "user", User.closed_at.is_(None))
    return query.where(User.region == region) if region else query


def count_waiting(region: str | None = None) -> int:
    """How many customers wait for a meter."""
    return session.scalar(select(func.count()).select_from(waiting(region).subquery())) or 0


def count_waiting_by_region() -> list[tuple[str | None, int]]:
    """How many wait in each region that anybody waits in, most first (ix_users_waiting)."""
    query = waiting().with_only_columns(User.region, func.count()).group_by(User.region)
    return sorted(((region, count) for region, count in session.execute(query)), key=lambda each: -each[1])


@dataclass(frozen=True, slots=True)
class UserPage:
    """One page of users, and how many there are in all."""

    users: list[User]
    total: int


def _matching(query: Select[User], search: str) -> Select[User]:
    """Users whose e-mail, name or meter contains the words, whatever their case."""
    pattern = "%" + search.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    return query.where(or_(User.email.ilike(pattern), User.name.ilike(pattern), User.meter_id.ilike(pattern)))


def _page(query: Select[User], limit: int, offset: int) -> UserPage:
    total = session.scalar(select(func.count()).select_from(query.order_by(None).subquery())) or 0
    return UserPage(list(session.scalars(query.limit(limit).offset(offset))), total)


def list_without_meter(region: str | None = None, search: str = "", limit: int = 20, offset: int = 0) -> UserPage:
    """Customers who wait for a meter, longest wait first."""
    query = waiting(region).order_by(User.created_at, User.user_id)
    return _page(_matching(query, search) if search.strip() else query, limit, offset)


def search_users(search: str = "", role: str | None = None, limit: int = 20, offset: int = 0) -> UserPage:
    """Users by part of their e-mail, name or meter, newest first; all of them without words."""
    query = select(User).order_by(User.created_at.desc(), User.user_id)
    if role is not None:
        query = query.where(User.role == role)
    return _page(_matching(query, search) if search.strip() else query, limit, offset)


def list_free(region: str | None, pool: Pool, limit: int = 5) -> list[str]:
    """The numbers that the next claims for a user of `region` would most likely take; nothing is reserved."""
    keys = session.scalars(
        text("""
            SELECT meter_key FROM free_meters
            WHERE (region IS NULL OR region = :region) AND meter_key BETWEEN :first AND :last
            ORDER BY region NULLS LAST, meter_key LIMIT :limit"""),
        {"region": region, "first": pool.first, "last": pool.last, "limit": limit},
    )
    return [rules.meter_id(key) for key in keys]


@dataclass(frozen=True, slots=True)
class Stats:
    """Assignment in numbers. Only customers whose account is open count; staff hold no meters."""

    total_users: int
    users_with_meters: int
    meters_by_region: list[tuple[str | None, int]]
    available_meters: int
    first: str
    last: str
    last_assigned_at: datetime | None

    @property
    def users_without_meters(self) -> int:
        """Customers who wait."""
        return self.total_users - self.users_with_meters

    @property
    def assignment_percentage(self) -> float:
        """With a meter, in per cent of all customers, one decimal; 0 when there are none. Not money, so a float."""
        return round(100 * self.users_with_meters / self.total_users, 1) if self.total_users else 0.0


def stats(pool: Pool) -> Stats:
    """Counts of now. `meters_by_region` counts assigned meters by their holders' region, largest first."""
    open_customers = (User.role == "user", User.closed_at.is_(None))
    rows = session.execute(
        select(User.region, func.count(), func.count(User.meter_id)).where(*open_customers).group_by(User.region)
    ).all()
    by_region = sorted(((region, held) for region, _, held in rows if held), key=lambda each: (-each[1], each[0] or ""))
    blocked = session.scalar(
        select(func.count()).where(
            Meter.meter_key.between(pool.first, pool.last), Meter.status.in_(("assigned", "faulty", "retired"))
        )
    )
    return Stats(
        total_users=sum(count for _, count, _ in rows),
        users_with_meters=sum(held for _, _, held in rows),
        meters_by_region=by_region,
        available_meters=pool.last - pool.first + 1 - (blocked or 0),
        first=rules.meter_id(pool.first),
        last=rules.meter_id(pool.last),
        last_assigned_at=session.scalar(select(func.max(Assignment.assigned_at))),
    )


@dataclass(frozen=True, slots=True)
class MeterPage:
    """One page of meters with their holders, and how many there are in all."""

    meters: list[tuple[Meter, uuid.UUID | None]]
    total: int


def list_meters(status: str | None = None, region: str | None = None, limit: int = 20, offset: int = 0) -> MeterPage:
    """Meters that have a row, by number."""
    query = select(Meter)
    if status is not None:
        query = query.where(Meter.status == status)
    if region is not None:
        query = query.where(Meter.region == region)
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    held = and_(Assignment.meter_key == Meter.meter_key, Assignment.unassigned_at.is_(None))
    rows = session.execute(
        query.add_columns(Assignment.user_id)
        .outerjoin(Assignment, held)
        .order_by(Meter.meter_key)
        .limit(limit)
        .offset(offset)
    )
    return MeterPage([(meter, holder) for meter, holder in rows], total)
