"""Assignments whose meter has never been heard of: no reading since it was given to its holder.

Most meters are heard of within the hour, and then nobody asks about them again: `note_heard` marks their assignments,
and the index ix_meter_assignments_unheard holds the others alone, longest silent first. What is read here looks at the
readings themselves too, so it is exact whether or not the marks are up to date. Taking in readings knows nothing of it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, text

from portal.accounts.models import User
from portal.db import session
from portal.meters import rules

CHUNK = 500
LOOKED_AT = 5_000
"""How many unmarked assignments one read looks at, at most; a list goes on behind them with its next page."""

Place = tuple[datetime, int]
"""Where a list goes on: behind this start (UTC) and assignment."""

FIRST: Place = (datetime(1, 1, 1, tzinfo=UTC), 0)

# Plan: ix_meter_assignments_unheard in order, stopped by the limit.
_UNMARKED = """
    SELECT assignment_id, assigned_at, meter_key, user_id, connection_id FROM meter_assignments
    WHERE unassigned_at IS NULL AND NOT heard AND (assigned_at, assignment_id) > (:at, :assignment_id)
        AND assigned_at <= :until
    ORDER BY assigned_at, assignment_id LIMIT :n"""
# Plan: for each assignment pk_readings of the partitions since its start, stopped at the first row that is found.
_IS_HEARD = """
    coalesce((SELECT true FROM readings r
              WHERE r.meter_key = a.meter_key AND r.kind IN (1, 2, 3) AND r.read_at >= a.assigned_at LIMIT 1), false)"""
_LOOKED = f"""
    SELECT a.assignment_id, a.assigned_at, a.meter_key, a.user_id, c.region, {_IS_HEARD} AS heard
    FROM ({_UNMARKED}) AS a JOIN connections c USING (connection_id)"""  # noqa: S608 (no value stands in it)
_LOOK = text(_LOOKED + " ORDER BY a.assigned_at, a.assignment_id")
_COUNT = text(f"""
    SELECT region, count(*) FILTER (WHERE NOT heard) AS silent, count(*) AS looked_at
    FROM ({_LOOKED}) AS looked GROUP BY region""")  # noqa: S608
# Only these rows, and nothing behind them, so that it can wait for nobody; who holds one is about to end it.
_MARK = text("""
    UPDATE meter_assignments SET heard = true
    WHERE assignment_id = ANY (ARRAY(
        SELECT assignment_id FROM meter_assignments
        WHERE assignment_id = ANY (CAST(:ids AS bigint[])) AND unassigned_at IS NULL
        ORDER BY assignment_id FOR NO KEY UPDATE SKIP LOCKED))""")


@dataclass(frozen=True, slots=True)
class Unheard:
    """A meter that its holder has since `assigned_at` (UTC) and that told nothing since; the region of the supply."""

    meter_id: str
    user_id: uuid.UUID
    name: str
    email: str
    region: str | None
    assigned_at: datetime


@dataclass(frozen=True, slots=True)
class UnheardPage:
    """Longest silent first; `after` is where the list goes on, None at its end."""

    rows: list[Unheard]
    after: Place | None


def list_unheard(
    until: datetime, region: str | None = None, limit: int = 20, after: Place | None = None
) -> UnheardPage:
    """Those given until `until` (UTC), of a region or of all, behind `after`."""
    found, place, looked_at = [], after or FIRST, 0
    while looked_at < LOOKED_AT:
        chunk = session.execute(_LOOK, _values(place, until, CHUNK)).all()
        looked_at += len(chunk)
        for row in chunk:
            place = (row.assigned_at, row.assignment_id)
            if not row.heard and region in (None, row.region):
                found.append(row)
                if len(found) > limit:
                    return UnheardPage(_named(found[:limit]), (found[-2].assigned_at, found[-2].assignment_id))
        if len(chunk) < CHUNK:
            return UnheardPage(_named(found), None)
    return UnheardPage(_named(found), place)


def _values(place: Place, until: datetime, n: int) -> dict[str, object]:
    return {"at": place[0], "assignment_id": place[1], "until": until, "n": n}


def _named(found: list[Any]) -> list[Unheard]:
    users = {
        user.user_id: user
        for user in session.scalars(select(User).where(User.user_id.in_([row.user_id for row in found])))
    }
    return [
        Unheard(
            rules.meter_id(row.meter_key),
            row.user_id,
            users[row.user_id].name,
            users[row.user_id].email,
            row.region,
            row.assigned_at,
        )
        for row in found
    ]


@dataclass(frozen=True, slots=True)
class UnheardCounts:
    """How many by region, most first; only of the longest silent ones where `is_all` is false."""

    regions: list[tuple[str | None, int]]
    is_all: bool

    @property
    def total(self) -> int:
        """Of all regions."""
        return sum(count for _region, count in self.regions)


def count_unheard(until: datetime) -> UnheardCounts:
    """How many were given until `until` (UTC) and never heard of, among the first LOOKED_AT unmarked ones."""
    rows = session.execute(_COUNT, _values(FIRST, until, LOOKED_AT)).all()
    regions = sorted(
        ((row.region, row.silent) for row in rows if row.silent), key=lambda each: (-each[1], each[0] or "")
    )
    return UnheardCounts(regions, sum(row.looked_at for row in rows) < LOOKED_AT)


def note_heard(now: datetime, after: Place | None = None, limit: int = CHUNK) -> tuple[int, Place | None]:
    """Mark the assignments among the next `limit` unmarked ones whose meter was heard of; the caller commits.

    Gives how many were marked, and where to go on; None at the end, to begin again.
    """
    rows = session.execute(_LOOK, _values(after or FIRST, now, limit)).all()
    heard = [row.assignment_id for row in rows if row.heard]
    if heard:
        session.execute(_MARK, {"ids": heard})
    return len(heard), (rows[-1].assigned_at, rows[-1].assignment_id) if len(rows) == limit else None
