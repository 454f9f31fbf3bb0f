"""Meters in quarantine: which, how long still, and who lets them go before their time."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text

from portal.audit import Actor
from portal.db import session
from portal.errors import Conflict
from portal.meters import life, rules, stats
from portal.meters.models import Meter
from portal.meters.pool import Pool


@dataclass(frozen=True, slots=True)
class Resting:
    """A meter in quarantine, who held it last and when it came back; `until` None is until staff release it."""

    meter_id: str
    region: str | None
    until: datetime | None
    user_id: uuid.UUID | None
    name: str | None
    came_back_at: datetime | None


# Plan: ix_meters_resting in order; the last holder of each from ex_meter_assignments_meter_closed.
_RESTING = """
    SELECT m.meter_id, m.region, m.quarantine_until, last.user_id, u.name, last.unassigned_at
    FROM (SELECT * FROM meters WHERE status = 'quarantine'{region}
          ORDER BY quarantine_until, meter_key LIMIT :limit OFFSET :offset) AS m
    LEFT JOIN LATERAL (
        SELECT user_id, unassigned_at FROM meter_assignments a
        WHERE a.meter_key = m.meter_key AND unassigned_at IS NOT NULL
        ORDER BY unassigned_at DESC LIMIT 1) AS last ON true
    LEFT JOIN users u ON u.user_id = last.user_id
    ORDER BY m.quarantine_until, m.meter_key"""


def list_resting(region: str | None = None, limit: int = 20, offset: int = 0) -> tuple[list[Resting], int]:
    """Meters in quarantine, those whose time is up first, and how many there are in all."""
    statement = text(_RESTING.format(region=" AND region = :region" if region else ""))
    values = {"limit": limit, "offset": offset} | ({"region": region} if region else {})
    rows = session.execute(statement, values)
    return [Resting(*row) for row in rows], stats.count_meters("quarantine", region)


def get_resting(meter_id: str, pool: Pool) -> Meter:
    """The meter, if it is in quarantine. Raises NotFound METER_NOT_FOUND, Conflict METER_NOT_RESTING."""
    return _checked(meter_id, session.get(Meter, rules.key_in_range(meter_id, pool.first, pool.last)))


def _checked(meter_id: str, meter: Meter | None) -> Meter:
    if meter is None or meter.status != "quarantine":
        word = rules.STATUS_WORDS[meter.status if meter else "in_stock"]
        raise Conflict(f"{meter_id} is not in quarantine; it is {word}.", "METER_NOT_RESTING")
    return meter


def count_over(now: datetime) -> int:
    """How many meters have rested long enough and are not released yet (ix_meters_resting)."""
    return (
        session.scalar(
            select(func.count()).select_from(Meter).where(Meter.status == "quarantine", Meter.quarantine_until <= now)
        )
        or 0
    )


def release(meter_id: str, pool: Pool, *, reason: str = "", actor: Actor, now: datetime) -> Meter:
    """End one meter's quarantine: it is in stock and can be claimed.

    A meter that somebody else marked faulty meanwhile stays so. Raises as `get_resting` does.
    """
    key = rules.key_in_range(meter_id, pool.first, pool.last)
    # Nothing waits for us here that we would wait for: a meter in quarantine is not among the free ones.
    _checked(meter_id, session.get(Meter, key, with_for_update=True, populate_existing=True))
    return life.move_meter(meter_id, "in_stock", pool, reason=reason, actor=actor, now=now)
