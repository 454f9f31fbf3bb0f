"""Acts that meet in the one order in which they could wait for each other: the first is held until the second waits."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from portal.accounts import queries as accounts
from portal.audit import CLI, SYSTEM
from portal.db import db, session
from portal.errors import PortalError
from portal.meters import actions, bulk, queries
from portal.meters.pool import Pool
from portal.registration import close_account, register
from tests.billing.bills import give_readings, india, run
from tests.factories import NOW, make_holder, make_pool, make_user

_WAITING = text("""
    SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')""")


def until_somebody_waits(seconds=5.0):
    """Until a connection to this database waits for a lock; False if none does."""
    end = time.monotonic() + seconds
    with db.engine.connect() as connection:
        while time.monotonic() < end:
            if connection.scalar(_WAITING):
                return True
            connection.rollback()
            time.sleep(0.01)
    return False


@pytest.fixture
def meeting(app):
    """`meeting(first, second)`: second starts when first says so (it is given the event); gives what both came to."""

    def meet(first, second):
        ready = threading.Event()

        def run_one(call):
            with app.app_context():
                try:
                    result = call()
                    session.commit()
                except PortalError as refusal:
                    session.rollback()
                    return refusal.code
                return result

        def later():
            assert ready.wait(10)
            return run_one(second)

        with ThreadPoolExecutor(2) as threads:
            started = threads.submit(later)
            try:
                one = run_one(lambda: first(ready))
            finally:
                ready.set()
            return one, started.result(30)

    return meet


class Slow(Pool):
    """A pool whose first claim is held until somebody else waits for something."""

    def __init__(self, last, ready):
        super().__init__(1, last)
        self.ready = ready

    def _take(self, region, count, since):
        taken = super()._take(region, count, since)
        if not self.ready.is_set():
            self.ready.set()
            until_somebody_waits()
        return taken


@pytest.mark.promise(2)
def test_a_bulk_run_and_a_registration_never_wait_for_each_other(meeting, act):
    """The run has claimed the last meters and wants more; the registration is at the end of the range, and waits."""
    with act():
        for _ in range(3):
            make_user(region=None)
        make_pool(last=2).give_back(1, None)
        make_pool(last=2).give_back(2, None)
        make_pool(last=2).hold_source()
        session.execute(text("UPDATE pool_source SET next_key = 3"))
    result, registered = meeting(
        lambda ready: bulk.assign_all(Slow(2, ready), actor=CLI, now=NOW),
        lambda: register("Asha", "asha@example.com", None, None, None, make_pool(last=2), actor=SYSTEM, now=NOW),
    )
    assert (len(result.assigned), len(result.failed)) == (2, 1)
    assert registered.refusal.code == "NO_METERS_AVAILABLE"


@pytest.mark.promise(2)
def test_a_bulk_run_passes_over_a_meter_that_an_admin_is_assigning_by_name(meeting, act):
    """The refill of the run can't see the admin's row yet; the run has claimed the number before it finds out."""
    with act():
        admins = make_user().user_id
        for _ in range(3):
            make_user()

    def by_name(ready):
        given = actions.assign(admins, make_pool(last=3), "MTR-00000002", how="admin", actor=CLI, now=NOW)
        ready.set()
        assert until_somebody_waits()
        return given

    given, result = meeting(by_name, lambda: bulk.assign_all(make_pool(last=3), actor=CLI, now=NOW))
    assert given.meter_id == "MTR-00000002"
    assert [row.meter_id for row in result.assigned] == ["MTR-00000001", "MTR-00000003"]
    assert len(result.failed) == 1


def test_a_meter_given_by_name_as_it_comes_back_is_out_of_the_pool(meeting, act):
    with act():
        holder, other = make_holder().user_id, make_user().user_id

    def take_back(ready):
        actions.unassign(holder, make_pool(), actor=CLI, now=NOW)
        ready.set()
        assert until_somebody_waits()

    _, given = meeting(
        take_back, lambda: actions.assign(other, make_pool(), "MTR-00000001", how="admin", actor=CLI, now=NOW)
    )
    assert given.meter_id == "MTR-00000001"
    with act():
        assert session.scalar(text("SELECT count(*) FROM free_meters WHERE meter_key = 1")) == 0


@pytest.mark.promise(6)
def test_a_meter_comes_back_while_its_bill_is_made(meeting, act, config):
    with act():
        user = make_holder(since=india(2026, 10, 1))
        give_readings(user.meter_id, india(2026, 10, 1), india(2026, 11, 1), config)

    def take_back(ready):
        accounts.lock_user(user.user_id)
        ready.set()
        assert until_somebody_waits()
        return actions.unassign(user.user_id, make_pool(), actor=CLI, now=NOW)

    freed, billed = meeting(take_back, lambda: run(2026, 10))
    assert freed.meter_id == "MTR-00000001"
    assert (billed.success, billed.errors) == (1, [])


def test_an_account_is_closed_while_a_meter_goes_to_it(meeting, act):
    with act():
        user = make_user().user_id

    def give(ready):
        given = actions.assign(user, make_pool(), how="admin", actor=CLI, now=NOW)
        ready.set()
        assert until_somebody_waits()
        return given

    _, closed = meeting(give, lambda: close_account(user, make_pool(), actor=CLI, now=NOW))
    assert closed.meter_id is None
    with act():
        [row] = queries.list_assignments(user_id=user)
        assert row.unassigned_how == "closing"
