"""`make bench`: one table. BENCH_METERS sets how many meters are assigned for the large size (1,000,000)."""

from __future__ import annotations

import json
import os
import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from flask import Flask
from sqlalchemy import text

from portal.audit import SYSTEM
from portal.db import db, session
from portal.meters import actions, stats
from portal.readings.actions import store
from portal.readings.incoming import decode_many
from tests.bench.harness import load_holders, machine, portal, row, seconds
from tests.factories import make_config, make_pool, make_user

SMALL, LARGE = 10_000, int(os.environ.get("BENCH_METERS", "1000000"))


def main() -> None:
    print(f"{machine()}\n\n| work | ours | baseline | ratio | reach |\n|---|---|---|---|---|")
    latency = {}
    for size in (SMALL, LARGE):
        with portal() as app, app.app_context():
            load_holders(size)
            latency[size] = seconds(one_assignment, 40)
            if size == SMALL:
                claims(app)
                readings()
            else:
                scan = seconds(scan_for_a_free_one, 3)
                row(f"one automatic assignment, {size:,} taken", f"{latency[size] * 1e3:.1f} ms", f"scan {scan:.2f} s",
                    scan / latency[size], "≥ 1,000")  # fmt: skip
                count = seconds(lambda: stats.stats(make_pool()), 3)
                bare = seconds(lambda: session.execute(text("SELECT region, count(*) FROM users GROUP BY 1")).all(), 3)
                row(f"statistics, {size:,} users", f"{count * 1e3:.0f} ms", f"GROUP BY {bare * 1e3:.0f} ms",
                    bare / count, "≥ 200, not met: counted live")  # fmt: skip
    row(f"its latency, {LARGE:,} against {SMALL:,} taken", f"{latency[LARGE] * 1e3:.1f} ms",
        f"{latency[SMALL] * 1e3:.1f} ms", latency[LARGE] / latency[SMALL], "≤ 1.5")  # fmt: skip


def one_assignment() -> None:
    """Assign the next free meter, with commit. The user is made beforehand and not counted by a real caller either."""
    user = make_user(email=f"{uuid.uuid4()}@example.com", password=None)
    session.commit()
    actions.assign(user.user_id, make_pool(), how="admin", actor=SYSTEM, now=datetime.now(UTC))
    session.commit()


def scan_for_a_free_one() -> int:
    """The usual way: read all assigned ids, then look for the first gap."""
    taken = set(session.scalars(text("SELECT meter_id FROM users WHERE meter_id IS NOT NULL")))
    number = 1
    while f"MTR-{number:08d}" in taken:
        number += 1
    return number


def claims(app: Flask) -> None:
    """Assignments a second with commit, against the same writes with the meter known, and a one-row update."""
    for clients in (16, 64):
        rate = {}
        for kind in ("free", "known", "update"):
            users = [make_user(email=f"{uuid.uuid4()}@example.com", password=None).user_id for _ in range(clients * 12)]
            session.commit()
            numbers = iter(random.sample(range(1_000_000, 9_000_000), len(users)))
            known = {user: f"MTR-{next(numbers):08d}" for user in users}
            rate[kind] = len(users) / seconds(lambda k=kind, u=users, m=known, c=clients: _work(app, k, u, m, c), 1)
        row(f"assignments a second, {clients} clients", f"{rate['free']:.0f}/s", f"meter known {rate['known']:.0f}/s",
            rate["free"] / rate["known"], "≥ 0.7")  # fmt: skip
        update = f"one-row update {rate['update']:.0f}/s"
        row(f"assignments a second, {clients} clients", f"{rate['free']:.0f}/s", update,
            rate["free"] / rate["update"], "≥ 0.15")  # fmt: skip


def _work(app: Flask, kind: str, users: list[uuid.UUID], known: dict[uuid.UUID, str], clients: int) -> None:
    def one(user: uuid.UUID) -> None:
        with app.app_context():
            if kind == "update":
                session.execute(text("UPDATE users SET phone = '+910000000' WHERE user_id = :user"), {"user": user})
            else:
                meter = known[user] if kind == "known" else None
                actions.assign(user, make_pool(), meter, how="admin", actor=SYSTEM, now=datetime.now(UTC))
            session.commit()

    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(one, users))


def readings() -> None:
    """Store a batch of 10,000 readings; the same again; and a bare staged COPY with ON CONFLICT."""
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
    row(
        "store 10,000 readings",
        f"{10_000 / first:,.0f}/s",
        f"staged COPY {10_000 / bare:,.0f}/s",
        bare / first,
        "≥ 0.6",
    )
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


if __name__ == "__main__":
    main()
