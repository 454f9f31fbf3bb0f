"""Two or three transactions, step by step, in the orders that hurt: nobody fails for a neighbour, no meter is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from contextlib import ExitStack
from datetime import timedelta

import pytest
from sqlalchemy import text

from portal.audit import CLI, SYSTEM
from portal.db import session
from portal.meters import actions, bulk, holding, life, stats, swap
from portal.registration import register
from tests.factories import NOW, make_holder, make_pool, make_user

LATER = NOW + timedelta(days=1)


class Hand:
    """One transaction in a thread of its own; each step is run when it is told."""

    def __init__(self, app):
        self._thread = ThreadPoolExecutor(1)
        self._context = app.app_context()
        self._thread.submit(self._context.push).result()

    def do(self, step, wait=10):
        """Run a step to its end."""
        return self.begin(step).result(wait)

    def begin(self, step):
        """Run a step that may have to wait for a neighbour."""
        return self._thread.submit(step)

    def commit(self):
        self.do(session.commit)

    def close(self):
        self.do(session.rollback, 30)
        self._thread.submit(self._context.pop).result()
        self._thread.shutdown()


@pytest.fixture
def hands(app):
    """Three transactions."""
    with ExitStack() as all_of_them:
        made = [Hand(app) for _ in range(3)]
        for each in made:
            all_of_them.callback(each.close)
        yield made


def waits(step):
    """True when the step stands behind a neighbour's lock."""
    try:
        step.result(0.4)
    except StillWaiting:
        return True
    return False


def assign(user_id, meter_id=None, pool=None, **details):
    return actions.assign(user_id, pool or make_pool(), meter_id, how="admin", actor=CLI, now=LATER, **details)


def join(name, region="Pune-West", pool=None):
    return register(name, f"{name}@example.com", None, region, None, pool or make_pool(), actor=SYSTEM, now=LATER)


def free_keys():
    return set(session.scalars(text("SELECT meter_key FROM free_meters")))


@pytest.mark.promise(2)
def test_a_bulk_run_passes_over_a_number_that_an_admin_gives_at_this_moment(act, hands):
    """The admin takes a number that no block of the pool holds yet; the run brings that block and reaches for it."""
    with act():
        wanted = make_user().user_id
        waiting = [make_user().user_id for _ in range(5)]
    admin, run, _ = hands
    admin.do(lambda: assign(wanted, "MTR-00000003"))
    served = run.begin(lambda: bulk.assign_all(make_pool(), actor=CLI, now=LATER))
    assert waits(served)
    admin.commit()
    result = served.result(10)
    run.commit()
    assert {row.user_id for row in result.assigned} == set(waiting)
    assert [row.meter_id for row in result.assigned] == [f"MTR-0000000{n}" for n in (1, 2, 6, 4, 5)]
    assert result.failed == []


@pytest.mark.promise(2)
def test_stocking_the_next_numbers_and_a_registration_that_reaches_for_them(act, hands):
    """An admin keeps the clerk waiting at the last of the meters; a person needs what the clerk has locked by then."""
    with act():
        holder = make_user().user_id
    clerk, person, admin = hands
    admin.do(lambda: assign(holder, "MTR-00000900"))
    stocking = clerk.begin(
        lambda: bulk.provision("MTR-00000001", "MTR-00000900", None, make_pool(), actor=CLI, now=NOW)
    )
    assert waits(stocking)
    registering = person.begin(lambda: join("asha").user.meter_id)
    assert waits(registering)
    admin.commit()
    assert stocking.result(10).stocked == 899
    clerk.commit()
    assert registering.result(10) == "MTR-00000001"
    person.commit()


@pytest.mark.promise(2)
@pytest.mark.parametrize("passed", [1, 901])
def test_restocking_a_region_and_a_registration_there_end_without_a_circle(act, hands, passed):
    """The registration brings the region's stock into the pool while the clerk makes that stock unallocated."""
    pool = make_pool(last=900)
    with act():
        bulk.provision("MTR-00000001", "MTR-00000900", "Pune-West", pool, actor=CLI, now=NOW)
        session.execute(text("UPDATE pool_source SET next_key = :passed"), {"passed": passed})
    person, clerk, _ = hands
    person.do(lambda: pool.claim("Pune-West", 1))
    stocking = clerk.begin(lambda: bulk.provision("MTR-00000001", "MTR-00000900", None, pool, actor=CLI, now=NOW))
    assert waits(stocking)
    # What the person has brought stays in the pool; the one that they claimed goes back.
    person.do(lambda: pool.give_back(1, "Pune-West"))
    person.commit()
    assert stocking.result(10).stocked == 900
    clerk.commit()
    with act():
        assert assign(make_user(region="Delhi-North").user_id, pool=pool).meter_id == "MTR-00000001"
        assert free_keys() == set(range(2, 901))


@pytest.mark.promise(2)
def test_a_meter_that_comes_back_while_its_number_is_restocked_can_be_claimed(act, hands):
    pool = make_pool(last=5)
    with act():
        holder = make_holder(meter_id="MTR-00000002", pool=pool).user_id
    admin, clerk, _ = hands
    admin.do(lambda: actions.unassign(holder, pool, actor=CLI, now=LATER))
    stocking = clerk.begin(
        lambda: bulk.provision("MTR-00000001", "MTR-00000005", "Delhi-North", pool, actor=CLI, now=NOW)
    )
    assert waits(stocking)
    admin.commit()
    assert stocking.result(10).stocked == 5
    clerk.commit()
    with act():
        given = [assign(make_user(region="Delhi-North").user_id, pool=pool).meter_id for _ in range(5)]
        assert sorted(given) == [f"MTR-0000000{n}" for n in range(1, 6)]


def leave_in_the_pool(hands, user_id, meter_id):
    """A number that its holder got while a neighbour brought its block into the pool stands there still."""
    admin, person, _ = hands
    admin.do(lambda: assign(user_id, meter_id))
    person.do(lambda: make_pool()._refill_from_range())
    person.commit()
    admin.commit()


@pytest.mark.promise(2)
@pytest.mark.parametrize("act_on", ["unassign", "swap", "relocate"])
def test_taking_a_meter_back_and_a_claim_of_its_old_row_in_the_pool(act, hands, act_on):
    with act():
        holder = make_user().user_id
    leave_in_the_pool(hands, holder, "MTR-00000001")
    with act():
        assert 1 in free_keys()
    person, admin, _ = hands
    pool = make_pool()
    doing = {
        "unassign": lambda: actions.unassign(holder, pool, actor=CLI, now=LATER + timedelta(days=1)),
        "swap": lambda: swap.swap(holder, pool, actor=CLI, now=LATER + timedelta(days=1)),
        "relocate": lambda: swap.relocate(holder, "Delhi-North", pool, actor=CLI, now=LATER + timedelta(days=1)),
    }[act_on]
    assert person.do(lambda: pool.claim("Pune-West", 1)) == [1]
    returning = admin.begin(doing)
    assert waits(returning)
    assert person.do(lambda: holding.mark_assigned([1], ["Pune-West"])) == set()
    person.commit()
    returning.result(10)
    admin.commit()
    with act():
        assert 1 in free_keys()
        assert assign(make_user().user_id).meter_id == "MTR-00000001"


@pytest.mark.promise(2)
def test_a_rest_that_ends_and_a_claim_of_the_meters_old_row_in_the_pool(act, hands):
    pool = make_pool(rest_days=3)
    with act():
        holder = make_user().user_id
    leave_in_the_pool(hands, holder, "MTR-00000001")
    with act():
        session.execute(text("INSERT INTO free_meters (meter_key) VALUES (2) ON CONFLICT DO NOTHING"))
        actions.unassign(holder, pool, actor=CLI, now=LATER + timedelta(days=1))
        session.execute(text("INSERT INTO free_meters (meter_key) VALUES (1) ON CONFLICT DO NOTHING"))
    person, worker, _ = hands
    assert person.do(lambda: pool.claim("Pune-West", 1)) == [1]
    releasing = worker.begin(lambda: life.release_rested(pool, now=NOW + timedelta(days=9)))
    waits(releasing)
    person.do(lambda: holding.mark_assigned([1], ["Pune-West"]))
    person.commit()
    releasing.result(10)
    worker.commit()
    with act():
        life.release_rested(pool, now=NOW + timedelta(days=9))
    with act():
        state = session.scalar(text("SELECT status FROM meters WHERE meter_key = 1"))
        assert state == "assigned" or 1 in free_keys()


def test_counting_anew_while_somebody_folds_counts_nothing_twice(act, hands):
    with act():
        for _ in range(3):
            make_holder()
        session.execute(
            text("INSERT INTO tallies (what, n) SELECT 'customer', (-1) ^ n FROM generate_series(1, 3000) n")
        )
    folder, counter, _ = hands
    assert folder.do(lambda: stats.fold(NOW))
    counter.do(stats.recount)
    folder.commit()
    counter.commit()
    with act():
        counts = stats.stats(make_pool())
        assert (counts.total_users, counts.users_with_meters) == (3, 3)


def test_counting_anew_puts_right_what_is_wrong_beside_an_act_that_is_not_done(act, hands):
    with act():
        make_holder()
        waiting = make_user().user_id
        session.execute(text("INSERT INTO tallies (what, n) VALUES ('holder', 40)"))
    admin, counter, other = hands
    admin.do(lambda: assign(waiting))
    counter.do(stats.recount)
    second = other.begin(stats.recount)
    assert waits(second)  # or both would put it right
    admin.commit()
    counter.commit()
    second.result(10)
    other.commit()
    with act():
        counts = stats.stats(make_pool())
        assert (counts.total_users, counts.users_with_meters) == (2, 2)
