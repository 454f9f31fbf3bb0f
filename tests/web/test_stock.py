"""Stock from a file, the quarantine, and the meters that were never heard of."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import pytest
from flask import Flask
from sqlalchemy import event

from portal.audit import CLI
from portal.config import Config
from portal.db import db
from portal.meters import actions, history, life
from portal.meters.models import Meter
from portal.meters.rules import meter_id
from portal.readings import actions as readings
from portal.readings.incoming import Row
from tests.factories import NOW, make_holder, make_pool
from tests.web.conftest import Browser
from tests.web.pages import Page


def send(browser: Browser, content: str | bytes, status: int, name: str = "stock.csv") -> Page | str:
    """Send a file by the form: the page that refuses it, or where the answer leads."""
    page = browser.get("/admin/meters/file")
    data = content.encode() if isinstance(content, str) else content
    answer = browser.client.post(
        "/admin/meters/file",
        data={"csrf_token": page.value_of["csrf_token"], "file": (io.BytesIO(data), name)},
        content_type="multipart/form-data",
    )
    if status == 303:
        return browser.checked(answer, 303).headers["Location"]
    return browser._page(answer, status)


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """What is asked of the database meanwhile."""
    seen: list[str] = []

    def hear(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        seen.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", hear)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", hear)


def test_a_file_is_stocked_and_the_same_again_changes_nothing(admin: Browser, act: Callable) -> None:
    content = "meter,region,make\nMTR-00000007,Pune-East,Secure\nMTR-00000008,,\n"
    assert send(admin, content, 303) == "/admin/meters/file"
    assert "2 new meters, 0 changed, 0 as they were" in admin.get("/admin/meters/file").plain
    send(admin, content.replace("08,,", "08,,Genus"), 303)
    assert "0 new meters, 1 changed, 1 as they were" in admin.get("/admin/meters/file").plain
    with act() as session:
        assert session.get(Meter, 7).region == "Pune-East"


def test_errors_stand_beside_their_rows_and_nothing_is_written(admin: Browser, act: Callable) -> None:
    page = send(
        admin, "meter,region\nMTR-00000007,Pune-East\nMTR-00000008,Atlantis\nMTR-9,\n", 422, "<b>November</b>.csv"
    )
    assert isinstance(page, Page)
    assert "Nothing was stocked: 2 rows cannot be taken. 1 other row is right." in page.plain
    assert "Line 3 MTR-00000008, Atlantis region: there is no region “Atlantis”" in page.plain
    assert "Line 4 MTR-9, “MTR-9” is not a meter number" in page.plain
    assert "<b>November" not in page.text
    with act() as session:
        assert session.get(Meter, 7) is None
    send(admin, "meter,region\nMTR-00000007,Pune-East\nMTR-00000008,Pune-East\nMTR-00000009,\n", 303)
    assert "3 new meters" in admin.get("/admin/meters/file").plain


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "not empty"), (b"a,b\n1,2", "name the columns"), (b"\xff", "UTF")]
)
def test_what_is_no_file_is_told_beside_the_field(admin: Browser, content: bytes, words: str) -> None:
    page = send(admin, content, 422)
    assert isinstance(page, Page)
    assert "file-error" in page.ids
    assert words in page.plain


def test_without_any_file_the_form_says_so(admin: Browser) -> None:
    admin.get("/admin/meters/file")
    assert "file-error" in admin.refused("/admin/meters/file").ids


def rest(act: Callable, *days: int, first: int = 1) -> None:
    """Meters of Pune-East that came back two days ago and rest so many days in all; 0 until staff release them."""
    with act():
        for key, each in enumerate(days, first):
            at = NOW - timedelta(days=12)
            user = make_holder(name=f"Holder {key}", region="Pune-East", meter_id=meter_id(key), since=at)
            actions.unassign(
                user.user_id,
                make_pool(rest_days=each),
                to="quarantine",
                actor=CLI,
                now=NOW - timedelta(days=2),
            )


def test_the_quarantine_says_how_long_and_who_held_it(operator: Browser, act: Callable) -> None:
    rest(act, 12, 2, 0, 3)
    page = operator.get("/admin/quarantine")
    assert "MTR-00000002 Pune-East Time is up until 15 November 2026 Holder 2 came back 13 November 2026" in page.plain
    assert "MTR-00000001 Pune-East 10 days left until 25 November 2026" in page.plain
    assert "MTR-00000003 Pune-East Until staff release it Holder 3" in page.plain
    places = [page.plain.index(f"MTR-{key:08}") for key in (2, 4, 1, 3)]
    assert places == sorted(places)
    assert [form.get("action") for form in page.forms if form.get("method") == "post"] == ["/logout", "/logout"]
    assert not [link for link in page.links if link.endswith("/release")]
    assert "No meter of Delhi-North rests" in operator.get("/admin/quarantine?region=Delhi-North").plain


def test_an_empty_quarantine_says_why(operator: Browser) -> None:
    assert "No meter rests" in operator.get("/admin/quarantine").plain


def test_all_whose_time_is_up_are_released_at_once(admin: Browser, act: Callable) -> None:
    rest(act, 2, 1, 12)
    page = admin.get("/admin/quarantine")
    assert "Release 2 meters whose time is up" in page.plain
    admin.post("/admin/quarantine/release")
    page = admin.get("/admin/quarantine")
    assert "2 meters are in stock again." in page.plain
    assert "MTR-00000003" in page.plain
    assert "MTR-00000001" not in page.plain
    admin.post("/admin/quarantine/release")
    assert "No meter's time in quarantine is up." in admin.get("/admin/quarantine").plain


def test_one_is_released_before_its_time_after_a_word_of_warning(admin: Browser, act: Callable) -> None:
    rest(act, 12)
    page = admin.get("/admin/quarantine/MTR-00000001/release")
    assert page.h1 == ["Release MTR-00000001?"]
    assert "may still hang in somebody's home" in page.plain
    admin.post("/admin/quarantine/MTR-00000001/release", reason="lies in the store")
    assert "MTR-00000001 is in stock again." in admin.get("/admin/quarantine").plain
    with act() as session:
        assert session.get(Meter, 1).status == "in_stock"
        newest = history.of_meter(1)[0]
        assert (newest.what, newest.why, newest.who) == ("in_stock", "lies in the store", "meera@example.com")


def test_a_release_that_comes_too_late_changes_nothing(admin: Browser, act: Callable) -> None:
    rest(act, 12)
    admin.get("/admin/quarantine/MTR-00000001/release")
    with act():
        life.move_meter("MTR-00000001", "faulty", make_pool(), actor=CLI, now=NOW)
    admin.post("/admin/quarantine/MTR-00000001/release")
    assert "MTR-00000001 is not in quarantine; it is faulty." in admin.get("/admin/quarantine").plain
    with act() as session:
        assert session.get(Meter, 1).status == "faulty"
    admin.client.get("/admin/quarantine/MTR-00000001/release")
    assert "it is faulty" in admin.get("/admin/quarantine").plain


def test_a_long_reason_is_told_and_kept(admin: Browser, act: Callable) -> None:
    rest(act, 12)
    admin.get("/admin/quarantine/MTR-00000001/release")
    page = admin.refused("/admin/quarantine/MTR-00000001/release", reason="x" * 301)
    assert "reason-error" in page.ids
    assert page.value_of["reason"] == "x" * 301


@pytest.mark.parametrize("number", ["MTR-99999999", "x", "MTR-00000000"])
def test_a_number_outside_the_range_is_not_there(admin: Browser, number: str) -> None:
    admin.get(f"/admin/quarantine/{number}/release", 404)


def test_the_never_heard_of_are_listed_longest_first_with_their_regions(
    operator: Browser, act: Callable, config: Config
) -> None:
    with act():
        for name, days, region in (("Old", 40, "Pune-East"), ("Talks", 30, "Pune-East"), ("New", 0, "Delhi-North")):
            make_holder(name=name, region=region, since=NOW - timedelta(days=days, hours=2))
        told = Row(meter_id="MTR-00000002", timestamp=NOW - timedelta(hours=1), energy_kwh=Decimal(1))
        readings.store([told], source="test", now=NOW, config=config)
    page = operator.get("/admin/unheard")
    assert page.plain.index("Old") < page.plain.index("New")
    assert "Talks" not in page.plain
    assert "40 days since 6 October 2026" in page.plain
    assert "2 hours since 15 November 2026" in page.plain
    assert "By region meters Delhi-North 1 Pune-East 1" in page.plain
    week = operator.get("/admin/unheard?days=7")
    assert "MTR-00000001" in week.plain
    assert "MTR-00000003" not in week.plain
    assert "MTR-00000003" not in operator.get("/admin/unheard?region=Pune-East").plain
    assert "None that is sought" in operator.get("/admin/unheard?region=Delhi-North&days=1").plain
    part = operator.part("/admin/unheard?days=7")
    assert "<html" not in part
    assert 'hx-swap-oob="true"' in part


def test_when_all_were_heard_of_the_page_says_so(operator: Browser) -> None:
    assert "Every meter was heard of" in operator.get("/admin/unheard").plain


def test_the_list_goes_on_behind_the_last_one_and_keeps_its_filters(operator: Browser, act: Callable) -> None:
    with act():
        for number in range(30):
            make_holder(name=f"Silent {number:02}", since=NOW - timedelta(days=2))
    seen: list[str] = []
    address = "/admin/unheard?days=1"
    for _page in range(3):
        page = operator.get(address)
        seen += [f"{number:02}" for number in range(30) if f"Silent {number:02}" in page.plain]
        address = next((link for link in page.links if "after=" in link), "")
        assert not address or "days=1" in address
    assert seen == [f"{number:02}" for number in range(30)]
    assert address == ""


@pytest.mark.parametrize("after", ["x", "20261115T063000.000000", "20261115T063000.000000-x", "-1", "9" * 40, "%00"])
def test_a_place_from_nowhere_is_the_beginning(operator: Browser, act: Callable, after: str) -> None:
    with act():
        make_holder(since=NOW - timedelta(days=2))
    status = 400 if after == "%00" else 200
    page = operator.get(f"/admin/unheard?after={after}&days=x", status)
    assert status == 400 or "MTR-00000001" in page.plain


@pytest.mark.parametrize("path", ["/admin/quarantine", "/admin/unheard"])
def test_twice_the_rows_ask_no_more_of_the_database(app: Flask, operator: Browser, act: Callable, path: str) -> None:
    counts = []
    for turn in range(2):
        rest(act, *range(3, 8), first=turn * 100 + 1)
        with act():
            for _each in range(5):
                make_holder(since=NOW - timedelta(days=2))
        with statements(app) as seen:
            operator.get(path)
        counts.append(len(seen))
    assert counts[0] == counts[1]
    assert counts[0] <= 16
