"""Which readings can be taken, and which of several values is in force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from portal.readings.models import Kind, Quality
from portal.readings.rules import Limits, Refused, Told, check, half_hours_of
from tests.factories import NOW
from tests.readings.feed import row

LIMITS = Limits(1, 10_000_000, NOW + timedelta(seconds=300))


def checked(**changes: Any) -> list[Told]:
    result = check(0, row(**changes), LIMITS)
    assert isinstance(result, list), result
    return result


def refused(**changes: Any) -> str:
    result = check(0, row(**changes), LIMITS)
    assert isinstance(result, Refused), result
    assert result.message.endswith(".")
    assert result.held == result.code.startswith("QUARANTINED_")
    return result.code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"meter_id": "13"}, "BAD_METER_ID"),
        ({"meter_id": "MTR-00000000"}, "BAD_METER_ID"),
        ({"meter_id": "MTR-00000013 "}, "BAD_METER_ID"),
        ({"meter_id": "MTR-0000001٣"}, "BAD_METER_ID"),
        ({"timestamp": NOW.replace(tzinfo=None)}, "BROKEN_TIMESTAMP"),
        ({"timestamp": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))}, "BROKEN_TIMESTAMP"),
        ({"energy_kwh": None}, "MISSING_VALUE"),
        ({"energy_kwh": None, "export_kwh": Decimal(1)}, "MISSING_VALUE"),
        ({"energy_kwh": Decimal(1), "register_kwh": Decimal(1)}, "SEVERAL_VALUES"),
        ({"energy_kwh": Decimal(1), "power_kw": Decimal(0)}, "SEVERAL_VALUES"),
        ({"energy_kwh": Decimal("NaN")}, "NOT_FINITE"),
        ({"energy_kwh": Decimal("sNaN")}, "NOT_FINITE"),
        ({"power_kw": Decimal("Infinity")}, "NOT_FINITE"),
        ({"energy_kwh": Decimal(1), "export_kwh": Decimal("-Infinity")}, "NOT_FINITE"),
        ({"voltage": Decimal("NaN")}, "NOT_FINITE"),
        ({"energy_kwh": Decimal("-0.001")}, "NEGATIVE_VALUE"),
        ({"export_kwh": Decimal(-1)}, "NEGATIVE_VALUE"),
        ({"register_kwh": Decimal(-1)}, "NEGATIVE_VALUE"),
        ({"interval_seconds": 0}, "BAD_INTERVAL"),
        ({"interval_seconds": -900}, "BAD_INTERVAL"),
        ({"interval_seconds": 86_401}, "BAD_INTERVAL"),
        ({"interval_seconds": 10**30}, "BAD_INTERVAL"),
        ({"register_kwh": Decimal(1), "export_kwh": Decimal(1)}, "BAD_FIELD"),
        ({"reading_id": "a\0b"}, "BAD_FIELD"),
        ({"status": "\ud800"}, "BAD_FIELD"),
        ({"region": "x" * 101}, "BAD_FIELD"),
        ({"seq": 2**63}, "BAD_FIELD"),
        ({"meter_id": "MTR-10000001"}, "QUARANTINED_OUTSIDE_RANGE"),
        ({"timestamp": NOW + timedelta(seconds=301)}, "QUARANTINED_FUTURE"),
        ({"timestamp": datetime(9999, 12, 31, 23, 59, tzinfo=UTC)}, "QUARANTINED_FUTURE"),
        ({"timestamp": datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)}, "QUARANTINED_TOO_OLD"),
        ({"energy_kwh": Decimal("250.000001")}, "QUARANTINED_IMPLAUSIBLE"),
        ({"energy_kwh": Decimal("1e400")}, "QUARANTINED_IMPLAUSIBLE"),
        ({"power_kw": Decimal("1e999999")}, "QUARANTINED_IMPLAUSIBLE"),
        ({"export_kwh": Decimal("9e99")}, "QUARANTINED_IMPLAUSIBLE"),
        ({"register_kwh": Decimal("1e9")}, "QUARANTINED_IMPLAUSIBLE"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], code: str) -> None:
    assert refused(**changes) == code


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({"energy_kwh": Decimal("0.25")}, [(Kind.IMPORT, "0.250000", 900)]),
        ({"energy_kwh": Decimal(0)}, [(Kind.IMPORT, "0.000000", 900)]),
        ({"energy_kwh": Decimal("-0")}, [(Kind.IMPORT, "0.000000", 900)]),
        ({"energy_kwh": Decimal("0.0000005")}, [(Kind.IMPORT, "0.000001", 900)]),
        ({"energy_kwh": Decimal("0.00000049" + "9" * 40)}, [(Kind.IMPORT, "0.000000", 900)]),
        ({"energy_kwh": Decimal(250)}, [(Kind.IMPORT, "250.000000", 900)]),
        ({"power_kw": Decimal("1.2"), "interval_seconds": 60}, [(Kind.IMPORT, "0.020000", 60)]),
        ({"power_kw": Decimal(1), "interval_seconds": 1}, [(Kind.IMPORT, "0.000278", 1)]),
        ({"register_kwh": Decimal("48213.4")}, [(Kind.REGISTER, "48213.400000", 0)]),
        (
            {"energy_kwh": Decimal(1), "export_kwh": Decimal("0.5"), "interval_seconds": 1800},
            [(Kind.IMPORT, "1.000000", 1800), (Kind.EXPORT, "0.500000", 1800)],
        ),
    ],
)
def test_what_is_taken(changes: dict[str, Any], values: list[tuple[Kind, str, int]]) -> None:
    told = checked(**changes)
    assert [(each.kind, str(each.value), each.interval_seconds) for each in told] == values


def test_the_last_second_that_is_not_the_future() -> None:
    assert checked(timestamp=NOW + timedelta(seconds=300))


def test_an_offset_is_the_same_instant() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert checked(timestamp=local) == checked(timestamp=NOW)
    assert checked(timestamp=local)[0].read_at.utcoffset() == timedelta(0)


def test_a_status_marks_what_is_estimated() -> None:
    assert checked(status="Estimated")[0].quality == Quality.ESTIMATED
    assert checked(status="ok")[0].quality == Quality.MEASURED


def test_half_hours_that_an_interval_touches() -> None:
    def halves(minute: int, seconds: int) -> list[int]:
        told = checked(timestamp=NOW.replace(minute=0) + timedelta(minutes=minute), interval_seconds=seconds)[0]
        return [each.minute for each in half_hours_of(told)]

    assert halves(0, 900) == [0]
    assert halves(0, 1800) == [0]
    assert halves(15, 900) == [0]
    assert halves(20, 900) == [0, 30]
    assert halves(-15, 1800) == [30, 0]
