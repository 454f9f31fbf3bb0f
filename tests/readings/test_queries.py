"""Reads of usage: exact at any cut, before and after it is recomputed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session, scoped_session

from portal.config import Config
from portal.errors import Invalid
from portal.periods import Period
from portal.readings import queries
from tests.factories import NOW
from tests.readings.feed import IST, QUARTER, fetch, refresh, row, series, store

START = datetime(2026, 10, 27, 11, 45, tzinfo=UTC)
SPAN = timedelta(days=9, hours=5)
COUNT = int(SPAN / QUARTER)


@pytest.fixture
def nine_days(area: scoped_session[Session], config: Config) -> None:
    """Nine days of quarter hours across a month's end; days of them recomputed, touched since, or never touched."""
    rows = series(START, COUNT)
    store(rows[: COUNT // 3], config)
    refresh()
    store(rows[COUNT // 3 - 50 :], config)
    store([row(timestamp=START + QUARTER * 7, energy_kwh=Decimal("0.5"))], config)
    # Another meter's, which must not be counted.
    store(series(START, 50, meter_id="MTR-00000014"), config)


def expected(since: datetime, until: datetime) -> Decimal:
    """The same sum, by hand."""
    total = Decimal(0)
    for place in range(COUNT):
        if since <= START + QUARTER * place < until:
            total += Decimal("0.5") if place == 7 else Decimal(place + 1) / 1000
    return total


instants = st.integers(-3600 * 30, int(SPAN.total_seconds()) + 3600 * 30).map(lambda s: START + timedelta(seconds=s))


@pytest.mark.promise(3)
@pytest.mark.usefixtures("nine_days")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(instants, min_size=2, max_size=6, unique=True).map(sorted),
    zone=st.sampled_from(["Asia/Kolkata", "Europe/London"]),
)
def test_parts_add_up_to_the_whole_at_any_cut(cuts: list[datetime], zone: str) -> None:
    parts = [queries.sum_energy(13, Period(since, until), ZoneInfo(zone)) for since, until in pairwise(cuts)]
    whole = queries.sum_energy(13, Period(cuts[0], cuts[-1]), ZoneInfo(zone))
    assert sum(part.import_kwh for part in parts) == whole.import_kwh == expected(cuts[0], cuts[-1])
    assert sum(part.covered_seconds for part in parts) == whole.covered_seconds


@pytest.mark.promise(3)
@pytest.mark.usefixtures("nine_days")
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edges=st.tuples(instants, instants).filter(lambda pair: pair[0] < pair[1]),
    resolution=st.sampled_from(["15m", "30m", "1h", "1d"]),
)
def test_a_history_and_its_days_sum_to_the_energy(edges: tuple[datetime, datetime], resolution: str) -> None:
    period = Period(*edges)
    total = queries.sum_energy(13, period, IST).import_kwh
    points = queries.list_history(13, period, resolution, IST)  # type: ignore[arg-type]
    assert sum(point.energy_kwh or 0 for point in points) == total
    assert [point.start for point in points] == sorted({point.start for point in points})
    # What is left out lies inside an interval that began before.
    assert period.seconds - 900 < sum(point.expected_seconds for point in points) <= period.seconds
    days = queries.list_daily(13, period, IST)
    assert sum(day.import_kwh for day in days) == total
    assert sum(day.expected_seconds for day in days) == period.seconds


@pytest.mark.promise(3)
@pytest.mark.usefixtures("nine_days")
def test_sums_are_the_same_before_and_after_recomputing() -> None:
    period = Period(START + timedelta(minutes=7), START + SPAN)

    def read() -> list[object]:
        return [
            queries.sum_energy(13, period, IST),
            queries.list_daily(13, period, IST),
            *(queries.list_history(13, period, each, IST) for each in ("15m", "30m", "1h", "1d")),
        ]

    before = read()
    refresh()
    assert read() == before
    assert fetch("SELECT sum(import_kwh) FROM usage_daily WHERE meter_key = 13") == [(expected(START, NOW),)]


def test_an_interval_belongs_to_the_period_that_holds_its_start(area: scoped_session[Session], config: Config) -> None:
    store([row(timestamp=NOW - QUARTER)], config)
    until, since = Period(NOW - timedelta(hours=1), NOW - QUARTER), Period(NOW - QUARTER, NOW)
    assert queries.sum_energy(13, until, IST).import_kwh == 0
    assert queries.sum_energy(13, since, IST).import_kwh == Decimal("0.25")
    inside = Period(NOW - QUARTER + timedelta(microseconds=1), NOW)
    assert queries.sum_energy(13, inside, IST).import_kwh == 0


@pytest.mark.promise(5)
@pytest.mark.parametrize("fresh", [False, True])
def test_buckets_inside_a_longer_interval_are_left_out(
    area: scoped_session[Session], config: Config, fresh: bool
) -> None:
    noon = NOW - timedelta(days=1)
    store(series(noon, 2, timedelta(hours=2), energy_kwh=Decimal(4)), config)
    if fresh:
        refresh()
    for resolution, count in (("15m", 4), ("30m", 3), ("1h", 3)):
        points = queries.list_history(13, Period(noon, noon + timedelta(hours=4, minutes=30)), resolution, IST)
        told = [point for point in points if point.quality == "measured"]
        assert [point.start - noon for point in told] == [timedelta(0), timedelta(hours=2)]
        assert [point.energy_kwh for point in told] == [4, 4]
        assert [point.quality for point in points[2:]] == ["missing"] * (count - 2)
    # The last interval before the period reaches into it.
    points = queries.list_history(13, Period(noon + timedelta(hours=1), noon + timedelta(hours=3)), "1h", IST)
    assert [(point.start - noon, point.energy_kwh) for point in points] == [(timedelta(hours=2), 4)]


def test_the_last_reading(area: scoped_session[Session], config: Config) -> None:
    period = Period(NOW - timedelta(hours=3), NOW)
    assert queries.find_latest(13, period) == queries.Latest()
    store([row(timestamp=NOW - timedelta(hours=4)), row(timestamp=NOW, meter_id="MTR-00000014")], config)
    assert queries.find_latest(13, period) == queries.Latest()
    store(
        [
            row(timestamp=NOW - timedelta(hours=2)),
            row(timestamp=NOW - timedelta(hours=1), export_kwh=Decimal(1), interval_seconds=60),
            row(timestamp=NOW - timedelta(hours=3), register_kwh=Decimal(77)),
        ],
        config,
    )
    latest = queries.find_latest(13, period)
    assert (latest.read_at, latest.interval_seconds, latest.energy_kwh) == (
        NOW - timedelta(hours=1),
        60,
        Decimal("0.25"),
    )
    assert (latest.export_kwh, latest.quality) == (1, "measured")
    assert (latest.register_kwh, latest.register_at) == (77, NOW - timedelta(hours=3))
    assert queries.find_latest(13, Period(NOW - timedelta(hours=9))).read_at == latest.read_at


def test_too_many_points_are_refused(area: scoped_session[Session]) -> None:
    with pytest.raises(Invalid):
        queries.list_history(13, Period(NOW - timedelta(days=365), NOW), "15m", IST)
    assert len(queries.list_history(13, Period(NOW - timedelta(days=31), NOW), "15m", IST)) == 31 * 96
    assert len(queries.list_history(13, Period(NOW - timedelta(days=365), NOW), "1d", IST)) == 366
