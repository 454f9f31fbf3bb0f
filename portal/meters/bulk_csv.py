"""Assignments from a file: every row is looked at before any is written, and again when it is."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, text

from portal.accounts import queries as accounts
from portal.accounts.models import User
from portal.accounts.queries import DEFAULT_ZONE
from portal.audit import Actor
from portal.db import session
from portal.meters import bulk, holding, rules
from portal.meters.bulk_rows import AskedRow, Facts, Sheet, is_done, read, refusals, since_of
from portal.meters.holding import no_stock
from portal.meters.pool import Pool

CHUNK = 200
LOOK_AT = 5_000


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a row: the meter given (or held already), or why not."""

    row: AskedRow
    user_id: uuid.UUID | None = None
    email: str = ""
    meter_id: str | None = None
    region: str | None = None
    since: datetime | None = None
    already: bool = False
    unallocated: bool = False
    error: str = ""


def zones() -> dict[str | None, ZoneInfo]:
    """The zone of each region, and of customers without one."""
    return {None: DEFAULT_ZONE} | {region.name: ZoneInfo(region.timezone) for region in accounts.list_regions()}


def read_and_check(content: bytes, pool: Pool, *, now: datetime) -> tuple[Sheet, list[Done]]:
    """Look at every row of a file. It locks and writes nothing. Raises Invalid on `file` for what is no such file."""
    known = zones()
    sheet = read(content, pool.first, pool.last, known, now)
    looked: list[Done] = []
    for start in range(0, len(sheet.rows), LOOK_AT):
        looked += _check(sheet.rows[start : start + LOOK_AT], known)
    return sheet, _mark_same_user(_mark_without_stock(looked, pool))


def _check(rows: Sequence[AskedRow], known: Mapping[str | None, ZoneInfo]) -> list[Done]:
    facts = _facts([row for row in rows if not row.errors])
    return [_judge(row, facts.get(row.line), known) for row in rows]


def _judge(row: AskedRow, facts: Facts | None, known: Mapping[str | None, ZoneInfo]) -> Done:
    """The row as it could be done now; one that holds nothing yet has no meter when the file names none."""
    if row.errors:
        return Done(row, error=" ".join(row.errors))
    if facts is not None and is_done(row, facts, known):
        held = (facts.user_id, facts.email, facts.holds, facts.region, facts.held_since)
        return Done(row, *held, already=True)
    if wrong := refusals(row, facts, known):
        return Done(row, error=" ".join(wrong), email=facts.email if facts else row.user)
    assert facts is not None
    meter_id = rules.meter_id(row.meter_key) if row.meter_key else None
    return Done(
        row,
        facts.user_id,
        facts.email,
        meter_id,
        row.region or facts.region,
        since_of(row, facts, known),
        unallocated=facts.meter_region is None,
    )


def _mark_same_user(looked: list[Done]) -> list[Done]:
    """One person may stand in a file twice, by address and by id."""
    lines: dict[uuid.UUID, int] = {}
    for place, each in enumerate(looked):
        if each.user_id is not None and lines.setdefault(each.user_id, each.row.line) != each.row.line:
            error = f"user: stands in line {lines[each.user_id]} already."
            looked[place] = Done(each.row, email=each.email, error=error)
    return looked


def _mark_without_stock(looked: list[Done], pool: Pool) -> list[Done]:
    """Rows that name no meter, in the order of the file, get the stock that the named ones leave."""
    asking = [place for place, each in enumerate(looked) if not (each.error or each.already or each.meter_id)]
    if not asking:
        return looked
    own, unallocated = _count_free(pool, [each.row.meter_key for each in looked if each.row.meter_key])
    for place in asking:
        each = looked[place]
        if own.get(each.region, 0):
            own[each.region] -= 1
        elif unallocated:
            unallocated -= 1
        else:
            looked[place] = Done(each.row, email=each.email, error=f"meter: {no_stock(each.region, pool).message}")
    return looked


def _count_free(pool: Pool, named: list[int]) -> tuple[Counter[str | None], int]:
    """(stock of each region, unallocated meters) without the named ones."""
    rows = session.execute(
        text("""
            SELECT region, count(*) AS free FROM meters
            WHERE status = 'in_stock' AND region IS NOT NULL AND meter_key BETWEEN :first AND :last
                AND meter_key <> ALL (CAST(:named AS int[])) GROUP BY region"""),
        {"first": pool.first, "last": pool.last, "named": named},
    )
    used = session.scalar(
        text("""
            SELECT count(*) FROM meters WHERE meter_key BETWEEN :first AND :last
                AND (status <> 'in_stock' OR region IS NOT NULL OR meter_key = ANY (CAST(:named AS int[])))"""),
        {"first": pool.first, "last": pool.last, "named": named},
    )
    unknown = session.scalar(
        text("""
            SELECT count(*) FROM unnest(CAST(:named AS int[])) AS key
            WHERE NOT EXISTS (SELECT FROM meters WHERE meter_key = key)"""),
        {"named": named},
    )
    own: Counter[str | None] = Counter({row.region: row.free for row in rows})
    return own, pool.last - pool.first + 1 - (used or 0) - (unknown or 0)


_FACTS = text("""
    SELECT w.line, u.user_id, u.email, u.role = 'user' AND u.closed_at IS NULL AS is_customer, u.region,
        u.meter_id AS holds, a.assigned_at AS held_since, m.status, m.region AS meter_region,
        (SELECT max(unassigned_at) FROM meter_assignments o
         WHERE o.meter_key = w.key AND o.unassigned_at IS NOT NULL) AS meter_taken_until,
        (SELECT max(ends_at) FROM connections c WHERE c.user_id = u.user_id) AS user_taken_until
    FROM unnest(CAST(:lines AS int[]), CAST(:users AS uuid[]), CAST(:keys AS int[])) AS w (line, user_id, key)
    JOIN users u USING (user_id)
    LEFT JOIN meters m ON m.meter_key = w.key
    LEFT JOIN meter_assignments a ON a.user_id = u.user_id AND a.unassigned_at IS NULL""")


def _facts(rows: Sequence[AskedRow]) -> dict[int, Facts]:
    """What the database says about each line; lines of unknown users are missing."""
    addresses = [row.user.lower() for row in rows if row.user_id is None]
    found = session.execute(select(func.lower(User.email), User.user_id).where(func.lower(User.email).in_(addresses)))
    by_address = {row[0]: row[1] for row in found}
    ids = [(row, row.user_id or by_address.get(row.user.lower())) for row in rows]
    asked = [(row.line, user_id, row.meter_key) for row, user_id in ids if user_id is not None]
    values = {name: [each[place] for each in asked] for place, name in enumerate(("lines", "users", "keys"))}
    return {line: Facts(*facts) for line, *facts in session.execute(_FACTS, values)}


def assign_rows(rows: Sequence[AskedRow], pool: Pool, *, act: int, actor: Actor, now: datetime) -> list[Done]:
    """Do some rows of a file that was checked, each looked at again under its locks; one that cannot be done any more
    is left, with the reason. `act` is the run's row of the audit log (`bulk.begin_run`)."""
    known = zones()
    first_look = {each.row.line: each for each in _check(rows, known)}
    users = [each.user_id for each in first_look.values() if each.user_id and not each.already]
    session.execute(
        text("SELECT FROM users WHERE user_id = ANY (CAST(:users AS uuid[])) ORDER BY user_id FOR UPDATE"),
        {"users": users},
    )
    pool.hold_source()
    named = sorted(
        each.row.meter_key for each in first_look.values() if each.row.meter_key and each.meter_id and not each.already
    )
    session.execute(text("DELETE FROM free_meters WHERE meter_key = ANY (:keys)"), {"keys": named})
    holding.hear_of(named)
    session.execute(
        text("SELECT FROM meters WHERE meter_key = ANY (:keys) ORDER BY meter_key FOR UPDATE"), {"keys": named}
    )
    done = {each.row.line: each for each in _check(rows, known)}
    for key in set(named) - {each.row.meter_key for each in done.values() if not (each.error or each.already)}:
        _leave(key, pool)
    _claim_unnamed(done, pool)
    given = [each for each in done.values() if each.meter_id and not (each.error or each.already)]
    _write(given, act, actor, now)
    return [done[row.line] for row in rows]


def _leave(key: int, pool: Pool) -> None:
    """A meter that a row named and did not get may be claimed again, if it lies in stock."""
    if session.scalar(text("SELECT status = 'in_stock' FROM meters WHERE meter_key = :key"), {"key": key}):
        holding.return_to_pool(key, pool)


def _claim_unnamed(done: dict[int, Done], pool: Pool) -> None:
    """The next free meter for each row that names none, in the order of the file."""
    asking = [each for each in done.values() if not (each.error or each.already or each.meter_id)]
    for each in asking:
        own = bulk.claim(pool, each.region, 1) if each.region else []
        keys = own or bulk.claim(pool, None, 1)
        if not keys:
            done[each.row.line] = Done(
                each.row, email=each.email, error=f"meter: {no_stock(each.region, pool).message}"
            )
            continue
        [key] = keys
        until = session.scalar(
            text("SELECT max(unassigned_at) FROM meter_assignments WHERE meter_key = :key"), {"key": key}
        )
        if each.since is not None and until is not None and each.since < until:
            pool.give_back(key, each.region if own else None)
            error = f"date: the next free meter was taken until {until:%Y-%m-%d %H:%M} UTC. Name another one."
            done[each.row.line] = Done(each.row, email=each.email, error=error)
            continue
        holding.mark_assigned([key], [each.region])
        done[each.row.line] = Done(
            each.row, each.user_id, each.email, rules.meter_id(key), each.region, each.since, unallocated=not own
        )


def _write(given: Sequence[Done], act: int, actor: Actor, now: datetime) -> None:
    """Open what was found to be free, those of one instant at a time."""
    if not given:
        return
    session.execute(
        text("""
            UPDATE users SET region = g.region
            FROM unnest(CAST(:users AS uuid[]), CAST(:regions AS text[])) AS g (user_id, region)
            WHERE users.user_id = g.user_id AND users.region IS DISTINCT FROM g.region"""),
        {"users": [each.user_id for each in given], "regions": [each.region for each in given]},
    )
    keys = {each.row.line: rules.meter_key(each.meter_id or "") for each in given}
    named = [each for each in given if each.row.meter_key]
    marked = holding.mark_assigned([keys[each.row.line] for each in named], [each.region for each in named])
    if len(marked) != len(named):
        raise RuntimeError("a meter that was locked and looked at is not in stock any more")
    for since in sorted({each.since for each in given}, key=lambda at: at or now):
        pairs = [(each.user_id, keys[each.row.line]) for each in given if each.since == since and each.user_id]
        holding.open_assignments(pairs, how="csv", act=act, actor=actor, now=since or now)
