"""Acts on a customer's supply, each asked first; a meter's page and state; the statistics; those ticked in a queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from werkzeug.test import TestResponse

from portal.accounts.models import User
from portal.accounts.queries import get_user
from portal.audit import SYSTEM
from portal.meters import bulk, history, life, queries
from portal.meters.models import Meter
from tests.factories import NOW, make_holder, make_pool, make_user
from tests.web.conftest import Browser


@pytest.fixture
def supplied(act: Callable) -> User:
    """A customer who has held MTR-00000007 for ten days."""
    with act():
        return make_holder(
            name="Asha Kulkarni", email="asha@example.com", meter_id="MTR-00000007", since=NOW - timedelta(days=10)
        )


def holds(act: Callable, user: User) -> tuple[str | None, str | None]:
    with act():
        found = get_user(user.user_id)
        return found.meter_id, found.region


def test_a_swap_says_what_it_does_and_keeps_the_registers(admin: Browser, supplied: User, act: Callable) -> None:
    page = admin.get(f"/admin/users/{supplied.user_id}/swap")
    assert page.h1 == ["Swap MTR-00000007 of Asha Kulkarni?"]
    assert "both stand on the same bill" in page.plain
    answer = admin.post(
        f"/admin/users/{supplied.user_id}/swap",
        meter_id=" mtr-00000042 ",
        closing_register="1,234.5",
        opening_register="0",
        to="faulty",
        at="2026-11-14T10:30",
        reason="burnt terminal",
    )
    page = admin.get(answer.headers["Location"])
    assert "Asha Kulkarni has MTR-00000042 now instead of MTR-00000007." in page.plain
    assert "14 November 2026, 10:30, reading 1,234.500" in page.plain
    assert "burnt terminal" in page.plain
    with act() as session:
        assert session.get(Meter, 7).status == "faulty"
        [_, old, *_rest] = history.of_user(supplied.user_id)
        assert (old.what, str(old.register)) == ("swapped_out", "1234.500000")


def test_a_move_ends_one_supply_and_begins_another(admin: Browser, supplied: User, act: Callable) -> None:
    admin.get(f"/admin/users/{supplied.user_id}/relocate")
    answer = admin.post(f"/admin/users/{supplied.user_id}/relocate", region="Chennai-North")
    assert "Asha Kulkarni is in Chennai-North now" in admin.get(answer.headers["Location"]).plain
    meter, region = holds(act, supplied)
    assert meter != "MTR-00000007"
    assert region == "Chennai-North"
    with act():
        assert len(queries.list_user_connections(supplied.user_id)) == 2


@pytest.mark.parametrize(
    ("what", "form", "field", "words"),
    [
        ("unassign", {"at": "2026-11-16T10:00"}, "at", "not in the future"),
        ("unassign", {"at": "2026-10-01T10:00"}, "at", "give a later one"),
        ("unassign", {"at": "yesterday"}, "at", "Give the day and time"),
        ("unassign", {"closing_register": "12a"}, "closing_register", "such as 12345.6"),
        ("unassign", {"closing_register": "1000000"}, "closing_register", "6 digits"),
        ("swap", {"meter_id": "MTR-00000007"}, "meter_id", "already"),
        ("swap", {"meter_id": "13"}, "meter_id", "not a meter number"),
        ("relocate", {"region": "Atlantis"}, "region", "There is no region"),
        ("relocate", {"region": "Pune-West"}, "region", "already"),
    ],
)
def test_a_refusal_stands_beside_its_field_and_changes_nothing(
    admin: Browser, supplied: User, act: Callable, what: str, form: dict[str, str], field: str, words: str
) -> None:
    admin.get(f"/admin/users/{supplied.user_id}/{what}")
    page = admin.refused(f"/admin/users/{supplied.user_id}/{what}", reason="kept", **form)
    assert f"{field}-error" in page.ids
    assert words in page.plain
    assert page.value_of["reason"] == "kept"
    assert holds(act, supplied) == ("MTR-00000007", "Pune-West")


def test_a_meter_has_a_page_whether_or_not_it_was_ever_heard_of(admin: Browser, supplied: User) -> None:
    page = admin.get("/admin/meters/MTR-00000007")
    assert "Assigned" in page.plain
    assert "asha@example.com" in page.plain
    assert "No reading has come from this meter" in page.plain
    assert "Never stocked, given or heard of" in admin.get("/admin/meters/MTR-00000777").plain
    admin.get("/admin/meters/MTR-99999999", 404)
    admin.get("/admin/meters/nothing", 404)


def test_an_operator_sees_a_meter_and_no_buttons(operator: Browser, supplied: User) -> None:
    page = operator.get("/admin/meters/MTR-00000007")
    assert not [link for link in page.links if "swap" in link or "unassign" in link or "status" in link]


def test_a_state_is_changed_after_a_question_and_never_of_a_held_meter(
    admin: Browser, supplied: User, act: Callable
) -> None:
    page = admin.get("/admin/meters/MTR-00000050/status?to=faulty")
    assert "Nobody gets it until it is repaired" in page.plain

    def send(number: str, status: str, reason: str = "") -> TestResponse:
        form = {"csrf_token": admin.token, "status": status, "reason": reason}
        return admin.client.post(f"/admin/meters/{number}/status", data=form)

    page = admin.get(send("MTR-00000050", "faulty", "display dark").headers["Location"])
    assert "Marked faulty" in page.plain
    assert "display dark" in page.plain
    assert send("MTR-00000050", "retired").status_code == 303
    assert "A retired meter never comes back." in admin.get("/admin/meters/MTR-00000050/status").plain
    admin.get("/admin/meters/MTR-00000007/status")
    refused = send("MTR-00000007", "faulty")
    assert refused.status_code == 422
    assert "held by somebody" in refused.text
    with act() as session:
        assert session.get(Meter, 7).status == "assigned"


def test_the_statistics_add_up(admin: Browser, supplied: User, act: Callable) -> None:
    with act():
        make_user(region="Pune-West")
        bulk.provision("MTR-00000100", "MTR-00000102", "Delhi-North", make_pool(), actor=SYSTEM, now=NOW)
        life.move_meter("MTR-00000101", "faulty", make_pool(), actor=SYSTEM, now=NOW)
    page = admin.get("/admin/statistics")
    assert "Delhi-North 2 0 0 1 0 0" in page.plain
    assert "Pune-West 0 1 0 0 0 1" in page.plain
    assert "Together 2 1 0 1 0 1" in page.plain
    assert "1 in 30 days" in page.plain


def test_the_dashboard_warns_before_the_free_meters_run_out(
    app: object, admin: Browser, act: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal.web import operator

    with act():
        for number in range(6):
            make_holder(since=NOW - timedelta(days=number))
    monkeypatch.setattr(operator, "pool", lambda: make_pool(last=9))
    assert "Free meters run out about 30 November 2026." in admin.get("/admin").plain
    monkeypatch.setattr(operator, "pool", lambda: make_pool(last=6))
    assert "No meter is free." in admin.get("/admin").plain


def test_those_ticked_get_their_meters_and_the_others_wait(admin: Browser, act: Callable) -> None:
    with act():
        chosen, other, left = make_user(), make_user(), make_user()
    admin.get("/admin/waiting")
    token = admin.token
    form = {"csrf_token": token, "user": [str(chosen.user_id), str(other.user_id), "rubbish"]}
    assert admin.client.post("/admin/waiting/assign", data=form).status_code == 303
    assert "2 meters assigned:" in admin.get("/admin/waiting").plain
    assert [holds(act, user)[0] is not None for user in (chosen, other, left)] == [True, True, False]
    admin.post("/admin/waiting/assign")
    assert "Tick the customers first." in admin.get("/admin/waiting").plain
