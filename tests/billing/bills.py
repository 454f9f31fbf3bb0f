"""Readings and runs for the tests of bills."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from portal.audit import SYSTEM
from portal.billing import actions
from portal.config import Config
from portal.meters.rules import meter_id
from portal.readings import actions as readings
from portal.readings.incoming import Row
from tests.factories import NOW

INDIA = ZoneInfo("Asia/Kolkata")
HALF_HOUR = timedelta(minutes=30)


def india(*parts: int) -> datetime:
    """An instant by its local time in India."""
    return datetime(*parts, tzinfo=INDIA).astimezone(UTC)


def give_readings(
    meter: str | int,
    start: datetime,
    end: datetime,
    config: Config,
    *,
    kwh: str | Decimal = "0.25",
    export_kwh: str | None = None,
    step: timedelta = HALF_HOUR,
) -> int:
    """One reading of `kwh` for each whole interval in `[start, end)`; how many."""
    name = meter_id(meter) if isinstance(meter, int) else meter
    rows = []
    at = start
    while at < end:
        rows.append(
            Row(
                meter_id=name,
                timestamp=at,
                interval_seconds=int(step.total_seconds()),
                energy_kwh=Decimal(kwh),
                export_kwh=Decimal(export_kwh) if export_kwh else None,
            )
        )
        at += step
    readings.store(rows, source="test", now=max(NOW, end), config=config)
    return len(rows)


def run(year: int, month: int, region: str | None = None, now: datetime = NOW) -> actions.RunResult:
    """A billing run by the system."""
    return actions.generate_month(year, month, region, actor=SYSTEM, now=now)
