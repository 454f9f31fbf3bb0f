"""The list of stock, its file, and stocking more numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask

from portal.audit import CLI
from portal.meters import actions, bulk, life
from portal.meters.models import Meter
from portal.meters.rules import meter_id
from tests.factories import NOW, make_holder, make_pool
from tests.web.conftest import Browser
from tests.web.test_stock import send, statements

POOL = make_pool()


def stocked(act: Callable, first: int, last: int, region: str | None = "Pune-East") -> None:
    with act():
        bulk.provision(meter_id(first), meter_id(last), region, POOL, actor=CLI, now=NOW)


@pytest.fixture
def meters(act: Callable) -> None:
    """Stock of two regions and of none, a faulty one, one that rests, and one that is held."""
    stocked(act, 1, 3)
    stocked(act, 11, 12, "Delhi-North")
    stocked(act, 21, 21, None)
    with act():
        life.move_meter(meter_id(2), "faulty", POOL, actor=CLI, now=NOW)
        life.move_meter(meter_id(3), "quarantine", make_pool(rest_days=4), actor=CLI, now=NOW)
        make_holder(name="Asha Kulkarni", email="asha@example.com", region="Delhi-North", meter_id=meter_id(11))


def test_the_list_says_state_region_and_holder(operator: Browser, meters: None) -> None:
    page = operator.get("/admin/stock")
    assert "MTR-00000002 Single phase Faulty Pune-East Nobody" in page.plain
    assert "MTR-00000003 Single phase In quarantine until 19 November 2026 Pune-East" in page.plain
    assert "MTR-00000011 Single phase Assigned Delhi-North Asha Kulkarni asha@example.com" in page.plain
    assert "MTR-00000021 Single phase In stock Any region" in page.plain
    assert "99,99,994 numbers of the range are free besides" in page.plain
    assert "These 6 meters as a file (CSV)" in page.plain
    assert [form.get("action") for form in page.forms if form.get("method") == "post"] == ["/logout", "/logout"]
    assert "/admin/meters/file" not in page.links


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("status=faulty", [2]),
        ("place=Delhi-North", [11, 12]),
        ("place=-", [21]),
        ("status=in_stock&place=Delhi-North", [12]),
        ("number=mtr-0000001", [11, 12]),
        ("number=3", [3]),
        ("number=3&place=Delhi-North", []),
        ("status=nonsense", [1, 2, 3, 11, 12, 21]),
        ("place=Atlantis", []),
    ],
)
def test_the_filters_hold_for_the_page_and_for_the_file(
    operator: Browser, meters: None, query: str, numbers: list[int]
) -> None:
    page = operator.get(f"/admin/stock?{query}")
    assert [key for key in range(30) if meter_id(key) in page.plain] == numbers
    assert "<html" not in operator.part(f"/admin/stock?{query}")
    answer = operator.checked(operator.client.get(f"/admin/stock.csv?{query}"), 200)
    assert answer.mimetype == "text/csv"
    assert [row["meter"] for row in csv.DictReader(io.StringIO(answer.text))] == [meter_id(key) for key in numbers]
    if numbers:
        [link] = [link for link in page.links if "stock.csv" in link]
        assert operator.client.get(link).text == answer.text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("number=x", "“x” is no number of a meter"),
        ("number=<b>", "“<b>” is no number of a meter"),
        ("number=MTR-00000077", "MTR-00000077 is free"),
        ("number=MTR-99999999", "No such meter"),
        ("number=77&status=faulty", "No such meter"),
        ("offset=500", "The list ends before this page"),
    ],
)
def test_an_empty_list_says_what_is_so(operator: Browser, meters: None, query: str, words: str) -> None:
    assert words in operator.get(f"/admin/stock?{query}").plain


def test_nothing_stocked_is_no_fault(admin: Browser) -> None:
    assert "No meter has a row yet" in admin.get("/admin/stock").plain


def test_the_file_comes_back_as_it_went_out(admin: Browser, meters: None, act: Callable) -> None:
    send(admin, "meter,make,model,commissioned,multiplier\nMTR-00000001,=cmd(),-1,2026-01-31,1\n", 303)
    lines = admin.client.get("/admin/stock.csv").text
    rows = list(csv.DictReader(io.StringIO(lines)))
    assert rows[0] == {
        "meter": "MTR-00000001",
        "region": "Pune-East",
        "make": "'=cmd()",
        "model": "'-1",
        "phase": "1",
        "multiplier": "1.000",
        "digits": "6",
        "commissioned": "2026-01-31",
        "status": "in_stock",
        "rests_until": "",
        "holder": "",
    }
    assert (rows[2]["rests_until"], rows[3]["holder"]) == ("2026-11-19", "asha@example.com")
    send(admin, lines, 303)
    assert "0 new meters, 0 changed, 6 as they were" in admin.get("/admin/meters/file").plain


@pytest.mark.parametrize(
    ("form", "last", "words"),
    [
        ({"count": "5", "region": "Pune-West"}, 26, "MTR-00000022 to MTR-00000026: 5 stocked."),
        ({"count": "1", "first": "mtr-00000040"}, 40, "MTR-00000040: 1 stocked."),
        (
            {"count": "3", "first": "MTR-00000001", "region": "Pune-West"},
            21,
            "MTR-00000001 to MTR-00000003: 1 stocked. 2 left alone, because they are not in stock.",
        ),
    ],
)
def test_more_numbers_are_stocked(
    admin: Browser, meters: None, act: Callable, form: dict[str, str], last: int, words: str
) -> None:
    admin.get("/admin/stock")
    answer = admin.post("/admin/stock", **({"first": "", "region": "", "phase": "3"} | form))
    assert words in admin.get(answer.headers["Location"]).plain
    with act() as session:
        assert session.scalar(Meter.__table__.select().order_by(Meter.meter_key.desc())) == last
        changed = session.get(Meter, 1 if form.get("first") == "MTR-00000001" else last)
        assert (changed.region, changed.phase) == (form.get("region"), 3)


@pytest.mark.parametrize(
    ("form", "field", "words"),
    [
        ({"count": ""}, "count", "whole number from 1 to 1,00,000"),
        ({"count": "0"}, "count", "whole number"),
        ({"count": "100001"}, "count", "whole number"),
        ({"count": "9" * 50}, "count", "whole number"),
        ({"count": "٣"}, "count", "whole number"),
        ({"count": "5", "first": "13"}, "first", "is not a meter number"),
        ({"count": "5", "first": "MTR-09999999"}, "first", "outside the range"),
        ({"count": "5", "region": "Atlantis"}, "region", "There is no region"),
    ],
)
def test_a_refusal_stands_beside_its_field(
    admin: Browser, meters: None, form: dict[str, str], field: str, words: str
) -> None:
    admin.get("/admin/stock")
    page = admin.refused("/admin/stock", **({"first": "", "region": "", "phase": "1"} | form))
    assert f"{field}-error" in page.ids
    assert words in page.plain
    assert page.value_of["count"] == form["count"]
    assert "MTR-00000001" in page.plain


def test_pages_follow_each_other_and_keep_the_filters(operator: Browser, act: Callable) -> None:
    stocked(act, 1, 30)
    address, seen = "/admin/stock?status=in_stock&number=MTR-000000", []
    while address:
        page = operator.get(address)
        seen += [key for key in range(1, 31) if meter_id(key) in page.plain]
        address = next((link for link in page.links if f"offset={len(seen)}" in link), "")
        assert not address or "status=in_stock" in address
    assert seen == list(range(1, 31))


def test_a_long_file_comes_in_parts_and_holds_no_transaction(
    operator: Browser, act: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal.meters import stock

    stocked(act, 1, 7)
    whole = stock.iterate_lines
    monkeypatch.setattr(stock, "iterate_lines", lambda sought: whole(sought, size=3))
    assert len(operator.client.get("/admin/stock.csv").text.splitlines()) == 8


def test_twice_the_rows_ask_no_more_of_the_database(app: Flask, operator: Browser, act: Callable) -> None:
    counts = []
    for turn in range(2):
        stocked(act, 100 * turn + 1, 100 * turn + 3)
        with act():
            for _each in range(3):
                holder = make_holder(since=NOW - timedelta(days=2))
                actions.unassign(holder.user_id, make_pool(rest_days=9), actor=CLI, now=NOW)
            make_holder(since=NOW)
        with statements(app) as seen:
            operator.get("/admin/stock")
        counts.append(len(seen))
    assert counts[0] == counts[1]
    assert counts[0] <= 16


def test_the_numbers_of_the_statistics_lead_to_their_meters(operator: Browser, meters: None) -> None:
    links = [link for link in operator.get("/admin/statistics").links if link.startswith("/admin/stock?")]
    assert "/admin/stock?status=faulty&place=Pune-East" in links
    found = operator.get("/admin/stock?status=in_stock&place=-")
    assert "MTR-00000021" in found.plain
    assert "/admin/meters/MTR-00000021" in found.links
    assert operator.get("/admin/meters/MTR-00000021").h1 == ["MTR-00000021"]
