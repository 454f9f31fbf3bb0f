"""Any sequence of acts against a plain model of who holds what (hypothesis)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from portal.audit import CLI
from portal.db import session
from portal.errors import Conflict, NotFound
from portal.meters import actions, bulk, stats
from tests.factories import NOW, make_pool, make_user

REGIONS = ("Pune-West", "Delhi-North")


class Holding(RuleBasedStateMachine):
    """A range of six meters and users of two regions."""

    users = Bundle("users")

    def __init__(self):
        super().__init__()
        session.rollback()
        session.execute(
            text("TRUNCATE users, meters, free_meters, pool_source, connections, meter_assignments CASCADE")
        )
        session.commit()
        self.pool = make_pool(last=6)
        self.holds = {}
        self.region_of = {}
        self.meter_region = {}
        self.clock = NOW

    def tick(self):
        self.clock += timedelta(seconds=1)
        return self.clock

    @staticmethod
    def refused(why, expected):
        assert why == expected

    def free_for(self, region):
        held = set(self.holds.values())
        free = [n for n in range(1, 7) if n not in held]
        own = [n for n in free if self.meter_region.get(n) == region]
        return own or [n for n in free if self.meter_region.get(n) is None]

    def took(self, user, number):
        self.holds[user] = number
        self.meter_region[number] = self.region_of[user]

    @rule(target=users, region=st.sampled_from(REGIONS))
    def join(self, region):
        user = make_user(region=region).user_id
        session.commit()
        self.region_of[user] = region
        return user

    @rule(user=users)
    def assign_next(self, user):
        free = self.free_for(self.region_of[user])
        try:
            given = actions.assign(user, self.pool, how="admin", actor=CLI, now=self.tick())
            session.commit()
        except Conflict as refusal:
            session.rollback()
            self.refused(refusal.code, "USER_HAS_METER" if user in self.holds else "NO_METERS_AVAILABLE")
            if user not in self.holds:
                self.refused(len(free), 0)
            return
        number = int(given.meter_id[4:])
        assert user not in self.holds
        assert number == free[0]
        self.took(user, number)

    @rule(user=users, number=st.integers(0, 7))
    def assign_named(self, user, number):
        try:
            actions.assign(user, self.pool, f"MTR-{number:08d}", how="admin", actor=CLI, now=self.tick())
            session.commit()
        except (Conflict, NotFound) as refusal:
            session.rollback()
            expected = (
                "METER_NOT_FOUND"
                if number not in range(1, 7)
                else "USER_HAS_METER"
                if user in self.holds
                else "METER_ALREADY_ASSIGNED"
                if number in self.holds.values()
                else "REGION_MISMATCH"
            )
            self.refused(refusal.code, expected)
            return
        assert user not in self.holds
        assert number not in self.holds.values()
        assert self.meter_region.get(number) in (None, self.region_of[user])
        self.took(user, number)

    @rule(user=users)
    def unassign(self, user):
        try:
            freed = actions.unassign(user, self.pool, actor=CLI, now=self.tick())
            session.commit()
        except NotFound:
            session.rollback()
            self.refused(user in self.holds, False)
            return
        assert int(freed.meter_id[4:]) == self.holds.pop(user)

    @rule()
    def bulk_run(self):
        result = bulk.assign_all(self.pool, actor=CLI, now=self.tick())
        session.commit()
        for row in result.assigned:
            assert row.user_id not in self.holds
            self.took(row.user_id, int(row.meter_id[4:]))
        for row in result.failed:
            assert not self.free_for(self.region_of[row.user_id])

    @invariant()
    def the_tables_say_what_the_model_says(self):
        rows = session.execute(text("SELECT user_id, meter_id FROM users WHERE meter_id IS NOT NULL")).all()
        assert {user: int(meter[4:]) for user, meter in rows} == self.holds
        assert stats.stats(self.pool).available_meters == 6 - len(self.holds)
        session.rollback()


@pytest.mark.promise(1)
@pytest.mark.usefixtures("area")
def test_any_sequence_of_acts_keeps_to_the_model():
    run_state_machine_as_test(
        Holding,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
