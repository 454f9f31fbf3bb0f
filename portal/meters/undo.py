"""Take back what a bulk run gave, as if it had never been: many at a time, and with both acts in the history."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from portal import audit
from portal.audit import Actor
from portal.db import session
from portal.meters.pool import Pool


@dataclass(frozen=True, slots=True)
class Given:
    """One meter that a run gave. `unallocated`: it was not stock of the user's region before."""

    user_id: uuid.UUID
    meter_key: int
    unallocated: bool


def begin_undo(act: int, region: str | None, *, actor: Actor, now: datetime) -> int:
    """The row of the audit log that all ends of assignments of this undo refer to; `act` is that of the run."""
    entry = audit.record("meter.bulk_undone", actor, now, "region", region or "all", {"region": region, "run": act})
    session.flush()
    return entry.audit_id


def end_undo(act: int, taken_back: int, left: int, region: str | None, *, actor: Actor, now: datetime) -> None:
    """What a whole undo came to, beside the row that it began with."""
    details = {"region": region, "success": taken_back, "failed": left, "undo": act}
    audit.record("meter.bulk_undo_ended", actor, now, "region", region or "all", details)


_UNPOOL = text("""
    DELETE FROM free_meters WHERE meter_key = ANY (ARRAY(
        SELECT meter_key FROM free_meters WHERE meter_key = ANY (:keys) ORDER BY meter_key FOR UPDATE))""")


def lock_for_undo(given: Sequence[Given], pool: Pool) -> None:
    """Lock users, the pool and meters, in the order of ADR 2, each by number."""
    ids = {"users": [each.user_id for each in given], "keys": [each.meter_key for each in given]}
    session.execute(
        text("SELECT FROM users WHERE user_id = ANY (CAST(:users AS uuid[])) ORDER BY user_id FOR UPDATE"), ids
    )
    pool.hold_source()
    # A number given by name may still stand in the pool; whoever claims it there would wait for its meter.
    session.execute(_UNPOOL, ids)
    session.execute(text("SELECT FROM meters WHERE meter_key = ANY (:keys) ORDER BY meter_key FOR UPDATE"), ids)


# Ends the assignments and their connections, and puts the meters back into the stock that they came from, whatever
# rest the utility asks of meters that come back: these never hung in anybody's home.
_TAKE_BACK = text("""
    WITH given AS (
        SELECT * FROM unnest(CAST(:users AS uuid[]), CAST(:keys AS int[]), CAST(:unallocated AS bool[]))
            AS g (user_id, meter_key, unallocated)),
    ended AS (
        UPDATE meter_assignments a
        SET unassigned_at = greatest(CAST(:now AS timestamptz), a.assigned_at + interval '1 microsecond'),
            unassigned_by = :by, unassigned_how = 'undo', unassigned_act = :undo
        FROM given g
        WHERE a.user_id = g.user_id AND a.meter_key = g.meter_key AND a.unassigned_at IS NULL AND a.assigned_act = :act
        RETURNING a.user_id, a.meter_key, a.connection_id, a.unassigned_at, g.unallocated),
    cut AS (
        UPDATE connections c SET ends_at = ended.unassigned_at FROM ended
        WHERE c.connection_id = ended.connection_id),
    shown AS (
        UPDATE users SET meter_id = NULL FROM ended WHERE users.user_id = ended.user_id),
    stocked AS (
        UPDATE meters m SET status = 'in_stock', region = CASE WHEN ended.unallocated THEN NULL ELSE m.region END
        FROM ended WHERE m.meter_key = ended.meter_key
        RETURNING m.meter_key, m.region),
    pooled AS (
        INSERT INTO free_meters (meter_key, region)
        SELECT meter_key, region FROM stocked WHERE meter_key BETWEEN :first AND :last
        ON CONFLICT (meter_key) DO UPDATE SET region = excluded.region)
    SELECT user_id FROM ended""")


def take_back(
    given: Sequence[Given], pool: Pool, *, act: int, undo: int, actor: Actor, now: datetime
) -> set[uuid.UUID]:
    """Take back these (locked) meters of the run `act`, and put them where they were; gives whose it could take."""
    values = {
        "users": [each.user_id for each in given],
        "keys": [each.meter_key for each in given],
        "unallocated": [each.unallocated for each in given],
        "now": now,
        "by": actor.label,
        "act": act,
        "undo": undo,
        "first": pool.first,
        "last": pool.last,
    }
    return set(session.scalars(_TAKE_BACK, values))
