"""`flask readings import`: a file becomes readings, once, whatever happens on the way."""

from __future__ import annotations

import csv
import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import Result
from flask import Flask

from portal.cli import readings as command
from portal.money import round_wh
from portal.periods import Period, local_month
from portal.readings import queries
from tests.readings.feed import fetch

IST = ZoneInfo("Asia/Kolkata")
HOUSE = Path(str(files("portal").joinpath("demo"))) / "household_halfhour_2013.csv.gz"


@pytest.fixture
def flask(app: Flask) -> Callable[..., Result]:
    """Run `flask readings import …`."""
    return lambda *words: app.test_cli_runner().invoke(args=["readings", "import", *map(str, words)])


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Four good rows and two bad ones."""
    file = tmp_path / "small.csv"
    file.write_text(
        "start,kwh\n2026-11-01 00:00,0.1\n2026-11-01 00:30,0.2000000001\n2026-11-01 01:00,x\n"
        "2026-11-01 01:30,0.3\n2099-01-01 00:00,1\n2026-11-01 02:00,0.4\n"
    )
    return file


def test_good_rows_are_stored_and_bad_ones_told_by_line(flask: Any, small: Path, act: Any) -> None:
    for summary in ("4 stored, 0 known already, 2 refused", "0 stored, 4 known already, 2 refused"):
        result = flask(small, "--meter", "MTR-00000013")
        assert result.exit_code == 0
        assert result.stdout == f"6 rows of 30 minutes for MTR-00000013: {summary}.\n"
        assert result.stderr.splitlines() == [
            "line 4: 'x' is not a number of kWh",
            "line 6: timestamp lies in the future. The row is held for staff.",
        ]
    with act():
        assert fetch("SELECT value, interval_seconds, source FROM readings ORDER BY read_at LIMIT 2") == [
            (Decimal("0.100"), 1800, "file:small.csv"),
            (Decimal("0.200"), 1800, "file:small.csv"),
        ]
        assert fetch("SELECT import_kwh FROM usage_daily") == [(1,)]
        # Noted for the worker, who reviews the bills that they concern.
        assert fetch("SELECT count(*) FROM usage_touched") == [(4,)]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--meter", "13"], "is not a meter number"),
        (["--meter", "MTR-99999999"], "outside the range"),
        (["--meter", "MTR-00000013", "--interval", "0"], "--interval"),
        ([], "--meter"),
    ],
)
def test_what_cannot_be_imported(flask: Any, small: Path, words: list[str], complaint: str) -> None:
    result = flask(small, *words)
    assert result.exit_code > 0
    assert complaint in result.output
    assert "Traceback" not in result.output


def test_files_that_are_none(flask: Any, tmp_path: Path) -> None:
    assert flask(tmp_path / "nothing.csv", "--meter", "MTR-00000013").exit_code == 2
    bad = tmp_path / "bad.csv.gz"
    bad.write_bytes(b"nonsense")
    assert "not a whole gzip file" in flask(bad, "--meter", "MTR-00000013").output
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    assert "--interval" in flask(empty, "--meter", "MTR-00000013").output
    useless = tmp_path / "useless.csv"
    useless.write_text("start,kwh\n2026-11-01 00:00,x\n")
    result = flask(useless, "--meter", "MTR-00000013", "--interval", "900")
    assert (result.exit_code, "No row of useless.csv" in result.output) == (1, True)


@pytest.mark.promise(3)
@pytest.mark.promise(7)
def test_a_real_year_month_by_month(flask: Any, act: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.factories import NOW

    monkeypatch.setattr(command, "now", lambda: NOW)
    monkeypatch.setattr(command, "CHUNK", 4_000)
    result = flask(HOUSE, "--meter", "MTR-00000013", "--into-last-year")
    assert "17,520 stored, 0 known already, 0 refused" in result.stdout
    by_month: dict[int, Decimal] = {}
    with gzip.open(HOUSE, "rt", newline="") as lines:
        for start, kwh, *_ in list(csv.reader(lines))[1:]:
            month = int(start[5:7])
            by_month[month] = by_month.get(month, Decimal(0)) + round_wh(Decimal(kwh))
    with act():
        for month, kwh in by_month.items():
            period = local_month(2025 if month >= 11 else 2026, month, IST)
            energy = queries.sum_energy(13, period, IST)
            assert (month, energy.import_kwh, energy.covered_seconds) == (month, kwh, period.seconds)


@pytest.mark.promise(10)
def test_a_killed_import_goes_on_where_it_was(flask: Any, app: Flask, act: Any, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    code = "import portal.cli.readings as r; r.CHUNK = 50; from flask.cli import main; main()"
    importer = subprocess.Popen(
        [sys.executable, "-c", code, "readings", "import", str(HOUSE), "--meter", "MTR-00000013"],
        cwd=root,
        env={
            **os.environ,
            "DATABASE_URL": app.config["PORTAL"].database_url,
            "SECRET_KEY": "x" * 40,
            "FLASK_APP": "wsgi.py",
            "PYTHONPATH": str(root),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with act() as session:
        for _ in range(600):
            [(before,)] = fetch("SELECT count(*) FROM readings")
            session.rollback()
            if before >= 300:
                break
            time.sleep(0.1)
    importer.send_signal(signal.SIGKILL)
    importer.wait(20)
    assert before >= 300, "the import did not begin"
    result = flask(HOUSE, "--meter", "MTR-00000013")
    stored, known = (int(part.split()[0].replace(",", "")) for part in result.stdout.split(": ")[1].split(", ")[:2])
    assert stored + known == 17_520
    assert known >= before
    with act():
        assert fetch("SELECT count(*) FROM readings") == [(17_520,)]
        period = Period(local_month(2013, 1, IST).start, local_month(2013, 12, IST).end)
        total = queries.sum_energy(13, period, IST)
        assert (total.covered_seconds, total.overlap_seconds) == (365 * 86_400, 0)
