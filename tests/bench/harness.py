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

from portal import create_app, embedded
from portal.db import db, session
from portal.tariffs.actions import load_published
from tests.factories import NOW, make_config

# What a server for ten million meters would be given; the same for ours and for every baseline.
SETTINGS = {
    "shared_buffers": "2GB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "max_connections": "200",
}


@contextmanager
def portal() -> Iterator[Flask]:
    """An application with an empty, migrated, durable database; removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="portal-bench-") as folder:
        data = Path(folder) / "data"
        try:
            with embedded.running(data, SETTINGS) as url:
                app = create_app(make_config(url))
                with app.app_context():
                    upgrade()
                    load_published(NOW)
                    session.commit()
                    # One statement here may take longer than any of the portal's.
                    app.config["BENCH_URL"] = url
                yield app
                with app.app_context():
                    session.remove()
                    db.engine.dispose()
        finally:
            embedded.locate(data).remove()


def seconds(act: Callable[[], object], times: int = 5) -> float:
    """The median time of an act."""
    return statistics.median(each_time(act, times))


def each_time(act: Callable[[], object], times: int) -> list[float]:
    """How long an act takes, time after time."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    return taken


def machine() -> str:
    """What this was measured on."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()} {platform.machine()}"


def row(work: str, ours: str, baseline: str, ratio: float | str, reach: str) -> None:
    """One line of the table."""
    shown = ratio if isinstance(ratio, str) else f"{ratio:,.2f}"
    print(f"| {work} | {ours} | {baseline} | {shown} | {reach} |", flush=True)


def ms(taken: float) -> str:
    """Seconds as milliseconds: 0.0042 → 4.2 ms."""
    return f"{taken * 1e3:,.1f} ms"
