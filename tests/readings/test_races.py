"""Many at once: nothing doubled, nothing lost, nobody stuck. Threads for races, processes for kills."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from flask import Flask
from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import OperationalError

from portal.config import Config
from portal.db import session
from portal.meters.rules import meter_id
from portal.periods import Period
from portal.readings import actions, queries
from portal.readings.incoming import Row, Unreadable
from tests.factories import NOW
from tests.readings.feed import IST, QUARTER, daily_of, fetch, refresh, row, series, store

START = NOW - timedelta(days=3)
PERIOD = Period(START, NOW)


def at_once(app: Flask, work: Callable[[int], object], count: int) -> None:
    """Run `work(0)`, `work(1)`, … in threads, each in its own context, started together. A fault in one fails."""
    ready = threading.Barrier(count)

    def run(number: int) -> None:
        with app.app_context():
            ready.wait(30)
            work(number)

    with ThreadPoolExecutor(count) as pool:
        for outcome in [pool.submit(run, number) for number in range(count)]:
            outcome.result(120)


@pytest.mark.promise(4)
def test_shuffled_doubled_and_dirtied_by_many_workers_gives_exact_totals(app: Flask, config: Config) -> None:
    meters, count = range(1, 21), 96 * 2
    truth = {key: sum(Decimal(place * key % 997) / 1000 for place in range(count)) for key in meters}
    good = [
        row(meter_id=meter_id(key), timestamp=START + QUARTER * place, energy_kwh=Decimal(place * key % 997) / 1000)
        for key in meters
        for place in range(count)
    ]
    chance = random.Random(11)
    dirt: list[Row | Unreadable] = [
        Unreadable("UNREADABLE", "A reading is a JSON object."),
        row(meter_id="MTR-99999999"),
        row(energy_kwh=Decimal("-1")),
        row(timestamp=NOW + timedelta(days=9)),
    ]
    everything = [*good, *good, *(chance.choice(dirt) for _ in range(500))]
    chance.shuffle(everything)
    batches = [everything[place : place + 400] for place in range(0, len(everything), 400)]
    accepted, lock, stop = [0], threading.Lock(), threading.Event()

    def work(number: int) -> None:
        if number == 4:
            # Usage is recomputed all the while.
            while not stop.wait(0.01):
                refresh()
            return
        for batch in batches[number::4]:
            result = store(batch, config)
            with lock:
                accepted[0] += result.accepted
        if number == 0:
            stop.set()

    at_once(app, work, 5)
    with app.app_context():
        assert accepted[0] == len(good)
        assert {key: queries.sum_energy(key, PERIOD, IST).import_kwh for key in meters} == truth
        refresh()
        assert {key: sum(daily_of(key).values()) for key in meters} == truth
        assert fetch("SELECT count(*) FROM reading_versions") == [(0,)]
        assert fetch("SELECT count(*) FROM quarantine") == [(2,)]


@pytest.mark.promise(4)
def test_registers_and_powers_shuffled_and_corrected_by_many_workers_give_exact_totals(
    app: Flask, config: Config
) -> None:
    # Meter n counts n Wh a quarter by its register, and meter 100 + n tells its mean power; every third value comes
    # wrong at first.
    meters, count = range(1, 9), 96
    rows: list[Row] = []
    for key in meters:
        for place in range(count + 1):
            at, kwh = START + QUARTER * place, Decimal(key * place) / 1000
            rows.append(row(meter_id=meter_id(key), timestamp=at, register_kwh=kwh, seq=2))
            rows.append(row(meter_id=meter_id(100 + key), timestamp=at, power_kw=Decimal(key) * 4 / 1000, seq=2))
            if place % 3 == 0:
                rows.append(row(meter_id=meter_id(key), timestamp=at, register_kwh=kwh + 5, seq=1))
                rows.append(row(meter_id=meter_id(100 + key), timestamp=at, power_kw=Decimal(9), seq=1))
    rows *= 2
    random.Random(7).shuffle(rows)
    batches = [rows[place : place + 300] for place in range(0, len(rows), 300)]
    stop = threading.Event()

    def work(number: int) -> None:
        if number >= 3:
            while not stop.wait(0.01):
                refresh()
            return
        for batch in batches[number::3]:
            store(batch, config)
        if number == 0:
            stop.set()

    at_once(app, work, 5)
    with app.app_context():
        refresh()
        day = Period(START, START + QUARTER * count)
        for key in meters:
            for told in (key, 100 + key):
                energy = queries.sum_energy(told, day, IST)
                assert (energy.import_kwh, energy.estimated_kwh) == (Decimal(key * count) / 1000, 0)
                assert (energy.covered_seconds, energy.overlap_seconds) == (count * 900, 0)


@pytest.mark.promise(4)
def test_conflicting_values_in_opposite_order_end_by_seq_without_deadlock(app: Flask, config: Config) -> None:
    def batch(seq: int) -> list[Row]:
        rows = [
            row(meter_id=meter_id(key), timestamp=START + QUARTER * place, energy_kwh=Decimal(seq), seq=seq)
            for key in range(1, 11)
            for place in range(30)
        ]
        return rows if seq % 2 else rows[::-1]

    def work(number: int) -> None:
        for seq in (number, number + 6, number):
            store(batch(seq), config)

    at_once(app, work, 6)
    with app.app_context():
        assert fetch("SELECT DISTINCT value, seq FROM readings") == [(Decimal(11), 11)]
        versions = fetch("SELECT count(*), count(DISTINCT (meter_key, read_at, version)) FROM reading_versions")
        assert versions[0][0] == versions[0][1]
        refresh()
        assert all(sum(daily_of(key).values()) == 330 for key in range(1, 11))


@pytest.mark.promise(4)
def test_without_seq_one_of_the_values_is_in_force_and_all_are_on_record(app: Flask, config: Config) -> None:
    def work(number: int) -> None:
        for _ in range(3):
            store(series(START, 20, energy_kwh=Decimal(number + 1)), config)

    at_once(app, work, 5)
    with app.app_context():
        told = fetch("""
            SELECT read_at, array_agg(value ORDER BY value) FROM (
                SELECT read_at, value FROM readings UNION ALL SELECT read_at, value FROM reading_versions) AS all_told
            GROUP BY read_at""")
        assert [values for _, values in told] == [[1, 2, 3, 4, 5]] * 20
        before = queries.sum_energy(13, PERIOD, IST)
        store(series(START, 20, energy_kwh=Decimal(3)), config)
        assert queries.sum_energy(13, PERIOD, IST) == before


@pytest.mark.promise(4)
def test_a_reading_that_comes_while_its_hour_is_recomputed_is_not_lost(app: Flask, config: Config) -> None:
    """The recomputation has removed its notes and not yet committed, when the next reading of the hour comes."""
    with app.app_context():
        store([row(timestamp=START)], config)
        assert actions.refresh_usage() == 1
        other = threading.Thread(target=_store_in_context, args=(app, [row(timestamp=START + QUARTER)], config))
        other.start()
        other.join(10)
        assert not other.is_alive(), "storing waited for the recomputation"
        session.commit()
        assert sum(daily_of().values()) == Decimal("0.25")
        assert queries.sum_energy(13, PERIOD, IST).import_kwh == Decimal("0.5")
        refresh()
        assert sum(daily_of().values()) == Decimal("0.5")


@pytest.mark.promise(4)
def test_a_reading_whose_note_is_not_committed_yet_is_not_lost(app: Flask, config: Config) -> None:
    """The recomputation runs between a reading's INSERT and its commit."""
    with app.app_context():
        store([row(timestamp=START)], config)
        actions.store([row(timestamp=START + QUARTER)], source="test", now=NOW, config=config)
        other = threading.Thread(target=_refresh_in_context, args=(app,))
        other.start()
        other.join(10)
        assert not other.is_alive(), "recomputing waited for a reading that is being stored"
        session.commit()
        refresh()
        assert sum(daily_of().values()) == Decimal("0.5")


def test_two_recomputations_of_one_meter_do_not_meet(app: Flask, config: Config) -> None:
    with app.app_context():
        store(series(START, 96), config)
        assert actions.refresh_usage(10) > 0
        taken: list[int] = []

        def other() -> None:
            with app.app_context():
                taken.append(actions.refresh_usage(10))
                session.commit()

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
        assert taken == [0]
        session.commit()
        refresh()
        assert sum(daily_of().values()) == queries.sum_energy(13, PERIOD, IST).import_kwh


def _store_in_context(app: Flask, rows: list[Row], config: Config) -> None:
    with app.app_context():
        store(rows, config)


def _refresh_in_context(app: Flask) -> None:
    with app.app_context():
        refresh()


WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from portal import create_app
from portal.db import session
from portal.readings import actions
from tests.factories import NOW, make_config
from tests.readings.feed import QUARTER, row

app = create_app(make_config(sys.argv[1]))
with app.app_context():
    place = 0
    while True:
        rows = [row(timestamp=NOW - timedelta(days=600) + QUARTER * (place + each), energy_kwh=Decimal(1))
                for each in range(20)]
        actions.store(rows, source="test", now=NOW, config=app.config["PORTAL"])
        session.commit()
        place += 20
        print(place, flush=True)
        if place % 100 == 0:
            actions.refresh_usage(7)
            session.commit()
"""


@pytest.mark.promise(10)
@pytest.mark.parametrize("attempt", range(3))
def test_a_killed_writer_loses_nothing_that_it_acknowledged(
    app: Flask, config: Config, database_url: str, attempt: int
) -> None:
    root = Path(__file__).parents[2]
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, database_url],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
    )
    assert writer.stdout is not None
    acknowledged = int(writer.stdout.readline())
    time.sleep(0.3 + random.Random(attempt).random())
    writer.send_signal(signal.SIGKILL)
    for line in writer.communicate(timeout=20)[0].splitlines():
        acknowledged = int(line)
    with app.app_context():
        _wait_for_silence()
        [(stored,)] = fetch("SELECT count(*) FROM readings")
        assert acknowledged <= stored <= acknowledged + 20
        assert stored % 20 == 0
        refresh()
        assert sum(daily_of().values()) == stored


def _wait_for_silence() -> None:
    """Until the server has noticed the dead connection and taken back what was not committed."""
    busy = """
        SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()"""
    for _ in range(200):
        if not fetch(busy):
            return
        session.rollback()
        time.sleep(0.05)
    raise AssertionError("the killed writer's transaction is still open")


@pytest.mark.promise(4)
def test_partitions_that_are_made_while_their_readings_come_lose_none(app: Flask, config: Config) -> None:
    months = [datetime(2011, month, 3, tzinfo=UTC) for month in range(1, 11)]

    def work(number: int) -> None:
        if number < 2:
            for month in months[number::2]:
                for _ in range(2):
                    store(series(month, 60, meter_id=meter_id(number + 1)), config)
            return
        for _ in range(12):
            try:
                actions.make_partitions(NOW)
                session.commit()
            except OperationalError as fault:
                # It waited two seconds for those who store, and leaves it to the next call.
                if not isinstance(fault.orig, LockNotAvailable):
                    raise
                session.rollback()

    at_once(app, work, 3)
    with app.app_context():
        actions.make_partitions(NOW)
        session.commit()
        assert fetch("SELECT count(*) FROM readings_default") == [(0,)]
        assert fetch("SELECT meter_key, count(*), sum(value) FROM readings GROUP BY 1 ORDER BY 1") == [
            (1, 300, Decimal("9.150")),
            (2, 300, Decimal("9.150")),
        ]
