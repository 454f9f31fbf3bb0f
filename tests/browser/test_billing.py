"""Billing pages of staff in a browser, with a script and without: no fault that axe finds."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from portal.audit import SYSTEM
from portal.billing import actions, corrections
from portal.billing.models import Invoice
from portal.config import Config
from portal.db import session
from portal.periods import local_month, previous_month
from portal.tariffs.queries import Catalogue
from tests.billing.bills import INDIA, give_readings
from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.world import last_month, now, start_of_last_month
from tests.factories import make_holder, make_user

SHOTS = os.environ.get("SCREENSHOTS")
"""A folder for pictures of the pages, to be looked at."""


@pytest.fixture
def flagged(act: Callable, config: Config) -> Invoice:
    """Three customers with a bill for the month before the last, one to be corrected; last month has none."""
    before = previous_month(*last_month())
    start, end = local_month(*before, INDIA).start, start_of_last_month()
    with act():
        for name, kwh in (("Prakash Jadhav", "1.8"), ("Meenakshi Iyer", "0"), ("Savitri Kamble", "0.5")):
            user = make_holder(name=name, since=start - timedelta(days=3))
            give_readings(user.meter_id or "", start, end, config, step=timedelta(hours=1), kwh="0.5")
            if kwh != "0":
                until = local_month(*last_month(), INDIA).end
                give_readings(user.meter_id or "", end, until, config, step=timedelta(hours=1), kwh=kwh)
        actions.generate_month(*before, actor=SYSTEM, now=now())
        make_user(name="Sanjay More", email="sanjay@example.com", role="admin")
        bill = session.scalars(select(Invoice).order_by(Invoice.invoice_number).limit(1)).one()
        give_readings(bill.meter_id, start, start + timedelta(hours=1), config, step=timedelta(hours=1), kwh="9.5")
        assert corrections.review(bill, Catalogue(), now())
    return bill


@pytest.mark.parametrize(
    ("size", "theme", "script"), [(DESKTOP, "light", True), (PHONE, "dark", True), (PHONE, "light", False)]
)
def test_a_run_is_calculated_decided_and_issued(
    visitor: Callable, flagged: Invoice, size: dict[str, int], theme: str, script: bool
) -> None:
    staff = visitor(script=script, size=size, theme=theme).log_in("sanjay@example.com")
    name = f"{size['width']}-{theme}"

    def look(what: str) -> None:
        if script:
            assert staff.faults() == [], what
        if SHOTS:
            staff.page.screenshot(path=str(Path(SHOTS) / f"{what}-{name}.png"), full_page=True)

    page = staff.go("/admin/billing")
    look("runs")
    page.get_by_role("button", name="Calculate").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Billing run for")
    expect(page.get_by_role("main")).to_contain_text("Prakash Jadhav")
    look("run")
    page.get_by_role("row", name="Prakash Jadhav").get_by_role("button", name="Include").click()
    expect(page.get_by_role("row", name="Prakash Jadhav")).to_contain_text("Included")
    page.get_by_role("link", name="Zero").click()
    look("run-zero")
    page.get_by_role("button", name="Hold all that are not decided").click()
    page.get_by_role("button", name="Approve 2 bills").click()
    expect(page.get_by_role("main")).to_contain_text("Approved by")
    look("run-issued")

    staff.go("/admin/corrections")
    look("corrections")
    page.get_by_role("link", name=flagged.invoice_number).click()
    look("correction")
    page.get_by_label("Why").fill("A reading came late.")
    page.get_by_role("button", name="Credit note and new bill").click()
    expect(page.get_by_role("main")).to_contain_text("No bill waits")

    staff.go("/admin/tariffs")
    look("tariffs")
    staff.go("/admin/tariffs/MSEDCL_LT1B_FY2026_27")
    look("tariff")
