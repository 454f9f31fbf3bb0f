"""Rows of readings with valid defaults, ways to send them, and what is there afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from sqlalchemy import text

from portal.config import Config
from portal.db import session
from portal.readings import actions
from portal.readings.incoming import Row, Unreadable
from tests.factories import NOW

IST = ZoneInfo("Asia/Kolkata")
QUARTER = timedelta(minutes=15)


def row(**changes: Any) -> Row:
    """A quarter of an hour of meter 13 with 0.25 kWh, that began a day ago."""
    values: dict[str, Any] = {"meter_id": "MTR-00000013", "timestamp": NOW - timedelta(days=1)}
    if not {"energy_kwh", "register_kwh", "power_kw"} & changes.keys():
        values["energy_kwh"] = Decimal("0.25")
    return Row(**(values | changes))


def limit_power(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the limits of power hold that the product has by default."""
    strict = replace(app.config["PORTAL"], reading_max_kw_single=50, reading_max_kw_three=500)
    monkeypatch.setitem(app.config, "PORTAL", strict)


def series(start: datetime, count: int, step: timedelta = QUARTER, **changes: Any) -> list[Row]:
    """`count` intervals one after the other, of 0.001, 0.002, … kWh unless said otherwise."""
    seconds = int(step.total_seconds())
    return [
        row(
            **(
                {"timestamp": start + step * place, "interval_seconds": seconds}
                | {"energy_kwh": Decimal(place + 1) / 1000}
                | changes
            )
        )
        for place in range(count)
    ]


def store(
    rows: Sequence[Row | Unreadable], config: Config, now: datetime = NOW, source: str = "test"
) -> actions.StoreResult:
    """Store and commit."""
    result = actions.store(rows, source=source, now=now, config=config)
    session.commit()
    return result


def counts(result: actions.StoreResult) -> tuple[int, int, list[str]]:
    """Accepted, duplicates, and the codes of the rejected."""
    return result.accepted, result.duplicates, [each.code for each in result.rejected]


def refresh() -> int:
    """Recompute all that is touched, and commit; gives how many notes there were."""
    total = 0
    while settled := actions.refresh_usage(50):
        session.commit()
        total += settled
    session.commit()
    return total


def fetch(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """What a plain statement finds."""
    return [tuple(found) for found in session.execute(text(statement), values)]


def readings_of(meter_key: int = 13) -> list[tuple[Any, ...]]:
    """(kind, instant, kWh, version) of all readings in force."""
    return fetch(
        "SELECT kind, read_at, value, version FROM readings WHERE meter_key = :key ORDER BY kind, read_at",
        key=meter_key,
    )


def daily_of(meter_key: int = 13) -> dict[str, Decimal]:
    """kWh by day, from the derived usage alone."""
    rows = fetch("SELECT day, import_kwh FROM usage_daily WHERE meter_key = :key ORDER BY day", key=meter_key)
    return {str(day): kwh for day, kwh in rows}
