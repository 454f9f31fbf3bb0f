"""What a bulk run would do at this moment, without a lock: nobody waits for a preview, however many it is about.

It reads one snapshot on a connection of its own, row by row, and gives each user the meter that a run would; the run's
order (`bulk`) is that of single claims, so this is a walk along the queue with a few streams of free meters beside it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from datetime import datetime

from sqlalchemy import Connection, TextClause, text

from portal.accounts import queries as accounts
from portal.accounts.models import User
from portal.db import db
from portal.meters import queries, rules
from portal.meters.bulk import BulkResult, Refused
from portal.meters.holding import Assigned, cap_reached, no_stock
from portal.meters.pool import Pool, next_block

CHUNK = 1_000

# What the pool holds of a region (or unallocated), then what a refill would bring, each lowest first.
_OF_REGION = text("""
    SELECT meter_key FROM (
        SELECT 0 AS turn, f.meter_key FROM free_meters f
        WHERE f.region = :region AND f.meter_key BETWEEN :first AND :last AND NOT EXISTS (
            SELECT FROM meters m WHERE m.meter_key = f.meter_key
                AND (m.status <> 'in_stock' OR m.region IS DISTINCT FROM :region AND m.region IS NOT NULL))
        UNION ALL
        SELECT 1, m.meter_key FROM meters m
        WHERE m.status = 'in_stock' AND m.region = :region AND m.meter_key BETWEEN :first AND :last
            AND NOT EXISTS (SELECT FROM free_meters f WHERE f.meter_key = m.meter_key)) AS stock
    ORDER BY turn, meter_key""")
_POOLED = text("""
    SELECT f.meter_key FROM free_meters f
    WHERE f.region IS NULL AND f.meter_key BETWEEN :first AND :last AND NOT EXISTS (
        SELECT FROM meters m WHERE m.meter_key = f.meter_key AND (m.status <> 'in_stock' OR m.region IS NOT NULL))
    ORDER BY f.meter_key""")
_OF_RANGE = text("""
    SELECT number FROM generate_series(CAST(:low AS int), CAST(:high AS int)) AS number
    WHERE NOT EXISTS (SELECT FROM meters WHERE meter_key = number AND (status <> 'in_stock' OR region IS NOT NULL))
        AND NOT EXISTS (SELECT FROM free_meters WHERE meter_key = number)
    ORDER BY number""")


def rehearse(
    pool: Pool, region: str | None = None, limit: int | None = None, *, now: datetime, size: int = CHUNK
) -> Generator[BulkResult]:
    """What a run of now would do, `size` users at a time, in their order. Raises Invalid for an unknown region."""
    if region is not None:
        accounts.get_region(region)
    with db.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield from _walk(connection, pool, region, limit, now, size)


def rehearse_all(pool: Pool, region: str | None = None, limit: int | None = None, *, now: datetime) -> BulkResult:
    """The same as one result, for a few users."""
    whole = BulkResult()
    for chunk in rehearse(pool, region, limit, now=now):
        whole.assigned += chunk.assigned
        whole.failed += chunk.failed
        whole.own |= chunk.own
    return whole


def _walk(
    connection: Connection, pool: Pool, region: str | None, limit: int | None, now: datetime, size: int
) -> Iterator[BulkResult]:
    waiting = (
        queries.waiting(region)
        .order_by(User.created_at, User.user_id)
        .limit(limit)
        .with_only_columns(User.user_id, User.email, User.region, User.email_verified_at.is_not(None).label("verified"))
    )
    room, chunk = _room(connection, pool), BulkResult()
    with _Free(connection, pool) as free, connection.execute(waiting, execution_options={"yield_per": size}) as users:
        for user_id, email, where, verified in users:
            refusal = None
            if room is not None and room <= 0 and not verified:
                refusal = cap_reached(pool)
            elif (found := free.take(where)) is None:
                refusal = no_stock(where, pool)
            else:
                key, is_own = found
                chunk.assigned.append(Assigned(user_id, email, rules.meter_id(key), where, now))
                chunk.own |= {user_id} if is_own else set()
                room = None if room is None else room - (not verified)
            if refusal is not None:
                chunk.failed.append(Refused(user_id, email, refusal.message, where))
            if chunk.total == size:
                yield chunk
                chunk = BulkResult()
    if chunk.total:
        yield chunk


class _Free(ExitStack):
    """The free meters of the snapshot, in the order in which claims would take them."""

    def __init__(self, connection: Connection, pool: Pool) -> None:
        super().__init__()
        self._connection, self._pool = connection, pool
        self._unallocated = self._closing(_unallocated(connection, pool))
        self._own: dict[str, Iterator[int]] = {}

    def take(self, region: str | None) -> tuple[int, bool] | None:
        """The next meter for a user of `region`, and whether it is the region's own stock."""
        if region is not None:
            if region not in self._own:
                self._own[region] = self._closing(_stream(self._connection, _OF_REGION, self._pool, region))
            if (key := next(self._own[region], None)) is not None:
                return key, True
        key = next(self._unallocated, None)
        return None if key is None else (key, False)

    def _closing(self, stream: Generator[int]) -> Iterator[int]:
        self.callback(stream.close)
        return stream


def _room(connection: Connection, pool: Pool) -> int | None:
    """How many more meters accounts with an unproven address may hold; None without a cap."""
    if pool.unverified_cap is None:
        return None
    held: int = connection.execute(
        text("""
            SELECT count(*) FROM (SELECT FROM users WHERE meter_id IS NOT NULL AND email_verified_at IS NULL
                                  LIMIT :cap) AS held"""),
        {"cap": pool.unverified_cap},
    ).scalar_one()
    return pool.unverified_cap - held


def _stream(connection: Connection, statement: TextClause, pool: Pool, region: str | None) -> Generator[int]:
    values = {"region": region, "first": pool.first, "last": pool.last}
    with connection.execute(statement, values, execution_options={"yield_per": CHUNK}) as rows:
        yield from rows.scalars()


def _unallocated(connection: Connection, pool: Pool) -> Generator[int]:
    """The pool's unallocated meters, then the numbers of the range that nobody has, a block at a time."""
    yield from _stream(connection, _POOLED, pool, None)
    drawn = connection.execute(text("SELECT first_key, next_key FROM pool_source")).first()
    block = next_block(tuple(drawn) if drawn else (1, 1), pool.first, pool.last)
    while block is not None:
        (low, high), after = block
        yield from connection.execute(_OF_RANGE, {"low": low, "high": high}).scalars().all()
        block = next_block(after, pool.first, pool.last)
