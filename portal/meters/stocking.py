"""Stock from a file: every row is looked at before any is written, and then all are, in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, text

from portal import audit
from portal.accounts import queries as accounts
from portal.accounts.queries import DEFAULT_ZONE
from portal.audit import Actor
from portal.db import session
from portal.errors import Invalid
from portal.meters import rules, stock_rows
from portal.meters.pool import Pool
from portal.meters.stock_rows import Checked, StockRow
from portal.periods import local_date, local_midnight

# What a meter weighs on a bill or on whom it can go to: only while nobody holds it, and it lies in stock.
FIXED = ("region", "phase", "multiplier", "digits")
_COLUMNS = ("region", "make", "model", "phase", "multiplier", "digits", "commissioned_at")


class RowsRefused(Invalid):
    """Rows of a file that cannot be taken; nothing of the file was written."""

    def __init__(self, checked: Checked) -> None:
        super().__init__("Nothing was stocked: some rows of the file cannot be taken.")
        self.checked = checked


@dataclass(frozen=True, slots=True)
class Stocked:
    """What a file did: meters that had no row before, meters that were changed, and rows that said what was so."""

    new: int
    changed: int
    unchanged: int


def zones() -> dict[str | None, ZoneInfo]:
    """The zone of each region, and of meters without one."""
    return {None: DEFAULT_ZONE} | {region.name: ZoneInfo(region.timezone) for region in accounts.list_regions()}


def stock_file(content: bytes, pool: Pool, *, actor: Actor, now: datetime) -> Stocked:
    """Stock the meters of a CSV file (`stock_rows` has its columns).

    Sent again it changes nothing. Raises Invalid on `file` for what is no such file, RowsRefused when a single row is
    wrong: a number outside the range or there twice, a region that is not there, a meter whose state does not allow it.
    """
    known = zones()
    regions = [name for name in known if name is not None]
    checked = stock_rows.read(content, pool.first, pool.last, regions, local_date(now, DEFAULT_ZONE))
    keys = sorted(row.key for row in checked.rows)
    # Before anything that others may wait for: while it is held no block of the range comes into the pool.
    next_key = pool.hold_source()
    before, fresh = _take(keys)
    changes = _compare(checked, before, known)
    if checked.wrong:
        checked.wrong.sort(key=lambda row: row.line)
        raise RowsRefused(checked)
    _write(changes)
    session.execute(_GIVE_BACK, {"keys": keys, "next_key": next_key})
    if keys:
        pool.agree(keys[0], keys[-1])
    done = Stocked(len(fresh), len(changes.keys() - fresh), len(checked.rows) - len(changes.keys() | fresh))
    details = {"new": done.new, "changed": done.changed, "unchanged": done.unchanged}
    name = hashlib.sha256(content).hexdigest()[:16]
    audit.record("meter.stocked_by_file", actor, now, "file", name, details)
    session.flush()
    return done


# In the one order of locks: the source, what can be claimed, then the meters, each by number.
_TAKE = text("""
    DELETE FROM free_meters WHERE meter_key = ANY (ARRAY(
        SELECT meter_key FROM free_meters WHERE meter_key = ANY (CAST(:keys AS int[]))
        ORDER BY meter_key FOR UPDATE))""")
_HEAR_OF = text("""
    INSERT INTO meters (meter_key, meter_id)
    SELECT key, 'MTR-' || lpad(key::text, 8, '0') FROM unnest(CAST(:keys AS int[])) AS key
    WHERE NOT EXISTS (SELECT FROM meters WHERE meter_key = key) ORDER BY key
    ON CONFLICT DO NOTHING RETURNING meter_key""")
_LOCK = text("""
    SELECT meter_key, status, region, make, model, phase, multiplier, digits, commissioned_at FROM meters
    WHERE meter_key = ANY (CAST(:keys AS int[])) ORDER BY meter_key FOR UPDATE""")
_WRITE = text("""
    UPDATE meters SET region = t.region, make = t.make, model = t.model, phase = t.phase, multiplier = t.multiplier,
        digits = t.digits, commissioned_at = t.commissioned_at
    FROM unnest(CAST(:keys AS int[]), CAST(:region AS text[]), CAST(:make AS text[]), CAST(:model AS text[]),
        CAST(:phase AS smallint[]), CAST(:multiplier AS numeric[]), CAST(:digits AS smallint[]),
        CAST(:commissioned_at AS timestamptz[]))
        AS t (meter_key, region, make, model, phase, multiplier, digits, commissioned_at)
    WHERE meters.meter_key = t.meter_key""")
# Unallocated stock that the range's next number has passed already; the rest comes with its block, and a region's own
# is drawn from `meters`. A meter that came back after _TAKE is there, and who claims it may wait for our locks: so it
# must not be waited for.
_GIVE_BACK = text("""
    INSERT INTO free_meters (meter_key)
    SELECT meter_key FROM meters
    WHERE meter_key = ANY (CAST(:keys AS int[])) AND status = 'in_stock' AND region IS NULL AND meter_key < :next_key
        AND NOT EXISTS (SELECT FROM free_meters f WHERE f.meter_key = meters.meter_key)
    ORDER BY meter_key ON CONFLICT DO NOTHING""")


def _take(keys: list[int]) -> tuple[dict[int, Row[Any]], set[int]]:
    """The meters, locked and out of what can be claimed, as they are; and which of them have a row since now."""
    session.execute(_TAKE, {"keys": keys})
    fresh = set(session.scalars(_HEAR_OF, {"keys": keys}))
    return {row.meter_key: row for row in session.execute(_LOCK, {"keys": keys})}, fresh


def _compare(
    checked: Checked, before: Mapping[int, Row[Any]], known: Mapping[str | None, ZoneInfo]
) -> dict[int, dict[str, Any]]:
    """The whole new row of every meter that changes. Puts what a meter's state does not allow among the wrong rows."""
    changes: dict[int, dict[str, Any]] = {}
    for row in checked.rows:
        was = before[row.key]._asdict()
        now = was | _columns(row, was, known)
        differs = {name for name in _COLUMNS if now[name] != was[name]}
        refusal = _refusal(row, was["status"], differs)
        if refusal is not None:
            checked.refuse(row.line, row.cells, refusal)
        elif differs:
            changes[row.key] = now
    return changes


def _columns(row: StockRow, was: Mapping[str, Any], known: Mapping[str | None, ZoneInfo]) -> dict[str, Any]:
    """What the row gives, as columns of `meters`: a day begins with its midnight in the meter's region."""
    values = dict(row.values)
    if "commissioned_on" in values:
        day, zone = values.pop("commissioned_on"), known[values.get("region", was["region"])]
        before = was["commissioned_at"]
        same = before is not None and local_date(before, zone) == day
        values["commissioned_at"] = before if same else day and local_midnight(day, zone)
    return values


def _refusal(row: StockRow, status: str, differs: set[str]) -> str | None:
    if not differs or status == "in_stock":
        return None
    meter = f"{rules.meter_id(row.key)} is {rules.STATUS_WORDS[status]}"
    if status == "retired":
        return f"{meter}; nothing of it can be changed."
    fixed = [name for name in FIXED if name in differs]
    return f"{meter}; its {' and '.join(fixed)} cannot be changed." if fixed else None


def _write(changes: dict[int, dict[str, Any]]) -> None:
    if changes:
        keys = sorted(changes)
        columns = {name: [changes[key][name] for key in keys] for name in _COLUMNS}
        session.execute(_WRITE, {"keys": keys, **columns})
