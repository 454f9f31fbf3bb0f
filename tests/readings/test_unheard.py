"""Who has a meter that never told anything since they have it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from portal.audit import CLI
from portal.meters import actions
from portal.readings import unheard
from tests.factories import NOW, make_holder, make_pool
from tests.readings.feed import row, store

HOUR = timedelta(hours=1)


def heard(meter, at, config, **changes):
    """A reading of the meter at that instant."""
    changes = changes or {"energy_kwh": Decimal(1)}
    assert store([row(meter_id=meter, timestamp=at, **changes)], config).accepted == 1


def names(**asked):
    return [each.name for each in unheard.list_unheard(NOW, **asked).rows]


@pytest.fixture
def people(area, config):
    """Two who were never heard of; others whose meter told intervals, a register, or something before they had it."""
    for name, days, region in (
        ("Silent", 9, "Pune-West"),
        ("Talks", 8, "Pune-West"),
        ("Register", 7, "Pune-East"),
        ("Before", 6, "Pune-East"),
        ("Edge", 5, "Pune-East"),
    ):
        make_holder(name=name, region=region, since=NOW - timedelta(days=days))
    area.commit()
    meters = dict(area.execute(text("SELECT name, meter_id FROM users")).all())
    heard(meters["Talks"], NOW - HOUR, config)
    heard(meters["Register"], NOW - HOUR, config, register_kwh=Decimal(5))
    heard(meters["Before"], NOW - timedelta(days=6) - HOUR, config)
    heard(meters["Edge"], NOW - timedelta(days=5), config)
    return meters


@pytest.mark.parametrize("marked", [False, True], ids=["before the worker", "after the worker"])
def test_the_longest_silent_comes_first_and_who_was_heard_of_never(people, area, marked):
    if marked:
        assert unheard.note_heard(NOW) == (3, None)
        area.commit()
    page = unheard.list_unheard(NOW)
    assert [(each.name, each.region, each.assigned_at) for each in page.rows] == [
        ("Silent", "Pune-West", NOW - timedelta(days=9)),
        ("Before", "Pune-East", NOW - timedelta(days=6)),
    ]
    assert page.after is None
    assert names(region="Pune-East") == ["Before"]
    assert [each.name for each in unheard.list_unheard(NOW - timedelta(days=7)).rows] == ["Silent"]
    counts = unheard.count_unheard(NOW)
    assert (counts.regions, counts.total, counts.is_all) == ([("Pune-East", 1), ("Pune-West", 1)], 2, True)


def test_a_meter_that_comes_to_somebody_else_has_to_be_heard_of_anew(people, area):
    unheard.note_heard(NOW)
    talks = area.scalars(text("SELECT user_id FROM users WHERE name = 'Talks'")).one()
    pool = make_pool()
    actions.unassign(talks, pool, actor=CLI, now=NOW)
    make_holder(name="Next", since=NOW, meter_id=people["Talks"], pool=pool)
    area.commit()
    assert names() == ["Silent", "Before", "Next"]


def test_a_meter_that_was_taken_back_is_not_missed(people, area):
    silent = area.scalars(text("SELECT user_id FROM users WHERE name = 'Silent'")).one()
    actions.unassign(silent, make_pool(), actor=CLI, now=NOW)
    area.commit()
    assert names() == ["Before"]


def test_pages_join_to_the_whole_list(area, config, monkeypatch):
    # Many with one start, as a bulk run makes them, and every third was heard of.
    for number in range(12):
        holder = make_holder(name=f"{number:02}", since=NOW - HOUR)
        if number % 3 == 0:
            area.commit()
            heard(holder.meter_id, NOW - HOUR / 2, config)
    area.commit()
    expected = [f"{number:02}" for number in range(12) if number % 3]
    for chunk, limit in ((500, 3), (2, 3), (5, 8), (3, 100)):
        monkeypatch.setattr(unheard, "CHUNK", chunk)
        found, place, pages = [], None, 0
        while pages == 0 or place is not None:
            page = unheard.list_unheard(NOW, limit=limit, after=place)
            found += [each.name for each in page.rows]
            place, pages = page.after, pages + 1
        assert found == expected


def test_a_read_looks_at_so_many_and_says_where_it_goes_on(people, monkeypatch):
    monkeypatch.setattr(unheard, "LOOKED_AT", 2)
    monkeypatch.setattr(unheard, "CHUNK", 2)
    page = unheard.list_unheard(NOW, region="Pune-East")
    assert page.rows == []
    assert page.after is not None
    assert not unheard.count_unheard(NOW).is_all
    found = []
    while page.after is not None:
        page = unheard.list_unheard(NOW, region="Pune-East", after=page.after)
        found += [each.name for each in page.rows]
    assert found == ["Before"]


def test_marks_are_made_in_turns(people, area):
    place, marked = None, 0
    for _turn in range(5):
        done, place = unheard.note_heard(NOW, place, limit=1)
        area.commit()
        marked += done
    assert marked == 3
    # What is marked is passed over, so one more turn comes to the end.
    assert unheard.note_heard(NOW, place, limit=1) == (0, None)
    assert area.scalars(text("SELECT count(*) FROM meter_assignments WHERE heard")).one() == 3


def test_marking_waits_for_nobody_and_takes_no_lock_that_others_need(people, app, area):
    """A clerk who is taking a meter back holds its user; the worker passes the assignment over and marks the rest."""
    from portal.db import db

    with db.engine.connect() as other:
        other.execute(text("SELECT FROM users WHERE name = 'Talks' FOR UPDATE"))
        other.execute(text("SELECT FROM meters WHERE status = 'assigned' FOR UPDATE"))
        other.execute(
            text("SELECT FROM meter_assignments JOIN users USING (user_id) WHERE name = 'Register' FOR UPDATE")
        )
        area.execute(text("SET LOCAL lock_timeout = '2s'"))
        assert unheard.note_heard(NOW)[0] == 3
        area.commit()
        other.rollback()
    marked = "SELECT name FROM meter_assignments JOIN users USING (user_id) WHERE heard ORDER BY name"
    assert area.scalars(text(marked)).all() == ["Edge", "Talks"]
    assert unheard.note_heard(NOW)[0] == 1


def test_the_marks_index_alone_is_read(people, area):
    area.execute(
        text("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off")
    )
    plan = "\n".join(
        area.scalars(
            text("EXPLAIN " + unheard._UNMARKED),
            {"at": unheard.FIRST[0], "assignment_id": 0, "until": NOW, "n": 500},
        )
    )
    assert "ix_meter_assignments_unheard" in plan
    assert "Sort" not in plan
