"""Assign and unassign: every rule, and promise 1 and 2."""

from __future__ import annotations

from datetime import timedelta

import pytest

from portal.audit import CLI
from portal.errors import Conflict, Invalid, NotFound, PortalError
from portal.meters import actions, life, queries, stats, swap
from portal.meters.models import Meter
from tests.factories import NOW, make_holder, make_pool, make_user

pytestmark = pytest.mark.usefixtures("area")


def assign(user, meter_id=None, region=None, pool=None, now=NOW):
    return actions.assign(user.user_id, pool or make_pool(), meter_id, region, how="admin", actor=CLI, now=now)


def unassign(user, pool=None, now=NOW + timedelta(hours=1)):
    return actions.unassign(user.user_id, pool or make_pool(), actor=CLI, now=now)


def test_the_next_free_meter_is_the_lowest(area):
    assert assign(make_user()).meter_id == "MTR-00000001"
    assert assign(make_user()).meter_id == "MTR-00000002"
    area.commit()


def test_a_named_meter_is_passed_over_by_later_automatic_ones(area):
    assert assign(make_user(), "MTR-00000002").meter_id == "MTR-00000002"
    assert [assign(make_user()).meter_id for _ in range(2)] == ["MTR-00000001", "MTR-00000003"]
    area.commit()


@pytest.mark.promise(1)
def test_a_held_meter_is_refused_to_others_and_a_holder_gets_no_second(area):
    first = make_holder(meter_id="MTR-00000007")
    area.commit()
    second = make_user()
    with pytest.raises(Conflict) as refused:
        assign(second, "MTR-00000007")
    assert refused.value.code == "METER_ALREADY_ASSIGNED"
    with pytest.raises(Conflict) as refused:
        assign(first)
    assert refused.value.code == "USER_HAS_METER"


@pytest.mark.parametrize(
    "meter_id", ["MTR-00000000", "MTR-10000001", "MTR-1", "mtr-00000001", "MTR-00000001 ", "MTR-٠٠٠٠٠٠٠١"]
)
def test_what_is_no_meter_of_the_range_is_not_found(meter_id):
    with pytest.raises(NotFound) as refused:
        assign(make_user(), meter_id)
    assert refused.value.code == "METER_NOT_FOUND"


def test_refusals_come_in_the_order_of_the_contract(area):
    holder = make_holder()
    with pytest.raises(NotFound, match="outside the range"):
        assign(holder, "MTR-99999999")
    life.move_meter("MTR-00000009", "faulty", make_pool(), actor=CLI, now=NOW)
    with pytest.raises(Conflict) as refused:
        assign(holder, "MTR-00000009")
    assert refused.value.code == "USER_HAS_METER"
    with pytest.raises(Conflict) as refused:
        assign(make_user(), "MTR-00000009")
    assert refused.value.code == "METER_NOT_ASSIGNABLE"


def test_a_meter_keeps_its_holders_region_when_it_comes_back(area):
    holder = make_holder(region="Mumbai-North")
    freed = unassign(holder)
    assert area.get(Meter, 1).region == "Mumbai-North"
    elsewhere = make_user(region="Pune-East")
    with pytest.raises(Conflict) as refused:
        assign(elsewhere, freed.meter_id)
    assert refused.value.code == "REGION_MISMATCH"
    # The automatic choice passes over it too; a neighbour gets it before unallocated stock.
    assert assign(elsewhere).meter_id == "MTR-00000002"
    assert assign(make_user(region="Mumbai-North")).meter_id == freed.meter_id
    area.commit()


def test_a_given_region_becomes_the_users(area):
    user = make_user(region=None)
    assert assign(user, region="Delhi-South").region == "Delhi-South"
    assert user.region == "Delhi-South"
    with pytest.raises(Invalid, match="Chennai-North"):
        assign(make_user(), region="Atlantis")


def test_the_end_of_the_range_says_how_to_extend_it(area):
    pool = make_pool(last=2)
    assign(make_user(), pool=pool)
    assign(make_user(), pool=pool)
    with pytest.raises(Conflict, match="METER_LAST") as refused:
        assign(make_user(), pool=pool)
    assert refused.value.code == "NO_METERS_AVAILABLE"
    assert assign(make_user(), pool=make_pool(last=3)).meter_id == "MTR-00000003"


def test_lowering_the_end_takes_no_meter_away(area):
    holder = make_holder(meter_id="MTR-00000009")
    small = make_pool(last=5)
    assert stats.stats(small).available_meters == 5
    assert holder.meter_id == "MTR-00000009"
    assert unassign(holder, small).meter_id == "MTR-00000009"
    area.commit()
    with pytest.raises(NotFound):
        assign(make_user(), "MTR-00000009", pool=small)


def test_a_meter_that_came_back_above_a_lowered_end_is_claimed_when_the_end_is_raised(area):
    """Also one without a region, whose number lies behind the next one of the range."""
    holder = make_holder(meter_id="MTR-00000009", region=None, pool=make_pool(last=9))
    small = make_pool(last=3)
    unassign(holder, small)
    area.commit()
    for _ in range(3):
        assign(make_user(region=None), pool=small)
    with pytest.raises(Conflict, match="No free meter"):
        assign(make_user(region=None), pool=small)
    assert {assign(make_user(region=None), pool=make_pool(last=9)).meter_id for _ in range(6)} == {
        f"MTR-{number:08d}" for number in range(4, 10)
    }
    area.commit()


def test_a_meter_that_comes_back_can_be_given_at_the_same_instant(area):
    """Two acts whose clocks were read before either had its locks."""
    first, second = make_holder(), make_user()
    unassign(first, now=NOW + timedelta(seconds=5))
    again = assign(second, "MTR-00000001", now=NOW + timedelta(seconds=3))
    area.commit()
    rows = queries.list_assignments(meter_key=1)
    assert rows[0].unassigned_at == rows[1].assigned_at == again.since


def test_unassigning_nobody_is_told(area):
    with pytest.raises(NotFound) as refused:
        unassign(make_user())
    assert refused.value.code == "METER_NOT_ASSIGNED"


def test_staff_hold_no_meters():
    with pytest.raises(Conflict) as refused:
        assign(make_user(role="operator"))
    assert refused.value.code == "USER_NOT_CUSTOMER"


class TestMovingTheStartBack:
    def test_the_assignment_and_the_connection_move(self, area):
        user = make_holder()
        start = NOW - timedelta(days=365)
        actions.move_start(user.user_id, start, actor=CLI, now=NOW)
        area.commit()
        row = queries.find_open_assignment(user.user_id)
        assert row.assigned_at == start
        [connection] = queries.list_connections(queries.period_of(row).closed(NOW))
        assert connection.starts_at == start

    def test_never_into_somebody_elses_time(self, area):
        before, after = make_holder(), make_user()
        freed = unassign(before)
        assign(after, freed.meter_id, now=NOW + timedelta(hours=2))
        with pytest.raises(Conflict) as refused:
            actions.move_start(after.user_id, NOW + timedelta(minutes=30), actor=CLI, now=NOW + timedelta(hours=3))
        assert refused.value.code == "METER_ALREADY_ASSIGNED"
        # Right up to the moment when it came back is fine.
        actions.move_start(after.user_id, freed.since, actor=CLI, now=NOW + timedelta(hours=3))
        area.commit()

    def test_never_into_the_users_own_earlier_meter(self, area):
        user = make_holder()
        unassign(user)
        assign(user, "MTR-00000005", now=NOW + timedelta(hours=2))
        with pytest.raises(Conflict) as refused:
            actions.move_start(user.user_id, NOW, actor=CLI, now=NOW + timedelta(hours=3))
        assert refused.value.code == "USER_HAS_METER"

    def test_only_backwards(self, area):
        user = make_holder()
        with pytest.raises(PortalError):
            actions.move_start(user.user_id, NOW, actor=CLI, now=NOW)


class TestTheNextFreeMeterOfAnActThatIsDatedBack:
    """It is the next one that was free since: a meter that came back yesterday is no reason to refuse the others."""

    BEFORE, BACK, TODAY = NOW - timedelta(days=9), NOW - timedelta(days=2), NOW + timedelta(days=1)

    @pytest.fixture
    def came_back(self, area):
        """MTR-00000001, the lowest free one, was held until two days ago."""
        holder = make_holder(since=NOW - timedelta(days=30))
        actions.unassign(holder.user_id, make_pool(), actor=CLI, now=self.TODAY, at=self.BACK)
        area.commit()

    def assign_since(self, since, **range_):
        pool = make_pool(**range_)
        return actions.assign(make_user().user_id, pool, how="admin", actor=CLI, now=self.TODAY, since=since)

    @pytest.mark.usefixtures("came_back")
    def test_passes_over_one_that_somebody_held_since(self):
        assert self.assign_since(self.BEFORE).meter_id == "MTR-00000002"
        assert self.assign_since(self.BACK).meter_id == "MTR-00000001"

    def test_passes_over_one_that_was_faulty_since(self, area):
        for state in ("faulty", "in_stock"):
            life.move_meter("MTR-00000001", state, make_pool(), actor=CLI, now=NOW)
        area.commit()
        assert self.assign_since(NOW - timedelta(hours=1)).meter_id == "MTR-00000002"
        assert self.assign_since(NOW).meter_id == "MTR-00000001"

    @pytest.mark.usefixtures("came_back")
    def test_leaves_those_that_it_passed_over_where_they_are(self, area):
        self.assign_since(self.BEFORE)
        area.commit()
        assert assign(make_user()).meter_id == "MTR-00000001"

    @pytest.mark.usefixtures("came_back")
    def test_says_since_when_there_is_none(self, area):
        with pytest.raises(Conflict) as refused:
            self.assign_since(self.BEFORE, last=1)
        assert refused.value.code == "NO_METERS_AVAILABLE"
        assert f"free since {self.BEFORE.isoformat()}" in refused.value.message
        area.rollback()
        assert assign(make_user(), pool=make_pool(last=1)).meter_id == "MTR-00000001"

    @pytest.mark.usefixtures("came_back")
    def test_holds_for_a_swap_and_a_relocation_too(self):
        early = NOW - timedelta(days=20)
        stays, moves = (make_holder(since=early, meter_id=f"MTR-0000000{number}") for number in (5, 6))
        swapped = swap.swap(stays.user_id, make_pool(), actor=CLI, now=self.TODAY, at=self.BEFORE)
        assert swapped.meter_id == "MTR-00000002"
        # Its own meter came back at that very instant, to its region's stock.
        moved = swap.relocate(moves.user_id, "Delhi-North", make_pool(), actor=CLI, now=self.TODAY, at=self.BEFORE)
        assert moved.meter_id == "MTR-00000003"
