"""Users by a part of their e-mail, name or meter, in the order of their list."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event, text

from portal.audit import CLI
from portal.db import db
from portal.meters import actions, search
from tests.factories import NOW, make_holder, make_pool, make_user


@pytest.fixture
def people(area):
    """Eleven invented users, each a minute younger than the one before."""
    made = [
        make_holder(name=name, email=email, meter_id=meter, since=NOW - timedelta(minutes=60 - number))
        for number, (name, email, meter) in enumerate(
            [
                ("Rohan Deshmukh", "rohan@example.com", "MTR-00012345"),
                ("Sneha Deshpande", "sneha.d@example.com", "MTR-00000013"),
                ("Zoë Ångström", "zoe@example.com", "MTR-00130000"),
                ("100% Solar_House", "solar@example.com", "MTR-01234567"),
                ("Back\\slash", "back@example.com", "MTR-10000000"),
                ("पूजा शर्मा", "puja1990@example.com", "MTR-00000990"),
            ]
        )
    ]
    made.append(make_user(name="Vikram Waits", email="vikram@example.com", region="Delhi-North"))
    made.append(make_user(name="Anita Waits", email="anita@example.com"))
    make_user(name="Olga Operator", email="olga@example.com", role="operator")
    area.commit()
    return made


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("desh", ["Sneha Deshpande", "Rohan Deshmukh"]),
        ("DESHM", ["Rohan Deshmukh"]),
        ("sneha.d@", ["Sneha Deshpande"]),
        ("  rohan ", ["Rohan Deshmukh"]),
        ("ångs", ["Zoë Ångström"]),
        ("ÅNGS", ["Zoë Ångström"]),
        ("शर्मा", ["पूजा शर्मा"]),
        ("100%", ["100% Solar_House"]),
        ("r_h", ["100% Solar_House"]),
        ("k\\s", ["Back\\slash"]),
        ("%%%", []),
        ("com\nrohan", []),
        ("MTR-00000013", ["Sneha Deshpande"]),
        ("mtr-0013", ["Zoë Ångström"]),
        ("MTR-1", ["Back\\slash"]),
        ("12345", ["100% Solar_House", "Rohan Deshmukh"]),
        ("2345", ["100% Solar_House", "Rohan Deshmukh"]),
        ("00000013", ["Sneha Deshpande"]),
        ("130", ["Zoë Ångström"]),
        ("990", ["पूजा शर्मा"]),
        ("1990", ["पूजा शर्मा"]),
        ("10000000", ["Back\\slash"]),
        ("99999999", []),
        ("zo", ["Zoë Ångström"]),
        ("olga", ["Olga Operator"]),
    ],
)
def test_a_part_of_anything_finds_them_newest_first(people, typed, found):
    page = search.search_users(typed)
    assert [user.name for user in page.users] == found
    assert page.total == len(found)


def test_every_part_of_every_number_finds_its_holder(people):
    """Against the plain meaning: the digits stand somewhere in the number."""
    for user in people[:6]:
        digits = user.meter_id[4:]
        for start in range(8):
            for end in range(start + 1, 9):
                wanted = {each.email for each in people[:6] if digits[start:end] in each.meter_id}
                found = {each.email for each in search.search_users(digits[start:end], limit=100).users}
                assert wanted <= found, digits[start:end]


def test_without_words_all_are_listed_newest_first_and_by_role(people):
    page = search.search_users(limit=4, offset=1)
    assert page.total == 9
    assert page.total_is_exact
    created = [user.created_at for user in page.users]
    assert len(created) == 4
    assert created == sorted(created, reverse=True)
    assert [user.name for user in search.search_users(role="operator").users] == ["Olga Operator"]
    assert search.search_users(role="operator").total == 1
    assert search.search_users("example", role="operator").total == 1


def test_who_waits_is_listed_longest_wait_first(people):
    page = search.list_without_meter()
    assert ([user.name for user in page.users], page.total) == (["Vikram Waits", "Anita Waits"], 2)
    assert [user.name for user in search.list_without_meter("Delhi-North").users] == ["Vikram Waits"]
    assert [user.name for user in search.list_without_meter(search="waits").users] == ["Vikram Waits", "Anita Waits"]
    assert search.list_without_meter("Pune-West", "vikram").total == 0
    assert search.list_without_meter(search="desh").users == []


def test_words_follow_a_change_of_name_or_address(people, area):
    people[0].name, people[1].email = "Rohan Kulkarni", "sneha@elsewhere.example.com"
    area.commit()
    assert [user.email for user in search.search_users("kulkarni").users] == ["rohan@example.com"]
    assert [user.email for user in search.search_users("deshmukh").users] == []
    assert [user.name for user in search.search_users("elsewhere").users] == ["Sneha Deshpande"]


def test_a_meter_that_was_taken_back_finds_nobody(people, area):
    actions.unassign(people[0].user_id, make_pool(), actor=CLI, now=NOW)
    area.commit()
    assert search.search_users("MTR-00012345").users == []


def test_more_than_anybody_reads_is_not_counted_out(people, area, monkeypatch):
    monkeypatch.setattr(search, "MOST", 5)
    page = search.search_users("example.com", limit=3)
    assert (page.total, page.total_is_exact) == (5, False)
    assert [user.name for user in page.users] == ["पूजा शर्मा", "Back\\slash", "100% Solar_House"]


def test_an_assignment_writes_no_words(people, area):
    before = area.execute(text("SELECT xmin::text FROM user_words ORDER BY user_id")).all()
    actions.assign(people[6].user_id, make_pool(), how="admin", actor=CLI, now=NOW)
    area.commit()
    assert area.execute(text("SELECT xmin::text FROM user_words ORDER BY user_id")).all() == before


def test_words_that_wait_in_the_index_are_found_before_and_after_the_flush(people, area):
    assert search.search_users("ångström").total == 1
    search.flush_words()
    area.commit()
    assert search.search_users("ångström").total == 1


@pytest.mark.parametrize("typed", ["", "desh", "a", "12345", "13", "mtr-00"])
def test_a_search_costs_the_same_however_many_there_are(people, area, typed):
    def count():
        seen = []

        def note(*args):
            seen.append(args[2])

        event.listen(db.engine, "before_cursor_execute", note)
        try:
            search.search_users(typed)
            search.list_without_meter(search=typed)
        finally:
            event.remove(db.engine, "before_cursor_execute", note)
        return len(seen)

    before = count()
    for _ in range(12):
        make_holder(name="Desh Again")
        make_user(name="Desh Waits")
    area.commit()
    assert count() == before <= 8
