"""The pool of free meters: a small table of what can be claimed now, refilled in blocks.

A claim deletes the lowest row that nobody else is taking; a rollback puts it back. The pool stays small, so that
dead rows pinned by an old snapshot do not slow the claim (DESIGN.md has the measurements).
"""

from __future__ import annotations

from sqlalchemy import text

from portal.db import session

BLOCK = 1_000

# Order of choice: stock of the user's own region, then unallocated stock, never another region's.
# Plan: index scan of ix_free_meters_region_meter_key, first row that is not locked.
_CLAIM = """
    DELETE FROM free_meters WHERE meter_key = ANY (ARRAY(
        SELECT meter_key FROM free_meters
        WHERE {stock} AND meter_key BETWEEN :first AND :last
        ORDER BY meter_key LIMIT :n FOR UPDATE SKIP LOCKED))
    RETURNING meter_key"""
_CLAIM_OF_REGION = text(_CLAIM.format(stock="region = :region"))
_CLAIM_UNALLOCATED = text(_CLAIM.format(stock="region IS NULL"))

_LOCK_SOURCE = text("SELECT next_key FROM pool_sources WHERE source = :source FOR UPDATE")
_ADD_SOURCE = text("INSERT INTO pool_sources (source, next_key) VALUES (:source, 1) ON CONFLICT DO NOTHING")
_MOVE_SOURCE = text("UPDATE pool_sources SET next_key = :next_key WHERE source = :source")

# Numbers of the range that nobody stocked, assigned or heard of, or that lie in unallocated stock.
_REFILL_FROM_RANGE = text("""
    INSERT INTO free_meters (meter_key, region)
    SELECT number, NULL FROM generate_series(CAST(:low AS int), CAST(:high AS int)) AS number
    WHERE NOT EXISTS (SELECT FROM meters WHERE meter_key = number AND (status <> 'in_stock' OR region IS NOT NULL))
    ON CONFLICT DO NOTHING""")
# A block of a region's own stock; plan: ix_meters_stock.
_REFILL_FROM_STOCK = text("""
    WITH block AS (
        SELECT meter_key FROM meters
        WHERE status = 'in_stock' AND region = :region AND meter_key >= :low AND meter_key <= :last
        ORDER BY meter_key LIMIT :n),
    added AS (
        INSERT INTO free_meters (meter_key, region) SELECT meter_key, :region FROM block ON CONFLICT DO NOTHING)
    SELECT max(meter_key) FROM block""")


class Pool:
    """The free meters between the numbers `first` and `last`, both included."""

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last

    def claim(self, region: str | None, count: int) -> list[int]:
        """Up to `count` free meters for holders in `region`, lowest first; fewer only when no more are free.

        Numbers that another transaction is taking at this moment are passed over.
        """
        taken: list[int] = []
        for source in ([region] if region else []) + [None]:
            while len(taken) < count:
                found = self._take(source, count - len(taken))
                taken += found
                if len(taken) < count and not self._refill(source):
                    # Somebody else may have refilled while we waited for the source.
                    last_try = self._take(source, count - len(taken))
                    taken += last_try
                    if not last_try:
                        break
        return sorted(taken)

    def claim_one(self, region: str | None) -> int | None:
        """The lowest free meter for a holder in `region`; None when there is none.

        When all that is left is being taken by others, it waits for them: a roll-back next door must not make this
        registration fail. The caller holds no other meter, so nobody can be waiting for it in turn.
        """
        taken = self.claim(region, 1) or self._wait_for_one(region)
        return taken[0] if taken else None

    def take(self, meter_key: int) -> None:
        """Remove one named meter from what can be claimed; waits for whoever is claiming it now."""
        session.execute(text("DELETE FROM free_meters WHERE meter_key = :key"), {"key": meter_key})

    def give_back(self, meter_key: int, region: str | None) -> None:
        """Put a meter that came back into what can be claimed."""
        session.execute(
            text(
                "INSERT INTO free_meters (meter_key, region) VALUES (:key, :region) "
                "ON CONFLICT (meter_key) DO UPDATE SET region = excluded.region"
            ),
            {"key": meter_key, "region": region},
        )

    def rewind(self, region: str, low: int) -> None:
        """Newly stocked meters of a region: let its next refill begin at the lowest of them, `low`."""
        self._lock(region)
        session.execute(
            text("UPDATE pool_sources SET next_key = least(next_key, :low) WHERE source = :source"),
            {"low": low, "source": region},
        )

    def _take(self, region: str | None, count: int) -> list[int]:
        statement = _CLAIM_UNALLOCATED if region is None else _CLAIM_OF_REGION
        values: dict[str, object] = {"first": self.first, "last": self.last, "n": count}
        if region is not None:
            values["region"] = region
        return list(session.scalars(statement, values))

    def _lock(self, region: str | None) -> int:
        source = region or ""
        next_key = session.scalar(_LOCK_SOURCE, {"source": source})
        if next_key is None:
            session.execute(_ADD_SOURCE, {"source": source})
            next_key = session.scalar(_LOCK_SOURCE, {"source": source})
        assert next_key is not None
        return next_key

    def _refill(self, region: str | None) -> bool:
        """Add the next block of a source; False when it has no more. Serialises on the source's row for that long."""
        next_key = max(self._lock(region), self.first)
        if region is None:
            if next_key > self.last:
                return False
            high = min(next_key + BLOCK - 1, self.last)
            session.execute(_REFILL_FROM_RANGE, {"low": next_key, "high": high})
            session.execute(_MOVE_SOURCE, {"source": "", "next_key": high + 1})
            return True
        high_of_stock = session.scalar(
            _REFILL_FROM_STOCK, {"region": region, "low": next_key, "last": self.last, "n": BLOCK}
        )
        if high_of_stock is None:
            return False
        session.execute(_MOVE_SOURCE, {"source": region, "next_key": high_of_stock + 1})
        return True

    def _wait_for_one(self, region: str | None) -> list[int]:
        """The lowest free row of the region's choice, waiting for those who are taking it; [] when all went."""
        for clause in (["region = :region"] if region else []) + ["region IS NULL"]:
            waiting = text(
                f"SELECT meter_key FROM free_meters WHERE {clause} AND meter_key BETWEEN :first AND :last"
                " ORDER BY meter_key LIMIT 1 FOR UPDATE"
            )
            while session.scalar(
                text(f"SELECT EXISTS (SELECT FROM free_meters WHERE {clause} AND meter_key BETWEEN :first AND :last)"),
                {"region": region, "first": self.first, "last": self.last},
            ):
                key = session.scalar(waiting, {"region": region, "first": self.first, "last": self.last})
                if key is not None:
                    self.take(key)
                    return [key]
        return []
