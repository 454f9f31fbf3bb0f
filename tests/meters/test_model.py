"""Any sequence of acts against a plain model of who held what when, and of every meter's life (hypothesis)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from portal.audit import CLI, SYSTEM
from portal.db import session
from portal.errors import PortalError
from portal.meters import actions, bulk, history, life, stats, swap
from portal.registration import register
from tests.factories import NOW, make_pool, make_user

LAST = 6
REGIONS = ("Pune-West", "Delhi-North")
STATUSES = ("in_stock", "quarantine", "faulty", "retired")
TICK = timedelta(microseconds=1)
TOO_EARLY = "INSTANT_NOT_POSSIBLE"
BACK = st.sampled_from([None, None, *(timedelta(hours=hours) for hours in (0, 1, 24, 100, 1000))])
NUMBER = st.one_of(st.none(), st.integers(0, LAST + 1))
TO = st.sampled_from([None, None, *STATUSES])


@dataclass
class Period:
    user: object
    meter: int
    start: datetime
    end: datetime | None = None


@dataclass
class ModelMeter:
    status: str = "in_stock"
    region: str | None = None
    until: datetime | None = None
    came_out: list[datetime] = field(default_factory=list)  # of quarantine or repair


class Life(RuleBasedStateMachine):
    """A range of six meters, users of two regions and of none, and a clock that is not always ahead."""

    users = Bundle("users")
    names: ClassVar[int] = 0
    base: ClassVar[int] = 0

    @initialize(rest_days=st.sampled_from([0, 3]), cap=st.sampled_from([None, None, 1, 2]))
    def begin(self, rest_days, cap):
        session.rollback()
        session.execute(
            text("TRUNCATE users, meters, free_meters, pool_source, connections, meter_assignments CASCADE")
        )
        session.commit()
        # Numbers of its own: the audit log only grows, and what it says of a meter counts.
        Life.base += 10
        self.pool = make_pool(self.base + 1, self.base + LAST, rest_days=rest_days, unverified_cap=cap)
        self.region_of = {}
        self.verified = set()
        self.meters = {number: ModelMeter() for number in range(1, LAST + 1)}
        self.periods = []
        self.clock, self.acts = NOW, 0

    # What the model knows.

    def name(self, number):
        return None if number is None else f"MTR-{self.base + number:08d}"

    def number(self, meter_id):
        return int(meter_id[4:]) - self.base

    def tick(self):
        """Each act a second later; every third one by a clock that is five seconds behind."""
        self.acts += 1
        self.clock += timedelta(seconds=1)
        return self.clock - timedelta(seconds=5 if self.acts % 3 == 0 else 0)

    def held(self, user):
        return next((each for each in self.periods if each.user == user and each.end is None), None)

    def last_end(self, **of):
        [(name, value)] = of.items()
        return max((each.end for each in self.periods if getattr(each, name) == value and each.end), default=None)

    def next_free(self, region, since=None):
        """The next one; dated back, the next that nobody held, and that was in use, since."""
        free = [
            number
            for number, meter in self.meters.items()
            if meter.status == "in_stock" and (since is None or not self.busy_since(number, since))
        ]
        own = [number for number in free if region is not None and self.meters[number].region == region]
        return next(iter(own or [number for number in free if self.meters[number].region is None]), None)

    def busy_since(self, number, since, but_for=None):
        held = any(
            each.meter == number and each is not but_for and each.end is not None and each.end > since
            for each in self.periods
        )
        out = any(at > since for at in self.meters[number].came_out)
        return "METER_ALREADY_ASSIGNED" if held else "METER_NOT_ASSIGNABLE" if out else None

    def refusal_to_give(self, number, region, since=None):
        """(why this meter, or the next free one, cannot be given in this region; its number)."""
        if number is None:
            number = self.next_free(region, since)
            return ("NO_METERS_AVAILABLE", None) if number is None else (None, number)
        meter = self.meters[number]
        if meter.status != "in_stock":
            return ("METER_ALREADY_ASSIGNED" if meter.status == "assigned" else "METER_NOT_ASSIGNABLE"), number
        return (None if meter.region in (None, region) else "REGION_MISMATCH"), number

    def refusal_since(self, user, number, since, but_for=None):
        """Why this meter cannot have been this user's since then."""
        busy = self.busy_since(number, since, but_for)
        if busy == "METER_ALREADY_ASSIGNED":
            return busy
        if any(each.user == user and each is not but_for and (each.end or since) > since for each in self.periods):
            return "USER_HAS_METER"
        return busy

    def count_unverified(self):
        return sum(1 for each in self.periods if each.end is None and each.user not in self.verified)

    # What an act changes in the model.

    def give(self, user, number, since):
        latest = [since, self.last_end(meter=number), self.last_end(user=user)]
        self.periods.append(Period(user, number, max(each for each in latest if each is not None)))
        self.meters[number].status = "assigned"
        self.meters[number].region = self.region_of[user] or self.meters[number].region

    def take_back(self, period, end, to, now):
        period.end = end
        until = end + timedelta(days=self.pool.rest_days) if self.pool.rest_days else None
        meter = self.meters[period.meter]
        meter.status = to or ("quarantine" if until and until > now else "in_stock")
        meter.until = until if meter.status == "quarantine" else None

    @staticmethod
    def done(call, expected):
        """Do it. Gives what came of it, None for the refusal that was expected."""
        try:
            result = call()
            session.commit()
        except PortalError as refusal:
            session.rollback()
            code = refusal.code
        else:
            assert expected is None
            return result
        assert code == expected
        return None

    # Acts.

    @rule(target=users, region=st.sampled_from([*REGIONS, None]))
    def join(self, region):
        user = make_user(region=region, now=self.tick()).user_id
        session.commit()
        self.region_of[user] = region
        return user

    @rule(target=users, region=st.sampled_from([*REGIONS, None]))
    def sign_up(self, region):
        Life.names += 1
        now, number = self.tick(), self.next_free(region)
        cap = self.pool.unverified_cap
        over = cap is not None and self.count_unverified() >= cap
        email = f"model{Life.names}@example.com"
        done = register("Model", email, None, region, None, self.pool, actor=SYSTEM, now=now)
        session.commit()
        user = done.user.user_id
        self.region_of[user] = region
        if over or number is None:
            assert done.refusal.code == ("UNVERIFIED_CAP_REACHED" if over else "NO_METERS_AVAILABLE")
            assert done.user.meter_id is None
        else:
            assert done.user.meter_id == self.name(number)
            self.give(user, number, now)
        return user

    @rule(user=users)
    def verify(self, user):
        session.execute(
            text("UPDATE users SET email_verified_at = :now WHERE user_id = :user"), {"now": NOW, "user": user}
        )
        session.commit()
        self.verified.add(user)

    @rule(user=users, number=NUMBER, back=BACK)
    def assign(self, user, number, back):
        now = self.tick()
        since = None if back is None else now - back
        if number is not None and number not in self.meters:
            expected = "METER_NOT_FOUND"
        elif self.held(user) is not None:
            expected = "USER_HAS_METER"
        else:
            expected, given = self.refusal_to_give(number, self.region_of[user], since)
            if expected is None and since is not None:
                expected = self.refusal_since(user, given, since)
        done = self.done(
            lambda: actions.assign(user, self.pool, self.name(number), how="admin", actor=CLI, now=now, since=since),
            expected,
        )
        if done is not None:
            assert done.meter_id == self.name(given)
            self.give(user, given, since or now)

    @rule(user=users, to=TO, back=BACK)
    def unassign(self, user, to, back):
        now, period = self.tick(), self.held(user)
        at = None if back is None else now - back
        expected = (
            "METER_NOT_ASSIGNED" if period is None else TOO_EARLY if at is not None and at <= period.start else None
        )
        done = self.done(lambda: actions.unassign(user, self.pool, actor=CLI, now=now, at=at, to=to), expected)
        if done is not None:
            self.take_back(period, at or max(now, period.start + TICK), to, now)

    @rule(user=users, number=NUMBER, to=TO, back=BACK)
    def swap(self, user, number, to, back):
        now, period = self.tick(), self.held(user)
        at = None if back is None else now - back
        if number is not None and number not in self.meters:
            expected = "METER_NOT_FOUND"
        elif period is None:
            expected = "METER_NOT_ASSIGNED"
        elif at is not None and at <= period.start:
            expected = TOO_EARLY
        else:
            expected, given = self.refusal_to_give(number, self.region_of[user], at)
            if expected is None and at is not None:
                expected = self.refusal_since(user, given, at)
        done = self.done(
            lambda: swap.swap(user, self.pool, self.name(number), actor=CLI, now=now, at=at, to=to), expected
        )
        if done is not None:
            end = at or max(now, period.start + TICK, self.last_end(meter=given) or now)
            self.take_back(period, end, to, now)
            self.give(user, given, end)

    @rule(user=users, region=st.sampled_from(REGIONS), number=NUMBER, to=TO, back=BACK)
    def relocate(self, user, region, number, to, back):
        now, period = self.tick(), self.held(user)
        at = None if back is None else now - back
        if number is not None and number not in self.meters:
            expected = "METER_NOT_FOUND"
        elif period is None:
            expected = "METER_NOT_ASSIGNED"
        elif region == self.region_of[user]:
            expected = "REGION_UNCHANGED"
        elif at is not None and at <= period.start:
            expected = TOO_EARLY
        else:
            expected, given = self.refusal_to_give(number, region, at)
            if expected is None and at is not None:
                expected = self.refusal_since(user, given, at)
        done = self.done(
            lambda: swap.relocate(user, region, self.pool, self.name(number), actor=CLI, now=now, at=at, to=to),
            expected,
        )
        if done is not None:
            end = at or max(now, period.start + TICK)
            self.region_of[user] = region
            self.take_back(period, end, to, now)
            self.give(user, given, end)

    @rule(user=users, back=BACK.filter(bool))
    def move_start(self, user, back):
        now, period = self.tick(), self.held(user)
        start = now - back
        if period is None:
            expected = "METER_NOT_ASSIGNED"
        elif start >= period.start:
            expected = TOO_EARLY
        else:
            expected = self.refusal_since(user, period.meter, start, but_for=period)
        if self.done(lambda: actions.move_start(user, start, actor=CLI, now=now), expected) is not None:
            period.start = start

    @rule(number=st.integers(1, LAST), to=st.sampled_from(STATUSES))
    def move(self, number, to):
        now, meter = self.tick(), self.meters[number]
        allowed = {
            "in_stock": {"quarantine", "faulty", "retired"},
            "quarantine": {"in_stock", "faulty", "retired"},
            "faulty": {"in_stock", "retired"},
        }
        expected = None
        if meter.status == "assigned":
            expected = "METER_ALREADY_ASSIGNED"
        elif meter.status == to:
            expected = "METER_STATUS_UNCHANGED"
        elif meter.status == "retired":
            expected = "METER_RETIRED"
        elif to not in allowed[meter.status]:
            expected = "METER_MOVE_REFUSED"
        if (
            self.done(lambda: life.move_meter(self.name(number), to, self.pool, actor=CLI, now=now), expected)
            is not None
        ):
            if meter.status in ("quarantine", "faulty"):
                meter.came_out.append(now)
            rests = to == "quarantine" and self.pool.rest_days
            meter.status, meter.until = to, now + timedelta(days=self.pool.rest_days) if rests else None

    @rule(days=st.integers(0, 4))
    def time_passes_and_the_worker_releases(self, days):
        self.clock += timedelta(days=days)
        now = self.tick()
        due = [meter for meter in self.meters.values() if meter.until is not None and meter.until <= now]
        assert self.done(lambda: life.release_rested(self.pool, now=now), None) == len(due)
        for meter in due:
            meter.status, meter.until = "in_stock", None
            meter.came_out.append(now)

    @rule()
    def bulk_run(self):
        now = self.tick()
        result = self.done(lambda: bulk.assign_all(self.pool, actor=CLI, now=now), None)
        for row in result.assigned:
            number = self.number(row.meter_id)
            assert self.held(row.user_id) is None
            assert self.refusal_to_give(number, self.region_of[row.user_id]) == (None, number)
            self.give(row.user_id, number, now)
        cap = self.pool.unverified_cap
        for row in result.failed:
            if "not confirmed" in row.error:
                assert row.user_id not in self.verified
                assert self.count_unverified() >= cap
            else:
                assert self.next_free(self.region_of[row.user_id]) is None
        took_up = {row.user_id for row in [*result.assigned, *result.failed]}
        assert took_up >= {user for user in self.region_of if self.held(user) is None}

    # What must hold after each.

    @invariant()
    def the_tables_say_what_the_model_says(self):
        rows = session.execute(text("SELECT user_id, meter_id FROM users WHERE meter_id IS NOT NULL"))
        shown = {(user, self.number(meter)) for user, meter in rows}
        assert shown == {(each.user, each.meter) for each in self.periods if each.end is None}
        rows = session.execute(text("SELECT meter_key, status, region, quarantine_until FROM meters"))
        known = {key - self.base: (status, region, until) for key, status, region, until in rows}
        new = ("in_stock", None, None)
        assert {number: known.get(number, new) for number in self.meters} == {
            number: (meter.status, meter.region, meter.until) for number, meter in self.meters.items()
        }
        rows = session.execute(text("SELECT user_id, meter_key, assigned_at, unassigned_at FROM meter_assignments"))
        assert {(row[0], row[1] - self.base, *row[2:]) for row in rows} == {
            (each.user, each.meter, each.start, each.end) for each in self.periods
        }
        gone = sum(meter.status in ("assigned", "faulty", "retired") for meter in self.meters.values())
        assert stats.stats(self.pool).available_meters == LAST - gone
        session.rollback()

    @invariant()
    def a_supply_is_its_assignments_without_a_gap(self):
        assert not session.execute(
            text("""
                SELECT c.connection_id FROM connections c JOIN meter_assignments a USING (connection_id, user_id)
                GROUP BY 1 HAVING min(assigned_at) <> starts_at OR count(*) FILTER (WHERE unassigned_at IS NULL) > 1
                    OR (CASE WHEN bool_and(unassigned_at IS NOT NULL) THEN max(unassigned_at) END)
                        IS DISTINCT FROM ends_at
                    OR sum(coalesce(unassigned_at, 'epoch') - assigned_at) <> coalesce(ends_at, 'epoch') - starts_at""")
        ).all()
        session.rollback()

    @invariant()
    def every_period_says_which_acts_made_it(self):
        assert not session.execute(
            text("""
                SELECT FROM meter_assignments a LEFT JOIN audit_log g ON g.audit_id = assigned_act
                    LEFT JOIN audit_log t ON t.audit_id = unassigned_act
                WHERE g.audit_id IS NULL OR (unassigned_at IS NULL) <> (t.audit_id IS NULL)""")
        ).all()
        session.rollback()

    def teardown(self):
        if not hasattr(self, "meters"):
            return
        for number in self.meters:
            events = history.of_meter(self.base + number)
            assert [each.at for each in events] == sorted((each.at for each in events), reverse=True)
            mine = [each for each in self.periods if each.meter == number]
            given = [each.at for each in events if each.what in ("assigned", "swapped_in")]
            assert sorted(given) == sorted(each.start for each in mine)
            taken = [each.at for each in events if each.what in ("taken_back", "swapped_out")]
            assert sorted(taken) == sorted(each.end for each in mine if each.end is not None)
        session.rollback()


@pytest.mark.promise(1)
@pytest.mark.usefixtures("area")
def test_any_sequence_of_acts_keeps_to_the_model():
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
