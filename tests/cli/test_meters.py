"""`flask meters`: what a clerk reads in the terminal."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from portal.cli import _bulk
from portal.db import session
from portal.jobs import bulk_assign
from portal.meters import actions, bulk, queries, stats
from tests.factories import make_holder, make_pool, make_user


@pytest.fixture
def flask(app):
    """Run a command; gives (exit code, output)."""

    def run(*words):
        result = app.test_cli_runner().invoke(args=list(words))
        return result.exit_code, result.output

    return run


def test_assign_all_tells_who_got_what(flask, act):
    with act():
        make_user(email="asha@example.com", region="Pune-West")
        make_user(email="ravi@example.com", region=None)
    code, output = flask("meters", "assign-all")
    assert code == 0
    assert output.splitlines() == [
        "Found 2 customers without a meter.",
        "asha@example.com → MTR-00000001 (Pune-West)",
        "ravi@example.com → MTR-00000002 (no region)",
        "Total: 2 assigned, 0 left without, 2 in all.",
    ]
    with act():
        assert stats.count_waiting() == 0


def test_a_dry_run_changes_nothing(flask, act):
    with act():
        make_user(email="asha@example.com")
    _, output = flask("meters", "assign-all", "--dry-run")
    assert "asha@example.com → MTR-00000001 (Pune-West)" in output
    assert "1 would be assigned" in output
    with act():
        assert stats.count_waiting() == 1


def test_only_one_region_and_an_unknown_one(flask, act):
    with act():
        make_user(region="Pune-West")
        make_user(region="Delhi-North", email="delhi@example.com")
    code, output = flask("meters", "assign-all", "--region", "Delhi-North")
    assert code == 0
    assert "Found 1 customer without a meter in Delhi-North." in output
    code, output = flask("meters", "assign-all", "--region", "Atlantis")
    assert code == 1
    assert "Chennai-North" in output


def test_assign_and_move_the_start_back(flask, act):
    with act():
        make_user(email="asha@example.com")
    code, output = flask("meters", "assign", "ASHA@example.com", "--meter", "MTR-00000050")
    assert code == 0
    assert "MTR-00000050 (Pune-West)" in output
    code, output = flask("meters", "assign", "asha@example.com", "--from", "2025-11-01")
    assert code == 0
    assert output.strip() == "asha@example.com → MTR-00000050 (Pune-West) since 2025-11-01 00:00 IST"
    with act():
        [row] = queries.list_assignments(meter_key=50)
        assert row.assigned_at == datetime(2025, 10, 31, 18, 30, tzinfo=UTC)


def test_a_start_in_somebody_elses_time_is_refused(flask, act):
    from portal.audit import CLI

    with act():
        first = make_holder()
        second = make_user(email="second@example.com")
        freed = actions.unassign(first.user_id, make_pool(), actor=CLI, now=datetime.now(UTC))
        actions.assign(second.user_id, make_pool(), freed.meter_id, how="admin", actor=CLI, now=datetime.now(UTC))
    code, output = flask("meters", "assign", "second@example.com", "--from", "2025-01-01")
    assert code == 1
    assert "was taken until" in output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nobody@example.com",), "no user"),
        (("asha@example.com", "--from", "yesterday"), "write 2026-01-31"),
        (("asha@example.com", "--meter", "MTR-99999999"), "outside the range"),
        (("asha@example.com", "--from", "2099-01-01"), "not in the future"),
        (("asha@example.com", "--from", "1000-01-01"), "after 2000"),
        (("asha@example.com", "--from", "0001-01-01"), "write 2026-01-31"),
    ],
)
def test_wrong_input_is_told_in_one_line_and_nothing_is_done(flask, act, words, says):
    with act():
        make_user(email="asha@example.com")
    code, output = flask("meters", "assign", *words)
    assert code != 0
    assert says in output
    assert "Traceback" not in output
    with act():
        assert stats.count_waiting() == 1


def test_statistics(flask, act):
    with act():
        make_holder(region="Pune-West")
        make_user()
    code, output = flask("meters", "stats")
    assert code == 0
    assert "1 (50.0 %)" in output
    assert "9999999 of MTR-00000001 to MTR-10000000" in output


def test_statistics_are_put_right_where_rows_were_written_past_the_triggers(flask, act):
    with act():
        make_user()
        session.execute(text("INSERT INTO tallies (what, n) VALUES ('customer', 3)"))
    assert "without a meter      4" in flask("meters", "stats")[1]
    assert "without a meter      1" in flask("meters", "stats", "--recount")[1]
    assert "without a meter      1" in flask("meters", "stats")[1]


def test_stocking(flask):
    code, output = flask("meters", "provision", "MTR-00000100", "MTR-00000109", "--region", "Delhi-North")
    assert (code, output.strip()) == (0, "MTR-00000100 to MTR-00000109: 10 stocked for Delhi-North, 0 left alone.")
    code, output = flask("meters", "provision")
    assert code == 2
    assert "--count" in output


def test_a_file_of_assignments_is_looked_at_whole_before_it_is_done(flask, act, tmp_path):
    with act():
        make_user(email="asha@example.com", region="Pune-West")
        make_user(email="ravi@example.com", region="Pune-West")
    file = tmp_path / "list.csv"
    file.write_text("user;meter\nasha@example.com;MTR-00000040\nnobody@example.com;\n")
    code, output = flask("meters", "assign-csv", str(file))
    assert code == 1
    assert "line 3: user: there is no such customer." in output
    assert "1 of 2 rows cannot be done, and nothing was" in output
    with act():
        assert stats.count_waiting() == 2
    corrected = tmp_path / "list.errors.csv"
    text = corrected.read_text(encoding="utf-8-sig")
    assert text.splitlines()[2] == "nobody@example.com,,user: there is no such customer."
    corrected.write_text(text.replace("nobody@example.com", "ravi@example.com"), encoding="utf-8-sig")
    assert "2 rows: 2 to assign, 0 done already." in flask("meters", "assign-csv", str(corrected), "--dry-run")[1]
    with act():
        assert stats.count_waiting() == 2
    code, output = flask("meters", "assign-csv", str(corrected))
    assert (code, output.splitlines()[-1]) == (0, "Total: 2 assigned, 0 not.")
    code, output = flask("meters", "assign-csv", str(corrected))
    assert (code, output.splitlines()[-1]) == (0, "2 rows: 0 to assign, 2 done already.")
    with act():
        assert stats.count_waiting() == 0


def test_ctrl_c_ends_a_run_after_its_chunk_and_says_what_was_done(flask, act, monkeypatch):
    with act():
        for _ in range(6):
            make_user()
    monkeypatch.setattr(bulk_assign, "MOST", 2)
    monkeypatch.setattr(bulk_assign, "LEAST", 2)
    monkeypatch.setattr(bulk, "CHUNK", 2)
    real = bulk.assign_chunk

    def interrupted(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **kwargs)

    monkeypatch.setattr(bulk, "assign_chunk", interrupted)
    code, output = flask("meters", "assign-all")
    assert code == 130
    assert "Total: 2 assigned, 0 left without, 2 in all." in output
    assert "Stopped. What was done stays" in output
    with act():
        assert stats.count_waiting() == 4


def test_a_long_run_on_a_terminal_is_one_line_that_moves(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    progress = _bulk.Progress(5000)
    progress._began -= 10
    progress.tell(1000, [])
    progress._said = 0
    progress.tell(5000, [])
    progress.end()
    said = capsys.readouterr().out
    assert "\r1,000 of 5,000 (20 %), about 40 s left" in said
    assert said.endswith("5,000 of 5,000 (100 %)\x1b[K\n")
