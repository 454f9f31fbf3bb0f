"""Storing readings, against the bare database."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import text

from portal.db import db, session
from portal.readings.actions import refresh_usage, store
from portal.readings.incoming import decode_many
from tests.bench.harness import ms, portal, row, seconds
from tests.factories import make_config

METERS = int(os.environ.get("BENCH_METERS", "10000"))
"""How many meters' usage is recomputed."""


def measure() -> None:
    """A batch of 10,000 readings; the same again; and a bare staged COPY with ON CONFLICT."""
    with portal() as app, app.app_context():
        start = datetime(2026, 11, 1, tzinfo=UTC)
        batch = [
            {
                "meterId": f"MTR-{meter + 1:08d}",
                "timestamp": (start + timedelta(minutes=15 * slot)).isoformat(),
                "energyKwh": "0.125",
            }
            for slot in range(100)
            for meter in range(100)
        ]
        bare = seconds(_bare_copy, 3)
        first = seconds(lambda: _store(batch), 1)
        again = seconds(lambda: _store(batch), 3)
        row("store 10,000 readings", f"{10_000 / first:,.0f}/s", f"staged COPY {10_000 / bare:,.0f}/s", bare / first,
            "≥ 0.6")  # fmt: skip
        row("the same again", f"{10_000 / again:,.0f}/s", f"first time {10_000 / first:,.0f}/s", first / again, "≥ 1")
    with portal() as app, app.app_context():
        _measure_usage()


def _measure_usage() -> None:
    """A day of METERS recomputed, against one GROUP BY; and a month of a tenth of them from days, against readings."""
    midnight = datetime(2026, 10, 31, 18, 30, tzinfo=UTC)
    _load(1, METERS, midnight, 1)
    bare = seconds(_group_by, 3)
    ours = seconds(_refresh, 1)
    size = f"{METERS:,} meters, {session.scalar(text('SELECT count(*) FROM readings')):,} readings"
    row(f"recompute a day ({size})", f"{ours:,.1f} s", f"INSERT … SELECT GROUP BY {bare:,.1f} s", ours / bare, "≤ 2")
    few = METERS // 10
    _load(1, few, midnight + timedelta(days=1), 29)
    _refresh()
    session.execute(text("ANALYZE readings; ANALYZE usage_daily"))
    session.commit()
    values = {"few": few, "start": midnight, "end": midnight + timedelta(days=30)}
    statements = [
        text(f"SELECT sum({what}) FROM {table} WHERE meter_key <= :few AND {at} >= :start AND {at} < :end{more}")
        for what, table, at, more in (
            ("import_kwh", "usage_daily", "starts_at", ""),
            ("value", "readings", "read_at", " AND kind = 1"),
        )
    ]
    assert len({session.scalar(statement, values) for statement in statements}) == 1
    days, raw = (seconds(lambda s=statement: session.scalar(s, values), 3) for statement in statements)
    row(f"a month's energy ({few:,} meters, {few * 2880:,} readings)", ms(days), f"from readings {ms(raw)}", raw / days,
        "≥ 50")  # fmt: skip


def _load(first: int, last: int, start: datetime, days: int) -> None:
    """Quarter hours of meters, with the notes that storing makes."""
    values = {"first": first, "last": last, "start": start, "last_at": start + timedelta(days=days, minutes=-15)}
    session.execute(
        text("""
            INSERT INTO readings (meter_key, kind, read_at, interval_seconds, value, quality, version, source,
                received_at)
            SELECT meter, 1, at, 900, 0.125, 0, 1, 'bench', now()
            FROM generate_series(CAST(:start AS timestamptz), CAST(:last_at AS timestamptz), interval '15 minutes')
                AS at
            CROSS JOIN generate_series(CAST(:first AS int), CAST(:last AS int)) AS meter"""),
        values,
    )
    session.execute(
        text("""
            INSERT INTO usage_touched (meter_key, half_hour, touched_at)
            SELECT meter, at, now()
            FROM generate_series(CAST(:start AS timestamptz), CAST(:last_at AS timestamptz), interval '30 minutes')
                AS at
            CROSS JOIN generate_series(CAST(:first AS int), CAST(:last AS int)) AS meter"""),
        values,
    )
    session.commit()
    session.execute(text("ANALYZE readings; ANALYZE usage_touched"))
    session.commit()


def _refresh() -> None:
    """As a worker does, chunk by chunk."""
    while refresh_usage():
        session.commit()
    session.commit()


def _group_by() -> None:
    session.execute(
        text("CREATE TEMP TABLE sums (meter int, at timestamptz, kwh numeric, seconds bigint) ON COMMIT DROP")
    )
    session.execute(
        text("""
            INSERT INTO sums SELECT meter_key, date_bin('1 hour', read_at, '2026-10-31 18:30Z'), sum(value),
                sum(interval_seconds) FROM readings GROUP BY 1, 2""")
    )
    session.commit()


def _store(batch: list[dict[str, str]]) -> None:
    rows = decode_many(json.dumps(batch).encode())
    store(rows, source="bench", now=datetime(2026, 11, 15, tzinfo=UTC), config=make_config(""))
    session.commit()


def _bare_copy() -> None:
    """The floor: COPY to a staging table, INSERT … ON CONFLICT into a plain table with the same key."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    raw = db.engine.raw_connection()
    with raw.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS bare (meter int, kind int, at timestamptz, kwh numeric(16, 6),"
            " PRIMARY KEY (meter, kind, at));"
            "CREATE TEMP TABLE staged (meter int, kind int, at timestamptz, kwh numeric(16, 6)) ON COMMIT DROP;"
            "TRUNCATE bare"
        )
        with cursor.copy("COPY staged FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(("int4", "int4", "timestamptz", "numeric"))
            for slot in range(100):
                for meter in range(100):
                    copy.write_row((meter, 0, start + timedelta(minutes=15 * slot), Decimal("0.125")))
        cursor.execute("INSERT INTO bare SELECT * FROM staged ON CONFLICT DO NOTHING")
    raw.commit()
    raw.close()
