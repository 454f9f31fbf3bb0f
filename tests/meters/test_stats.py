"""The tallies are the counts, whatever changed the rows, and whoever folds them meanwhile."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from portal.accounts import staff
from portal.audit import CLI, SYSTEM
from portal.db import session
from portal.errors import PortalError
from portal.meters import actions, bulk, life, stats, swap
from portal.registration import register
from tests.factories import NOW, make_holder, make_pool, make_user

COUNTED = """
    SELECT 'customer' AS what, region, 0 AS bucket, count(*) AS n FROM users
        WHERE role = 'user' AND closed_at IS NULL GROUP BY region
    UNION ALL SELECT 'holder', region, 0, count(*) FROM users WHERE meter_id IS NOT NULL GROUP BY region
    UNION ALL SELECT role, region, 0, count(*) FROM users GROUP BY role, region
    UNION ALL SELECT status, region, meter_key / 100000, count(*) FROM meters GROUP BY 2, 1, 3
    UNION ALL SELECT 'given', NULL, (assigned_at AT TIME ZONE 'Asia/Kolkata')::date - DATE '2000-01-01', count(*)
        FROM meter_assignments GROUP BY 3
    UNION ALL SELECT 'taken', NULL, (unassigned_at AT TIME ZONE 'Asia/Kolkata')::date - DATE '2000-01-01', count(*)
        FROM meter_assignments WHERE unassigned_at IS NOT NULL GROUP BY 3"""
TALLIED = "SELECT what, region, bucket, sum(n) AS n FROM tallies GROUP BY 1, 2, 3 HAVING sum(n) <> 0"


def rows(statement):
    return sorted((tuple(row) for row in session.execute(text(statement))), key=str)


def are_the_counts():
    return rows(TALLIED) == rows(COUNTED)


def test_every_act_is_tallied(area):
    pool = make_pool(rest_days=3)
    holders = [make_holder(region=region) for region in ("Pune-West", "Pune-West", "Delhi-North")]
    waiting, operator = make_user(region="Mumbai-North"), make_user(role="operator")
    area.commit()
    assert are_the_counts()
    later = NOW + timedelta(days=1)
    acts = [
        lambda: actions.unassign(holders[0].user_id, pool, actor=CLI, now=later),
        lambda: swap.swap(holders[1].user_id, pool, actor=CLI, now=later),
        lambda: swap.relocate(holders[2].user_id, "Chennai-North", pool, actor=CLI, now=later),
        lambda: actions.move_start(holders[1].user_id, later - timedelta(hours=1), actor=CLI, now=later),
        lambda: bulk.provision("MTR-00200000", "MTR-00200009", "Pune-East", pool, actor=CLI, now=NOW),
        lambda: life.move_meter("MTR-00200000", "faulty", pool, actor=CLI, now=NOW),
        lambda: life.release_rested(pool, now=NOW + timedelta(days=9)),
        lambda: bulk.assign_all(pool, actor=CLI, now=later),
        lambda: staff.close(waiting, actor=CLI, now=later) if waiting.meter_id is None else None,
        lambda: staff.change_role(operator.user_id, "user", actor=CLI, now=later),
        lambda: area.execute(text("UPDATE users SET region = NULL WHERE meter_id IS NULL")),
        lambda: area.execute(text("UPDATE users SET phone = '+911' WHERE true")),
    ]
    for act in acts:
        try:
            act()
        except PortalError:
            area.rollback()
        area.commit()
        assert are_the_counts()
    area.rollback()


def test_an_act_that_is_taken_back_leaves_no_tally(area):
    make_holder()
    area.commit()
    before = rows(TALLIED)
    make_holder()
    area.rollback()
    assert rows(TALLIED) == before


def test_a_truncated_table_has_no_tallies(area):
    make_holder()
    area.commit()
    area.execute(text("TRUNCATE users, meters CASCADE"))
    assert rows(TALLIED) == []


def test_folding_changes_no_count_and_leaves_few_rows(area):
    for _ in range(3):
        make_holder()
        area.commit()
    area.execute(text("INSERT INTO tallies (what, n) SELECT 'customer', (-1) ^ n FROM generate_series(1, 3000) n"))
    before = rows(TALLIED)
    assert stats.fold(NOW)
    assert rows(TALLIED) == before
    assert area.scalar(text("SELECT count(*) FROM tallies")) == len(before)
    assert not stats.fold(NOW)


def test_folding_forgets_days_of_long_ago_and_nothing_else(area):
    make_holder(since=NOW - timedelta(days=800))
    area.execute(text("INSERT INTO tallies (what, n) SELECT 'customer', (-1) ^ n FROM generate_series(1, 3000) n"))
    stats.fold(NOW)
    assert [what for what, *_ in rows(TALLIED)] == ["assigned", "customer", "holder", "user"]


def test_registrations_and_folds_at_once_lose_no_count(app, act):
    """Sums that are read meanwhile are never off either: customers and holders rise together, one at a time."""
    stop, wrong = threading.Event(), []

    def people(number):
        with app.app_context():
            for turn in range(12):
                address = f"p{number}-{turn}@example.com"
                details = ("Asha Patil", address, None, random.choice(("Pune-West", None)), None)
                register(*details, make_pool(), actor=SYSTEM, now=datetime.now(UTC))
                session.commit()

    def fold():
        with app.app_context():
            while not stop.is_set():
                session.execute(
                    text("INSERT INTO tallies (what, n) SELECT 'admin', (-1) ^ n FROM generate_series(1, 700) n")
                )
                stats.fold(NOW)
                session.commit()
                counts = stats.stats(make_pool())
                if counts.total_users != counts.users_with_meters:
                    wrong.append(counts)
                session.rollback()

    writers = [threading.Thread(target=people, args=(number,)) for number in range(4)]
    folders = [threading.Thread(target=fold) for _ in range(2)]
    for thread in writers + folders:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in folders:
        thread.join()
    assert wrong == []
    with act():
        assert are_the_counts()
        assert stats.stats(make_pool()).users_with_meters == 48


def test_recounting_is_right_and_changes_nothing(area):
    make_holder(region="Delhi-North")
    actions.unassign(make_holder().user_id, make_pool(), actor=CLI, now=NOW + timedelta(hours=1))
    area.commit()
    before = rows(TALLIED)
    area.execute(text("INSERT INTO tallies (what, n) VALUES ('customer', 5)"))
    stats.recount()
    assert rows(TALLIED) == before


@pytest.mark.parametrize(
    ("first", "last", "blocked"),
    [(1, 10_000_000, 5), (100_000, 100_001, 2), (100_001, 350_000, 2), (1, 99_999, 1), (2, 99_999, 0), (1, 200_000, 4)],
)
def test_available_meters_are_exact_for_any_range(area, first, last, blocked):
    for number in (1, 100_000, 100_001, 200_000, 10_000_000):
        make_holder(meter_id=f"MTR-{number:08d}")
    actions.unassign(
        make_holder(meter_id="MTR-00150000").user_id, make_pool(rest_days=9), actor=CLI, now=NOW + timedelta(days=1)
    )
    area.commit()
    counts = stats.stats(make_pool(first, last))
    assert counts.available_meters == last - first + 1 - blocked
    # A meter in quarantine is available, but not to be claimed now.
    assert counts.free_meters == counts.available_meters - (first <= 150_000 <= last)


def test_each_region_by_status_and_who_waits_there(area):
    make_holder(region="Pune-West")
    make_user(region="Pune-West")
    make_user(region=None)
    bulk.provision("MTR-00000050", "MTR-00000052", "Delhi-North", make_pool(), actor=CLI, now=NOW)
    area.commit()
    found = {
        each.region: (each.meters["assigned"], each.free, each.holders, each.waiting) for each in stats.by_region()
    }
    assert found == {"Delhi-North": (0, 3, 0, 0), "Pune-West": (1, 0, 1, 1), None: (0, 0, 0, 1)}


def test_the_last_days_stand_there_also_when_nothing_happened(area):
    late = datetime(2026, 11, 14, 18, 29, tzinfo=UTC)  # a minute before midnight in India
    make_holder(since=NOW - timedelta(days=40))
    make_holder(since=late)
    make_holder(since=late + timedelta(minutes=1))
    actions.unassign(make_holder(since=late).user_id, make_pool(), actor=CLI, now=NOW)
    area.commit()
    days = stats.assigned_a_day(NOW)
    assert len(days) == 30
    assert [(each.day.day, each.given, each.taken) for each in days[-3:]] == [(13, 0, 0), (14, 2, 0), (15, 1, 1)]
    assert sum(each.given for each in days) == 3


class TestTheForecast:
    def test_says_when_the_free_ones_run_out(self, area):
        for number in range(30):
            make_holder(since=NOW - timedelta(days=number % 30))
        area.commit()
        told = stats.forecast(make_pool(last=70), NOW)
        assert (told.free, told.a_day, told.runs_out_on.isoformat()) == (40, 1.0, "2026-12-25")
        assert not told.soon
        assert stats.forecast(make_pool(last=60), NOW).soon

    def test_says_nothing_where_nothing_is_given(self, area):
        make_holder(since=NOW - timedelta(days=45))
        area.commit()
        told = stats.forecast(make_pool(), NOW)
        assert (told.a_day, told.runs_out_on, told.soon) == (0, None, False)

    def test_is_soon_when_none_is_free(self, area):
        make_holder()
        area.commit()
        assert stats.forecast(make_pool(last=1), NOW).soon
