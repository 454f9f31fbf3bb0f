"""What a customer used, by day and month."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from portal.api import caller
from portal.periods import local_midnight, local_month
from tests.factories import make_holder
from tests.readings.feed import IST, row, series, store

# Half past three in the afternoon of 15 November in India.
INSTANT = datetime(2026, 11, 15, 10, 0, tzinfo=UTC)


@pytest.fixture
def customer(act: Any, app: Any, log_in: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A customer since 20 October: 1 kWh an hour in October, 2 kWh in November, of which one day is missing."""
    monkeypatch.setattr(caller, "now", lambda: INSTANT)
    for module in ("usage", "telemetry"):
        monkeypatch.setattr(f"portal.api.{module}.now", lambda: INSTANT)
    config = app.config["PORTAL"]
    start = local_midnight(datetime(2026, 10, 20, tzinfo=IST).date(), IST)
    november = local_month(2026, 11, IST).start
    gap = november + timedelta(days=3)
    hour = timedelta(hours=1)
    with act():
        user = make_holder(meter_id="MTR-00000013", since=start)
        # The holder before, whose energy is not theirs.
        store(series(start - timedelta(days=2), 48, hour, energy_kwh=Decimal(50)), config, INSTANT)
        store(series(start, int((november - start) / hour), hour, energy_kwh=Decimal(1)), config, INSTANT)
        store(series(november, 72, hour, energy_kwh=Decimal(2)), config, INSTANT)
        rest = int((INSTANT - gap) / hour) - 24
        store(series(gap + timedelta(days=1), rest, hour, energy_kwh=Decimal(2)), config, INSTANT)
        store([row(timestamp=gap - hour, interval_seconds=3600, energy_kwh=Decimal(9))], config, INSTANT)
    return log_in(user)


@pytest.mark.promise(5)
def test_days_and_their_gaps(customer: Any) -> None:
    days = customer.get("/telemetry/my-meter/daily?start_date=2026-11-03&end_date=2026-11-06")["data"]["days"]
    assert [(day["date"], day["energy_kwh"], day["covered_seconds"]) for day in days] == [
        ("2026-11-03", "55.000", 86_400),
        ("2026-11-04", "0.000", 0),
        ("2026-11-05", "48.000", 86_400),
    ]
    assert {day["expected_seconds"] for day in days} == {86_400}
    usual = customer.get("/telemetry/my-meter/daily")["data"]["days"]
    assert (usual[0]["date"], usual[-1]["date"], len(usual)) == ("2026-10-17", "2026-11-15", 30)
    # Before it was theirs nothing is expected; today only what has passed.
    assert (usual[0]["expected_seconds"], usual[0]["energy_kwh"]) == (0, "0.000")
    assert usual[-1]["expected_seconds"] == 15 * 3600 + 1800


@pytest.mark.promise(3)
def test_months_are_what_was_used_while_it_was_theirs(customer: Any) -> None:
    months = customer.get("/telemetry/my-meter/monthly?months=3")["data"]["months"]
    assert [(month["month"], month["energy_kwh"]) for month in months] == [
        ("2026-09", "0.000"),
        ("2026-10", "288.000"),
        ("2026-11", "661.000"),
    ]


def test_statistics(customer: Any) -> None:
    stats = customer.get("/telemetry/my-meter/stats?start_date=2026-11-01&end_date=2026-11-16")["data"]
    assert stats["energy_kwh"] == "661.000"
    assert stats["peak_day"] == {"date": "2026-11-03", "energy_kwh": "55.000"}
    assert stats["peak_hour"] == {"start": "2026-11-03T17:30:00+00:00", "energy_kwh": "9.000"}
    assert stats["mean_daily_kwh"] == "47.214286"
    empty = customer.get("/telemetry/my-meter/stats?start_date=2026-12-01&end_date=2026-12-02")["data"]
    assert (empty["energy_kwh"], empty["peak_day"], empty["mean_daily_kwh"]) == ("0.000", None, None)


def test_this_month_beside_the_one_before(customer: Any) -> None:
    data = customer.get("/telemetry/my-meter/compare")["data"]
    assert (data["current"]["energy_kwh"], data["previous"]["energy_kwh"]) == ("661.000", "0.000")
    assert data["change_percent"] is None
    assert data["difference_kwh"] == "661.000"


@pytest.mark.parametrize("call", ["daily", "monthly", "stats", "compare"])
def test_who_never_had_a_meter(as_customer: Any, call: str) -> None:
    assert as_customer.get(f"/telemetry/my-meter/{call}", 404)["code"] == "METER_NOT_ASSIGNED"


@pytest.mark.parametrize(
    "query",
    [
        "start_date=2026-11-02&end_date=2026-11-02",
        "start_date=2024-11-02&end_date=2026-11-02",
        "start_date=tomorrow",
        "end_date=0001-01-01",
        "start_date=9999-12-30&end_date=9999-12-31",
    ],
)
def test_days_that_cannot_be_given(customer: Any, query: str) -> None:
    for call in ("daily", "stats"):
        assert customer.get(f"/telemetry/my-meter/{call}?{query}", 422)["details"]
