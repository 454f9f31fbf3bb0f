"""Meters for everybody who waits, in one run; and stock, many at a time."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

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


@dataclass(slots=True)
class BulkResult:
    """What one run, or one chunk of it, did. `after` is where the next chunk begins; None when nobody is left."""

    assigned: list[Assigned] = field(default_factory=list)
    failed: list[Refused] = field(default_factory=list)
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
    over_cap = _beyond_cap(users, pool)
    served = [user for user in users if user.user_id not in over_cap]
    pool.hold_source()
    meters = _claim_for(served, pool)
    pairs = [(user.user_id, meters[user.user_id]) for user in served if user.user_id in meters]
    if pairs:
        result.assigned = open_assignments(pairs, how="bulk", act=act, actor=actor, now=now)
    result.failed = [
        Refused(
            user.user_id,
            user.email,
            (cap_reached(pool) if user.user_id in over_cap else no_stock(user.region, pool)).message,
        )
        for user in users
        if user.user_id not in meters
    ]
    return result


def _beyond_cap(users: Sequence[Waiting], pool: Pool) -> set[uuid.UUID]:
    """Those whose address is not proven and for whom the cap leaves no room."""
    room = count_room_for_unverified(pool)
    return set() if room is None else {user.user_id for user in [each for each in users if not each.verified][room:]}


def _claim_for(users: Sequence[Waiting], pool: Pool) -> dict[uuid.UUID, int]:
    """A meter, claimed and marked as assigned, for as many of the users as there are meters."""
    meters: dict[uuid.UUID, int] = {}
    left = list(users)
    while left:
        claimed: dict[int, Waiting] = {}
        for region, group in groupby(sorted(left, key=lambda user: user.region or ""), key=lambda user: user.region):
            waiting = list(group)
            claimed |= dict(zip(pool.claim(region, len(waiting)), waiting, strict=False))
        if not claimed:
            break
        keys = sorted(claimed)
        # A number that turned faulty since it was pooled falls out here, and its user takes part in the next round.
        marked = mark_assigned(keys, [claimed[key].region for key in keys])
        meters |= {claimed[key].user_id: key for key in marked}
        left = [user for user in left if user.user_id not in meters]
    return meters


def assign_all(
    pool: Pool,
    region: str | None = None,
    limit: int | None = None,
    *,
    actor: Actor,
    now: datetime,
    dry_run: bool = False,
) -> BulkResult:
    """Give a meter to all customers who wait (of `region`; at most `limit`), in this one transaction.

    A dry run does the same and takes it back, so what it shows is exact. Raises Invalid for an unknown region.
    """
    if region is not None:
        accounts.get_region(region)
    whole = BulkResult()
    nested = session.begin_nested()
    act = begin_run(region, actor=actor, now=now)
    after = None
    while limit is None or whole.total < limit:
        size = CHUNK if limit is None else min(CHUNK, limit - whole.total)
        chunk = assign_chunk(pool, region, size, after, act=act, actor=actor, now=now)
        whole.assigned += chunk.assigned
        whole.failed += chunk.failed
        after = chunk.after
        if after is None:
            break
    if dry_run:
        nested.rollback()
        return whole
    nested.commit()
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
    # Nobody can be claiming them from here on; then the meters themselves, by number.
    session.execute(text("DELETE FROM free_meters WHERE meter_key BETWEEN :low AND :high"), values)
    stocked = session.scalars(_STOCK, values).all()
    if region is None:
        # Back into what the range gives: the numbers may lie behind the range's next one already.
        session.execute(_POOL_UNALLOCATED, values)
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
_POOL_UNALLOCATED = text("""
    INSERT INTO free_meters (meter_key) SELECT meter_key FROM meters
    WHERE meter_key BETWEEN :low AND :high AND status = 'in_stock' ON CONFLICT DO NOTHING""")
