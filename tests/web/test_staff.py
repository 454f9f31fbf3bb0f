"""The dashboard, the lists and the acts of staff on meters."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from portal.accounts.models import User
from portal.accounts.queries import find_user_by_email, get_user
from portal.meters import stats
from tests.factories import NOW, make_holder, make_user
from tests.web.conftest import HTMX, Browser


@pytest.fixture
def waiting(act: Callable) -> list[User]:
    """Three customers who wait, the first for the longest; one with a meter and one of staff, who do not."""
    with act():
        people = [
            make_user(
                name=name, email=f"{name.split()[0].lower()}@example.com", region=region, now=NOW - timedelta(days=days)
            )
            for name, region, days in (
                ("Rohan Deshmukh", "Pune-East", 11),
                ("Fatima Shaikh", "Mumbai-North", 9),
                ("Sneha Deshpande", "Pune-East", 2),
            )
        ]
        make_holder(name="Asha Kulkarni", email="asha@example.com")
    return people


def meter_of(act: Callable, user: User) -> str | None:
    with act():
        return get_user(user.user_id).meter_id


def test_the_dashboard_counts_and_lists_who_waits_longest_first(admin: Browser, waiting: list[User]) -> None:
    page = admin.get("/admin")
    assert "Customers 4" in page.plain
    assert "With a meter 1 25 % of customers" in page.plain
    assert "Without a meter 3 wait for one" in page.plain
    assert "Free meters 99,99,999 enough for a century" in page.plain
    assert page.plain.index("Rohan Deshmukh") < page.plain.index("Fatima Shaikh") < page.plain.index("Sneha Deshpande")
    assert "11 days" in page.plain


def test_the_numbers_refresh_by_themselves_with_the_regions_beside(admin: Browser, waiting: list[User]) -> None:
    part = admin.part("/admin")
    assert "<html" not in part
    assert 'id="numbers"' in part
    assert 'hx-swap-oob="true"' in part
    assert "Rohan" not in part


def test_an_operator_sees_all_and_can_change_nothing(operator: Browser, waiting: list[User]) -> None:
    for path in ("/admin", "/admin/waiting", f"/admin/users/{waiting[0].user_id}"):
        page = operator.get(path)
        assert not [
            link for link in page.links if link.startswith(("/admin/assign", "/admin/bulk")) or "unassign" in link
        ]
        assert [form.get("action") for form in page.forms if form.get("method") == "post"] == ["/logout", "/logout"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=desh", {"Rohan Deshmukh", "Sneha Deshpande"}),
        ("q=FATIMA@example.com", {"Fatima Shaikh"}),
        ("region=Pune-East", {"Rohan Deshmukh", "Sneha Deshpande"}),
        ("q=desh&region=Mumbai-North", set()),
        ("q=%25", set()),
    ],
)
def test_the_queue_is_searched_by_name_e_mail_and_region(
    admin: Browser, waiting: list[User], query: str, found: set[str]
) -> None:
    page = admin.get(f"/admin/waiting?{query}")
    assert {user.name for user in waiting if user.name in page.plain} == found
    if not found:
        assert "Nobody matches" in page.plain
    assert "<html" not in admin.part(f"/admin/waiting?{query}")


def test_users_are_found_by_their_meter_too(admin: Browser, waiting: list[User]) -> None:
    page = admin.get("/admin/users?q=mtr-00000001")
    assert "Asha Kulkarni" in page.plain
    assert "Rohan" not in page.plain


def test_a_list_goes_on_over_pages_and_keeps_its_search(admin: Browser, act: Callable) -> None:
    with act():
        for number in range(13):
            make_user(
                name=f"Queue {number:02}", email=f"queue{number}@example.com", now=NOW - timedelta(days=20 - number)
            )
    first = admin.get("/admin/waiting?q=queue")
    assert "1–12 of 13" in first.plain
    [following] = [link for link in first.links if "offset=12" in link]
    assert "q=queue" in following
    second = admin.get(following)
    assert "Queue 12" in second.plain
    assert "Queue 00" not in second.plain


@pytest.mark.parametrize("offset", ["-1", "x", "99999999999999999999", "5000"])
def test_an_offset_from_nowhere_is_a_page(admin: Browser, waiting: list[User], offset: str) -> None:
    admin.get(f"/admin/waiting?offset={offset}")


def test_the_next_free_meter_is_given_in_the_row_itself(admin: Browser, waiting: list[User], act: Callable) -> None:
    admin.get("/admin/waiting")
    answer = admin.post(f"/admin/waiting/{waiting[0].user_id}/assign", 200, headers=HTMX)
    assert "<html" not in answer.text
    assert "MTR-00000002 assigned" in answer.text
    assert meter_of(act, waiting[0]) == "MTR-00000002"


def test_without_a_script_the_list_comes_again_and_says_what_was_done(admin: Browser, waiting: list[User]) -> None:
    admin.get("/admin/waiting")
    assert admin.post(f"/admin/waiting/{waiting[0].user_id}/assign").headers["Location"] == "/admin/waiting"
    assert "MTR-00000002 is assigned to Rohan Deshmukh." in admin.get("/admin/waiting").plain


def test_a_lost_race_is_told_in_the_row(admin: Browser, waiting: list[User]) -> None:
    admin.get("/admin/waiting")
    admin.post(f"/admin/waiting/{waiting[0].user_id}/assign", 200, headers=HTMX)
    answer = admin.post(f"/admin/waiting/{waiting[0].user_id}/assign", 200, headers=HTMX)
    assert "holds MTR-00000002 already" in answer.text


def test_a_named_meter_with_a_region_is_given_by_the_form(admin: Browser, waiting: list[User], act: Callable) -> None:
    page = admin.get("/admin/assign?email=rohan@example.com")
    assert page.value_of["email"] == "rohan@example.com"
    answer = admin.post("/admin/assign", email="rohan@example.com", meter_id=" mtr-00000050 ", region="Bangalore-East")
    assert answer.headers["Location"] == f"/admin/users/{waiting[0].user_id}"
    page = admin.get(answer.headers["Location"])
    assert "MTR-00000050 is assigned to Rohan Deshmukh." in page.plain
    assert "by staff, meera@example.com" in page.plain
    with act():
        user = find_user_by_email("rohan@example.com")
        assert (user.meter_id, user.region) == ("MTR-00000050", "Bangalore-East")


@pytest.mark.parametrize(
    ("form", "field", "words"),
    [
        ({"email": "nobody@example.com"}, "email", "no user with the address"),
        ({"email": "asha@example.com"}, "email", "holds MTR-00000001 already"),
        ({"email": "meera@example.com"}, "email", "Only customers"),
        ({"email": "rohan@example.com", "meter_id": "MTR-00000001"}, "meter_id", "held by somebody else"),
        ({"email": "rohan@example.com", "meter_id": "MTR-99999999"}, "meter_id", "outside the range"),
        ({"email": "rohan@example.com", "meter_id": "13"}, "meter_id", "is not a meter number"),
        ({"email": "rohan@example.com", "region": "Atlantis"}, "region", "There is no region"),
    ],
)
def test_a_refusal_stands_beside_its_field_and_nothing_typed_is_lost(
    admin: Browser, waiting: list[User], form: dict[str, str], field: str, words: str
) -> None:
    admin.get("/admin/assign")
    page = admin.refused("/admin/assign", **({"meter_id": "", "region": ""} | form))
    assert f"{field}-error" in page.ids
    assert words in page.plain
    assert page.value_of["email"] == form["email"]


def test_unassigning_asks_first_and_says_what_it_means(admin: Browser, holder: User, act: Callable) -> None:
    page = admin.get(f"/admin/users/{holder.user_id}/unassign")
    assert page.h1 == ["Unassign MTR-00000001 from Asha Kulkarni?"]
    assert meter_of(act, holder) == "MTR-00000001"
    answer = admin.post(f"/admin/users/{holder.user_id}/unassign")
    page = admin.get(answer.headers["Location"])
    assert "MTR-00000001 is taken back. asha@example.com has no meter now." in page.plain
    assert meter_of(act, holder) is None
    # Twice is told, not done again.
    answer = admin.post(f"/admin/users/{holder.user_id}/unassign")
    assert "holds no meter" in admin.get(answer.headers["Location"]).plain


def test_bulk_assignment_previews_then_runs_then_lists(admin: Browser, waiting: list[User], act: Callable) -> None:
    page = admin.get("/admin/bulk")
    assert "Pune-East 2" in page.plain
    preview = admin.get(admin.post("/admin/bulk", step="preview", region="", limit="").headers["Location"])
    assert "Nothing has changed yet. 3 customers would get a meter." in preview.plain
    assert [meter_of(act, user) for user in waiting] == [None, None, None]
    result = admin.get(admin.post("/admin/bulk", step="assign", region="", limit="").headers["Location"])
    assert "3 customers have a meter now." in result.plain
    assert all(user.email in result.plain for user in waiting)
    assert sorted(meter_of(act, user) for user in waiting) == ["MTR-00000002", "MTR-00000003", "MTR-00000004"]
    assert "Nobody waits" in admin.get("/admin/bulk").plain
    [file] = [link for link in result.links if link.endswith(".csv")]
    lines = admin.checked(admin.client.get(file), 200).text.splitlines()
    assert lines[0] == "user_id,email,meter_id,region,stock,error"
    assert len(lines) == 4


def test_bulk_assignment_keeps_to_its_region_and_limit(admin: Browser, waiting: list[User], act: Callable) -> None:
    admin.get("/admin/bulk")
    admin.post("/admin/bulk", step="assign", region="Pune-East", limit="1")
    assert [meter_of(act, user) is not None for user in waiting] == [True, False, False]


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1.5", "٣"])
def test_a_limit_that_is_no_number_is_told_beside_it(admin: Browser, waiting: list[User], limit: str) -> None:
    admin.get("/admin/bulk")
    assert "limit-error" in admin.refused("/admin/bulk", step="assign", region="", limit=limit).ids


def test_unknown_people_and_runs_are_not_there(admin: Browser) -> None:
    for path in ("users/{}", "users/{}/unassign", "jobs/{}", "jobs/{}/rows.csv"):
        admin.get("/admin/" + path.format(uuid.uuid4()), 404)


def test_suggestions_name_those_who_wait(admin: Browser, waiting: list[User]) -> None:
    part = admin.part("/admin/users/options?email=des")
    assert "rohan@example.com" in part
    assert "asha@example.com" not in part


def test_the_queue_on_the_side_bar_is_counted(app: Flask, admin: Browser, waiting: list[User]) -> None:
    with app.app_context():
        assert stats.count_waiting() == 3
    assert admin.get("/admin/users").plain.count("Without a meter 3") == 2


@pytest.mark.promise(8)
def test_the_day_of_registration_is_a_local_day(admin: Browser, act: Callable) -> None:
    with act():
        early = make_user(now=datetime(2026, 10, 31, 18, 45, tzinfo=UTC))
    assert "Registered 1 November 2026" in admin.get(f"/admin/users/{early.user_id}").plain
