"""Reads of meters, their holders and who waits for one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import Select, func, or_, select, text

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


# For each region its own stock, then unallocated stock, then numbers of the range that are not pooled yet.
_FREE = text("""
    SELECT r.region, free.meter_key FROM unnest(CAST(:regions AS text[])) AS r(region) CROSS JOIN LATERAL (
        (SELECT meter_key, 0 AS place FROM free_meters f
         WHERE f.region = r.region AND meter_key BETWEEN :first AND :last ORDER BY meter_key LIMIT :limit)
        UNION ALL (SELECT meter_key, 1 FROM free_meters f
         WHERE f.region IS NULL AND meter_key BETWEEN :first AND :last ORDER BY meter_key LIMIT :limit)
        UNION ALL (SELECT number, 2 FROM generate_series(
             greatest(:first, coalesce((SELECT next_key FROM pool_source), 1)),
             least(:last, greatest(:first, coalesce((SELECT next_key FROM pool_source), 1)) + 200)) AS number
         WHERE NOT EXISTS (SELECT FROM meters m WHERE m.meter_key = number
                           AND (m.status <> 'in_stock' OR m.region IS NOT NULL)) LIMIT :limit)
        ORDER BY place, meter_key LIMIT :limit) AS free""")


def list_free(regions: Sequence[str | None], pool: Pool, limit: int = 5) -> dict[str | None, list[str]]:
    """For each region the numbers that its next claims would most likely take; nothing is reserved."""
    values = {"regions": list(regions), "first": pool.first, "last": pool.last, "limit": limit}
    free: dict[str | None, list[str]] = {region: [] for region in regions}
    for region, key in session.execute(_FREE, values):
        free[region].append(rules.meter_id(key))
    return free


def list_user_connections(user_id: uuid.UUID) -> list[Connection]:
    """A user's supplies, newest first (ix_connections_user_id_starts_at)."""
    return list(
        session.scalars(select(Connection).where(Connection.user_id == user_id).order_by(Connection.starts_at.desc()))
    )
