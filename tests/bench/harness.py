"""A durable server of its own, timing, and the table that is printed."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import text

from portal import create_app, embedded
from portal.db import session
from portal.tariffs.actions import load_published
from tests.factories import NOW, make_config


@contextmanager
def portal() -> Iterator[Flask]:
    """An application with an empty, migrated, durable database; removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="portal-bench-") as folder:
        data = Path(folder) / "data"
        try:
            with embedded.running(data) as url:
                app = create_app(make_config(url))
                with app.app_context():
                    upgrade()
                    load_published(NOW)
                    session.commit()
                yield app
        finally:
            embedded.locate(data).remove()


def seconds(act: Callable[[], object], times: int = 5) -> float:
    """The median time of an act."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def load_holders(count: int) -> None:
    """`count` customers who hold the meters 1 to `count`, written past the triggers."""
    for statement in (
        "SET LOCAL session_replication_role = replica",
        """INSERT INTO users (user_id, email, name, region, meter_id, created_at)
           SELECT gen_random_uuid(), 'holder' || n || '@example.com', 'Holder ' || n,
               (ARRAY['Pune-West', 'Delhi-North', 'Mumbai-North'])[1 + n % 3], 'MTR-' || lpad(n::text, 8, '0'), now()
           FROM generate_series(1, :n) n""",
        """INSERT INTO meters (meter_key, meter_id, region, status)
           SELECT substr(meter_id, 5)::int, meter_id, region, 'assigned' FROM users WHERE meter_id IS NOT NULL""",
        """INSERT INTO connections (user_id, region, starts_at) SELECT user_id, region, now() FROM users
           WHERE meter_id IS NOT NULL""",
        """INSERT INTO meter_assignments (connection_id, user_id, meter_key, assigned_at, how, assigned_by)
           SELECT connection_id, user_id, substr(meter_id, 5)::int, starts_at, 'bulk', 'bench'
           FROM connections JOIN users USING (user_id)""",
        "DELETE FROM pool_source",
        "INSERT INTO pool_source (single, next_key) VALUES (true, CAST(:n AS int) + 1)",
    ):
        session.execute(text(statement), {"n": count} if ":n" in statement else {})
    session.commit()
    session.execute(text("ANALYZE"))
    session.commit()


def machine() -> str:
    """What this was measured on."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()} {platform.machine()}"


def row(work: str, ours: str, baseline: str, ratio: float, reach: str) -> None:
    """One line of the table."""
    print(f"| {work} | {ours} | {baseline} | {ratio:,.2f} | {reach} |", flush=True)
