"""Held readings: released exactly once, discarded for good reason, and never counted before."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session, scoped_session

from portal.audit import Actor
from portal.config import Config
from portal.db import session
from portal.errors import Conflict, Invalid, NotFound, PortalError
from portal.meters import holding
from portal.readings import quarantine
from tests.factories import NOW
from tests.readings.feed import counts, daily_of, fetch, limit_power, readings_of, refresh, row, store

CLERK = Actor("user", "clerk@example.com")
YESTERDAY = NOW - timedelta(days=1)


@pytest.fixture(autouse=True)
def strict(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the product."""
    limit_power(app, monkeypatch)


def hold_one(config: Config, **changes: Any) -> int:
    """Hold a reading of meter 13 that its phases cannot carry; gives its number."""
    values = {"energy_kwh": Decimal(20)} | changes
    assert counts(store([row(**values)], config))[0] == 0
    return quarantine.list_held().rows[0].quarantine_id


def release(number: int, config: Config, **changes: Any) -> None:
    quarantine.release(number, **({"reason": "A workshop", "actor": CLERK, "now": NOW, "config": config} | changes))
    session.commit()


def retire() -> None:
    holding.hear_of([13])
    session.execute(text("UPDATE meters SET status = 'retired' WHERE meter_key = 13"))
    session.commit()


@pytest.mark.parametrize(
    ("phase", "kwh", "held"), [(1, "12.5", False), (1, "12.500001", True), (3, "125", False), (3, "125.000001", True)]
)
def test_what_a_meter_can_carry_by_its_phases(
    area: scoped_session[Session], config: Config, phase: int, kwh: str, held: bool
) -> None:
    holding.hear_of([13])
    area.execute(text("UPDATE meters SET phase = :phase WHERE meter_key = 13"), {"phase": phase})
    result = store([row(energy_kwh=Decimal(kwh)), row(timestamp=NOW - timedelta(hours=3))], config)
    assert counts(result) == ((1, 0, ["QUARANTINED_BEYOND_LIMIT"]) if held else (2, 0, []))


def test_what_is_given_counts_as_what_is_taken_and_the_limit_is_a_setting(
    area: scoped_session[Session], config: Config
) -> None:
    big = row(export_kwh=Decimal(13))
    assert counts(store([big], config)) == (0, 0, ["QUARANTINED_BEYOND_LIMIT"])
    assert counts(store([big], replace(config, reading_max_kw_single=60))) == (1, 0, [])


@pytest.mark.promise(4)
def test_a_released_row_becomes_a_reading_once(area: scoped_session[Session], config: Config) -> None:
    number = hold_one(config)
    refresh()
    assert daily_of() == {}
    release(number, config)
    refresh()
    assert [(kwh, version) for _, _, kwh, version in readings_of()] == [(20, 1)]
    assert list(daily_of().values()) == [20]
    with pytest.raises(Conflict) as refused:
        release(number, config)
    assert refused.value.code == "ALREADY_RELEASED"
    session.rollback()
    # Its sender tells it again: it is still beyond the limit, and still one reading.
    store([row(energy_kwh=Decimal(20))], config)
    assert len(readings_of()) == 1
    assert quarantine.count_held() == 0
    assert fetch(
        "SELECT action, actor_label, details->>'reason' FROM audit_log WHERE subject_type = 'held_reading'"
    ) == [("reading.released", "clerk@example.com", "A workshop")]


@pytest.mark.promise(4)
def test_of_many_who_release_it_at_once_one_does(app: Flask, config: Config) -> None:
    with app.app_context():
        number = hold_one(config)
    ready = threading.Barrier(6)

    def work(n: int) -> str:
        with app.app_context():
            ready.wait(30)
            try:
                if n % 3:
                    release(number, config)
                    return "released"
                quarantine.discard(number, "Not so", actor=CLERK, now=NOW)
                session.commit()
                return "discarded"
            except PortalError as error:
                session.rollback()
                return error.code

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(work, range(6)))
    with app.app_context():
        assert outcomes.count("released") == 1
        assert len(readings_of()) == 1
        assert set(outcomes) <= {"released", "discarded", "ALREADY_RELEASED", "ALREADY_DISCARDED"}
        decided = fetch("SELECT count(*) FROM audit_log WHERE subject_type = 'held_reading'")
        assert decided == [(1 + outcomes.count("discarded"),)]


def test_a_discarded_row_is_no_reading_and_may_be_released_later(area: scoped_session[Session], config: Config) -> None:
    number = hold_one(config)
    quarantine.discard(number, "A test bench", actor=CLERK, now=NOW)
    area.commit()
    assert (readings_of(), quarantine.count_held(), quarantine.count_held("discarded")) == ([], 0, 1)
    with pytest.raises(Conflict):
        quarantine.discard(number, "A test bench", actor=CLERK, now=NOW)
    release(number, config)
    assert len(readings_of()) == 1


def test_the_interval_of_the_call_is_kept(area: scoped_session[Session], config: Config) -> None:
    from portal.readings import actions

    actions.store([row(energy_kwh=Decimal(60))], source="key:1", now=NOW, config=config, default_interval=3600)
    release(quarantine.list_held().rows[0].quarantine_id, config)
    assert fetch("SELECT interval_seconds, value, source FROM readings") == [(3600, 60, "key:1")]


def test_what_the_meter_forbids_may_be_overruled(area: scoped_session[Session], config: Config) -> None:
    retire()
    release(hold_one(config, energy_kwh=Decimal(1)), config)
    assert len(readings_of()) == 1


def test_what_no_meter_can_tell_stays_held_until_it_is_right(area: scoped_session[Session], config: Config) -> None:
    ahead = hold_one(config, timestamp=NOW + timedelta(days=1), energy_kwh=Decimal(1))
    outside = hold_one(config, meter_id="MTR-99999999", energy_kwh=Decimal(1))
    beyond = hold_one(config, energy_kwh=Decimal("1e400"))
    for number in (ahead, outside, beyond):
        with pytest.raises(Conflict) as refused:
            release(number, config)
        assert refused.value.code == "STILL_HELD"
        session.rollback()
    release(ahead, config, now=NOW + timedelta(days=2))
    release(outside, replace(config, meter_last=99_999_999))
    assert fetch("SELECT meter_key FROM readings ORDER BY 1") == [(13,), (99_999_999,)]


def test_refusals(area: scoped_session[Session], config: Config) -> None:
    for number in (0, -1, 99, 2**80):
        with pytest.raises(NotFound):
            release(number, config)
    number = hold_one(config)
    for reason in ("", "  x  ", "x" * 301):
        with pytest.raises(Invalid):
            release(number, config, reason=reason)
        session.rollback()
    assert readings_of() == []
