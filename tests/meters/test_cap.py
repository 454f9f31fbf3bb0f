"""The cap on meters of accounts whose address is not confirmed: off by default, exact under any load when it is on."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import text

from portal.audit import CLI, SYSTEM
from portal.db import session
from portal.meters import actions, bulk
from portal.registration import register
from tests.factories import NOW, make_holder, make_pool, make_user
from tests.meters.test_races import nothing_is_false, now

CAPPED = make_pool(unverified_cap=7)


def sign_up(number, pool=CAPPED):
    return register(f"P {number}", f"p{number}@example.com", None, "Pune-West", None, pool, actor=SYSTEM, now=now())


def confirm(user_id):
    session.execute(text("UPDATE users SET email_verified_at = :now WHERE user_id = :id"), {"now": NOW, "id": user_id})


@pytest.mark.promise(2)
def test_of_forty_registrations_at_once_seven_get_a_meter_under_a_cap_of_seven(at_once, act):
    results = at_once([lambda number=number: sign_up(number) for number in range(40)])
    codes = Counter(each.refusal.code if each.refusal else None for each in results)
    assert codes == {None: 7, "UNVERIFIED_CAP_REACHED": 33}
    with act():
        nothing_is_false()
        assert session.scalar(text("SELECT count(*) FROM users WHERE meter_id IS NOT NULL")) == 7
        assert session.scalar(text("SELECT count(*) FROM audit_log WHERE action = 'meter.pending'")) == 33


@pytest.mark.promise(2)
def test_registrations_and_bulk_runs_keep_to_the_cap_together(at_once, act):
    with act():
        for _ in range(10):
            make_user()
    calls = [lambda number=number: sign_up(number) for number in range(10)]
    calls += [lambda: bulk.assign_all(CAPPED, actor=CLI, now=now()) for _ in range(3)]
    at_once(calls)
    with act():
        nothing_is_false()
        assert session.scalar(text("SELECT count(*) FROM users WHERE meter_id IS NOT NULL")) == 7


@pytest.mark.promise(2)
def test_whoever_confirms_is_served_by_the_next_bulk_run(area):
    for number in range(7):
        sign_up(number)
    waits = sign_up(7).user
    area.commit()
    [refused] = bulk.assign_all(CAPPED, actor=CLI, now=NOW).failed
    assert "Confirm the address" in refused.error
    confirm(waits.user_id)
    area.commit()
    result = bulk.assign_all(CAPPED, actor=CLI, now=NOW)
    assert [row.user_id for row in result.assigned] == [waits.user_id]
    area.commit()


def test_a_place_is_free_again_when_a_holder_confirms_or_gives_back(area):
    users = [sign_up(number).user for number in range(7)]
    confirm(users[0].user_id)
    actions.unassign(users[1].user_id, CAPPED, actor=CLI, now=NOW)
    assert [sign_up(number).refusal is None for number in (7, 8, 9)] == [True, True, False]
    area.commit()


def test_staff_may_go_beyond_it(area):
    for _ in range(7):
        make_holder()
    user = make_user()
    assert actions.assign(user.user_id, CAPPED, how="admin", actor=CLI, now=NOW).meter_id == "MTR-00000008"
    area.commit()


def test_without_a_cap_nobody_waits_for_anybody(app, at_once):
    """A registration that is not committed yet holds no other up."""
    with app.app_context():
        make_holder()  # who fills the pool
        session.commit()
        sign_up(0, make_pool())
        [other] = at_once([lambda: sign_up(1, make_pool())])
        assert other.user.meter_id == "MTR-00000003"
        session.rollback()
