"""What giving a meter and taking it back are made of; the acts themselves are in `actions`, `swap` and `bulk`.

Everybody takes locks in one order: user, free meter, meter. So no two acts can wait for each other in a circle.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import text, update

from portal.accounts.models import User
from portal.audit import Actor
from portal.db import session
from portal.errors import Conflict, FieldError
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


def check_dated_back(instant: datetime, now: datetime, field: str) -> None:
    """Raises Conflict INSTANT_NOT_POSSIBLE for one in the future, or before there were smart meters."""
    if instant > now:
        raise not_possible(field, "Give an instant that is not in the future.")
    if instant < EARLIEST:
        raise not_possible(field, f"Give an instant after {EARLIEST:%Y}; no smart meter was there before.")


def not_possible(field: str, message: str) -> Conflict:
    """INSTANT_NOT_POSSIBLE: an instant that is one, but not for this supply as it is now. Told beside its field."""
    return Conflict(message, "INSTANT_NOT_POSSIBLE", [FieldError(field, message)])


def claim_next(region: str | None, pool: Pool, since: datetime | None = None) -> int:
    """The next free meter for a holder in `region`, marked as assigned. Raises Conflict NO_METERS_AVAILABLE.

    `since` dates the act back: then the next one that nobody held after it.
    """
    while (key := pool.claim_one(region, since)) is not None:
        if mark_assigned([key], [region]):
            return key
    raise no_stock(region, pool, since)


def claim_named(key: int, region: str | None, pool: Pool) -> None:
    """Take the named meter for a holder in `region` and mark it as assigned.

    Raises Conflict METER_NOT_ASSIGNABLE, METER_ALREADY_ASSIGNED, REGION_MISMATCH.
    """
    meter = take_out(key, pool)
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
    # It may have come back into the pool while we waited for its row.
    pool.drop(key)


# Held while the meters of accounts with an unproven address are counted and one more is given.
_UNVERIFIED_LOCK = 7_406_002


def count_room_for_unverified(pool: Pool) -> int | None:
    """How many more meters accounts with an unproven address may hold; None without a cap.

    Under a cap everybody who asks waits for whoever asked before, until that one commits: the cap is exact. Without
    one nobody waits (ix_users_unverified_holders).
    """
    if pool.unverified_cap is None:
        return None
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UNVERIFIED_LOCK})
    held: int = session.scalar(
        text("""
            SELECT count(*) FROM (SELECT FROM users WHERE meter_id IS NOT NULL AND email_verified_at IS NULL
                                  LIMIT :cap) AS held"""),
        {"cap": pool.unverified_cap},
    )
    return pool.unverified_cap - held


def cap_reached(pool: Pool) -> Conflict:
    """UNVERIFIED_CAP_REACHED, with what the customer can do about it."""
    return Conflict(
        f"Accounts whose e-mail address is not confirmed hold {pool.unverified_cap} meters, which is the most. Confirm "
        "the address; then a meter is assigned.",
        "UNVERIFIED_CAP_REACHED",
    )


def take_out(key: int, pool: Pool) -> Meter:
    """The meter's row, made if need be, locked, and out of what can be claimed."""
    pool.take(key)
    hear_of([key])
    return session.get_one(Meter, key, with_for_update=True, populate_existing=True)


def no_stock(region: str | None, pool: Pool, since: datetime | None = None) -> Conflict:
    """NO_METERS_AVAILABLE, with what staff can do about it."""
    dated = f" that was free since {since.isoformat()}" if since else ""
    return Conflict(
        f"No free meter{dated} is left for {region or 'a user without a region'} in {rules.meter_id(pool.first)} to "
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
        INSERT INTO meter_assignments
            (connection_id, user_id, meter_key, assigned_at, opening_register, how, assigned_by, assigned_act)
        SELECT connection_id, user_id, meter_key, since, :opening, :how, :by, :act
        FROM pair JOIN opened USING (user_id)),
    shown AS (
        UPDATE users SET meter_id = 'MTR-' || lpad(pair.meter_key::text, 8, '0')
        FROM pair WHERE users.user_id = pair.user_id)
    SELECT user_id, email, meter_key, region, since FROM pair ORDER BY meter_key""")


def open_assignments(
    pairs: Sequence[tuple[uuid.UUID, int]],
    *,
    how: str,
    act: int,
    actor: Actor,
    now: datetime,
    opening_register: Decimal | None = None,
) -> list[Assigned]:
    """Open connection and assignment of each (user, meter), both locked and free by now, and show it on the user.

    `act` is the row of the audit log that says who, why and how; the history refers to it.
    """
    rows = session.execute(
        _OPEN,
        {
            "user_ids": [user_id for user_id, _ in pairs],
            "keys": [key for _, key in pairs],
            "now": now,
            "opening": opening_register,
            "how": how,
            "by": actor.label,
            "act": act,
        },
    )
    return [Assigned(row.user_id, row.email, rules.meter_id(row.meter_key), row.region, row.since) for row in rows]


def get_held(user_id: uuid.UUID) -> Assignment:
    """What the (locked) user holds. Raises NotFound METER_NOT_ASSIGNED."""
    held = queries.find_open_assignment(user_id)
    if held is None:
        raise queries.no_meter()
    return held


def get_held_to_return(user_id: uuid.UUID, pool: Pool) -> Assignment:
    """The same, by whoever is about to give the meter back to the pool and has claimed nothing yet.

    A number that was given by name while its block came into the pool still stands there. Somebody who claims it would
    wait for the meter's row, and we for theirs: so its row in the pool goes first.
    """
    held = get_held(user_id)
    pool.take(held.meter_key)
    return held


def end_of(held: Assignment, at: datetime | None, now: datetime) -> datetime:
    """When an assignment ends that is taken back `now`, or was `at` an instant in the past.

    Raises Conflict INSTANT_NOT_POSSIBLE.
    """
    if at is None:
        # Two acts on one microsecond still leave a period that is not empty.
        return max(now, held.assigned_at + timedelta(microseconds=1))
    check_dated_back(at, now, "at")
    if at <= held.assigned_at:
        raise not_possible(
            "at", f"{rules.meter_id(held.meter_key)} is theirs since {held.assigned_at.isoformat()}; give a later one."
        )
    return at


def close_assignment(
    held: Assignment, end: datetime, *, how: str, act: int, actor: Actor, closing_register: Decimal | None = None
) -> None:
    """End an assignment; its connection, and what the user shows, are the caller's affair."""
    held.unassigned_at, held.unassigned_by, held.unassigned_how = end, actor.label, how
    held.unassigned_act, held.closing_register = act, closing_register
    session.flush()


def close_supply(user: User, held: Assignment, end: datetime) -> None:
    """End the connection of an assignment that ends, and show that the user holds nothing."""
    session.execute(
        update(Connection).where(Connection.connection_id == held.connection_id).values(ends_at=end),
    )
    user.meter_id = None
    session.flush()


def bring_back(key: int, to: str | None, pool: Pool, end: datetime, now: datetime) -> None:
    """A meter that somebody held: to stock, faulty, retired or quarantine; None is the rule of the utility.

    A rest is counted from the day on which the meter came back. In stock it can be claimed at once.
    """
    to, until = rules.after_return(to, pool.rest_days, end, now)
    session.execute(update(Meter).where(Meter.meter_key == key).values(status=to, quarantine_until=until))
    if to == "in_stock":
        return_to_pool(key, pool)


def becomes(to: str | None, pool: Pool, end: datetime, now: datetime) -> dict[str, str]:
    """What `bring_back` will make of a meter, for the audit log. Raises Invalid on `to`."""
    status, until = rules.after_return(to, pool.rest_days, end, now)
    return {"before": "assigned", "after": status} | ({"until": until.isoformat()} if until else {})


def return_to_pool(key: int, pool: Pool) -> None:
    """Let a meter in stock be claimed again; one outside the range from the day on which the range holds it again."""
    meter = session.get_one(Meter, key, populate_existing=True)
    pool.give_back(meter.meter_key, meter.region)


def check_registers(opening: Decimal | None, closing: Decimal | None, digits: int, *, rolled_over: bool) -> None:
    """Raises Conflict REGISTER_NOT_POSSIBLE, beside its field, for what the register of this meter cannot show."""
    for field, value in (("opening_register", opening), ("closing_register", closing)):
        if value is not None and not 0 <= value < 10**digits:
            message = f"The register of this meter shows {digits} digits: 0 up to {10**digits - 1}."
            raise Conflict(message, "REGISTER_NOT_POSSIBLE", [FieldError(field, message)])
    if opening is not None and closing is not None and closing < opening and not rolled_over:
        message = (
            f"The register stood at {opening} when the meter was given. Give a reading above it, or say that it has "
            "rolled over since."
        )
        raise Conflict(message, "REGISTER_NOT_POSSIBLE", [FieldError("closing_register", message)])
