"""`flask simulate`: households that post over HTTP, to a portal that may be away."""

from __future__ import annotations

import signal
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from werkzeug.serving import BaseWSGIServer, make_server

from portal.cli import simulate
from tests.factories import make_config, make_holder
from tests.readings.feed import fetch

HALF = datetime(2026, 11, 15, 6, 30, tzinfo=UTC)


@pytest.fixture
def portal(app: Flask) -> Iterator[BaseWSGIServer]:
    """The portal on a port of its own."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def flask(app: Flask, portal: BaseWSGIServer, tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """Run `flask simulate …` against it, with a data folder to keep the key in."""
    before = app.config["PORTAL"]
    app.config["PORTAL"] = make_config(before.database_url, data_dir=tmp_path, port=portal.port)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield lambda *words: app.test_cli_runner().invoke(args=["simulate", *map(str, words)])
    for number, handler in handlers.items():
        signal.signal(number, handler)
    app.config["PORTAL"] = before


def test_the_same_again_is_known(flask: Any, act: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "now", lambda: HALF)
    for outcome in ("30 accepted, 0 known already, 0 rejected", "0 accepted, 30 known already, 0 rejected"):
        result = flask("--meters", 3, "--interval", 900, "--iterations", 10)
        assert result.exit_code == 0, result.output
        assert outcome in result.stdout
    with act():
        assert fetch("SELECT meter_key, count(*), min(read_at), max(read_at) FROM readings GROUP BY 1 ORDER BY 1") == [
            (key, 10, HALF - timedelta(minutes=150), HALF - timedelta(minutes=15)) for key in (1, 2, 3)
        ]
        assert fetch("SELECT bool_and(value > 0 AND value < 2) FROM readings") == [(True,)]


def test_another_seed_is_another_household(flask: Any, act: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "now", lambda: HALF)
    flask("--meters", 1, "--iterations", 4)
    assert "4 accepted" in flask("--meters", 1, "--iterations", 4, "--seed", 2).stdout


def test_the_key_is_made_once_kept_for_its_owner_and_made_anew_when_it_is_gone(
    flask: Any, act: Any, tmp_path: Path
) -> None:
    flask("--meters", 1)
    path = tmp_path / "simulator_key"
    first = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    flask("--meters", 1)
    assert path.read_text() == first
    with act():
        assert fetch("SELECT name, scope FROM api_keys") == [("simulator", "ingest")]
        fetch("DELETE FROM api_keys RETURNING key_id")
    assert flask("--meters", 1).exit_code == 0
    assert path.read_text() != first
    assert sorted(each.name for each in tmp_path.iterdir()) == ["simulator_key"]


def test_a_given_key_that_is_not_known(flask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "GIVE_UP", 0.0)
    result = flask("--meters", 1, "--key", "pk_nonsense")
    assert result.exit_code == 1
    assert "401" in result.output


@pytest.mark.parametrize("url", ["nonsense", "ftp://example.com", "http://"])
def test_an_address_that_is_none(flask: Any, url: str) -> None:
    result = flask("--url", url)
    assert (result.exit_code, "is not an address" in result.output) == (1, True)


def test_a_portal_that_comes_back_is_waited_for(
    flask: Any, act: Any, monkeypatch: pytest.MonkeyPatch, portal: BaseWSGIServer
) -> None:
    calls = []
    real = simulate.Gateway._send

    def shaky(gateway: simulate.Gateway, body: bytes) -> tuple[int, bytes]:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionRefusedError("away")
        if len(calls) == 2:
            real(gateway, body)
            raise ConnectionResetError("the answer was lost")
        return real(gateway, body) if len(calls) > 3 else (503, b"")

    monkeypatch.setattr(simulate.Gateway, "_send", shaky)
    result = flask("--meters", 2, "--iterations", 3)
    assert result.exit_code == 0
    assert "0 accepted, 6 known already" in result.stdout
    assert "Waiting for the portal" in result.stderr
    assert "The portal is back." in result.stderr


def test_live_serves_whoever_holds_a_meter_and_who_comes_later(
    flask: Any, app: Flask, act: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = HALF - timedelta(hours=3)
    clock = [HALF + timedelta(seconds=65)]
    with act():
        make_holder(meter_id="MTR-00000013", since=start, email="early@example.com")

    def sleep(_seconds: float) -> None:
        clock[0] += timedelta(seconds=20)
        if len(newcomer) == 0:
            newcomer.append(make_holder(meter_id="MTR-00000014", since=clock[0] - timedelta(seconds=18)))
            simulate.session.commit()
        if clock[0] > HALF + timedelta(minutes=4):
            raise SystemExit(0)

    newcomer: list[Any] = []
    monkeypatch.setattr(simulate, "now", lambda: clock[0])
    monkeypatch.setattr(simulate.time, "sleep", sleep)
    flask("--live", "--backfill", 2)
    with act():
        rows = fetch("SELECT meter_key, read_at, interval_seconds FROM readings ORDER BY meter_key, read_at")
    early = [(at, seconds) for key, at, seconds in rows if key == 13]
    late = [(at, seconds) for key, at, seconds in rows if key == 14]
    # Half hours while it was away, then minutes, without a gap.
    assert early[0] == (start, 1800)
    assert [seconds for _, seconds in early] == [1800] * 6 + [60] * 3
    for told in (early, late):
        for (at, seconds), (after, _) in pairwise(told):
            assert at + timedelta(seconds=seconds) == after
    # The newcomer's use shows within ten seconds or so, and nothing of the time before it was theirs.
    assert late[0] == (HALF + timedelta(seconds=67), 13)
    assert late[-1][1] == 60


@pytest.mark.parametrize(
    ("start", "now", "seconds"),
    [
        ("06:30:07", "06:30:19", None),
        ("06:30:07", "06:30:20", 13),
        ("06:30:02", "06:30:10", 8),
        ("06:30:56", "06:31:00", 4),
        ("06:31:00", "06:31:59", None),
        ("06:31:00", "06:32:00", 60),
        ("06:29:00", "06:30:30", 60),
        ("06:05:00", "06:40:00", 1500),
        ("06:00:00", "06:40:00", 1800),
        ("06:00:00", "06:30:30", 60),
        ("06:30:00", "06:40:00", 60),
    ],
)
def test_the_next_interval(start: str, now: str, seconds: int | None) -> None:
    def instant(text: str) -> datetime:
        return datetime.fromisoformat(f"2026-11-15T{text}+00:00")

    length = simulate.next_interval(instant(start), instant(now))
    assert length == (None if seconds is None else timedelta(seconds=seconds))
