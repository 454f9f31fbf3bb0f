"""Meters by status, region and number: exact totals and any page, whatever lies between."""

from __future__ import annotations

from datetime import timedelta

import pytest

from portal.audit import CLI
from portal.errors import Conflict, Invalid, NotFound
from portal.meters import bulk, life, queries, resting, stock
from portal.meters.models import Meter
from portal.meters.rules import meter_id
from portal.meters.stock import Sought
from tests.factories import NOW, make_holder, make_pool

POOL = make_pool()


def stocked(first, last, region="Pune-East"):
    bulk.provision(meter_id(first), meter_id(last), region, POOL, actor=CLI, now=NOW)


def numbers(page):
    return [each.meter.meter_key for each in page.meters]


@pytest.fixture
def spread(area):
    """Meters in three of the tallies' buckets, with an empty one between; some faulty, one held."""
    stocked(1, 5)
    stocked(99_998, 100_002)
    stocked(300_000, 300_004, "Delhi-North")
    stocked(7_000, 7_001, None)
    for key in (3, 100_001, 300_002):
        life.move_meter(meter_id(key), "faulty", POOL, actor=CLI, now=NOW)
    make_holder(name="Asha Kulkarni", region="Pune-East", meter_id=meter_id(100_000))
    area.commit()


EVERY = [1, 2, 3, 4, 5, 7_000, 7_001, *range(99_998, 100_003), *range(300_000, 300_005)]


@pytest.mark.parametrize(
    ("sought", "expected"),
    [
        (Sought(), EVERY),
        (Sought(region="Pune-East"), [1, 2, 3, 4, 5, *range(99_998, 100_003)]),
        (Sought(unallocated=True), [7_000, 7_001]),
        (Sought(status="faulty"), [3, 100_001, 300_002]),
        (Sought(status="faulty", region="Delhi-North"), [300_002]),
        (Sought(status="assigned"), [100_000]),
        (Sought(low=4, high=100_000), [4, 5, 7_000, 7_001, 99_998, 99_999, 100_000]),
        (Sought(low=100_002, high=100_002), [100_002]),
        (Sought(low=100_003, high=299_999), []),
        (Sought(low=300_001), [300_001, 300_002, 300_003, 300_004]),
        (Sought(status="retired"), []),
    ],
)
def test_every_page_of_a_list_joins_to_the_whole_and_its_total_is_exact(spread, sought, expected):
    for limit in (1, 3, 50):
        found = []
        for offset in range(0, len(expected) + limit, limit):
            page = stock.list_meters(sought, limit, offset)
            assert page.total == len(expected) == stock.count_meters(sought)
            found += numbers(page)
        assert found == expected
    assert [row.meter_key for lines in stock.iterate_lines(sought, size=2) for row in lines] == expected


def test_a_list_names_the_holder(spread):
    [held] = stock.list_meters(Sought(status="assigned")).meters
    assert held.name == "Asha Kulkarni"


@pytest.mark.parametrize(
    ("typed", "span"),
    [
        ("MTR-00000417", (417, 417)),
        (" mtr-0000041 ", (410, 419)),
        ("mtr9", (90_000_000, 99_999_999)),
        ("417", (417, 417)),
        ("00000417", (417, 417)),
    ],
)
def test_a_number_is_typed_whole_by_its_beginning_or_short(typed, span):
    assert stock.numbers_of(typed) == span


@pytest.mark.parametrize("typed", ["", "MTR-", "x", "1-2", "123456789", "٣", "MTR-0000 0417"])
def test_what_is_no_number_is_told(typed):
    with pytest.raises(Invalid) as refused:
        stock.numbers_of(typed)
    assert [wrong.field for wrong in refused.value.fields] == ["number"]


def test_numbers_without_a_row_are_counted(spread):
    assert stock.count_untouched(1, 10) == 5
    assert stock.count_untouched(100_003, 200_000) == 99_998


@pytest.fixture
def quarantine(area):
    """Four meters that came back: one whose time is up, two that rest on, one until staff release it; and others."""
    stocked(1, 9)
    for key, days in ((2, 3), (1, 10), (3, 20)):
        at = NOW - timedelta(days=5)
        life.move_meter(meter_id(key), "quarantine", make_pool(rest_days=days), actor=CLI, now=at)
    life.move_meter(meter_id(4), "quarantine", POOL, actor=CLI, now=NOW)
    area.commit()


def test_the_quarantine_lists_whose_time_is_up_first(quarantine):
    rows, total = resting.list_resting()
    assert [row.meter_id[-1] for row in rows] == ["2", "1", "3", "4"]
    assert (rows[0].until, rows[3].until) == (NOW - timedelta(days=2), None)
    assert total == 4
    assert resting.count_over(NOW) == 1
    assert resting.list_resting("Delhi-North") == ([], 0)


def test_the_quarantine_names_who_held_the_meter_last(area):
    from portal.meters import actions

    for name, days in (("Vikram Joshi", 9), ("Neha Gokhale", 5)):
        user = make_holder(name=name, meter_id=meter_id(8), since=NOW - timedelta(days=days))
        pool = make_pool(rest_days=30) if name.startswith("Neha") else POOL
        actions.unassign(user.user_id, pool, actor=CLI, now=NOW - timedelta(days=days - 2))
    [row] = resting.list_resting()[0]
    assert (row.name, row.came_back_at) == ("Neha Gokhale", NOW - timedelta(days=3))


def test_staff_release_one_before_its_time(quarantine, area):
    resting.release("MTR-00000003", POOL, reason="seen in the depot", actor=CLI, now=NOW)
    area.commit()
    assert area.get(Meter, 3).status == "in_stock"
    assert "MTR-00000003" in queries.list_free("Pune-East", POOL) or make_holder(
        region="Pune-East", meter_id="MTR-00000003"
    )


def test_a_release_never_mends_a_meter_that_was_marked_faulty_meanwhile(quarantine, area):
    life.move_meter("MTR-00000003", "faulty", POOL, actor=CLI, now=NOW)
    area.commit()
    with pytest.raises(Conflict) as refused:
        resting.release("MTR-00000003", POOL, actor=CLI, now=NOW)
    assert refused.value.code == "METER_NOT_RESTING"
    area.rollback()
    assert area.get(Meter, 3).status == "faulty"


def test_a_meter_that_nobody_heard_of_does_not_rest(area):
    with pytest.raises(Conflict):
        resting.get_resting("MTR-00000077", POOL)
    with pytest.raises(NotFound):
        resting.get_resting("MTR-99999999", POOL)
