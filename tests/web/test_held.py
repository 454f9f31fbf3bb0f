"""Pages and calls of readings that are held for staff."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from portal.config import Config
from portal.db import db
from portal.readings import quarantine
from tests.factories import NOW
from tests.readings.feed import limit_power, readings_of, row, store
from tests.web.conftest import Browser


@pytest.fixture(autouse=True)
def strict(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the product."""
    limit_power(app, monkeypatch)


@pytest.fixture
def held(act: Callable, config: Config) -> int:
    """The number of a held reading of 20 kWh in a quarter of an hour."""
    with act():
        store([row(energy_kwh=Decimal(20))], config)
        return quarantine.list_held().rows[0].quarantine_id


def test_nothing_is_held(operator: Browser) -> None:
    page = operator.get("/admin/held-readings")
    assert "No reading is held" in page.plain
    assert "No such reading" in operator.get("/admin/held-readings?state=released").plain
    assert "No reading is held" in operator.get("/admin/held-readings?state=odd&offset=x").plain


def test_an_operator_takes_a_reading_in(operator: Browser, act: Callable, held: int) -> None:
    page = operator.get("/admin/held-readings")
    assert "MTR-00000013" in page.plain
    assert "20.000 kWh in the interval" in page.plain
    assert "more than MTR-00000013 can carry by its phases (50 kW)." in page.plain
    address = f"/admin/held-readings/{held}"
    operator.get(address)
    refused = operator.refused(address, decision="release", reason="")
    assert "Say why in 3 to 300 characters." in refused.plain
    operator.post(address, decision="release", reason="A welding shop")
    with act():
        assert [kwh for _, _, kwh, _ in readings_of()] == [20]
    taken = operator.get("/admin/held-readings?state=released")
    assert "A welding shop" in taken.plain
    assert "sanjay@example.com, 15 November 2026" in taken.plain
    assert "It is a reading." in operator.get(address).plain
    assert "released already" in operator.refused(address, decision="discard", reason="No, it is not").plain


def test_an_operator_discards_a_reading(operator: Browser, act: Callable, held: int) -> None:
    operator.get(f"/admin/held-readings/{held}")
    operator.post(f"/admin/held-readings/{held}", decision="discard", reason="A test bench")
    with act():
        assert readings_of() == []
    assert "A test bench" in operator.get("/admin/held-readings?state=discarded").plain


def test_what_nobody_can_read_has_a_page_all_the_same(operator: Browser, act: Callable, config: Config) -> None:
    odd: list[dict[str, Any]] = [
        {"timestamp": datetime(9999, 12, 31, 23, 59, tzinfo=UTC)},
        {"timestamp": datetime(1, 1, 1, tzinfo=UTC)},
        {"energy_kwh": Decimal("1e400")},
        {"register_kwh": Decimal("123456789012345678")},
        {"power_kw": Decimal("1e90")},
    ]
    with act():
        store([row(**each) for each in odd], config)
    assert "1.000E+400 kWh" in operator.get("/admin/held-readings").plain
    for number in range(1, 6):
        operator.get(f"/admin/held-readings/{number}")
    for unknown in ("99", "0", "-1", "x", "9" * 30, "%C2%B2"):
        operator.get(f"/admin/held-readings/{unknown}", 404)


def test_a_long_list_costs_no_more_queries_than_a_short_one(
    app: Flask, operator: Browser, act: Callable, config: Config
) -> None:
    counted: list[int] = []
    for days in (1, 2):
        with act():
            store(
                [row(energy_kwh=Decimal(20), timestamp=NOW - timedelta(days=days, hours=n)) for n in range(6)], config
            )
        with app.app_context():
            engine = db.engine
        statements: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any, into: list[str] = statements) -> None:
            into.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        try:
            operator.get("/admin/held-readings")
        finally:
            event.remove(engine, "before_cursor_execute", note)
        counted.append(len(statements))
    assert counted[0] == counted[1] <= 12
