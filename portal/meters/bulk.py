"""Meters for everybody who waits, in one run; and stock, many at a time.

Whom a run serves with which meter does not depend on the sizes of its chunks: longest wait first, stock of the user's
own region, then unallocated meters, each lowest first as single claims would take them. `rehearsal` foretells it.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Row, func, select, text, tuple_

from portal import audit
from portal.accounts import queries as accounts
from portal.accounts.models import User
from portal.audit import Actor
from portal.db import session
from portal.errors import Invalid
from portal.meters import queries, rules
from portal.meters.holding import (
    Assigned,
    cap_reached,
    count_room_for_unverified,
    mark_assigned,
    no_stock,
    open_assignments,
)
from portal.meters.models import Meter
from portal.meters.pool import Pool

CHUNK = 500

Waiting = Row[uuid.UUID, str, str | None, datetime, bool]
"""A locked customer without a meter: user_id, email, region, created_at, verified."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A user who stays without a meter, and why."""

    user_id: uuid.UUID
    email: str
    error: str
    region: str | None = None


@dataclass(slots=True)
class BulkResult:
    """What one run, or one chunk of it, did, in the order in which they wait.

    `after` is where the next chunk begins, None when nobody is left; `own` are those who got stock of their own region,
    the others got unallocated meters.
    """

    assigned: list[Assigned] = field(default_factory=list)
    failed: list[Refused] = field(default_factory=list)
    own: set[uuid.UUID] = field(default_factory=set)
    after: tuple[datetime, uuid.UUID] | None = None

    @property
    def total(self) -> int:
        """How many users it took up."""
        return len(self.assigned) + len(self.failed)


def assign_chunk(
    pool: Pool,
    region: str | None = None,
    limit: int = CHUNK,
    after: tuple[datetime, uuid.UUID] | None = None,
    *,
    act: int,
    actor: Actor,
    now: datetime,
) -> BulkResult:
    """Give a meter to the next `limit` customers who wait, longest first, of `region` or of all.

    Users whom another run serves at this moment are passed over: they stand in that run's list, not in this one.
    `act` is the run's row of the audit log (`begin_run`).
    """
    waiting = queries.waiting(region).order_by(User.created_at, User.user_id).limit(limit)
    if after is not None:
        waiting = waiting.where(tuple_(User.created_at, User.user_id) > after)
    locked = waiting.with_only_columns(
        User.user_id, User.email, User.region, User.created_at, User.email_verified_at.is_not(None).label("verified")
    )
    users = list(session.execute(locked.with_for_update(skip_locked=True, of=User)))
    result = BulkResult(after=(users[-1].created_at, users[-1].user_id) if len(users) == limit else None)
    if not users:
        return result
    room = count_room_for_unverified(pool)
    pool.hold_source()
    meters, over_cap = _serve(users, room, pool, result.own)
    pairs = [(user.user_id, meters[user.user_id]) for user in users if user.user_id in meters]
    if pairs:
        opened = {each.user_id: each for each in open_assignments(pairs, how="bulk", act=act, actor=actor, now=now)}
        result.assigned = [opened[user_id] for user_id, _key in pairs]
    result.failed = [
        Refused(user.user_id, user.email, reason_without(user, over_cap, pool), user.region)
        for user in users
        if user.user_id not in meters
    ]
    return result


def reason_without(user: Waiting, over_cap: set[uuid.UUID], pool: Pool) -> str:
    """Why this user stays without a meter."""
    refusal = cap_reached(pool) if user.user_id in over_cap else no_stock(user.region, pool)
    return refusal.message


def _serve(
    users: Sequence[Waiting], room: int | None, pool: Pool, own: set[uuid.UUID]
) -> tuple[dict[uuid.UUID, int], set[uuid.UUID]]:
    """(meters given, marked as assigned; who finds no room under the cap), as if one came after the other."""
    meters: dict[uuid.UUID, int] = {}
    left = list(users)
    while left:
        beyond = [] if room is None else [user for user in left if not user.verified][max(room, 0) :]
        outside = {user.user_id for user in beyond}
        asking = [user for user in left if user.user_id not in outside]
        given = _claim_for(asking, pool, own)
        meters |= given
        if room is None or not beyond:
            return meters, set()
        room -= sum(1 for user in asking if not user.verified and user.user_id in given)
        if room <= 0:
            return meters, outside
        left = beyond  # somebody for whom there was room found no meter: the next one may
    return meters, set()


def _claim_for(users: Sequence[Waiting], pool: Pool, own: set[uuid.UUID]) -> dict[uuid.UUID, int]:
    """A meter, claimed and marked as assigned, for as many of the users as there are meters."""
    stock: dict[str, Iterator[int]] = {
        region: iter(claim(pool, region, count))
        for region, count in sorted(Counter(user.region for user in users if user.region is not None).items())
    }
    meters: dict[uuid.UUID, int] = {}
    rest: list[Waiting] = []
    for user in users:
        key = next(stock[user.region], None) if user.region is not None else None
        if key is None:
            rest.append(user)
        else:
            meters[user.user_id] = key
    own.update(meters)
    meters |= {user.user_id: key for user, key in zip(rest, claim(pool, None, len(rest)), strict=False)}
    region_of = {user.user_id: user.region for user in users}
    marked = mark_assigned(list(meters.values()), [region_of[user_id] for user_id in meters])
    lost = [user for user in users if user.user_id in meters and meters[user.user_id] not in marked]
    if lost:
        # Somebody else was giving one by name before it came into the pool: these take part in the next round.
        for user in lost:
            del meters[user.user_id]
            own.discard(user.user_id)
        meters |= _claim_for(lost, pool, own)
    return meters


# Numbers of the pool that something other than a claim has moved; they drop out of it for good.
_UNUSABLE = text("""
    SELECT meter_key FROM meters WHERE meter_key = ANY (:keys)
        AND (status <> 'in_stock' OR (region IS NOT NULL AND region IS DISTINCT FROM :region))""")


def claim(pool: Pool, region: str | None, count: int) -> list[int]:
    """Up to `count` meters that can be given, of a region's own stock or of the unallocated ones (None)."""
    keys: list[int] = []
    while len(keys) < count:
        wanted = count - len(keys)
        claimed = pool.claim_unallocated(wanted) if region is None else pool.claim_own(region, wanted, keys)
        if not claimed:
            break
        unusable = set(session.scalars(_UNUSABLE, {"keys": claimed, "region": region}))
        keys += [key for key in claimed if key not in unusable]
    return keys


def assign_all(
    pool: Pool, region: str | None = None, limit: int | None = None, *, actor: Actor, now: datetime
) -> BulkResult:
    """Give a meter to all customers who wait (of `region`; at most `limit`), in this one transaction.

    Raises Invalid for an unknown region.
    """
    if region is not None:
        accounts.get_region(region)
    whole = BulkResult()
    act = begin_run(region, actor=actor, now=now)
    after = None
    while limit is None or whole.total < limit:
        size = CHUNK if limit is None else min(CHUNK, limit - whole.total)
        chunk = assign_chunk(pool, region, size, after, act=act, actor=actor, now=now)
        whole.assigned += chunk.assigned
        whole.failed += chunk.failed
        whole.own |= chunk.own
        after = chunk.after
        if after is None:
            break
    end_run(act, len(whole.assigned), len(whole.failed), region, actor=actor, now=now)
    return whole


def begin_run(region: str | None, *, actor: Actor, now: datetime, how: str = "bulk") -> int:
    """The row of the audit log that all assignments of a run refer to; written no later than the first of them."""
    entry = audit.record("meter.bulk_started", actor, now, "region", region or "all", {"region": region, "how": how})
    session.flush()
    return entry.audit_id


def end_run(act: int, success: int, failed: int, region: str | None, *, actor: Actor, now: datetime) -> None:
    """What a whole run came to, beside the row that it began with."""
    details = {"region": region, "success": success, "failed": failed, "run": act}
    audit.record("meter.bulk_assigned", actor, now, "region", region or "all", details)


@dataclass(frozen=True, slots=True)
class Stocked:
    """How many numbers were stocked, and how many were left alone because they are not in stock."""

    stocked: int
    left_alone: int


def provision(
    first: str, last: str, region: str | None, pool: Pool, *, phase: int = 1, actor: Actor, now: datetime
) -> Stocked:
    """Stock the meters `first` to `last`, both included, for a region, or as unallocated stock (None).

    Meters that are assigned, faulty, retired or in quarantine are left alone. Raises NotFound METER_NOT_FOUND outside
    the range, Invalid for an unknown region or an empty range.
    """
    low, high = (rules.key_in_range(meter_id, pool.first, pool.last) for meter_id in (first, last))
    if high < low:
        raise Invalid.field("last", f"{last} comes before {first}.")
    if region is not None:
        accounts.get_region(region)
    values = {"low": low, "high": high, "region": region, "phase": phase}
    # The source, what can be claimed, then the meters, each by number. Unallocated ones that the range's next number
    # has passed must be in the pool; the rest comes with its block, and a region's own is drawn from `meters`.
    next_key = pool.hold_source()
    session.execute(_UNPOOL if region is not None else _POOL, {**values, "next_key": next_key})
    stocked = session.scalars(_STOCK, values).all()
    pool.agree(low, high)
    audit.record(
        "meter.provisioned", actor, now, "meter", first, {"last": last, "region": region, "count": len(stocked)}
    )
    return Stocked(len(stocked), high - low + 1 - len(stocked))


def provision_next(
    count: int, region: str | None, pool: Pool, *, phase: int = 1, actor: Actor, now: datetime
) -> tuple[str, str, Stocked]:
    """Stock the `count` numbers after the highest one known so far: gives (first, last, how many).

    Raises as `provision` does; NotFound METER_NOT_FOUND when they would leave the range.
    """
    pool.hold_source()
    known = session.scalar(select(func.max(Meter.meter_key)).where(Meter.meter_key.between(pool.first, pool.last)))
    low = (known or pool.first - 1) + 1
    first, last = rules.meter_id(low), rules.meter_id(low + count - 1)
    return first, last, provision(first, last, region, pool, phase=phase, actor=actor, now=now)


_STOCK = text("""
    INSERT INTO meters (meter_key, meter_id, region, phase)
    SELECT key, 'MTR-' || lpad(key::text, 8, '0'), :region, :phase
    FROM generate_series(CAST(:low AS int), CAST(:high AS int)) AS key
    ON CONFLICT (meter_key) DO UPDATE SET region = excluded.region, phase = excluded.phase
        WHERE meters.status = 'in_stock'
    RETURNING meter_key""")
_UNPOOL = text("""
    DELETE FROM free_meters WHERE meter_key = ANY (ARRAY(
        SELECT meter_key FROM free_meters WHERE meter_key BETWEEN :low AND :high ORDER BY meter_key FOR UPDATE))""")
_POOL = text("""
    INSERT INTO free_meters (meter_key)
    SELECT number FROM generate_series(CAST(:low AS int), least(CAST(:high AS int), :next_key - 1)) AS number
    WHERE NOT EXISTS (SELECT FROM meters WHERE meter_key = number AND status <> 'in_stock')
    ORDER BY number ON CONFLICT (meter_key) DO UPDATE SET region = NULL""")
