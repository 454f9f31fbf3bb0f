"""Storing readings, against the bare database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from portal.db import db, session
from portal.readings.actions import store
from portal.readings.incoming import decode_many
from tests.bench.harness import portal, row, seconds
from tests.factories import make_config


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
