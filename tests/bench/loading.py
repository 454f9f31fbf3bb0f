"""Millions of customers with meters, written past the triggers and counted afterwards."""

from __future__ import annotations

import time

import psycopg
from flask import current_app

TABLES = ("users", "user_words", "meters", "connections", "meter_assignments")
FIRST_NAMES = "Asha Rohan Sneha Vikram Fatima Gurpreet Lakshmi Joseph Sunita Mohammed Deepika Tushar Leela Bhavesh"
LAST_NAMES = "Kulkarni Deshmukh Patil Shaikh Bedi Narayanan DSouza Pawar Ansari Nair Gaikwad Fernandes Patel Iyer"
REGIONS = "Pune-West Delhi-North Mumbai-North Chennai-North Bangalore-East"

# Ids are random but come in order, so that only what is measured later meets a random index.
_PEOPLE = f"""
    INSERT INTO users (user_id, email, name, region, meter_id, created_at)
    SELECT id, lower(first || '.' || last) || (n + %(offset)s) || '@example.com', first || ' ' || last, region,
        CASE WHEN %(held)s THEN 'MTR-' || lpad(n::text, 8, '0') END,
        timestamptz '2026-11-01' - n * interval '0.3 seconds'
    FROM (
        SELECT row_number() OVER () AS n, id,
            ('{{{",".join(FIRST_NAMES.split())}}}'::text[])[1 + get_byte(uuid_send(id), 15) %% 14] AS first,
            ('{{{",".join(LAST_NAMES.split())}}}'::text[])[1 + get_byte(uuid_send(id), 14) %% 14] AS last,
            ('{{{",".join(REGIONS.split())}}}'::text[])[1 + get_byte(uuid_send(id), 13) %% 5] AS region
        FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, %(count)s) ORDER BY 1) AS ids) AS people"""
_WORDS = """
    INSERT INTO user_words (user_id, created_at, role, words)
    SELECT user_id, created_at, role, lower(email || chr(31) || name) FROM users
    WHERE NOT EXISTS (SELECT FROM user_words w WHERE w.user_id = users.user_id)"""
_HOLD = (
    """INSERT INTO meters (meter_key, meter_id, region, status)
       SELECT substr(meter_id, 5)::int, meter_id, region, 'assigned' FROM users
       WHERE meter_id IS NOT NULL ORDER BY 1""",
    """INSERT INTO connections (user_id, region, starts_at)
       SELECT user_id, region, created_at FROM users WHERE meter_id IS NOT NULL""",
    """INSERT INTO meter_assignments (connection_id, user_id, meter_key, assigned_at, how, assigned_by)
       SELECT connection_id, user_id, substr(meter_id, 5)::int, starts_at, 'bulk', 'bench'
       FROM connections JOIN users USING (user_id)""",
    "DELETE FROM pool_source",
    "INSERT INTO pool_source (single, next_key) VALUES (true, %(count)s + 1)",
)


def load_holders(count: int) -> None:
    """`count` customers who hold the meters 1 to `count`, in an empty database; says how many rows there are then."""
    began = time.monotonic()
    with _past_the_triggers() as connection:
        indexes = _drop_indexes(connection)
        connection.execute(_PEOPLE, {"held": True, "count": count, "offset": 0})
        connection.execute(_WORDS)
        for statement in _HOLD:
            connection.execute(statement, {"count": count} if "%(count)s" in statement else None)
        for definition in indexes:
            connection.execute(definition)
    _settle()
    counted = ", ".join(f"{_count(table):,} {table}" for table in TABLES)
    print(f"<!-- loaded in {time.monotonic() - began:.0f} s: {counted} -->", flush=True)


def load_waiting(count: int, offset: int) -> None:
    """`count` customers more, who wait for a meter."""
    with _past_the_triggers() as connection:
        connection.execute(_PEOPLE, {"held": False, "count": count, "offset": offset})
        connection.execute(_WORDS)
    _settle()


def connect() -> psycopg.Connection[tuple[object, ...]]:
    """A connection of the bench's own, without the portal's limits, each statement its own transaction."""
    url = current_app.config["BENCH_URL"].replace("postgresql+psycopg", "postgresql")
    return psycopg.connect(url, autocommit=True)


def _past_the_triggers() -> psycopg.Connection[tuple[object, ...]]:
    connection = connect()
    connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
    return connection


def _drop_indexes(connection: psycopg.Connection[tuple[object, ...]]) -> list[str]:
    """Drop the indexes that hold no constraint; gives the statements that make them again."""
    found = connection.execute(
        """SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
           WHERE indrelid::regclass::text = ANY(%s) AND NOT EXISTS (
               SELECT FROM pg_constraint WHERE conindid = indexrelid)""",
        [list(TABLES)],
    ).fetchall()
    for name, _definition in found:
        connection.execute(f"DROP INDEX {name}")
    return [str(definition) for _name, definition in found]


def _settle() -> None:
    with connect() as connection:
        connection.execute("SELECT recount_tallies()")
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _count(table: str) -> int:
    with connect() as connection:
        [(count,)] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(str(count))
