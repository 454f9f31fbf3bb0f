"""The pool of free meters: a small table of what can be claimed now, refilled in blocks.

A claim deletes the lowest row that nobody else is taking; a rollback puts it back. The pool stays small, so that
dead rows pinned by an old snapshot do not slow the claim (DESIGN.md has the measurements).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import text

from portal.db import session

if TYPE_CHECKING:
    from portal.config import Config

BLOCK = 1_000

# Order of choice: stock of the user's own region, then unallocated stock, never another region's.
# Plan: index scan of ix_free_meters_region_meter_key, first row that is not locked.
_CLAIM = """
    DELETE FROM free_meters WHERE meter_key = ANY (ARRAY(
        SELECT meter_key FROM free_meters f
        WHERE {stock} AND meter_key BETWEEN :first AND :last{since}
        ORDER BY meter_key LIMIT :n FOR UPDATE SKIP LOCKED))
    RETURNING meter_key"""
# An act that is dated back passes over what was held, in quarantine or faulty since then
# (ex_meter_assignments_meter_closed, ix_audit_log_subject_type_subject_id_audit_id).
_SINCE = """
    AND NOT EXISTS (
        SELECT FROM meter_assignments a WHERE a.meter_key = f.meter_key AND a.unassigned_at > :since)
    AND NOT EXISTS (
        SELECT FROM audit_log WHERE subject_type = 'meter' AND subject_id = 'MTR-' || lpad(f.meter_key::text, 8, '0')
            AND action = 'meter.status_changed' AND at > :since AND details->>'before' IN ('quarantine', 'faulty'))"""
_ANY_LEFT = "SELECT EXISTS (SELECT FROM free_meters WHERE {stock} AND meter_key BETWEEN :first AND :last)"
_WAIT_FOR_LOWEST = """
    SELECT meter_key FROM free_meters WHERE {stock} AND meter_key BETWEEN :first AND :last
    ORDER BY meter_key LIMIT 1 FOR UPDATE"""
_CLAIMS = {
    (own, dated): text(
        _CLAIM.format(stock="region = :region" if own else "region IS NULL", since=_SINCE if dated else "")
    )
    for own in (True, False)
    for dated in (True, False)
}

# Numbers of the range that nobody stocked, assigned or heard of, or that lie in unallocated stock.
_REFILL_FROM_RANGE = text("""
    INSERT INTO free_meters (meter_key, region)
    SELECT number, NULL FROM generate_series(CAST(:low AS int), CAST(:high AS int)) AS number
    WHERE NOT EXISTS (SELECT FROM meters WHERE meter_key = number AND (status <> 'in_stock' OR region IS NOT NULL))
    ON CONFLICT DO NOTHING""")
# A block of a region's own stock that is not pooled yet; plan: ix_meters_stock.
_STOCK = """
    SELECT meter_key, region FROM meters
    WHERE status = 'in_stock' AND region = :region AND meter_key BETWEEN :first AND :last
        AND meter_key <> ALL (CAST(:taken AS int[]))
        AND NOT EXISTS (SELECT FROM free_meters f WHERE f.meter_key = meters.meter_key)
    ORDER BY meter_key LIMIT :n"""
_STOCK_LEFT = text(_STOCK)
_REFILL_FROM_STOCK = text(
    f"INSERT INTO free_meters (meter_key, region) {_STOCK} ON CONFLICT DO NOTHING RETURNING meter_key"
)


# A number that somebody is claiming is left to them: they see for themselves, and wait for the locks of the meters.
_DROP_NO_STOCK = text("""
    DELETE FROM free_meters WHERE meter_key = ANY (ARRAY(
        SELECT f.meter_key FROM free_meters f JOIN meters m USING (meter_key)
        WHERE f.meter_key BETWEEN :low AND :high AND m.status <> 'in_stock' FOR UPDATE OF f SKIP LOCKED))""")
_TAKE_REGION = text("""
    UPDATE free_meters SET region = (SELECT region FROM meters m WHERE m.meter_key = free_meters.meter_key)
    WHERE meter_key = ANY (ARRAY(
        SELECT f.meter_key FROM free_meters f JOIN meters m USING (meter_key)
        WHERE f.meter_key BETWEEN :low AND :high AND m.region IS DISTINCT FROM f.region
        FOR UPDATE OF f SKIP LOCKED))""")


def next_block(drawn: tuple[int, int], first: int, last: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """((lowest, highest) number of the next block of the range, what is drawn then); None when the range has no more.

    `drawn` is what came into the pool already, half-open and without a hole. Upwards first; where METER_FIRST has been
    lowered since, downwards then. A range that what is drawn does not even touch begins anew: what comes again is
    passed over by who holds it.
    """
    low, high = drawn
    if high < first or low > last + 1:
        low = high = first
    if high <= last:
        end = min(high + BLOCK, last + 1)
        return (high, end - 1), (low, end)
    if low > first:
        begin = max(low - BLOCK, first)
        return (begin, low - 1), (begin, high)
    return None


class Pool:
    """The free meters between the numbers `first` and `last`, both included, and the utility's rules about them.

    A meter that comes back rests for `rest_days` before it can be claimed; at most `unverified_cap` meters are held by
    accounts whose address is not verified (None: any number).
    """

    def __init__(self, first: int, last: int, *, rest_days: int = 0, unverified_cap: int | None = None) -> None:
        self.first = first
        self.last = last
        self.rest_days = rest_days
        self.unverified_cap = unverified_cap

    @classmethod
    def of(cls, config: Config) -> Pool:
        """The pool as the settings describe it."""
        return cls(
            config.meter_first,
            config.meter_last,
            rest_days=config.quarantine_days,
            unverified_cap=config.unverified_meter_cap,
        )

    def claim(self, region: str | None, count: int, since: datetime | None = None) -> list[int]:
        """Up to `count` free meters for holders in `region`, lowest first; fewer only when no more are free.

        Numbers that another transaction is taking at this moment are passed over; with `since` also those that were
        held or out of use after it.
        """
        taken = self.claim_own(region, count, since=since) if region is not None else []
        if len(taken) < count:
            taken += self.claim_unallocated(count - len(taken), since)
        return sorted(taken)

    def claim_own(
        self, region: str, count: int, but_for: Sequence[int] = (), since: datetime | None = None
    ) -> list[int]:
        """Up to `count` meters of the region's own stock, in the order in which single claims would take them.

        `but_for` are those that this transaction has claimed and not marked yet: they still look like stock.
        """
        return self._draw(region, count, lambda taken: self._refill_from_stock(region, [*but_for, *taken]), since)

    def claim_unallocated(self, count: int, since: datetime | None = None) -> list[int]:
        """Up to `count` unallocated meters, in the order in which single claims would take them."""
        return self._draw(None, count, lambda _taken: self._refill_from_range(), since)

    def _draw(
        self, region: str | None, count: int, refill: Callable[[list[int]], bool], since: datetime | None
    ) -> list[int]:
        taken = self._take(region, count, since)
        while len(taken) < count:
            refilled = refill(taken)
            # Also after a refill that brought nothing: somebody else may have brought some while we waited.
            found = self._take(region, count - len(taken), since)
            taken += found
            if not found and not refilled:
                break
        return taken

    def claim_one(self, region: str | None, since: datetime | None = None) -> int | None:
        """The lowest free meter for a holder in `region`; None when there is none.

        When all that is left is being taken by others, it waits for them: a roll-back next door must not make this
        registration fail. The caller holds no other meter, so nobody can be waiting for it in turn. (An act that is
        dated back, which only staff do, does not wait.)
        """
        taken = self.claim(region, 1, since) or ([] if since else self._wait_for_one(region))
        return taken[0] if taken else None

    def take(self, meter_key: int) -> None:
        """Remove one named meter from what can be claimed; waits for whoever is claiming it now."""
        session.execute(text("DELETE FROM free_meters WHERE meter_key = :key"), {"key": meter_key})

    def drop(self, meter_key: int) -> None:
        """Remove a meter whose row the caller has locked, if nobody is claiming it: who is will find it taken.

        Waiting here would be against the order of locks.
        """
        session.execute(
            text("""
                DELETE FROM free_meters WHERE meter_key = ANY (ARRAY(
                    SELECT meter_key FROM free_meters WHERE meter_key = :key FOR UPDATE SKIP LOCKED))"""),
            {"key": meter_key},
        )

    def give_back(self, meter_key: int, region: str | None) -> None:
        """Put a meter that came back into what can be claimed."""
        session.execute(
            text(
                "INSERT INTO free_meters (meter_key, region) VALUES (:key, :region) "
                "ON CONFLICT (meter_key) DO UPDATE SET region = excluded.region"
            ),
            {"key": meter_key, "region": region},
        )

    def agree(self, low: int, high: int) -> None:
        """Make the pool say of these numbers what their meters say: none but stock, for whom it is stocked.

        The caller has locked the meters. One that came back meanwhile may stand in the pool for its old region.
        """
        for statement in (_DROP_NO_STOCK, _TAKE_REGION):
            session.execute(statement, {"low": low, "high": high})

    def hold_source(self) -> int:
        """Lock what is drawn of the range, and give its next number. Refills happen one at a time.

        A bulk run calls this before it claims anything: whoever holds claimed meters must never wait for this lock,
        since its holder may be waiting for those meters.
        """
        return self._hold_drawn()[1]

    def _hold_drawn(self) -> tuple[int, int]:
        drawn = session.execute(text("SELECT first_key, next_key FROM pool_source FOR UPDATE")).first()
        if drawn is None:
            session.execute(text("INSERT INTO pool_source (single, next_key) VALUES (true, 1) ON CONFLICT DO NOTHING"))
            return self._hold_drawn()
        return drawn.first_key, drawn.next_key

    def _take(self, region: str | None, count: int, since: datetime | None) -> list[int]:
        values = {"region": region, "first": self.first, "last": self.last, "n": count, "since": since}
        return sorted(session.scalars(_CLAIMS[region is not None, since is not None], values))

    def _refill_from_stock(self, region: str, taken: Sequence[int]) -> bool:
        values = {"region": region, "first": self.first, "last": self.last, "n": BLOCK, "taken": list(taken)}
        if not session.execute(_STOCK_LEFT, {**values, "n": 1}).all():
            return False
        # Whoever restocks holds it too: what we would bring may be another region's when they are done.
        self.hold_source()
        return bool(session.scalars(_REFILL_FROM_STOCK, values).all())

    def _refill_from_range(self) -> bool:
        """Add the next block of the range; False when the range has no more."""
        block = next_block(self._hold_drawn(), self.first, self.last)
        if block is None:
            return False
        (low, high), (first_key, next_key) = block
        session.execute(_REFILL_FROM_RANGE, {"low": low, "high": high})
        session.execute(
            text("UPDATE pool_source SET first_key = :first_key, next_key = :next_key"),
            {"first_key": first_key, "next_key": next_key},
        )
        return True

    def _wait_for_one(self, region: str | None) -> list[int]:
        """The lowest free row of the region's choice, waiting for those who are taking it; [] when all went."""
        values = {"region": region, "first": self.first, "last": self.last}
        for stock in (["region = :region"] if region else []) + ["region IS NULL"]:
            while session.scalar(text(_ANY_LEFT.format(stock=stock)), values):
                key = session.scalar(text(_WAIT_FOR_LOWEST.format(stock=stock)), values)
                if key is not None:
                    self.take(key)
                    return [key]
        return []
