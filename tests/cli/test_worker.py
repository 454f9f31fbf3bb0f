"""`flask worker`: usage within seconds, jobs of dead workers taken up, an orderly end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from structlog.testing import capture_logs

from portal import jobs
from portal.audit import SYSTEM
from portal.cli import worker
from portal.config import Config
from portal.db import session
from portal.jobs import bulk_assign
from portal.readings import actions
from tests.factories import NOW, make_user
from tests.readings.feed import daily_of, fetch, row, series, store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(app: Flask) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a worker; whatever is left of it is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def run() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "flask", "worker"],
            cwd=ROOT,
            env={
                **os.environ,
                "DATABASE_URL": app.config["PORTAL"].database_url,
                "SECRET_KEY": "x" * 40,
                "FLASK_APP": "wsgi.py",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(app: Flask, true: Callable[[], bool], seconds: float = 40) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with app.app_context():
            if true():
                return
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def test_usage_within_seconds_and_an_orderly_end(app: Flask, config: Config, start: Any) -> None:
    with app.app_context():
        store(series(NOW - timedelta(days=1), 96), config)
    process = start()
    wait_until(app, lambda: sum(daily_of().values()) == Decimal("4.656"))
    with app.app_context():
        store([row(energy_kwh=Decimal(9))], config)
    wait_until(app, lambda: sum(daily_of().values()) == Decimal("13.655"), 10)
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    assert "Traceback" not in process.stderr.read()


@pytest.mark.promise(10)
def test_a_killed_worker_loses_no_usage(app: Flask, config: Config, start: Any) -> None:
    with app.app_context():
        for key in range(1, 31):
            store(series(NOW - timedelta(days=4), 192, meter_id=f"MTR-{key:08d}"), config)
    process = start()
    wait_until(app, lambda: fetch("SELECT count(*) FROM usage_daily")[0][0] > 0)
    process.kill()
    process.wait(10)
    start()
    wait_until(app, lambda: fetch("SELECT count(*) FROM usage_touched") == [(0,)])
    with app.app_context():
        assert [sum(daily_of(key).values()) for key in range(1, 31)] == [Decimal("18.528")] * 30


@pytest.mark.promise(10)
def test_a_job_of_a_killed_worker_is_taken_up(app: Flask, start: Any) -> None:
    with app.app_context():
        make_user(email="waiting@example.com")
        arguments = bulk_assign.arguments(None, None, dry_run=False, actor=SYSTEM)
        job = jobs.start(bulk_assign.KIND, arguments, total=1, created_by=None, now=NOW)
        job.status = "running"
        session.flush()
        session.execute(
            text("""
                WITH dead AS (
                    INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '5 minutes')
                    RETURNING id)
                UPDATE procrastinate_jobs SET status = 'doing', worker_id = (SELECT id FROM dead)""")
        )
        session.commit()
    start()
    wait_until(app, lambda: jobs.get_job(job.job_id).status == "done")
    with app.app_context():
        assert fetch("SELECT email, meter_id FROM users") == [("waiting@example.com", "MTR-00000001")]


@pytest.mark.promise(10)
def test_a_bulk_run_goes_on_after_a_kill_of_its_worker_and_serves_nobody_twice(app: Flask, start: Any) -> None:
    with app.app_context():
        session.execute(
            text("""
                INSERT INTO users (user_id, email, name, role, region, created_at)
                SELECT gen_random_uuid(), 'waiting' || n || '@example.com', 'Waiting ' || n, 'user', 'Pune-West',
                    now() - make_interval(secs => n) FROM generate_series(1, 6000) AS n""")
        )
        session.commit()
        job = bulk_assign.launch(None, None, dry_run=False, actor=SYSTEM, now=NOW)
    process = start()
    wait_until(app, lambda: fetch("SELECT done > 0 FROM jobs") == [(True,)])
    process.kill()
    process.wait(10)
    with app.app_context():
        [(done,)] = fetch("SELECT done FROM jobs")
        assert 0 < done < 6000
        # As if the half minute were over after which a silent worker counts as dead.
        session.execute(text("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '5 minutes'"))
        session.commit()
    start()
    wait_until(app, lambda: jobs.get_job(job.job_id).status == "done")
    with app.app_context():
        assert jobs.get_job(job.job_id).result["summary"] == {"success": 6000, "failed": 0, "total": 6000}
        listed = fetch("SELECT row->>0, row->>2 FROM job_parts, jsonb_array_elements(rows) AS row")
        assert len(listed) == len({user for user, _ in listed}) == len({meter for _, meter in listed}) == 6000
        assert sorted(listed) == sorted(fetch("SELECT user_id::text, meter_id FROM users"))


def test_a_fault_is_logged_and_the_same_is_tried_again(
    app: Flask, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        store([row()], config)
    faults = [RuntimeError("the disk is full"), RuntimeError("still")]
    real = actions.refresh_usage

    def faulty(limit: int, touched: list[tuple[int, datetime]]) -> int:
        settled = real(limit, touched)
        if faults:
            raise faults.pop()
        return settled

    monkeypatch.setattr(worker.actions, "refresh_usage", faulty)
    monkeypatch.setattr(worker, "PAUSE", 0.01)
    stop = threading.Event()
    with capture_logs() as logged:
        thread = threading.Thread(target=worker.keep_usage, args=(app, stop))
        thread.start()
        wait_until(app, lambda: sum(daily_of().values()) == Decimal("0.25"))
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
    assert [entry["event"] for entry in logged] == ["usage_not_refreshed"] * 2
