"""Who holds which meter: assign, unassign, in bulk, and stock. Callers commit.

Everybody takes locks in one order: user, free meter, meter. So no two acts can wait for each other in a circle.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, text, update

from portal import audit
from portal.accounts import queries as accounts
from portal.audit import Actor
from portal.db import session
from portal.errors import Conflict, Invalid
from portal.meters import queries, rules
from portal.meters.models import Assignment, Connection, Meter
from portal.meters.pool import Pool

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Assigned:
    """One meter given or taken back. `region` is the user's."""

    user_id: uuid.UUID
    email: str
    meter_id: str
    region: str | None
    since: datetime


def assign(
    user_id: uuid.UUID,
    pool: Pool,
    meter_id: str | None = None,
    region: str | None = None,
    *,
    how: str,
    actor: Actor,
    now: datetime,
) -> Assigned:
    """Give a customer a meter: the named one, or the next free one of their region. `region` becomes the user's.

    Raises, the first that applies: NotFound USER_NOT_FOUND, NotFound METER_NOT_FOUND, Conflict USER_HAS_METER,
    METER_NOT_ASSIGNABLE, METER_ALREADY_ASSIGNED, REGION_MISMATCH, NO_METERS_AVAILABLE; Invalid for an unknown region,
    Conflict USER_NOT_CUSTOMER for staff and closed accounts.
    """
    user = accounts.lock_user(user_id)
    key = rules.key_in_range(meter_id, pool.first, pool.last) if meter_id is not None else None
    if user.meter_id is not None:
        raise Conflict(f"{user.email} holds {user.meter_id} already. Unassign it first.", "USER_HAS_METER")
    if user.role != "user" or user.closed_at is not None:
        raise Conflict("Only customers with an open account hold meters.", "USER_NOT_CUSTOMER")
    if region is not None:
        user.region = accounts.get_region(region).name
    if key is None:
        key = _claim_next(user.region, pool)
    else:
        _claim_named(key, user.region, pool)
    session.flush()
    [assigned] = open_assignments([(user.user_id, key)], how=how, actor=actor, now=now)
    session.refresh(user)
    _record("meter.assigned", assigned, actor, now, how=how)
    return assigned


def unassign(user_id: uuid.UUID, pool: Pool, *, actor: Actor, now: datetime) -> Assigned:
    """Take the user's meter back; it keeps its region and can be given again at once.

    Raises NotFound USER_NOT_FOUND, METER_NOT_ASSIGNED.
    """
    user = accounts.lock_user(user_id)
    open_row = queries.find_open_assignment(user_id)
    if open_row is None:
        raise queries.no_meter()
    # Two acts on one microsecond still leave a period that is not empty.
    end = max(now, open_row.assigned_at + timedelta(microseconds=1))
    session.execute(
        update(Meter).where(Meter.meter_key == open_row.meter_key).values(status="in_stock"),
    )
    open_row.unassigned_at, open_row.unassigned_by = end, actor.label
    session.execute(
        update(Connection).where(Connection.connection_id == open_row.connection_id).values(ends_at=end),
    )
    user.meter_id = None
    session.flush()
    freed = Assigned(user.user_id, user.email, rules.meter_id(open_row.meter_key), user.region, end)
    if pool.first <= open_row.meter_key <= pool.last:
        meter = session.get_one(Meter, open_row.meter_key, populate_existing=True)
        pool.give_back(meter.meter_key, meter.region)
    _record("meter.unassigned", freed, actor, now)
    return freed


def move_start(user_id: uuid.UUID, start: datetime, *, actor: Actor, now: datetime) -> Assigned:
    """Move the start of the user's open assignment and connection back to `start` (UTC).

    Raises NotFound METER_NOT_ASSIGNED; Invalid if `start` is not before the present start; Conflict
    METER_ALREADY_ASSIGNED if the meter, USER_HAS_METER if the user was taken then (naming until when).
    """
    user = accounts.lock_user(user_id)
    row = queries.find_open_assignment(user_id)
    if row is None:
        raise queries.no_meter()
    meter_id = rules.meter_id(row.meter_key)
    if start < EARLIEST:
        raise Invalid.field("from", f"Give an instant after {EARLIEST:%Y}; no smart meter was there before.")
    if start >= row.assigned_at:
        raise Invalid.field(
            "from", f"{meter_id} is theirs since {row.assigned_at.isoformat()}; give an earlier instant."
        )
    # Locked before the look: nobody may slip an older period of this meter in between.
    session.get_one(Meter, row.meter_key, with_for_update=True)
    for column, value, code, who in (
        (Assignment.meter_key, row.meter_key, "METER_ALREADY_ASSIGNED", meter_id),
        (Assignment.user_id, user_id, "USER_HAS_METER", user.email),
    ):
        until = session.scalar(
            select(Assignment.unassigned_at)
            .where(column == value, Assignment.unassigned_at > start, Assignment.assignment_id != row.assignment_id)
            .order_by(Assignment.unassigned_at.desc())
            .limit(1)
        )
        if until is not None:
            raise Conflict(f"{who} was taken until {until.isoformat()}; the start cannot go back before that.", code)
    before = row.assigned_at
    row.assigned_at = start
    session.execute(
        update(Connection)
        .where(Connection.connection_id == row.connection_id, Connection.starts_at > start)
        .values(starts_at=start)
    )
    session.flush()
    moved = Assigned(user.user_id, user.email, meter_id, user.region, start)
    _record("meter.start_moved", moved, actor, now, before=before.isoformat(), start=start.isoformat())
    return moved


def _claim_next(region: str | None, pool: Pool) -> int:
    while (key := pool.claim_one(region)) is not None:
        if mark_assigned([key], [region]):
            return key
    raise no_stock(region, pool)


def _claim_named(key: int, region: str | None, pool: Pool) -> None:
    pool.take(key)
    hear_of([key])
    meter = session.get_one(Meter, key, with_for_update=True, populate_existing=True)
    if meter.status in ("faulty", "retired", "quarantine"):
        words = {"faulty": "is faulty", "retired": "is retired", "quarantine": "rests in quarantine"}[meter.status]
        raise Conflict(f"{meter.meter_id} {words} and cannot be assigned.", "METER_NOT_ASSIGNABLE")
    if meter.status == "assigned":
        raise Conflict(f"{meter.meter_id} is held by somebody else.", "METER_ALREADY_ASSIGNED")
    if meter.region is not None and meter.region != region:
        raise Conflict(
            f"{meter.meter_id} is stocked for {meter.region}, the user is in {region or 'no region yet'}.",
            "REGION_MISMATCH",
        )
    mark_assigned([key], [region])


def no_stock(region: str | None, pool: Pool) -> Conflict:
    """NO_METERS_AVAILABLE, with what staff can do about it."""
    return Conflict(
        f"No free meter is left for {region or 'a user without a region'} in {rules.meter_id(pool.first)} to "
        f"{rules.meter_id(pool.last)}. Raise METER_LAST, or stock meters with `flask meters provision`.",
        "NO_METERS_AVAILABLE",
    )


def hear_of(meter_keys: Sequence[int]) -> None:
    """Make sure that each of these meters has a row; by key, so that two callers cannot block each other."""
    session.execute(
        text("""
            INSERT INTO meters (meter_key, meter_id)
            SELECT key, 'MTR-' || lpad(key::text, 8, '0') FROM unnest(CAST(:keys AS int[])) AS key
            WHERE NOT EXISTS (SELECT FROM meters WHERE meter_key = key) ORDER BY key
            ON CONFLICT DO NOTHING"""),
        {"keys": sorted(meter_keys)},
    )


def mark_assigned(keys: Sequence[int], regions: Sequence[str | None]) -> set[int]:
    """Turn meters in stock into assigned ones of their holders' regions; gives those that could be.

    By key, whatever the order given: two runs that touch the same meters cannot block each other.
    """
    return set(
        session.scalars(
            text("""
                INSERT INTO meters (meter_key, meter_id, region, status)
                SELECT key, 'MTR-' || lpad(key::text, 8, '0'), region, 'assigned'
                FROM unnest(CAST(:keys AS int[]), CAST(:regions AS text[])) AS claimed (key, region) ORDER BY key
                ON CONFLICT (meter_key) DO UPDATE
                    SET status = 'assigned', region = coalesce(excluded.region, meters.region)
                    WHERE meters.status = 'in_stock'
                        AND (meters.region IS NULL OR meters.region IS NOT DISTINCT FROM excluded.region)
                RETURNING meter_key"""),
            {"keys": list(keys), "regions": list(regions)},
        )
    )


# One statement for one pair or a thousand: connection, assignment and users.meter_id. A period begins now, or where
# the last one of the meter or user ended if that is a moment later: `now` was taken before the locks were.
_OPEN = text("""
    WITH pair AS (
        SELECT p.user_id, p.meter_key, u.email, u.region, m.phase, greatest(CAST(:now AS timestamptz),
            (SELECT max(unassigned_at) FROM meter_assignments a
             WHERE a.meter_key = p.meter_key AND unassigned_at IS NOT NULL),
            (SELECT max(ends_at) FROM connections c WHERE c.user_id = p.user_id)) AS since
        FROM unnest(CAST(:user_ids AS uuid[]), CAST(:keys AS int[])) AS p(user_id, meter_key)
        JOIN users u USING (user_id) JOIN meters m USING (meter_key)),
    opened AS (
        INSERT INTO connections (user_id, region, phase, starts_at)
        SELECT user_id, region, phase, since FROM pair
        RETURNING connection_id, user_id),
    held AS (
        INSERT INTO meter_assignments (connection_id, user_id, meter_key, assigned_at, how, assigned_by)
        SELECT connection_id, user_id, meter_key, since, :how, :by FROM pair JOIN opened USING (user_id)),
    shown AS (
        UPDATE users SET meter_id = 'MTR-' || lpad(pair.meter_key::text, 8, '0')
        FROM pair WHERE users.user_id = pair.user_id)
    SELECT user_id, email, meter_key, region, since FROM pair ORDER BY meter_key""")


def open_assignments(
    pairs: Sequence[tuple[uuid.UUID, int]], *, how: str, actor: Actor, now: datetime
) -> list[Assigned]:
    """Open connection and assignment of each (user, meter), both locked and free by now, and show it on the user."""
    rows = session.execute(
        _OPEN,
        {
            "user_ids": [user_id for user_id, _ in pairs],
            "keys": [key for _, key in pairs],
            "now": now,
            "how": how,
            "by": actor.label,
        },
    )
    return [Assigned(row.user_id, row.email, rules.meter_id(row.meter_key), row.region, row.since) for row in rows]


def _record(action: str, assigned: Assigned, actor: Actor, now: datetime, **details: str) -> None:
    about = {"meter_id": assigned.meter_id, "region": assigned.region, **details}
    audit.record(action, actor, now, "user", assigned.user_id, about)


def mark_faulty(meter_id: str, pool: Pool, *, actor: Actor, now: datetime) -> None:
    """Take a meter in stock out of use. Raises NotFound METER_NOT_FOUND, Conflict METER_ALREADY_ASSIGNED."""
    key = rules.key_in_range(meter_id, pool.first, pool.last)
    pool.take(key)
    hear_of([key])
    meter = session.get_one(Meter, key, with_for_update=True, populate_existing=True)
    if meter.status == "assigned":
        raise Conflict(f"{meter_id} is held by somebody. Unassign it first.", "METER_ALREADY_ASSIGNED")
    meter.status = "faulty"
    session.flush()
    audit.record("meter.faulty", actor, now, "meter", meter_id)
