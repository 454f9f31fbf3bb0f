"""Energy of registers: the difference of neighbours, whatever comes in whatever order, and nothing made up."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session, scoped_session

from portal.audit import SYSTEM
from portal.config import Config
from portal.meters import actions as meters
from portal.meters import swap
from portal.periods import Period, local_day
from portal.readings import actions, queries
from portal.readings.hours import sum_by_hour
from portal.readings.incoming import Row
from portal.readings.registers import READING, Interval, Piece, Point, counted, derive
from tests.factories import NOW, make_holder, make_pool
from tests.readings.feed import IST, daily_of, fetch, refresh, row, series, store

MIDNIGHT = local_day(date(2026, 11, 10), IST).start
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def register(at: datetime, kwh: str | int | Decimal, **changes: Any) -> Row:
    return row(timestamp=at, register_kwh=Decimal(kwh), **changes)


def point(hours: float, kwh: str | int) -> Point:
    return Point(MIDNIGHT + timedelta(hours=hours), READING, Decimal(kwh))


def energy(start: datetime, end: datetime, meter_key: int = 13) -> queries.Energy:
    return queries.sum_energy(meter_key, Period(start, end), IST)


# Arithmetic alone.


@pytest.mark.parametrize(
    ("before", "after", "digits", "phase", "kwh"),
    [
        ("100", "104.5", 6, 1, "4.5"),
        ("100", "100", 6, 1, "0"),
        ("999998", "3", 6, 1, "5"),
        ("9998.5", "1.5", 4, 1, "3.0"),
        # A reset, a clock radio: a fall that would mean more than the supply can carry, or half the register.
        ("5000", "0", 6, 1, None),
        ("5000", "4999", 6, 1, None),
        ("99999", "3", 6, 1, None),
        # Shows more than the digits it is said to have.
        ("1000005", "3", 6, 1, None),
        ("100", "151", 6, 1, None),
        ("100", "151", 6, 3, "51"),
        ("100", "601", 6, 3, None),
    ],
)
def test_what_a_register_counted_in_an_hour(before: str, after: str, digits: int, phase: int, kwh: str | None) -> None:
    found = counted(point(0, before), point(1, after), digits, phase)
    assert found == (None if kwh is None else Decimal(kwh))


def test_an_hour_is_measured_and_more_is_spread_by_half_hours() -> None:
    assert derive([point(0, 10), point(1, 12)], [], 6, 1) == [Piece(MIDNIGHT, 3600, Decimal(2), 0)]
    pieces = derive([point(0.25, 10), point(1.75, 11)], [], 6, 1)
    assert [(piece.seconds, piece.quality) for piece in pieces] == [(900, 1), (1800, 1), (1800, 1), (900, 1)]
    assert [piece.kwh for piece in pieces] == [
        Decimal(each) for each in ("0.166667", "0.333333", "0.333333", "0.166667")
    ]


def test_where_intervals_are_the_register_only_fills_what_they_leave() -> None:
    quarters = [Interval(MIDNIGHT + n * HOUR / 4, 900, Decimal("0.5")) for n in (0, 1, 3)]
    points = [point(0, 10), point(1, 12)]
    assert derive(points, quarters, 6, 1) == [Piece(MIDNIGHT + HOUR / 2, 900, Decimal("0.5"), 1)]
    whole = [*quarters[:2], Interval(MIDNIGHT + HOUR / 2, 900, Decimal(9)), quarters[2]]
    assert derive(points, whole, 6, 1) == []
    # Intervals that tell more than the register: whoever is right, nothing is added.
    assert derive([point(0, 10), point(1, 11)], quarters, 6, 1) == []


def test_an_interval_that_reaches_over_a_register_counts_by_its_time_on_either_side() -> None:
    over = [Interval(MIDNIGHT + 1.5 * HOUR, 3600, Decimal(1))]
    pieces = derive([point(0, 10), point(2, 12), point(4, 13)], over, 6, 1)
    assert sum(piece.kwh for piece in pieces if piece.start < MIDNIGHT + 2 * HOUR) == Decimal("1.5")
    assert sum(piece.kwh for piece in pieces if piece.start >= MIDNIGHT + 2 * HOUR) == Decimal("0.5")
    assert min(piece.start for piece in pieces if piece.start >= MIDNIGHT + 2 * HOUR) == MIDNIGHT + 2.5 * HOUR


@settings(deadline=None)  # a stretch of weeks is hundreds of pieces
@given(
    st.lists(st.tuples(st.integers(1, 500_000), st.integers(0, 20_000)), min_size=2, max_size=12),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from([900, 1800, 3600])), max_size=20, unique_by=lambda x: x[0]),
)
def test_pieces_add_up_to_the_register_and_never_lie_over_intervals(
    steps: list[tuple[int, int]], told: list[tuple[int, int]]
) -> None:
    points, at, total = [], MIDNIGHT, 0
    for seconds, watt_hours in steps:
        at, total = at + timedelta(seconds=seconds), total + watt_hours
        points.append(Point(at, READING, Decimal(total) / 1000))
    intervals = [Interval(MIDNIGHT + place * 2 * HOUR, seconds, Decimal("0.001")) for place, seconds in sorted(told)]
    pieces = derive(points, intervals, 6, 1)
    assert all(piece.kwh >= 0 for piece in pieces)
    assert [piece.start for piece in pieces] == sorted({piece.start for piece in pieces})
    ends = [(piece.start, piece.start + timedelta(seconds=piece.seconds)) for piece in pieces]
    assert all(one[1] <= other[0] + timedelta(seconds=1) for one, other in itertools.pairwise(ends))
    assert not any(start < each.end and each.start < end for start, end in ends for each in intervals)
    if not intervals:
        expected = [counted(one, other, 6, 1) for one, other in itertools.pairwise(points)]
        assert sum((piece.kwh for piece in pieces), Decimal(0)) == sum(
            (each for each in expected if each is not None), Decimal(0)
        )


# All the way to usage.


@pytest.mark.promise(5)
def test_a_day_between_two_registers_is_spread_and_marked(area: scoped_session[Session], config: Config) -> None:
    store([register(MIDNIGHT, 100), register(MIDNIGHT + 2 * DAY, 112)], config)
    refresh()
    assert daily_of() == {"2026-11-10": Decimal(6), "2026-11-11": Decimal(6)}
    found = energy(MIDNIGHT, MIDNIGHT + DAY)
    assert (found.import_kwh, found.estimated_kwh) == (6, 6)
    assert (found.covered_seconds, found.estimated_seconds) == (86_400, 86_400)
    points = queries.list_history(13, Period(MIDNIGHT, MIDNIGHT + DAY), "1h", IST)
    assert {(point.quality, point.energy_kwh) for point in points} == {("estimated", Decimal("0.25"))}
    assert sum_by_hour(13, Period(MIDNIGHT, MIDNIGHT + DAY), IST).imported == (Decimal("0.25"),) * 24


def test_registers_by_the_quarter_hour_are_measured(area: scoped_session[Session], config: Config) -> None:
    store([register(MIDNIGHT + n * HOUR / 4, Decimal(n) / 10) for n in range(97)], config)
    refresh()
    found = energy(MIDNIGHT, MIDNIGHT + DAY)
    assert (found.import_kwh, found.estimated_kwh, found.covered_seconds, found.overlap_seconds) == (
        Decimal("9.6"),
        0,
        86_400,
        0,
    )


@pytest.mark.promise(4)
def test_the_order_of_arrival_never_matters(area: scoped_session[Session], config: Config) -> None:
    rows: list[Row] = [register(MIDNIGHT + n * 6 * HOUR, 100 + 3 * n, seq=1) for n in range(9)]
    rows += series(MIDNIGHT + 3 * HOUR, 30, energy_kwh=Decimal("0.05"))
    rows.append(register(MIDNIGHT + 12 * HOUR, 107, seq=2))
    wanted = None
    for seed in range(4):
        shuffled = [*rows, *rows[::3]]
        random.Random(seed).shuffle(shuffled)
        for start in range(0, len(shuffled), 7):
            store(shuffled[start : start + 7], config)
            if start % 3 == seed % 3:
                refresh()
        refresh()
        state = _usage()
        wanted = wanted or state
        assert state == wanted
        assert energy(MIDNIGHT, MIDNIGHT + 2 * DAY).import_kwh == 24
        for table in ("readings", "reading_versions", "usage_hourly", "usage_daily", "register_usage"):
            area.execute(text(f"DELETE FROM {table}"))
        area.commit()


def _usage() -> Sequence[tuple[Any, ...]]:
    return [
        *fetch("SELECT * FROM usage_hourly ORDER BY starts_at"),
        *fetch("SELECT * FROM usage_daily ORDER BY day"),
        *fetch("SELECT * FROM register_usage ORDER BY read_at"),
    ]


@pytest.mark.promise(4)
def test_a_corrected_register_moves_both_neighbours(area: scoped_session[Session], config: Config) -> None:
    store([register(MIDNIGHT + n * DAY, 100 + 10 * n) for n in range(4)], config)
    refresh()
    assert list(daily_of().values()) == [10, 10, 10]
    store([register(MIDNIGHT + DAY, 104)], config)
    refresh()
    assert list(daily_of().values()) == [4, 16, 10]
    # One in between splits a stretch; and what was is still on record.
    store([register(MIDNIGHT + 1.5 * DAY, 119)], config)
    refresh()
    assert list(daily_of().values()) == [4, 16, 10]
    assert energy(MIDNIGHT + DAY, MIDNIGHT + 1.5 * DAY).import_kwh == 15
    assert fetch("SELECT value FROM reading_versions") == [(110,)]


def test_energy_goes_away_again_where_a_register_turns_out_to_have_fallen(
    area: scoped_session[Session], config: Config
) -> None:
    store([register(MIDNIGHT, 100), register(MIDNIGHT + DAY, 110)], config)
    refresh()
    store([register(MIDNIGHT + DAY, 50)], config)
    refresh()
    assert (daily_of(), fetch("SELECT * FROM usage_hourly"), fetch("SELECT * FROM register_usage")) == ({}, [], [])
    assert energy(MIDNIGHT, MIDNIGHT + DAY).covered_seconds == 0


def test_a_register_begins_again_at_its_digits(area: scoped_session[Session], config: Config) -> None:
    store([register(MIDNIGHT, 9_995), register(MIDNIGHT + DAY, 7)], config)
    refresh()
    assert daily_of() == {}
    area.execute(text("UPDATE meters SET digits = 4 WHERE meter_key = 13"))
    area.commit()
    refresh()
    assert daily_of() == {"2026-11-10": Decimal(12)}


def test_a_reset_leaves_its_stretch_missing_and_counts_on(area: scoped_session[Session], config: Config) -> None:
    told = (5_000, 5_010, 3, 9)
    store([register(MIDNIGHT + n * DAY, kwh) for n, kwh in enumerate(told)], config)
    refresh()
    assert daily_of() == {"2026-11-10": Decimal(10), "2026-11-12": Decimal(6)}
    [_, reset, _] = queries.list_daily(13, Period(MIDNIGHT, MIDNIGHT + 3 * DAY), IST)
    assert (reset.import_kwh, reset.covered_seconds) == (0, 0)


@pytest.mark.promise(5)
def test_intervals_take_the_place_of_what_was_spread(area: scoped_session[Session], config: Config) -> None:
    store([register(MIDNIGHT, 100), register(MIDNIGHT + DAY, 109.6)], config)
    refresh()
    assert energy(MIDNIGHT, MIDNIGHT + DAY).estimated_kwh == Decimal("9.6")
    quarters = series(MIDNIGHT, 96, energy_kwh=Decimal("0.1"))
    store(quarters[:48], config)
    refresh()
    half = energy(MIDNIGHT, MIDNIGHT + DAY)
    assert (half.import_kwh, half.estimated_kwh, half.covered_seconds) == (Decimal("9.6"), Decimal("4.8"), 86_400)
    store(quarters[48:], config)
    refresh()
    full = energy(MIDNIGHT, MIDNIGHT + DAY)
    assert (full.import_kwh, full.estimated_kwh, full.overlap_seconds) == (Decimal("9.6"), 0, 0)
    assert fetch("SELECT count(*) FROM register_usage") == [(0,)]


def test_a_day_long_interval_over_many_registers(area: scoped_session[Session], config: Config) -> None:
    store([register(MIDNIGHT + n * 2 * HOUR, 100 + n) for n in range(13)], config)
    refresh()
    store([row(timestamp=MIDNIGHT, interval_seconds=86_400, energy_kwh=Decimal(12))], config)
    refresh()
    assert fetch("SELECT count(*) FROM register_usage") == [(0,)]
    assert energy(MIDNIGHT, MIDNIGHT + DAY).import_kwh == 12


@pytest.mark.promise(3)
def test_a_swap_never_subtracts_across_meters(area: scoped_session[Session], config: Config) -> None:
    user = make_holder(meter_id="MTR-00000013", since=MIDNIGHT)
    store([register(MIDNIGHT, 5_000), register(MIDNIGHT + 2 * DAY, 5_020)], config)
    noon = MIDNIGHT + 2.5 * DAY
    swap.swap(
        user.user_id,
        make_pool(),
        "MTR-00000014",
        actor=SYSTEM,
        now=NOW,
        at=noon,
        closing_register=Decimal(5_026),
        opening_register=Decimal(3),
    )
    area.commit()
    store([register(MIDNIGHT + 3 * DAY, 7, meter_id="MTR-00000014")], config)
    refresh()
    assert daily_of(13) == {"2026-11-10": Decimal(10), "2026-11-11": Decimal(10), "2026-11-12": Decimal(6)}
    assert daily_of(14) == {"2026-11-12": Decimal(4)}
    assert energy(MIDNIGHT, noon).import_kwh + energy(noon, MIDNIGHT + 3 * DAY, 14).import_kwh == 30


@pytest.mark.promise(3)
def test_a_register_read_at_a_handover_parts_the_energy(area: scoped_session[Session], config: Config) -> None:
    user = make_holder(meter_id="MTR-00000013", since=MIDNIGHT)
    store([register(MIDNIGHT, 100), register(MIDNIGHT + 4 * DAY, 140)], config)
    refresh()
    assert energy(MIDNIGHT, MIDNIGHT + DAY).import_kwh == 10
    meters.unassign(user.user_id, make_pool(), actor=SYSTEM, now=NOW, at=MIDNIGHT + DAY, closing_register=Decimal(131))
    area.commit()
    refresh()
    assert energy(MIDNIGHT, MIDNIGHT + DAY).import_kwh == 31
    assert energy(MIDNIGHT + DAY, MIDNIGHT + 4 * DAY).import_kwh == 9


def test_one_meter_now_reaches_back_to_the_register_before(area: scoped_session[Session], config: Config) -> None:
    store([register(MIDNIGHT - 60 * DAY, 100), register(MIDNIGHT, 700)], config)
    october = Period(local_day(date(2026, 10, 1), IST).start, local_day(date(2026, 11, 1), IST).start)
    actions.refresh_meter(13, october)
    area.commit()
    assert queries.sum_energy(13, october, IST).import_kwh == 310


def test_a_second_later_and_with_fractions_nothing_is_lost(area: scoped_session[Session], config: Config) -> None:
    instants = [datetime(2026, 11, 10, hour, 59, 59, 999_999, tzinfo=UTC) for hour in (1, 4, 5, 23)]
    store([register(at, Decimal("0.333333") * n) for n, at in enumerate(instants)], config)
    refresh()
    found = energy(instants[0], instants[-1])
    assert (found.import_kwh, found.overlap_seconds) == (Decimal("0.999999"), 0)
