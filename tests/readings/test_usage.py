"""Usage by local hour and day: always what the readings say, whatever the zone, whoever recomputes it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, scoped_session

from portal.config import Config
from portal.meters import holding
from portal.periods import Period, local_day
from portal.readings import actions, queries
from portal.readings.usage import hour_of, hours_of_half_hour
from tests.factories import NOW
from tests.readings.feed import IST, daily_of, fetch, refresh, row, series, store

LONDON = ZoneInfo("Europe/London")


@pytest.fixture
def london(area: scoped_session[Session]) -> None:
    """Meter 13 stands where clocks change."""
    area.execute(text("INSERT INTO regions (name, timezone) VALUES ('London', 'Europe/London') ON CONFLICT DO NOTHING"))
    holding.hear_of([13])
    area.execute(text("UPDATE meters SET region = 'London' WHERE meter_key = 13"))
    area.commit()
    yield
    area.rollback()
    area.execute(text("UPDATE meters SET region = NULL"))
    area.execute(text("DELETE FROM regions WHERE name = 'London'"))
    area.commit()


@pytest.mark.promise(8)
@pytest.mark.parametrize(
    ("instant", "day"),
    [
        ("2026-11-14T18:29:59.999999", "2026-11-14"),
        ("2026-11-14T18:30:00", "2026-11-15"),
        ("2026-11-15T00:00:00", "2026-11-15"),
        ("2026-10-31T18:29:59", "2026-10-31"),
        ("2026-10-31T18:30:00", "2026-11-01"),
        ("2024-02-29T18:29:59", "2024-02-29"),
        ("2024-02-29T18:30:00", "2024-03-01"),
    ],
)
def test_a_day_of_india_begins_at_half_past_six_utc(
    area: scoped_session[Session], config: Config, instant: str, day: str
) -> None:
    store([row(timestamp=datetime.fromisoformat(instant).replace(tzinfo=UTC))], config)
    refresh()
    assert daily_of() == {day: Decimal("0.25")}


@pytest.mark.promise(8)
def test_hours_of_india_begin_at_half_past(area: scoped_session[Session], config: Config) -> None:
    store(series(datetime(2026, 11, 14, 18, 15, tzinfo=UTC), 6), config)
    refresh()
    assert fetch("SELECT starts_at, ends_at, import_kwh, measured_seconds FROM usage_hourly ORDER BY starts_at") == [
        (*hour_edges(17, 30), Decimal("0.001"), 900),
        (*hour_edges(18, 30), Decimal("0.014"), 3600),
        (*hour_edges(19, 30), Decimal("0.006"), 900),
    ]


def hour_edges(hour: int, minute: int) -> tuple[datetime, datetime]:
    start = datetime(2026, 11, 14, hour, minute, tzinfo=UTC)
    return start, start + timedelta(hours=1)


@pytest.mark.promise(8)
@pytest.mark.usefixtures("london")
@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-24", 24)])
def test_days_on_which_the_clock_changes(config: Config, day: str, hours: int) -> None:
    whole = local_day(date.fromisoformat(day), LONDON)
    count = hours * 4
    # The quarter before and the quarter after belong to the days beside.
    store(series(whole.start - timedelta(minutes=15), count + 2, energy_kwh=Decimal("0.1")), config)
    refresh()
    assert daily_of()[day] == Decimal("0.1") * count
    assert len(daily_of()) == 3
    [used] = queries.list_daily(13, whole, LONDON)
    assert (used.import_kwh, used.covered_seconds, used.expected_seconds) == (
        Decimal("0.1") * count,
        hours * 3600,
        hours * 3600,
    )
    for resolution, points in (("1h", hours), ("30m", hours * 2), ("15m", count), ("1d", 1)):
        listed = queries.list_history(13, whole, resolution, LONDON)
        assert len(listed) == points
        assert sum(point.energy_kwh or 0 for point in listed) == used.import_kwh


@pytest.mark.promise(8)
def test_a_meter_that_moves_to_another_zone_is_added_up_by_its_days(
    area: scoped_session[Session], config: Config
) -> None:
    area.execute(text("INSERT INTO regions (name, timezone) VALUES ('London', 'Europe/London') ON CONFLICT DO NOTHING"))
    store(series(datetime(2026, 11, 10, tzinfo=UTC), 96 * 2), config)
    refresh()
    assert sorted(daily_of()) == ["2026-11-10", "2026-11-11", "2026-11-12"]
    total = sum(daily_of().values())
    try:
        area.execute(text("UPDATE meters SET region = 'London' WHERE meter_key = 13"))
        area.commit()
        refresh()
        assert sorted(daily_of()) == ["2026-11-10", "2026-11-11"]
        assert sum(daily_of().values()) == total
        assert fetch("SELECT count(*), sum(import_kwh) FROM usage_hourly") == [(48, total)]
    finally:
        area.execute(text("UPDATE meters SET region = NULL"))
        area.execute(text("DELETE FROM regions WHERE name = 'London'"))
        area.commit()


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Asia/Kolkata", "2026-11-15"),
        ("Asia/Kathmandu", "2026-11-15"),
        ("Europe/London", "2026-03-29"),
        ("Europe/London", "2026-10-25"),
        ("Australia/Lord_Howe", "2026-04-05"),
        ("Australia/Lord_Howe", "2026-10-04"),
        ("Atlantic/Azores", "2026-10-25"),
        ("Asia/Beirut", "2026-03-29"),
        ("America/St_Johns", "2026-11-01"),
    ],
)
def test_hours_cut_every_day_without_gap_or_overlap(zone: str, day: str) -> None:
    whole = local_day(date.fromisoformat(day), ZoneInfo(zone))
    assert whole.end is not None
    edge = whole.start
    while edge < whole.end:
        hour = hour_of(edge, ZoneInfo(zone))
        assert hour.start == edge
        assert hour.end is not None
        assert hour_of(hour.end - timedelta(microseconds=1), ZoneInfo(zone)) == hour
        edge = hour.end
    assert edge == whole.end


def test_half_hours_lie_in_one_hour_of_india_and_in_two_of_nepal() -> None:
    half = datetime(2026, 11, 15, 18, 30, tzinfo=UTC)
    assert len(hours_of_half_hour(half, IST)) == 1
    nepal = hours_of_half_hour(half.replace(minute=0), ZoneInfo("Asia/Kathmandu"))
    assert [hour.start.strftime("%H:%M") for hour in nepal] == ["17:15", "18:15"]


@pytest.mark.promise(5)
def test_gaps_and_estimates_show(area: scoped_session[Session], config: Config) -> None:
    midnight = local_day(date(2026, 11, 14), IST).start
    store(series(midnight, 4, energy_kwh=Decimal(1)), config)
    store([row(timestamp=midnight + timedelta(hours=2), status="estimated", energy_kwh=Decimal(3))], config)
    period = Period(midnight, midnight + timedelta(days=2))
    for _ in range(2):
        first, second = queries.list_daily(13, period, IST)
        assert (first.import_kwh, first.estimated_kwh, first.covered_seconds) == (7, 3, 4500)
        assert (second.import_kwh, second.covered_seconds, second.expected_seconds) == (0, 0, 86_400)
        points = queries.list_history(13, period, "1h", IST)
        assert [point.quality for point in points[:4]] == ["measured", "missing", "estimated", "missing"]
        assert [point.energy_kwh for point in points[:4]] == [4, None, 3, None]
        assert points[2].covered_seconds == 900
        refresh()


def test_overlapping_intervals_are_flagged(area: scoped_session[Session], config: Config) -> None:
    midnight = local_day(date(2026, 11, 14), IST).start
    day = Period(midnight, midnight + timedelta(days=1))
    store(series(midnight, 96, energy_kwh=Decimal("0.1")), config)
    refresh()
    assert queries.sum_energy(13, day, IST).overlap_seconds == 0
    # A second stream, by the half hour and an eccentric clock.
    store([row(timestamp=midnight + timedelta(hours=5, minutes=10), interval_seconds=1800)], config)
    for _ in range(2):
        energy = queries.sum_energy(13, day, IST)
        assert energy.overlap_seconds == 1800
        assert energy.covered_seconds == 86_400
        assert energy.import_kwh == Decimal("9.85")
        refresh()


def test_a_day_long_interval_that_comes_late_flags_the_hours_it_covers(
    area: scoped_session[Session], config: Config
) -> None:
    midnight = local_day(date(2026, 11, 14), IST).start
    store(series(midnight + timedelta(hours=10), 4), config)
    refresh()
    store([row(timestamp=midnight, interval_seconds=86_400, energy_kwh=Decimal(9))], config)
    refresh()
    assert fetch("SELECT overlap_seconds FROM usage_daily") == [(3600,)]


def test_an_interval_that_is_corrected_to_a_shorter_one_frees_the_hour_after(
    area: scoped_session[Session], config: Config
) -> None:
    start = local_day(date(2026, 11, 14), IST).start + timedelta(minutes=45)
    store([row(timestamp=start, interval_seconds=1800), row(timestamp=start + timedelta(minutes=15))], config)
    refresh()
    assert fetch("SELECT sum(overlap_seconds) FROM usage_hourly") == [(900,)]
    store([row(timestamp=start, interval_seconds=900)], config)
    refresh()
    assert fetch("SELECT sum(overlap_seconds) FROM usage_hourly") == [(0,)]


def test_one_meter_now(area: scoped_session[Session], config: Config) -> None:
    store(series(NOW - timedelta(days=1), 20), config)
    store([row(meter_id="MTR-00000014")], config)
    actions.refresh_meter(13, Period(NOW - timedelta(days=1), NOW))
    area.commit()
    assert daily_of(13) == {"2026-11-14": Decimal("0.210")}
    assert daily_of(14) == {}
    # The notes stay: the worker reviews the bills that they concern.
    assert fetch("SELECT DISTINCT meter_key FROM usage_touched ORDER BY 1") == [(13,), (14,)]


def test_when_a_meter_was_heard_of_last_is_noted_by_the_hour(area: scoped_session[Session], config: Config) -> None:
    start = NOW - timedelta(days=2)
    seen = "SELECT last_seen_at FROM meters WHERE meter_key = 13"
    store(series(start, 8), config)
    refresh()
    assert fetch(seen) == [(start + timedelta(minutes=105),)]
    # A quarter of an hour later nothing is written, an old one changes nothing, and a day later is news.
    versions = fetch("SELECT xmin FROM meters")
    store([row(timestamp=start + timedelta(hours=2)), row(timestamp=start - timedelta(days=9))], config)
    refresh()
    assert fetch("SELECT xmin FROM meters") == versions
    store([row(timestamp=start + timedelta(days=1), register_kwh=Decimal(5))], config)
    refresh()
    assert fetch(seen) == [(start + timedelta(days=1),)]


def test_recomputing_twice_gives_the_same(area: scoped_session[Session], config: Config) -> None:
    store(series(NOW - timedelta(days=2), 96), config)
    refresh()
    before = fetch("SELECT * FROM usage_hourly ORDER BY starts_at"), fetch("SELECT * FROM usage_daily ORDER BY day")
    area.execute(
        text(
            "INSERT INTO usage_touched (meter_key, half_hour, touched_at) "
            "SELECT 13, date_bin('30 minutes', read_at, 'epoch'), now() FROM readings"
        )
    )
    area.commit()
    assert refresh() == 96
    assert before == (
        fetch("SELECT * FROM usage_hourly ORDER BY starts_at"),
        fetch("SELECT * FROM usage_daily ORDER BY day"),
    )
