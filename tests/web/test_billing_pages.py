"""Pages of billing runs, corrections and tariffs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from portal.audit import SYSTEM
from portal.billing import actions, corrections, runs
from portal.billing.models import Invoice
from portal.billing.run_models import BillingRun
from portal.config import Config
from portal.db import session
from portal.tariffs.queries import Catalogue
from portal.web import billing_runs
from portal.web import corrections as correction_pages
from tests.billing.bills import give_readings, india
from tests.factories import NOW, make_holder
from tests.web.conftest import Browser

OCTOBER = (india(2026, 10, 1), india(2026, 11, 1))


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (billing_runs, correction_pages):
        monkeypatch.setattr(module, "now", lambda: NOW)


@pytest.fixture
def people(act: Callable, config: Config) -> None:
    """Asha uses what she always did, Bela three times as much; both have a bill for September."""
    with act():
        for name, kwh in (("Asha Kulkarni", "0.25"), ("Bela Shah", "0.9")):
            user = make_holder(name=name, email=f"{name.split()[0].lower()}@example.com", since=india(2026, 8, 15))
            give_readings(user.meter_id or "", india(2026, 9, 1), OCTOBER[0], config)
            give_readings(user.meter_id or "", *OCTOBER, config, kwh=kwh)
        actions.generate_month(2026, 9, actor=SYSTEM, now=NOW)


def _begin(operator: Browser) -> str:
    operator.get("/admin/billing")
    answer = operator.post("/admin/billing", month="2026-10", region="Pune-West")
    return answer.headers["Location"]


def _only_bills(app: Flask, month: int) -> list[str]:
    with app.app_context():
        bills = session.scalars(select(Invoice).order_by(Invoice.invoice_number))
        return [bill.invoice_number for bill in bills if bill.cycle_start.month == month and bill.status != "cancelled"]


@pytest.mark.usefixtures("people")
def test_a_run_from_the_choice_of_a_month_to_issued_bills(app: Flask, operator: Browser) -> None:
    assert "No run yet" in operator.get("/admin/billing").plain
    address = _begin(operator)
    page = operator.get(address)
    assert "Billing run for October 2026" in page.plain
    assert "Nothing has been sent yet" in page.plain
    assert "Bela Shah" in page.plain
    assert "Asha Kulkarni" not in page.plain  # nothing is odd about hers
    assert "High 1" in page.plain
    assert "3.7 times usual" in page.plain
    assert "Approve 1 bill" in page.plain
    assert _only_bills(app, 10) == []

    connection = re.search(r'name="connection" value="(\d+)"', page.text)
    assert connection
    operator.post(f"{address}/decide", connection=connection[1], decision="issue")
    assert "Approve 2 bills" in operator.get(address).plain
    operator.post(f"{address}/approve")

    page = operator.get(address)
    assert _only_bills(app, 10) == ["INV-202610-0000001", "INV-202610-0000002"]
    assert "Approved by" in page.plain
    assert "Issued" in operator.get("/admin/billing").plain


@pytest.mark.usefixtures("people")
def test_a_kind_is_decided_as_a_whole_and_a_run_can_be_cancelled(app: Flask, operator: Browser) -> None:
    address = _begin(operator)
    page = operator.get(f"{address}?kind=high")
    assert "Hold all that are not decided" in page.plain
    operator.post(f"{address}/decide", kind="high", decision="hold", back="high")
    assert "Held back 1" in operator.get(address).plain
    operator.get(f"{address}/cancel")
    operator.post(f"{address}/cancel")
    assert "This run was cancelled" in operator.get(address).plain
    assert _only_bills(app, 10) == []
    operator.post(f"{address}/approve")  # refused, said on the page
    assert "Only a run that is calculated" in operator.get(address).plain


@pytest.mark.usefixtures("people")
def test_a_month_that_is_not_over_and_a_run_twice_are_refused_beside_the_form(operator: Browser) -> None:
    _begin(operator)
    operator.get("/admin/billing")
    assert "not finished" in operator.refused("/admin/billing", month="2026-10", region="Pune-West").plain
    assert "not over yet" in operator.refused("/admin/billing", month="2026-11", region="").plain
    assert "Choose a month" in operator.refused("/admin/billing", month="x", region="").plain


@pytest.mark.usefixtures("people")
def test_the_page_of_a_long_run_asks_again_by_itself(act: Callable, app: Flask, operator: Browser) -> None:
    with act():
        run = runs.open_run(2026, 10, None, actor=SYSTEM, now=NOW)
        run_id = run.run_id
    from portal.jobs import billing_steps

    with app.app_context():
        limit, billing_steps.AT_ONCE = billing_steps.AT_ONCE, 0
        billing_steps.begin(session.get_one(BillingRun, run_id), "billing_calculate", created_by=None, now=NOW)
        billing_steps.AT_ONCE = limit
    part = operator.part(f"/admin/billing/{run_id}")
    assert "<html" not in part
    assert 'hx-trigger="every 2s"' in part
    assert "0 of 2 bills" in part


@pytest.fixture
def flagged(act: Callable, config: Config, people: None) -> Invoice:
    """Asha's bill for September, for which a reading came late."""
    with act():
        bill = session.scalars(select(Invoice).order_by(Invoice.invoice_number).limit(1)).one()
        start = india(2026, 9, 5)
        give_readings(bill.meter_id, start, start + timedelta(minutes=30), config, kwh="9.25")
        assert corrections.review(bill, Catalogue(), NOW)
    return bill


@pytest.mark.promise(6)
def test_a_flagged_bill_is_shown_with_its_difference_and_corrected(
    app: Flask, operator: Browser, flagged: Invoice
) -> None:
    listed = operator.get("/admin/corrections")
    assert flagged.invoice_number in listed.plain
    assert "Readings came later" in listed.plain
    address = f"/admin/corrections/{flagged.invoice_id}"
    page = operator.get(address)
    assert "360.000 kWh were billed; it would be 369.000 kWh" in " ".join(page.plain.replace("\u00a0", " ").split())
    seen = page.value_of["seen"]
    assert "Say in 3 to 2000" in operator.refused(address, note="", seen=seen, decision="correct").plain
    assert "have changed" in operator.refused(address, note="late", seen="0" * 64, decision="correct").plain

    operator.post(address, note="A reading came late.", seen=seen, decision="correct")

    assert "No bill waits" in operator.get("/admin/corrections").plain
    assert "Taken back by credit note CN-202611-0000001" in operator.get(address).plain
    assert _only_bills(app, 9) == ["INV-202609-0000002", "INV-202609-0000003"]


def test_a_flagged_bill_can_be_left_as_it_is(operator: Browser, flagged: Invoice) -> None:
    address = f"/admin/corrections/{flagged.invoice_id}"
    page = operator.get(address)
    operator.post(address, note="agreed by phone", seen=page.value_of["seen"], decision="keep")
    assert "No bill waits" in operator.get("/admin/corrections").plain


@pytest.mark.usefixtures("people")
def test_tariffs_are_shown_with_sources_and_what_a_version_makes_of_the_last_bills(admin: Browser) -> None:
    page = admin.get("/admin/tariffs")
    assert "MSEDCL_LT1B_FY2026_27" in page.plain
    assert "medium-high" in page.plain
    assert "CASE217" not in page.text  # the stayed versions are not loaded
    own = admin.get("/admin/tariffs/MSEDCL_LT1B_FY2026_27").plain
    assert "Difference ₹0.00" in own
    older = admin.get("/admin/tariffs/MSEDCL_LT1B_FY2024_25").plain
    assert "Looked at 2 of 2" in older
    assert "Pay more, pay less 0, 2" in older
    admin.get("/admin/tariffs/NOT_THERE", 404)
