"""Bulk runs in pages: the preview, the run, its end, the file, the undo, the list of runs."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask

from portal import jobs
from portal.accounts.models import User
from portal.audit import SYSTEM
from portal.jobs import bulk_assign
from portal.jobs.parts import Tally
from portal.meters import stats
from tests.factories import NOW, make_user
from tests.web.conftest import HTMX, Browser


@pytest.fixture
def waiting(act: Callable) -> list[User]:
    """Two in Pune-East and one without a region."""
    with act():
        return [
            make_user(email=f"{name}@example.com", region=region)
            for name, region in (("asha", "Pune-East"), ("ravi", "Pune-East"), ("uma", None))
        ]


def run_all(admin: Browser) -> str:
    admin.get("/admin/bulk")
    return admin.post("/admin/bulk", step="assign", region="", limit="").headers["Location"]


def send(admin: Browser, content: str, status: int = 303):
    admin.get("/admin/bulk/file")
    data = {"csrf_token": admin.token, "file": (io.BytesIO(content.encode()), "list.csv")}
    return admin.checked(admin.client.post("/admin/bulk/file", data=data), status)


def test_a_run_has_its_chart_by_region_its_lists_and_its_place_among_the_runs(
    admin: Browser, waiting: list[User]
) -> None:
    page = admin.get(run_all(admin))
    assert "Pune-East 2" in page.plain
    assert "No region 1" in page.plain
    assert all(user.email in page.plain for user in waiting)
    page = admin.get("/admin/jobs")
    assert "Bulk run All regions" in page.plain
    assert "meera@example.com" in page.plain


def test_who_is_left_is_listed_with_the_reason_and_both_lists_have_an_address(
    app, admin: Browser, waiting: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.setitem(app.config, "PORTAL", replace(app.config["PORTAL"], meter_last=2))
    page = admin.get(run_all(admin))
    assert "1 is left without" in page.plain
    [left] = [link for link in page.links if "list=left" in link]
    assert "METER_LAST" in admin.get(left).plain
    assert waiting[0].email not in admin.get(left).plain


def test_a_long_list_goes_on_over_pages(admin: Browser, act: Callable) -> None:
    with act():
        for _ in range(53):
            make_user()
    page = admin.get(run_all(admin))
    assert "1–50 of 53" in page.plain
    [later] = [link for link in page.links if "offset=50" in link]
    assert "51–53 of 53" in admin.get(later).plain


def test_a_long_run_tells_how_far_it_is_and_can_be_stopped(admin: Browser, waiting: list[User], act: Callable) -> None:
    with act():
        args = bulk_assign.arguments(None, None, dry_run=False, actor=SYSTEM)
        job = jobs.start(bulk_assign.KIND, args, total=4000, created_by=None, now=NOW)
        job.status, job.done, job.place = "running", 1000, Tally(success=1000).to_json()
        job.started_at, job.moved_at = NOW - timedelta(seconds=40), NOW
        path = f"/admin/jobs/{job.job_id}"
    page = admin.get(path)
    assert "1,000 of 4,000 customers, about 2 minutes left" in page.plain
    part = admin.part(path)
    assert 'hx-trigger="every 2s"' in part
    assert "<html" not in part
    page = admin.get(admin.post(f"{path}/cancel").headers["Location"])
    assert "Stopped." in page.plain
    assert "hx-trigger" not in admin.part(path)
    with act():
        assert stats.count_waiting() == 3
    page = admin.get(admin.post(f"{path}/cancel").headers["Location"])
    assert "nothing to stop" in page.plain


def test_a_run_that_does_not_move_says_so(admin: Browser, act: Callable) -> None:
    with act():
        args = bulk_assign.arguments(None, None, dry_run=False, actor=SYSTEM)
        running = jobs.start(bulk_assign.KIND, args, total=10, created_by=None, now=NOW - timedelta(minutes=9))
        running.status, running.moved_at = "running", NOW - timedelta(minutes=5)
        jobs.start(bulk_assign.KIND, args, total=10, created_by=None, now=NOW - timedelta(minutes=7))
    page = admin.get("/admin/jobs")
    assert "Stalled" in page.plain
    assert "No worker takes it" in page.plain
    assert "It has not moved since 5 minutes ago" in admin.get(f"/admin/jobs/{running.job_id}").plain


def test_an_undo_asks_first_takes_all_back_and_is_told(admin: Browser, waiting: list[User], act: Callable) -> None:
    path = run_all(admin)
    page = admin.get(path)
    assert f"{path}/undo" in page.links
    page = admin.get(f"{path}/undo")
    assert page.h1 == ["Take back all 3 meters of this run?"]
    page = admin.get(admin.post(f"{path}/undo").headers["Location"])
    assert "3 meters are back in stock" in page.plain
    with act():
        assert stats.count_waiting() == 3
    page = admin.get(path)
    assert "This run was undone." in page.plain
    assert f"{path}/undo" not in page.links
    answer = admin.checked(admin.client.get(f"{path}/undo"), 303)
    assert "undone already" in admin.get(answer.headers["Location"]).plain


def test_an_undo_that_something_stands_against_names_it_and_does_nothing(
    admin: Browser, waiting: list[User], act: Callable
) -> None:
    path = run_all(admin)
    admin.get(f"/admin/users/{waiting[1].user_id}/unassign")
    admin.post(f"/admin/users/{waiting[1].user_id}/unassign")
    admin.get(f"{path}/undo")
    page = admin._page(admin.post(f"{path}/undo", 409), 409)
    assert "Nothing is undone: 1 of 3" in page.plain
    assert "MTR-00000002" in page.plain
    with act():
        assert stats.count_waiting() == 1


def test_a_file_is_looked_at_then_run_and_its_page_keeps_it(admin: Browser, waiting: list[User], act: Callable) -> None:
    answer = send(admin, "user,meter\nasha@example.com,MTR-00000040\numa@example.com,\n")
    looked = admin.get(answer.headers["Location"])
    assert "Nothing has changed yet. 2 customers would get a meter." in looked.plain
    with act():
        assert stats.count_waiting() == 3
    [action] = [form["action"] for form in looked.forms if form.get("action", "").endswith("/run")]
    done = admin.get(admin.post(action).headers["Location"])
    assert "2 customers have a meter now." in done.plain
    assert "MTR-00000040" in done.plain
    assert "See the result" in admin.get(answer.headers["Location"]).plain
    again = admin.get(send(admin, "user,meter\nasha@example.com,MTR-00000040\n").headers["Location"])
    assert "1 row is so already." in again.plain
    assert not [form for form in again.forms if form.get("action", "").endswith("/run")]


def test_wrong_rows_stand_beside_their_lines_and_in_a_file_to_correct(
    admin: Browser, waiting: list[User], act: Callable
) -> None:
    answer = send(admin, "user;meter\r\nasha@example.com;MTR-00000040\r\nnobody@example.com;\r\n")
    page = admin.get(answer.headers["Location"])
    assert "1 row cannot be done, so nothing was." in page.plain
    page = admin.get(answer.headers["Location"] + "?list=left")
    assert "Line 3 nobody@example.com user: there is no such customer." in page.plain
    [link] = [link for link in page.links if link.endswith("corrected.csv")]
    lines = admin.checked(admin.client.get(link), 200).text.splitlines()
    assert lines == [
        "user,meter,error",
        "asha@example.com,MTR-00000040,",
        "nobody@example.com,,user: there is no such customer.",
    ]


@pytest.mark.parametrize(
    ("content", "says"), [("", "empty"), ("colour\nred\n", "name the columns"), ("PK\x03\0", "CSV")]
)
def test_what_is_no_file_of_rows_is_told_beside_the_field(admin: Browser, content: str, says: str) -> None:
    page = admin._page(send(admin, content, 422), 422)
    assert "file-error" in page.ids
    assert says in page.plain


def test_a_file_that_is_too_large_is_refused(app: Flask, admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.config, "MAX_CONTENT_LENGTH", 2_000)
    assert "too large" in send(admin, "user\n" + "x" * 3_000, 413).text.lower()


def test_a_fragment_is_no_page(admin: Browser, waiting: list[User]) -> None:
    assert "<html" not in admin.client.get(run_all(admin), headers=HTMX).text
