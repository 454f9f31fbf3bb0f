"""Home, use, bills and meter of a customer: their own, with every gap shown."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from flask import Flask
from sqlalchemy import event

from portal.accounts.models import User
from portal.audit import SYSTEM
from portal.billing import queries as billing
from portal.billing.models import Invoice
from portal.config import Config
from portal.db import db
from portal.meters import actions as meters
from portal.readings import actions as readings
from portal.readings.incoming import Row
from portal.web.bill import notes_of
from tests.billing.bills import give_readings, india, run
from tests.factories import NOW, make_holder, make_pool, make_user
from tests.web.conftest import HTMX, Browser

SINCE = india(2026, 9, 20, 12)


@pytest.fixture
def resident(act: Callable, config: Config) -> User:
    """A customer of Pune since September: half an hour is 0.25 kWh, 12 kWh a day; a bill for October."""
    with act():
        user = make_holder(name="Asha Kulkarni", email="asha@example.com", since=SINCE)
        give_readings(user.meter_id, india(2026, 10, 1), NOW, config)
        run(2026, 10)
    return user


@pytest.fixture
def browser(app: Flask, resident: User) -> Browser:
    return Browser(app.test_client()).log_in(resident.email)


def bill_of(user: User, app: Flask) -> Invoice:
    with app.app_context():
        return billing.list_invoices(user.user_id).invoices[0]


def test_home_answers_how_much_what_it_costs_and_what_is_due(browser: Browser) -> None:
    page = browser.get("/home")
    assert page.h1 == ["November so far"]
    # 14 whole days and a half at 12 kWh.
    assert "Used so far 174.0 kWh" in page.plain
    assert "all measured, since 1 Nov" in page.plain
    assert "360\u00a0kWh, if it goes on like this" in page.text
    assert "October bill" in page.plain
    assert "Reporting" in page.plain
    assert "Today, 12:00 (just now)" in page.plain
    assert "Oct 2026" in page.plain


def test_home_refreshes_as_a_fragment_and_restores_as_a_page(browser: Browser) -> None:
    part = browser.part("/home")
    assert part.strip().startswith('<div id="home"')
    assert "<html" not in part
    restored = browser.client.get("/home", headers=HTMX | {"HX-History-Restore-Request": "true"})
    assert "<html" in restored.text
    assert {"HX-Request", "HX-History-Restore-Request"} <= set(restored.headers["Vary"].replace(" ", "").split(","))


def test_a_new_customer_sees_use_as_soon_as_the_first_reading_is_in(app: Flask, act: Callable, config: Config) -> None:
    with act():
        holder = make_holder(email="new@example.com", since=NOW - timedelta(minutes=5))
    customer = Browser(app.test_client()).log_in(holder.email)
    before = customer.get("/home")
    assert "No readings yet" in before.plain
    assert "No bill yet" in before.plain
    assert "Shown after one day of readings." in before.plain
    with act():
        begun = NOW - timedelta(minutes=1)
        reading = Row(meter_id=holder.meter_id, timestamp=begun, interval_seconds=60, energy_kwh=Decimal("0.012"))
        readings.store([reading], source="test", now=NOW, config=config)
    after = customer.part("/home")
    assert "Reporting" in after
    assert "0.012<small>kWh" in after
    assert "Last minute" in after


@pytest.mark.promise(5)
def test_hours_without_readings_are_said_and_drawn_not_filled(app: Flask, act: Callable, config: Config) -> None:
    with act():
        user = make_holder(email="gap@example.com", since=SINCE)
        give_readings(user.meter_id, india(2026, 11, 1), india(2026, 11, 5), config)
        give_readings(user.meter_id, india(2026, 11, 6, 6), NOW, config)
    browser = Browser(app.test_client()).log_in("gap@example.com")
    home = browser.get("/home")
    assert "30 hours without readings" in home.plain
    assert "p-kind-missing" in home.text
    month = browser.get("/usage?view=month&on=2026-11-15")
    assert "5 Nov no readings" in month.plain
    assert "6 Nov 6 hours without readings" in month.plain
    assert "Without readings 30 hours" in month.plain
    day = browser.get("/usage?view=day&on=2026-11-06")
    assert "Without readings 6 hours" in day.plain
    assert "05:30 no readings" in day.plain


@pytest.mark.promise(3)
def test_only_what_was_used_while_the_meter_was_theirs_is_shown(app: Flask, act: Callable, config: Config) -> None:
    moved = india(2026, 11, 10, 10, 30)
    with act():
        first = make_holder(email="first@example.com", since=SINCE)
        meter = first.meter_id
        give_readings(meter, india(2026, 11, 9), NOW, config, kwh="1")
        meters.unassign(first.user_id, make_pool(), actor=SYSTEM, now=moved)
        make_holder(email="second@example.com", since=moved, meter_id=meter)
    before = Browser(app.test_client()).log_in("first@example.com")
    after = Browser(app.test_client()).log_in("second@example.com")
    assert "Used 21.000 kWh" in before.get("/usage?view=day&on=2026-11-10").plain
    assert "Used 27.000 kWh" in after.get("/usage?view=day&on=2026-11-10").plain
    # 9 November and half of the 10th; the rest of it, four days and half of the 15th.
    assert "Used 69.000 kWh" in before.get("/usage?view=month").plain
    assert "Used 243.000 kWh" in after.get("/usage?view=month").plain
    assert "Used so far 243.0 kWh" in after.get("/home").plain


def test_a_bill_shows_every_line_its_sum_and_its_proof(app: Flask, resident: User, browser: Browser) -> None:
    invoice = bill_of(resident, app)
    page = browser.get(f"/bills/{invoice.invoice_id}")
    assert page.h1 == ["Bill for October 2026"]
    assert invoice.invoice_number in page.plain
    assert "372.000\u00a0kWh" in page.text
    assert "× ₹" in page.plain
    assert "1 month × ₹140.00" in page.plain
    assert "16 % × ₹4,538.27" in page.plain
    assert "Rounded" in page.plain
    assert "Unchanged" in page.plain
    assert "You used 372.000" in page.text
    assert page.plain.count("Amount due") >= 2


@pytest.mark.promise(5)
def test_a_bill_says_which_hours_are_not_on_it(app: Flask, act: Callable, config: Config) -> None:
    with act():
        user = make_holder(email="gap@example.com", since=SINCE)
        give_readings(user.meter_id, india(2026, 10, 2), india(2026, 11, 1), config)
        run(2026, 10)
    page = Browser(app.test_client()).log_in("gap@example.com").get(f"/bills/{bill_of(user, app).invoice_id}")
    assert "No readings came for 24 hours." in page.plain
    assert "nothing was guessed" in page.plain
    assert "1 Oct no readings" in page.plain


def test_an_illustrative_tariff_is_called_so_on_the_bill(app: Flask) -> None:
    bill = Invoice(illustrative=True, missing_hours=Decimal(0), estimated_kwh=Decimal(0))
    with app.test_request_context():
        [(tone, fact, text)] = notes_of(bill)
    assert (tone, fact) == ("info", "The tariff is illustrative.")
    assert "nobody is charged by them" in text


@pytest.mark.promise(9)
def test_a_foreign_bill_is_as_if_it_did_not_exist(app: Flask, resident: User, act: Callable) -> None:
    with act():
        make_user(email="other@example.com")
    other = Browser(app.test_client()).log_in("other@example.com")
    foreign = other.get(f"/bills/{bill_of(resident, app).invoice_id}", 404)
    unknown = other.get(f"/bills/{uuid.uuid4()}", 404)
    assert foreign.h1 == unknown.h1 == ["There is no such page"]


def test_bills_are_listed_newest_first_and_an_empty_list_says_when(app: Flask, browser: Browser, act: Callable) -> None:
    assert "Oct" in browser.get("/bills").plain
    with act():
        make_holder(email="new@example.com")
    page = Browser(app.test_client()).log_in("new@example.com").get("/bills")
    assert "Your first bill comes about 1 Dec, for 15–30 November 2026." in page.plain


def test_somebody_without_a_meter_is_told_why_and_keeps_their_bills(
    app: Flask, resident: User, browser: Browser, act: Callable
) -> None:
    with act():
        meters.unassign(resident.user_id, make_pool(), actor=SYSTEM, now=NOW - timedelta(hours=1))
    page = browser.get("/home")
    assert "No meter yet" in page.plain
    assert "October bill" in page.plain
    assert "MTR-00000001 taken back" in browser.get("/meter").plain
    assert "system" not in browser.get("/meter").plain.lower()


@pytest.mark.parametrize("view", ["day", "month", "year", "", "nonsense"])
@pytest.mark.parametrize("on", ["2026-11-15", "2026-10-31", "2099-01-01", "1066-01-01", "2026-02-30", "x", ""])
def test_every_address_of_use_is_a_page(browser: Browser, view: str, on: str) -> None:
    page = browser.get(f"/usage?view={view}&on={on}")
    assert page.h1[0].strip()


def test_a_year_is_the_sum_of_its_months(browser: Browser) -> None:
    page = browser.get("/usage?view=year&on=2026-11-15")
    # 31 days of October and 14½ of November.
    assert "Used 546.000 kWh" in page.plain
    assert "October 2026 372.000" in page.plain
    assert "November 2026 so far 174.000" in page.plain


def test_home_costs_the_same_number_of_queries_with_twice_the_bills(
    app: Flask, resident: User, browser: Browser, act: Callable, config: Config
) -> None:
    def queries_of(path: str) -> int:
        count = 0

        def counted(*_: object) -> None:
            nonlocal count
            count += 1

        with app.app_context():
            event.listen(db.engine, "before_cursor_execute", counted)
            browser.get(path)
            event.remove(db.engine, "before_cursor_execute", counted)
        return count

    before = queries_of("/home"), queries_of("/bills")
    with act():
        give_readings(resident.meter_id, SINCE, india(2026, 10, 1), config)
        run(2026, 9)
    assert (queries_of("/home"), queries_of("/bills")) == before
    assert before[0] <= 40
    assert before[1] <= 12


def test_this_month_is_compared_with_as_much_of_the_last_one(app: Flask, act: Callable, config: Config) -> None:
    with act():
        user = make_holder(email="less@example.com", since=SINCE)
        give_readings(user.meter_id, india(2026, 10, 1), india(2026, 11, 1), config, kwh="0.3")
        give_readings(user.meter_id, india(2026, 11, 1), NOW, config, kwh="0.25")
    page = Browser(app.test_client()).log_in("less@example.com").get("/home")
    # 14½ days of 48 half hours: 208.8 kWh then, 174.0 now.
    assert "Compared with October" in page.plain
    assert "You used 34.8 kWh less than in 1–15 October 2026." in page.plain.replace("\u00a0", " ")
    assert "p-kind-compare" in page.text


@pytest.mark.parametrize("begin", [india(2026, 10, 2), india(2026, 11, 14)])
def test_nothing_is_compared_with_a_month_that_is_not_whole(
    app: Flask, act: Callable, config: Config, begin: datetime
) -> None:
    with act():
        user = make_holder(email="new@example.com", since=begin)
        give_readings(user.meter_id, begin, NOW, config)
    assert "Compared with" not in Browser(app.test_client()).log_in("new@example.com").get("/home").plain
