"""One assignment, many at once, a run of a million, statistics and search, at every size."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask
from sqlalchemy import text

from portal import jobs
from portal.audit import SYSTEM
from portal.db import session
from portal.jobs import bulk_assign
from portal.meters import actions, search, stats
from tests.bench.harness import ms, portal, row, seconds
from tests.bench.loading import connect, load_holders, load_waiting
from tests.factories import make_pool, make_user

ROOT = Path(__file__).parents[2]
SMALLEST, SCAN_FROM = 10_000, 1_000_000
LAST = 99_999_999  # room for the largest size and those who come after
BULK = int(os.environ.get("BENCH_BULK", "1000000"))


def measure(sizes: list[int]) -> None:
    """All rows, each size in a database of its own."""
    latency: dict[int, float] = {}
    for size in sizes:
        with portal() as app, app.app_context():
            load_holders(size)
            latency[size] = seconds(one_assignment, 200)
            if size == SMALLEST:
                at_once(app)
                old_snapshot()
            if size >= SCAN_FROM:
                scan = seconds(scan_for_a_free_one, 3)
                row(f"one automatic assignment, {size:,} taken", ms(latency[size]), f"scan {scan:.2f} s",
                    scan / latency[size], "≥ 1,000")  # fmt: skip
            numbers(size)
            lists(size)
            if size == max(sizes):
                bulk_run(app, size)
    if SMALLEST in latency:
        for size in [each for each in sizes if each != SMALLEST]:
            row(f"its latency, {size:,} against {SMALLEST:,} taken", ms(latency[size]), ms(latency[SMALLEST]),
                latency[size] / latency[SMALLEST], "≤ 1.5")  # fmt: skip


def one_assignment() -> None:
    """Assign the next free meter, with commit, to a customer who is there already."""
    actions.assign(_somebody(), make_pool(last=LAST), how="admin", actor=SYSTEM, now=datetime.now(UTC))
    session.commit()


_waiting: list[uuid.UUID] = []


def _somebody() -> uuid.UUID:
    """Somebody who waits. They are made a hundred at a time; the time of that falls into one measure of a hundred."""
    if not _waiting:
        _waiting.extend(make_user(email=f"{uuid.uuid4()}@example.com", password=None).user_id for _ in range(100))
        session.commit()
    return _waiting.pop()


def scan_for_a_free_one() -> int:
    """The usual way: read all assigned ids, then look for the first gap."""
    taken = set(session.scalars(text("SELECT meter_id FROM users WHERE meter_id IS NOT NULL")))
    number = 1
    while f"MTR-{number:08d}" in taken:
        number += 1
    return number


def at_once(app: Flask) -> None:
    """Assignments a second with commit, against the same writes with the meter known, and a one-row update."""
    far_away = iter(random.sample(range(2_000_000, 9_000_000), 100_000))
    for clients in (16, 64):
        rate: dict[str, float] = {}
        # In turns, so that a busy moment of the machine meets all of them.
        for kind in ("free", "known", "update") * 3:
            users = [make_user(email=f"{uuid.uuid4()}@example.com", password=None).user_id for _ in range(640)]
            session.commit()
            known = dict(zip(users, (f"MTR-{number:08d}" for number in far_away), strict=False))
            taken = seconds(lambda k=kind, u=users, m=known, c=clients: _work(app, k, u, m, c), 1)
            rate[kind] = max(rate.get(kind, 0), len(users) / taken)
        work, ours = f"assignments a second, {clients} clients", f"{rate['free']:.0f}/s"
        row(work, ours, f"meter known {rate['known']:.0f}/s", rate["free"] / rate["known"], "≥ 0.7")
        row(work, ours, f"one-row update {rate['update']:.0f}/s", rate["free"] / rate["update"], "≥ 0.15")


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


def old_snapshot() -> None:
    """One claim, after 100,000 others that an old snapshot keeps from being cleaned up."""
    fresh = seconds(one_claim, 300)
    with connect() as old, old.transaction():
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM users")
        for _ in range(1_000):
            make_pool().claim(None, 100)
            session.commit()
        pinned = seconds(one_claim, 300)
    with connect() as connection:
        connection.execute("VACUUM free_meters")
    again = seconds(one_claim, 300)
    row("one claim, 100,000 others under an old snapshot", ms(pinned), f"fresh {ms(fresh)}", pinned / fresh, "≤ 10")
    row("the same when the snapshot has ended", ms(again), f"fresh {ms(fresh)}", again / fresh, "normal")


def one_claim() -> None:
    """Take the next free meter, with commit."""
    make_pool().claim_one(None)
    session.commit()


def numbers(size: int) -> None:
    """The statistics, against counting."""
    stats.fold(datetime.now(UTC))  # as the worker does every few seconds
    session.commit()
    ours = seconds(lambda: stats.stats(make_pool()), 20)
    session.rollback()
    with connect() as connection:
        count = """
            SELECT region, count(*), count(meter_id) FROM users WHERE role = 'user' AND closed_at IS NULL GROUP BY 1"""
        counted = seconds(lambda: connection.execute(count).fetchall(), 3)
    row(f"statistics, {size:,} users", ms(ours), f"COUNT and GROUP BY {ms(counted)}", counted / ours,
        "≥ 200" if size >= 10_000_000 else "")  # fmt: skip


def lists(size: int) -> None:
    """The slowest of the lists and searches, each the median of ten."""
    sought = ("", "a", "zz", "des", "example.com", "deshmukh77", "sneha.pawar9999", "nobody like this", "MTR-0000",
              f"{size // 2:08d}", "5050", "77", "%", "शर्मा")  # fmt: skip
    taken = {}
    for words in sought:
        taken[f"users «{words}»"] = seconds(lambda w=words: search.search_users(w), 10)
        taken[f"waiting «{words}»"] = seconds(lambda w=words: search.list_without_meter(search=w), 10)
        session.rollback()
    taken["users, 10th page"] = seconds(lambda: search.search_users(offset=200), 10)
    slowest = max(taken, key=lambda name: taken[name])
    row(f"users list and search, {size:,} users", f"{ms(taken[slowest])} ({slowest}, the slowest of {len(taken)})",
        f"median {ms(statistics.median(taken.values()))}", "–", "< 50 ms")  # fmt: skip


def bulk_run(app: Flask, size: int) -> None:
    """A job for everybody who waits, against one bare UPDATE of the same rows; others register meanwhile."""
    load_waiting(BULK, offset=size)
    with connect() as connection:
        connection.execute("BEGIN; SET LOCAL session_replication_role = replica")
        bare = seconds(
            lambda: connection.execute(
                """UPDATE users SET meter_id = 'MTR-' || lpad((%s + place)::text, 8, '0') FROM (
                       SELECT user_id, row_number() OVER () AS place FROM users
                       WHERE meter_id IS NULL AND role = 'user') AS waits
                   WHERE users.user_id = waits.user_id""",
                [20_000_000],
            ),
            1,
        )
        connection.execute("ROLLBACK")
        connection.execute("VACUUM users")
    last = min(99_999_999, size + 2 * BULK + 1_000_000)
    args = bulk_assign.arguments(None, None, dry_run=False, actor=SYSTEM)
    job = jobs.begin(bulk_assign.KIND, args, total=stats.count_waiting(), created_by=None, now=datetime.now(UTC))
    session.commit()
    app.config["PORTAL"] = _with_range(app, last)
    others = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.registering", app.config["BENCH_URL"], str(last)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    watch = Watch(app, job.job_id)
    watch.start()
    began = time.perf_counter()
    jobs.run(job.job_id)
    taken = time.perf_counter() - began
    watch.stop()
    told, _ = others.communicate("", timeout=60)
    count, median, worst = told.split()
    row(
        f"bulk run, {BULK:,} customers with history", f"{taken:.1f} s", f"bare UPDATE {bare:.1f} s", taken / bare, "≤ 3"
    )
    row("its memory", f"{watch.memory[-1]:.0f} MB at the end", f"{watch.memory[0]:.0f} MB at its beginning",
        watch.memory[-1] / watch.memory[0], "flat")  # fmt: skip
    row("its progress", f"{watch.longest:.2f} s between two steps at most", "–", "–", "every second")
    beside = f"{ms(float(worst))} at most"
    row(f"registrations beside it ({count})", beside, f"median {ms(float(median))}", "–", "≤ 200 ms")


def _with_range(app: Flask, last: int) -> object:
    from dataclasses import replace

    return replace(app.config["PORTAL"], meter_last=last)


class Watch:
    """Looks at a job from outside, ten times a second: how it moves on, and what the process needs."""

    def __init__(self, app: Flask, job_id: uuid.UUID) -> None:
        self.app, self.job_id = app, job_id
        self.longest, self.memory = 0.0, [_memory()]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        with self.app.app_context(), connect() as connection:
            moved, done, turn = time.monotonic(), 0, 0
            while not self._ended.wait(0.1):
                [(now_done,)] = connection.execute("SELECT done FROM jobs WHERE job_id = %s", [self.job_id]).fetchall()
                if now_done != done:
                    self.longest, moved, done = max(self.longest, time.monotonic() - moved), time.monotonic(), now_done
                turn += 1
                if turn % 50 == 0:
                    self.memory.append(_memory())


def _memory() -> float:
    """What this process holds, in MB."""
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
