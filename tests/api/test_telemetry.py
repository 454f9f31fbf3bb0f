"""The telemetry calls: readings in by key, what they add up to by person."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from portal.accounts import tokens
from portal.audit import SYSTEM
from portal.meters import actions as meters
from tests.api.conftest import Api
from tests.factories import make_holder, make_pool, make_user
from tests.readings.feed import limit_power

RECENT = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)


def reading(**changes: Any) -> dict[str, Any]:
    return {"meterId": "MTR-00000013", "timestamp": RECENT.isoformat(), "energyKwh": "0.25"} | changes


def hours_later(hours: float) -> str:
    return (RECENT + timedelta(hours=hours)).isoformat()


def send(program: Any, body: bytes | str, status: int, path: str = "/telemetry/batch") -> dict[str, Any]:
    return program.call("POST", path, status, data=body, content_type="application/json")


def test_one_reading(as_key):
    answer = as_key.post("/telemetry", reading(), 202)
    assert answer["data"] == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert as_key.post("/telemetry", reading(), 202)["data"]["duplicates"] == 1
    assert as_key.post("/telemetry", reading(energyKwh=0.5), 202)["data"]["accepted"] == 1


def test_one_reading_that_cannot_be_taken_stands_in_rejected(as_key):
    for body, code in (
        (reading(energyKwh=-1), "NEGATIVE_VALUE"),
        (reading(timestamp="yesterday"), "BROKEN_TIMESTAMP"),
        (reading(timestamp="2026-11-01T00:00:00"), "BROKEN_TIMESTAMP"),
        (reading(meterId="MTR-99999999"), "QUARANTINED_OUTSIDE_RANGE"),
        (reading(timestamp=hours_later(24)), "QUARANTINED_FUTURE"),
        ([], "UNREADABLE"),
        ({}, "BAD_METER_ID"),
    ):
        data = as_key.post("/telemetry", body, 202)["data"]
        assert (data["accepted"], [(each["index"], each["code"]) for each in data["rejected"]]) == (0, [(0, code)])


@pytest.mark.promise(4)
def test_a_batch_of_everything(as_key):
    good = json.dumps(reading())
    bad = good.replace('"0.25"', "NaN")
    deep = good.replace('"0.25"', "[" * 50_000 + "]" * 50_000)
    for accepted, duplicates in ((1, 1), (0, 2)):
        data = send(as_key, f"[{good}, {bad}, null, {deep}, {good}]", 202)["data"]
        assert (data["accepted"], data["duplicates"]) == (accepted, duplicates)
        assert [(each["index"], each["code"]) for each in data["rejected"]] == [
            (1, "NOT_FINITE"),
            (2, "UNREADABLE"),
            (3, "UNREADABLE"),
        ]


def test_bodies_that_are_no_batch(as_key):
    assert send(as_key, "[", 400)["code"] == "MALFORMED_JSON"
    assert send(as_key, "", 400)["code"] == "MALFORMED_JSON"
    assert send(as_key, "{}", 422)["details"][0]["field"] == "body"
    assert send(as_key, "[]", 202)["data"] == {"accepted": 0, "duplicates": 0, "rejected": []}
    assert as_key.call("POST", "/telemetry/batch", 415, data="[]", content_type="text/csv")["code"]


def packed(program: Any, body: bytes, status: int, encoding: str = "gzip") -> dict[str, Any]:
    headers = {"Content-Encoding": encoding}
    return program.call("POST", "/telemetry/batch", status, data=body, content_type="application/json", headers=headers)


def test_bodies_may_be_packed(as_key):
    body = json.dumps([reading(), reading(timestamp=hours_later(1))]).encode()
    assert packed(as_key, gzip.compress(body), 202)["data"]["accepted"] == 2
    in_parts = gzip.compress(body[:20]) + gzip.compress(body[20:])
    assert packed(as_key, in_parts, 202)["data"]["duplicates"] == 2
    assert packed(as_key, body, 202, "identity")["data"]["duplicates"] == 2
    assert packed(as_key, body, 415, "br")["code"] == "UNSUPPORTED_MEDIA_TYPE"
    for broken in (body, gzip.compress(body)[:-9], gzip.compress(body) + b"x"):
        assert packed(as_key, broken, 400)["code"] == "MALFORMED_JSON"


def test_a_bomb_is_never_unpacked(as_key):
    bomb = gzip.compress(b" " * 200_000_000)
    tracemalloc.start()
    try:
        assert packed(as_key, bomb, 413)["code"] == "PAYLOAD_TOO_LARGE"
        # The call's 16 MB, once as they are unpacked and once as they grow.
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_a_body_that_is_too_large_is_refused_before_it_is_read(as_key):
    class Unread:
        def read(self, *_: Any) -> bytes:
            raise AssertionError("the body was read")

    answer = as_key.call(
        "POST",
        "/telemetry/batch",
        413,
        environ_overrides={"wsgi.input": Unread(), "CONTENT_LENGTH": str(17 * 1024 * 1024)},
        content_type="application/json",
    )
    assert answer["code"] == "PAYLOAD_TOO_LARGE"


def test_a_key_for_one_meter_brings_no_reading_of_another(client, act):
    with act():
        plain = tokens.create_key("gateway", "ingest", 13, actor=SYSTEM, now=RECENT)
    rows = [reading(), reading(meterId="MTR-00000014"), reading(meterId="MTR-99999999"), {"meterId": 5}]
    data = Api(client, plain).post("/telemetry/batch", rows, 202)["data"]
    assert (data["accepted"], [each["code"] for each in data["rejected"]]) == (
        1,
        ["FOREIGN_METER", "FOREIGN_METER", "BAD_METER_ID"],
    )
    with act():
        assert tokens.find_key(plain).last_used_at is not None


def test_ten_thousand_rows_and_one_more(as_key):
    rows = [reading(meterId=f"MTR-{number:08d}") for number in range(1, 10_001)]
    assert send(as_key, json.dumps(rows), 202)["data"]["accepted"] == 10_000
    assert send(as_key, json.dumps([*rows, reading()]), 413)["code"] == "PAYLOAD_TOO_LARGE"


def test_the_interval_of_the_call(as_key, as_operator):
    row = reading(powerKw=1.2)
    del row["energyKwh"]
    as_key.post("/telemetry?intervalSeconds=60", row, 202)
    shown = as_operator.get("/telemetry/meters/MTR-00000013")["data"]
    assert (shown["interval_seconds"], shown["energy_kwh"], shown["power_kw"]) == (60, "0.020", "1.200")
    assert as_key.post("/telemetry?intervalSeconds=0", row, 422)["details"][0]["field"] == "intervalSeconds"


@pytest.fixture
def holder(act: Callable[[], Any], log_in: Callable[[Any], Any]) -> Any:
    """A customer who holds meter 13 for two hours, after somebody else."""
    with act():
        before = make_holder(meter_id="MTR-00000013", since=RECENT - timedelta(days=1))
        meters.unassign(before.user_id, make_pool(), actor=SYSTEM, now=RECENT + timedelta(hours=3, minutes=30))
        user = make_holder(meter_id="MTR-00000013", since=RECENT + timedelta(hours=4))
    return log_in(user)


@pytest.mark.promise(3)
def test_my_meter_shows_only_the_time_that_was_mine(as_key, holder, as_operator):
    rows = [reading(timestamp=hours_later(quarter / 4), energyKwh=str(quarter + 1)) for quarter in range(18)]
    send(as_key, json.dumps(rows), 202)
    mine = holder.get("/telemetry/my-meter/history?resolution=1h")["data"]
    assert mine["meter_id"] == "MTR-00000013"
    told = [point for point in mine["points"] if point["quality"] == "measured"]
    assert sum(Decimal(point["energy_kwh"]) for point in told) == 17 + 18
    assert min(point["start"] for point in mine["points"]) == hours_later(4)
    everything = as_operator.get("/telemetry/meters/MTR-00000013/history?resolution=1d")["data"]
    assert sum(Decimal(point["energy_kwh"] or 0) for point in everything["points"]) == sum(range(1, 19))
    latest = holder.get("/telemetry/my-meter")["data"]
    assert (latest["timestamp"], latest["energy_kwh"]) == (hours_later(4.25), "18.000")
    assert latest["age_seconds"] >= 3600


@pytest.mark.promise(3)
def test_a_meter_that_tells_nothing_since_it_is_mine(as_key, holder):
    send(as_key, json.dumps([reading()]), 202)
    assert holder.get("/telemetry/my-meter")["data"]["timestamp"] is None
    points = holder.get("/telemetry/my-meter/history?resolution=30m")["data"]["points"]
    assert {point["quality"] for point in points} == {"missing"}
    assert all(point["energy_kwh"] is None for point in points)


def test_two_meters_one_after_the_other(act, log_in, as_key):
    with act():
        user = make_holder(meter_id="MTR-00000013", since=RECENT - timedelta(days=1))
        meters.unassign(user.user_id, make_pool(), actor=SYSTEM, now=RECENT + timedelta(hours=1))
        meters.assign(
            user.user_id,
            make_pool(),
            "MTR-00000014",
            how="admin",
            actor=SYSTEM,
            now=RECENT + timedelta(hours=1),
        )
    customer = log_in(user)
    rows = [
        reading(meterId=f"MTR-{13 + each % 2:08d}", timestamp=hours_later(each / 2), energyKwh=1, intervalSeconds=1800)
        for each in range(8)
    ]
    send(as_key, json.dumps(rows), 202)
    data = customer.get("/telemetry/my-meter/history?resolution=30m")["data"]
    assert data["meter_id"] == "MTR-00000014"
    # Meter 13 at 0:00; meter 14 at 1:30, 2:30 and 3:30: the rest is of the time in which they were not theirs.
    assert [point["start"] for point in data["points"] if point["energy_kwh"]] == [
        hours_later(each) for each in (0, 1.5, 2.5, 3.5)
    ]


def test_customers_without_a_meter(log_in, act):
    with act():
        user = make_user()
    customer = log_in(user)
    assert customer.get("/telemetry/my-meter", 404)["code"] == "METER_NOT_ASSIGNED"
    assert customer.get("/telemetry/my-meter/history", 404)["code"] == "METER_NOT_ASSIGNED"


def test_a_meter_that_nobody_heard_of(as_operator):
    shown = as_operator.get("/telemetry/meters/MTR-09999999")["data"]
    assert shown.pop("meter_id") == "MTR-09999999"
    assert set(shown.values()) == {None}
    history = as_operator.get("/telemetry/meters/MTR-09999999/history")["data"]
    assert {point["quality"] for point in history["points"]} == {"missing"}


@pytest.mark.parametrize("meter_id", ["MTR-10000001", "MTR-00000000", "13", "MTR-0000001%00"])
def test_a_meter_outside_the_range(as_operator, meter_id):
    assert as_operator.get(f"/telemetry/meters/{meter_id}", 404)["code"] == "METER_NOT_FOUND"
    assert as_operator.get(f"/telemetry/meters/{meter_id}/history", 404)["code"] == "METER_NOT_FOUND"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("resolution=5m", "resolution"),
        ("resolution=15m&start=2024-01-01T00:00:00Z", "resolution"),
        ("start=yesterday", "start"),
        ("start=2026-11-01T00:00:00", "start"),
        ("start=2026-11-02T00:00:00Z&end=2026-11-01T00:00:00Z", "start"),
        ("start=2026-11-02T00:00:00Z&end=2026-11-02T00:00:00Z", "start"),
        ("end=0001-01-01T00:00:00Z", "start"),
    ],
)
def test_histories_that_cannot_be_given(as_operator, query, field):
    refusal = as_operator.get(f"/telemetry/meters/MTR-00000013/history?{query}", 422)
    assert refusal["details"][0]["field"] == field


def test_histories_at_the_ends_of_the_calendar(as_operator):
    path = "/telemetry/meters/MTR-00000013/history"
    data = as_operator.get(f"{path}?start=9998-01-01T00:00:00Z&end=9999-12-31T23:59:59Z")["data"]
    assert data["points"] == []
    data = as_operator.get(f"{path}?start=1900-01-01T00:00:00Z&end=1950-01-01T00:00:00Z")["data"]
    assert data["points"] == []


def test_staff_release_and_discard_held_readings(app, monkeypatch, as_key, as_operator):
    limit_power(app, monkeypatch)
    send(as_key, json.dumps([reading(energyKwh=20), reading(energyKwh=21), reading(meterId="MTR-99999999")]), 202)
    page = as_operator.get("/telemetry/quarantine?limit=2")["data"]
    assert page["pagination"] == {"total": 3, "limit": 2, "offset": 0, "has_more": True}
    [held] = [each for each in page["held_readings"] if each["code"] == "QUARANTINED_BEYOND_LIMIT"][-1:]
    assert (held["state"], held["reading"]["meterId"], held["reason"]) == ("held", "MTR-00000013", None)
    path = f"/telemetry/quarantine/{held['id']}"
    done = as_operator.post(f"{path}/release", {"reason": "A welding shop"})["data"]["held_reading"]
    assert (done["state"], done["reason"]) == ("released", "A welding shop")
    assert done["decided_by"].endswith("@example.com")
    for act, code in (("release", "ALREADY_RELEASED"), ("discard", "ALREADY_RELEASED")):
        assert as_operator.post(f"{path}/{act}", {"reason": "Once more"}, 409)["code"] == code
    latest = as_operator.get("/telemetry/meters/MTR-00000013")["data"]
    assert latest["energy_kwh"] == held["reading"]["energyKwh"] + ".000"
    rest = as_operator.get("/telemetry/quarantine")["data"]["held_readings"]
    outside = next(each["id"] for each in rest if each["meter_id"] == "MTR-99999999")
    assert (
        as_operator.post(f"/telemetry/quarantine/{outside}/release", {"reason": "why not"}, 409)["code"] == "STILL_HELD"
    )
    assert as_operator.post(f"/telemetry/quarantine/{outside}/discard", {"reason": "why not"})["data"]
    assert as_operator.post(f"/telemetry/quarantine/{outside}/discard", {"reason": "x"}, 422)["details"]
    for unknown in ("99", "0", "-1", "x", "9" * 30):
        refused = as_operator.post(f"/telemetry/quarantine/{unknown}/discard", {"reason": "why not"}, 404)
        assert refused["code"] == "HELD_READING_NOT_FOUND"
