"""Real processes on the same meters, some of them killed in the middle (promises 1, 2 and 10)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from portal.audit import CLI
from portal.db import session
from portal.meters import bulk
from tests.factories import make_pool
from tests.meters.test_races import nothing_is_false

LAST = 40
SECONDS = 5.0
# What an act may be told when a neighbour was first. Everything else is a fault.
REFUSALS = {
    "METER_ALREADY_ASSIGNED",
    "METER_NOT_ASSIGNABLE",
    "METER_NOT_ASSIGNED",
    "METER_MOVE_REFUSED",
    "METER_STATUS_UNCHANGED",
    "NO_METERS_AVAILABLE",
    "REGION_MISMATCH",
    "USER_HAS_METER",
    "REGION_UNCHANGED",  # a relocation to the region where one is
}


@pytest.fixture
def hammers(database_url):
    """Start processes that act on meters; what is left of them at the end is ended."""
    started = []

    def start(count):
        for seed in range(count):
            words = [sys.executable, "-m", "tests.meters.hammer", database_url, str(seed), str(SECONDS), str(LAST)]
            root = Path(__file__).parent.parent.parent
            started.append(subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        for each in started:
            assert json.loads(each.stdout.readline() or "{}") == {"did": "began"}, each.stderr.read()
        return started

    yield start
    for each in started:
        each.kill()
        each.communicate()


def count_deadlocks():
    return session.scalar(text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))


@pytest.mark.promise(1)
@pytest.mark.promise(2)
@pytest.mark.promise(10)
def test_what_processes_told_is_there_though_some_were_killed(app, hammers):
    with app.app_context():
        before = count_deadlocks()
    processes = hammers(5)
    for victim in processes[:2]:
        time.sleep(random.uniform(0.5, SECONDS / 3))
        os.kill(victim.pid, signal.SIGKILL)
    told = []
    for each in processes:
        lines = each.communicate(timeout=60)[0].splitlines()
        # Of a killed one the last line may be cut.
        told += [json.loads(line) for line in lines if line.endswith("}")]
    did = Counter(each["did"] for each in told)
    assert [each for each in told if each["did"] == "fault"] == []
    assert {each["code"] for each in told if each["did"] == "refused"} <= REFUSALS
    assert {each["code"] for each in told if each["did"] == "registered"} <= {None, "NO_METERS_AVAILABLE"}
    assert min(did[what] for what in ("registered", "given", "taken")) > 0
    with app.app_context():
        nothing_is_false()
        periods = {
            (str(user), f"MTR-{key:08d}", start, end)
            for user, key, start, end in session.execute(
                text("SELECT user_id, meter_key, assigned_at, unassigned_at FROM meter_assignments")
            )
        }
        begun = {(user, meter, start) for user, meter, start, _ in periods}
        ended = {(user, meter, end) for user, meter, _, end in periods}
        for each in told:
            if each["did"] == "given":
                assert (each["user"], each["meter"], datetime.fromisoformat(each["at"]).astimezone(UTC)) in begun
            elif each["did"] == "taken":
                assert (each["user"], each["meter"], datetime.fromisoformat(each["at"]).astimezone(UTC)) in ended
            elif each["did"] == "run":
                assert {(user, meter, datetime.fromisoformat(at)) for user, meter, at in each["given"]} <= begun
            elif each["did"] == "registered" and each["meter"]:
                assert (each["user"], each["meter"]) in {(user, meter) for user, meter, _ in begun}
        # Nobody is lost: raise the end of the range, and the next run serves all who wait.
        bulk.assign_all(make_pool(last=10_000), actor=CLI, now=datetime.now(UTC))
        session.commit()
        assert session.scalar(text("SELECT count(*) FROM users WHERE meter_id IS NULL")) == 0
        nothing_is_false()
        time.sleep(1.1)  # counts of a connection are flushed within a second
        assert count_deadlocks() == before
