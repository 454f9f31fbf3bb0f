"""How a batch reaches its tables: COPY into a staging table of the connection, then one INSERT for what is new.

Every transaction takes what it may have to wait for in one order: rows of meters, then keys of readings, each by number
and time. So two batches with the same keys in any order wait for each other, but never in a circle. Call it once a
transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import psycopg
from psycopg import sql
from sqlalchemy import Row, text

from portal.db import session
from portal.readings.models import Kind
from portal.readings.rules import Told, half_hours_of
from portal.readings.versions import Version

# Intervals longer than this (seconds) lie in more half hours than those in which they begin and end.
LONG = 3_600

# Made once a connection and emptied at each commit: a table made and dropped with every batch would fill the catalogue
# with dead rows.
_MAKE = text("""
    CREATE TEMP TABLE IF NOT EXISTS staged_readings (
        place int, meter_key int, kind smallint, read_at timestamptz, interval_seconds int, value numeric(16, 6),
        quality smallint, seq bigint, reading_id text, extra text, again boolean) ON COMMIT DELETE ROWS""")
_MAKE_VERSIONS = text("""
    CREATE TEMP TABLE IF NOT EXISTS staged_versions (
        meter_key int, kind smallint, read_at timestamptz, interval_seconds int, value numeric(16, 6), quality smallint,
        seq bigint, reading_id text, extra text, version int, source text, received_at timestamptz, in_force boolean
    ) ON COMMIT DELETE ROWS""")
_COPY = """
    COPY staged_readings (place, meter_key, kind, read_at, interval_seconds, value, quality, seq, reading_id, extra,
        again)
    FROM STDIN (FORMAT BINARY)"""
_TYPES = ["int4", "int4", "int2", "timestamptz", "int4", "numeric", "int2", "int8", "text", "text", "bool"]
_COPY_VERSIONS = """
    COPY staged_versions (meter_key, kind, read_at, interval_seconds, value, quality, seq, reading_id, extra, version,
        source, received_at, in_force)
    FROM STDIN (FORMAT BINARY)"""
_VERSION_TYPES = [*_TYPES[1:-1], "int4", "text", "timestamptz", "bool"]

# Stores what is new and notes the half hours in which it begins and ends. Gives the places of those that were there
# before, and whether they say the same. A key that another one is storing at this moment is waited for, and then counts
# as different: its value is looked at under the lock.
_INSERT = text("""
    WITH fresh AS (
        INSERT INTO readings (meter_key, kind, read_at, interval_seconds, value, quality, seq, reading_id, extra,
            version, source, received_at)
        SELECT meter_key, kind, read_at, interval_seconds, value, quality, seq, reading_id, CAST(extra AS jsonb),
            1, :source, :now
        FROM staged_readings ORDER BY meter_key, kind, read_at
        ON CONFLICT (meter_key, kind, read_at) DO NOTHING
        RETURNING meter_key, kind, read_at, interval_seconds),
    noted AS (
        INSERT INTO usage_touched (meter_key, half_hour, touched_at)
        SELECT meter_key, half_hour, :now FROM (
            SELECT meter_key, date_bin('30 minutes', read_at, 'epoch') AS half_hour FROM fresh
            UNION
            SELECT meter_key, date_bin('30 minutes', read_at
                + interval_seconds * interval '1 second' - interval '1 microsecond', 'epoch')
            FROM fresh) AS halves)
    SELECT place, NOT again AND EXISTS (
        SELECT FROM readings AS r
        WHERE r.meter_key = s.meter_key AND r.kind = s.kind AND r.read_at = s.read_at
            AND r.read_at >= :first AND r.read_at <= :last
            AND r.value = s.value AND r.interval_seconds = s.interval_seconds AND r.quality = s.quality
            AND (s.seq IS NULL OR s.seq <= r.seq)) AS same
    FROM staged_readings AS s
    WHERE NOT EXISTS (
        SELECT FROM fresh AS f WHERE f.meter_key = s.meter_key AND f.kind = s.kind AND f.read_at = s.read_at)""")

# Of the keys that were there: those whose value differs, or that came more than once, locked. Same value: left alone.
# Plan: a nested loop over the staged rows, one look-up of pk_readings each; the lateral keeps it so.
_LOCK_DIFFERENT = text("""
    SELECT s.place, r.* FROM (
        SELECT * FROM staged_readings WHERE place = ANY (:places) ORDER BY meter_key, kind, read_at) AS s
    CROSS JOIN LATERAL (
        SELECT version, interval_seconds, value, quality, seq, reading_id, CAST(extra AS text) AS extra, source,
            received_at
        FROM readings AS r
        WHERE r.meter_key = s.meter_key AND r.kind = s.kind AND r.read_at = s.read_at
            AND r.read_at >= :first AND r.read_at <= :last
            AND (s.again OR r.value <> s.value OR r.interval_seconds <> s.interval_seconds OR r.quality <> s.quality
                OR (s.seq IS NOT NULL AND (r.seq IS NULL OR s.seq > r.seq)))
        FOR UPDATE OF r) AS r""")

_PAST = text("""
    SELECT s.place, v.version, v.interval_seconds, v.value, v.quality, v.seq, v.reading_id,
        CAST(v.extra AS text) AS extra, v.source, v.received_at
    FROM staged_readings AS s JOIN reading_versions AS v USING (meter_key, kind, read_at)
    WHERE s.place = ANY (:places) ORDER BY s.place, v.version""")

_KEEP = text("""
    INSERT INTO reading_versions (meter_key, kind, read_at, version, interval_seconds, value, quality, seq, reading_id,
        extra, source, received_at, superseded_at)
    SELECT meter_key, kind, read_at, version, interval_seconds, value, quality, seq, reading_id, CAST(extra AS jsonb),
        source, received_at, :now
    FROM staged_versions WHERE NOT in_force""")
_REPLACE = text("""
    UPDATE readings AS r SET version = v.version, interval_seconds = v.interval_seconds, value = v.value,
        quality = v.quality, seq = v.seq, reading_id = v.reading_id, extra = CAST(v.extra AS jsonb), source = v.source,
        received_at = v.received_at
    FROM staged_versions AS v
    WHERE v.in_force AND r.meter_key = v.meter_key AND r.kind = v.kind AND r.read_at = v.read_at
        AND r.read_at >= :first AND r.read_at <= :last""")

# An interval of hours may overlap readings that came before it, and lie over registers; both are looked at again.
_TOUCH_WITHIN = text("""
    INSERT INTO usage_touched (meter_key, half_hour, touched_at)
    SELECT DISTINCT r.meter_key, date_bin('30 minutes', r.read_at, 'epoch'), CAST(:now AS timestamptz)
    FROM unnest(CAST(:meters AS int[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
        AS long(meter_key, starts_at, ends_at)
    JOIN readings AS r
        ON r.meter_key = long.meter_key AND r.kind IN (1, 3)
            AND r.read_at > long.starts_at AND r.read_at < long.ends_at""")
_NOTE_REGISTERS = text("""
    INSERT INTO register_meters (meter_key)
    SELECT key FROM unnest(CAST(:keys AS int[])) AS key
    WHERE NOT EXISTS (SELECT FROM register_meters WHERE meter_key = key) ORDER BY key
    ON CONFLICT DO NOTHING""")
_TOUCH = text("""
    INSERT INTO usage_touched (meter_key, half_hour, touched_at)
    SELECT meter_key, half_hour, :now
    FROM unnest(CAST(:meters AS int[]), CAST(:half_hours AS timestamptz[])) AS t(meter_key, half_hour)""")


def note_registers(meter_keys: Sequence[int]) -> None:
    """Remember that these meters tell their registers; before their readings, by key."""
    if meter_keys:
        session.execute(_NOTE_REGISTERS, {"keys": sorted(meter_keys)})


def stage(firsts: Sequence[Told], again: set[int]) -> None:
    """Put the values, one a key and sorted by it, into the staging table, each with its place in `firsts`.

    `again` holds the places of keys of which the batch tells more than one value.
    """
    session.execute(_MAKE)
    _copy("staged_readings", _COPY, _TYPES, ((place, *told[1:], place in again) for place, told in enumerate(firsts)))


def _copy(table: str, command: str, types: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    driver = cast("psycopg.Connection[Any]", session.connection().connection.driver_connection)
    with driver.cursor() as cursor:
        cursor.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        with cursor.copy(command) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)


def insert(firsts: Sequence[Told], source: str, now: datetime) -> dict[int, bool]:
    """Store what is new of the staged values; gives the places of those that were there, True if they say the same."""
    rows = session.execute(_INSERT, {"source": source, "now": now} | _span(firsts))
    return {row.place: row.same for row in rows}


def lock_different(firsts: Sequence[Told], places: Sequence[int]) -> dict[int, Version]:
    """Of these places, those whose stored value differs, and all that came twice: what is in force, locked."""
    rows = session.execute(_LOCK_DIFFERENT, {"places": list(places)} | _span(firsts))
    return {row.place: _version(firsts[row.place], row) for row in rows.all()}


def _span(told: Sequence[Told]) -> dict[str, datetime]:
    """First and last instant: the database then looks at the partitions between them only."""
    instants = [each.read_at for each in told]
    return {"first": min(instants), "last": max(instants)}


def list_past(firsts: Sequence[Told], places: Sequence[int]) -> dict[int, list[Version]]:
    """What was told before and is not in force, of these (locked) places."""
    past: dict[int, list[Version]] = {}
    for row in session.execute(_PAST, {"places": list(places)}):
        past.setdefault(row.place, []).append(_version(firsts[row.place], row))
    return past


def _version(key: Told, row: Row[Any]) -> Version:
    told = key._replace(
        interval_seconds=row.interval_seconds,
        value=row.value,
        quality=row.quality,
        seq=row.seq,
        reading_id=row.reading_id,
        extra=row.extra,
    )
    return Version(row.version, told, row.source, row.received_at)


def settle(superseded: Sequence[Version], in_force: Sequence[Version], now: datetime) -> None:
    """Put versions on record, and others in force; the keys of all are locked."""
    session.execute(_MAKE_VERSIONS)
    _copy(
        "staged_versions",
        _COPY_VERSIONS,
        _VERSION_TYPES,
        [
            (*version.told[1:], version.number, version.source, version.received_at, current)
            for versions, current in ((superseded, False), (in_force, True))
            for version in versions
        ],
    )
    if superseded:
        session.execute(_KEEP, {"now": now})
    if in_force:
        session.execute(_REPLACE, _span([version.told for version in in_force]))


def touch(changed: Sequence[Told], now: datetime) -> None:
    """Note the half hours in which these values, not stored by `insert`, change usage."""
    notes = sorted({(told.meter_key, half) for told in changed for half in half_hours_of(told)})
    if notes:
        session.execute(
            _TOUCH, {"meters": [meter for meter, _ in notes], "half_hours": [half for _, half in notes], "now": now}
        )


def touch_within(told: Sequence[Told], now: datetime) -> None:
    """Note the half hours of readings that lie within long intervals that were told: they overlap now."""
    long = [each for each in told if each.interval_seconds > LONG and each.kind == Kind.IMPORT]
    if long:
        session.execute(
            _TOUCH_WITHIN,
            {
                "meters": [each.meter_key for each in long],
                "starts": [each.read_at for each in long],
                "ends": [each.read_at + timedelta(seconds=each.interval_seconds) for each in long],
                "now": now,
            },
        )
