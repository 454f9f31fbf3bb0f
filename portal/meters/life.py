"""What becomes of a meter that nobody holds: staff move it by the table of `rules.MOVES`, time ends its quarantine."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import text

from portal import audit
from portal.audit import SYSTEM, Actor
from portal.db import session
from portal.meters import holding, rules
from portal.meters.models import Meter
from portal.meters.pool import Pool

RELEASE_CHUNK = 500


def move_meter(meter_id: str, to: str, pool: Pool, *, reason: str = "", actor: Actor, now: datetime) -> Meter:
    """Give a meter that nobody holds another status: `in_stock`, `quarantine`, `faulty` or `retired`.

    In quarantine it rests for the pool's `rest_days`, or until staff release it where there is no such rule. Raises
    NotFound METER_NOT_FOUND and what `rules.check_move` raises.
    """
    key = rules.key_in_range(meter_id, pool.first, pool.last)
    meter = holding.take_out(key, pool)
    rules.check_move(meter_id, meter.status, to)
    before, meter.status = meter.status, to
    rests = to == "quarantine" and pool.rest_days
    meter.quarantine_until = now + timedelta(days=pool.rest_days) if rests else None
    session.flush()
    if to == "in_stock":
        holding.return_to_pool(key, pool)
    else:
        pool.drop(key)
    details = {"before": before, "after": to, "reason": reason}
    if meter.quarantine_until is not None:
        details["until"] = meter.quarantine_until.isoformat()
    audit.record("meter.status_changed", actor, now, "meter", meter_id, details)
    return meter


# Whose time is up; plan: ix_meters_resting. Whoever locks one now is about to decide about it: left to them. So is one
# that somebody claims, since it was given by name while its block came into the pool: they wait for its row.
_RELEASE = text("""
    UPDATE meters SET status = 'in_stock', quarantine_until = NULL
    WHERE meter_key = ANY (ARRAY(
        SELECT meter_key FROM meters m WHERE status = 'quarantine' AND quarantine_until <= :now
            AND NOT EXISTS (SELECT FROM free_meters f WHERE f.meter_key = m.meter_key)
        ORDER BY quarantine_until, meter_key LIMIT :n FOR UPDATE SKIP LOCKED))
    RETURNING meter_key, meter_id""")
_UNPOOL = text("""
    DELETE FROM free_meters WHERE meter_key = ANY (ARRAY(
        SELECT f.meter_key FROM free_meters f JOIN meters m USING (meter_key)
        WHERE m.status = 'quarantine' AND m.quarantine_until <= :now FOR UPDATE OF f SKIP LOCKED))""")


def release_rested(pool: Pool, *, now: datetime, actor: Actor = SYSTEM, limit: int = RELEASE_CHUNK) -> int:
    """Put up to `limit` meters whose quarantine is over back in stock; gives how many."""
    session.execute(_UNPOOL, {"now": now})
    released = session.execute(_RELEASE, {"now": now, "n": limit}).all()
    for key, meter_id in sorted(tuple(row) for row in released):
        holding.return_to_pool(key, pool)
        details = {"before": "quarantine", "after": "in_stock", "reason": "its time in quarantine is over"}
        audit.record("meter.status_changed", actor, now, "meter", meter_id, details)
    session.flush()
    return len(released)
