"""One run for all who wait."""

from __future__ import annotations

import pytest

from portal.audit import CLI
from portal.errors import NotFound
from portal.meters import actions, bulk, life, rehearsal, stats
from tests.factories import NOW, make_holder, make_pool, make_user

pytestmark = pytest.mark.usefixtures("area")


def run(pool=None, **options):
    return bulk.assign_all(pool or make_pool(), actor=CLI, now=NOW, **options)


def foretell(pool=None, **options):
    return rehearsal.rehearse_all(pool or make_pool(), now=NOW, **options)


@pytest.mark.promise(2)
def test_everybody_who_waits_is_served_and_nobody_else(area):
    waiting = [make_user(region=region) for region in ("Pune-West", "Mumbai-North", None)]
    make_holder()
    make_user(role="operator")
    closed = make_user()
    closed.closed_at = NOW
    result = run()
    area.commit()
    assert {row.email for row in result.assigned} == {user.email for user in waiting}
    assert result.failed == []
    assert stats.count_waiting() == 0


def test_a_dry_run_says_exactly_what_a_run_does_and_does_nothing(area):
    for _ in range(3):
        make_user()
    area.commit()
    shown = foretell()
    assert stats.count_waiting() == 3
    assert run().assigned == shown.assigned


def test_who_gets_none_is_listed_with_the_reason(area):
    users = [make_user() for _ in range(4)]
    pool = make_pool(last=3)
    result = run(pool)
    assert len(result.assigned) == 3
    [refused] = result.failed
    assert refused.email == users[3].email
    assert "METER_LAST" in refused.error
    area.commit()
    assert run(make_pool(last=4)).total == 1


def test_region_and_limit(area):
    here = [make_user(region="Pune-East") for _ in range(3)]
    make_user(region="Delhi-North")
    result = run(region="Pune-East", limit=2)
    assert [row.email for row in result.assigned] == [user.email for user in here[:2]]
    assert stats.count_waiting() == 2


def test_more_than_a_chunk(area, monkeypatch):
    monkeypatch.setattr(bulk, "CHUNK", 3)
    for number in range(10):
        make_user(region=("Pune-West", "Pune-East")[number % 2])
    result = run()
    area.commit()
    assert len({row.meter_id for row in result.assigned}) == 10


def test_own_stock_goes_first_and_other_regions_stock_never(area):
    pool = make_pool(last=6)
    bulk.provision("MTR-00000002", "MTR-00000003", "Pune-West", pool, actor=CLI, now=NOW)
    bulk.provision("MTR-00000005", "MTR-00000006", "Delhi-North", pool, actor=CLI, now=NOW)
    for _ in range(5):
        make_user(region="Pune-West")
    result = run(pool)
    assert sorted(row.meter_id[-1] for row in result.assigned) == ["1", "2", "3", "4"]
    assert len(result.failed) == 1
    area.commit()


def test_a_meter_that_turned_faulty_in_the_pool_is_passed_over(area):
    pool = make_pool()
    make_holder()  # fills the pool
    life.move_meter("MTR-00000002", "faulty", pool, actor=CLI, now=NOW)
    make_user()
    assert [row.meter_id for row in run(pool).assigned] == ["MTR-00000003"]


def test_restocking_moves_a_meter_between_regions(area):
    pool = make_pool(last=1)
    holder = make_holder(region="Pune-West", pool=pool)
    actions.unassign(holder.user_id, pool, actor=CLI, now=NOW)
    there = make_user(region="Delhi-North")
    assert run(pool, region="Delhi-North").assigned == []
    assert bulk.provision("MTR-00000001", "MTR-00000001", "Delhi-North", pool, actor=CLI, now=NOW).stocked == 1
    assert [row.email for row in run(pool, region="Delhi-North").assigned] == [there.email]
    area.commit()


def test_the_statistics_count_only_open_customers(area):
    make_holder(region="Pune-West")
    make_holder(region="Pune-West")
    make_holder(region="Delhi-North")
    make_user()
    make_user(role="admin")
    closed = make_user()
    closed.closed_at = NOW
    area.commit()
    counts = stats.stats(make_pool())
    assert (counts.total_users, counts.users_with_meters, counts.users_without_meters) == (4, 3, 1)
    assert counts.assignment_percentage == 75.0
    assert counts.meters_by_region == [("Pune-West", 2), ("Delhi-North", 1)]
    assert counts.available_meters == 10_000_000 - 3
    assert counts.last_assigned_at == NOW


def test_the_next_numbers_are_stocked_after_the_highest_known(area):
    make_holder(meter_id="MTR-00000020")
    pool = make_pool(last=30)
    first, last, done = bulk.provision_next(5, "Delhi-North", pool, actor=CLI, now=NOW)
    assert (first, last, done.stocked) == ("MTR-00000021", "MTR-00000025", 5)
    make_user(region="Delhi-North")
    assert [row.meter_id for row in run(pool).assigned] == ["MTR-00000021"]
    with pytest.raises(NotFound, match="outside the range"):
        bulk.provision_next(6, "Delhi-North", pool, actor=CLI, now=NOW)
