"""Many at once, in real threads with their own connections: promise 1 and 2 under load."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from portal.audit import CLI, SYSTEM
from portal.db import session
from portal.meters import actions, bulk
from portal.registration import register
from tests.factories import make_holder, make_pool, make_user


def now():
    return datetime.now(UTC)


def nothing_is_false():
    """What must hold whatever happened: nobody twice, nothing half assigned."""
    assert session.scalar(text("SELECT count(*) - count(DISTINCT meter_id) FROM users WHERE meter_id IS NOT NULL")) == 0
    assert not session.execute(
        text("""
            SELECT u.user_id FROM users u FULL JOIN
                (SELECT user_id, 'MTR-' || lpad(meter_key::text, 8, '0') AS held
                 FROM meter_assignments WHERE unassigned_at IS NULL) a USING (user_id)
            WHERE u.meter_id IS DISTINCT FROM a.held""")
    ).all()
    assert not session.execute(
        text("SELECT FROM free_meters JOIN meter_assignments USING (meter_key) WHERE unassigned_at IS NULL")
    ).all()


@pytest.mark.promise(1)
@pytest.mark.promise(2)
def test_forty_registrations_at_once_each_get_a_meter_of_their_own(app, at_once, act):
    def registration(number):
        return lambda: (
            register(
                f"Person {number}",
                f"p{number}@example.com",
                None,
                "Pune-West",
                None,
                make_pool(),
                actor=SYSTEM,
                now=now(),
            ).user.meter_id
        )

    meters = at_once([registration(number) for number in range(40)])
    assert sorted(meters) == [f"MTR-{number:08d}" for number in range(1, 41)]
    with act():
        nothing_is_false()


@pytest.mark.promise(2)
def test_the_last_meters_go_to_as_many_and_the_rest_wait(at_once, act):
    def registration(number):
        return lambda: (
            register(
                f"Person {number}",
                f"p{number}@example.com",
                None,
                "Pune-West",
                None,
                make_pool(last=7),
                actor=SYSTEM,
                now=now(),
            ).refusal
        )

    refusals = at_once([registration(number) for number in range(20)])
    assert Counter(getattr(each, "code", None) for each in refusals) == {None: 7, "NO_METERS_AVAILABLE": 13}
    with act():
        nothing_is_false()
        assert session.scalar(text("SELECT count(*) FROM users WHERE meter_id IS NULL")) == 13


@pytest.mark.promise(1)
def test_of_forty_admins_who_want_one_meter_one_gets_it(at_once, act):
    with act():
        users = [make_user().user_id for _ in range(40)]
    results = at_once(
        [
            lambda user=user: actions.assign(user, make_pool(), "MTR-00000050", how="admin", actor=CLI, now=now())
            for user in users
        ]
    )
    assert Counter(each for each in results if isinstance(each, str)) == {"METER_ALREADY_ASSIGNED": 39}
    with act():
        nothing_is_false()


@pytest.mark.promise(1)
def test_of_twenty_who_assign_to_one_user_one_succeeds(at_once, act):
    with act():
        user = make_user().user_id
    results = at_once([lambda: actions.assign(user, make_pool(), how="admin", actor=CLI, now=now()) for _ in range(20)])
    assert Counter(each for each in results if isinstance(each, str)) == {"USER_HAS_METER": 19}


@pytest.mark.promise(2)
def test_six_bulk_runs_share_the_work(at_once, act):
    with act():
        waiting = {make_user(region=random.choice(("Pune-West", "Delhi-North", None))).user_id for _ in range(120)}
    results = at_once([lambda: bulk.assign_all(make_pool(), actor=CLI, now=now()) for _ in range(6)])
    served = [row.user_id for result in results for row in result.assigned]
    assert Counter(served) == Counter(waiting)
    assert [result.failed for result in results] == [[]] * 6
    with act():
        nothing_is_false()


@pytest.mark.promise(1)
def test_registrations_assigns_bulk_runs_and_unassigns_all_at_once(at_once, act):
    with act():
        holders = [make_holder().user_id for _ in range(12)]
        waiting = [make_user().user_id for _ in range(12)]
    pool = make_pool()

    def registration(number):
        return lambda: register(
            f"Person {number}", f"p{number}@example.com", None, "Pune-West", None, pool, actor=SYSTEM, now=now()
        )

    calls = [registration(number) for number in range(12)]
    calls += [lambda user=user: actions.unassign(user, pool, actor=CLI, now=now()) for user in holders]
    calls += [
        lambda user=user, number=number: actions.assign(
            user, pool, f"MTR-{number + 1:08d}" if number % 2 else None, how="admin", actor=CLI, now=now()
        )
        for number, user in enumerate(waiting)
    ]
    calls += [lambda: bulk.assign_all(pool, actor=CLI, now=now()) for _ in range(4)]
    random.shuffle(calls)
    refused = Counter(each for each in at_once(calls) if isinstance(each, str))
    # A meter or user may be taken first by a neighbour; nothing else may go wrong.
    assert set(refused) <= {"METER_ALREADY_ASSIGNED", "USER_HAS_METER"}
    with act():
        nothing_is_false()
        bulk.assign_all(pool, actor=CLI, now=now())
        assert session.scalar(text("SELECT count(*) FROM users WHERE meter_id IS NULL")) == 0
        nothing_is_false()
