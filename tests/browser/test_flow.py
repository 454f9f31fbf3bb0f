"""The main job in a browser: with a script, and every form of it without."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pytest
from playwright.sync_api import expect

from portal.accounts.queries import find_user_by_email
from portal.config import Config
from portal.readings import actions as readings
from portal.readings.incoming import Row
from portal.web import formats
from tests.browser.conftest import Visitor
from tests.browser.world import give_history, last_month, make_world, now
from tests.factories import PASSWORD, make_user

KAVITA = "kavita@example.com"


def register(somebody: Visitor) -> None:
    page = somebody.go("/")
    page.get_by_role("link", name="Create account").first.click()
    page.get_by_label("Full name").fill("Kavita Sharma")
    page.get_by_label("E-mail").fill(KAVITA)
    page.get_by_label("Mobile number").fill("98765 43210")
    page.get_by_label("Region").select_option("Pune-West")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    somebody.heading("Welcome, Kavita. Your meter is assigned.")


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_from_registration_to_a_meter_again_and_last_months_bill(
    visitor: Callable[..., Visitor], act: Callable, config: Config, script: bool
) -> None:
    with act():
        make_user(name="Meera Iyer", email="meera@example.com", role="admin")
    customer, staff = visitor(script=script), visitor(script=script)

    register(customer)
    expect(customer.page.get_by_text("MTR-00000001", exact=True)).to_be_visible()
    customer.page.get_by_role("link", name="Go to your home page").click()
    expect(customer.page.get_by_text("No readings yet")).to_be_visible()
    with act():
        give_history(find_user_by_email(KAVITA), config)

    staff.log_in("meera@example.com")
    staff.go("/admin/users")
    staff.page.get_by_label("E-mail, name or meter").fill("mtr-00000001")
    staff.page.get_by_role("button", name="Search").click()
    staff.page.get_by_role("link", name="Kavita Sharma").click()
    staff.page.get_by_role("link", name="Unassign MTR-00000001").click()
    staff.heading("Unassign MTR-00000001 from Kavita Sharma?")
    staff.page.get_by_role("button", name="Unassign MTR-00000001").click()
    expect(staff.page.get_by_role("status")).to_contain_text("MTR-00000001 is taken back.")

    customer.go("/home")
    expect(customer.page.get_by_role("heading", name="No meter yet")).to_be_visible()

    staff.go("/admin").get_by_role("link", name="Assign meters to all who wait").click()
    staff.page.get_by_role("button", name="Preview").click()
    staff.heading("Preview")
    staff.page.get_by_role("button", name="Assign 1 meter").click()
    staff.heading("Bulk run")
    expect(staff.page.get_by_role("status")).to_contain_text("1 customer has a meter now.")
    expect(staff.page.get_by_role("cell", name="MTR-00000001")).to_be_visible()

    customer.go("/home")
    expect(customer.page.get_by_role("link", name="MTR-00000001")).to_be_visible()
    customer.page.get_by_role("link", name="See the bill").click()
    customer.heading(f"Bill for {formats.month(date(*last_month(), 1))}")
    expect(customer.page.get_by_role("row", name="Amount due")).to_be_visible()
    expect(customer.page.get_by_text("Unchanged")).to_be_visible()


def test_the_list_narrows_while_one_types_and_a_row_is_served_in_place(
    visitor: Callable[..., Visitor], act: Callable, config: Config
) -> None:
    with act():
        make_world(config)
    staff = visitor().log_in("meera@example.com")
    page = staff.go("/admin/waiting")
    expect(page.get_by_role("row")).to_have_count(3)
    page.get_by_label("E-mail, name or meter").press_sequentially("rohan")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page).to_have_url(staff.address + "/admin/waiting?q=rohan&region=")
    page.get_by_role("button", name="Assign the next free meter to Rohan Deshmukh").click()
    expect(page.get_by_role("row", name="Rohan Deshmukh")).to_contain_text("MTR-00000002 assigned")
    expect(page).to_have_url(staff.address + "/admin/waiting?q=rohan&region=")


def test_customers_are_suggested_in_the_form(visitor: Callable[..., Visitor], act: Callable, config: Config) -> None:
    with act():
        make_world(config)
    page = visitor().log_in("meera@example.com").go("/admin/assign")
    page.get_by_label("Customer's e-mail").press_sequentially("fat")
    expect(page.get_by_role("option", name="Fatima Shaikh")).to_be_visible()
    # By the keyboard alone: down to the first, take it, and on to the button.
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option", name="Fatima Shaikh")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Customer's e-mail")).to_have_value("fatima@example.com")
    expect(page.get_by_role("listbox")).to_be_hidden()
    expect(page.locator("#free-meters")).to_contain_text("Next free in Mumbai-North: MTR-00000002")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("MTR-00000002 is assigned to Fatima Shaikh.")


def test_escape_closes_the_suggestions_and_keeps_what_was_typed(
    visitor: Callable[..., Visitor], act: Callable, config: Config
) -> None:
    with act():
        make_world(config)
    staff = visitor().log_in("meera@example.com")
    page = staff.go("/admin/assign")
    page.get_by_label("Customer's e-mail").press_sequentially("fat")
    expect(page.get_by_role("option", name="Fatima Shaikh")).to_be_visible()
    assert staff.faults() == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("option", name="Fatima Shaikh")).to_be_hidden()
    expect(page.get_by_label("Customer's e-mail")).to_have_value("fat")


def test_new_readings_show_without_a_reload_and_close_no_table(
    visitor: Callable[..., Visitor], act: Callable, config: Config
) -> None:
    customer = visitor()
    customer.page.clock.install()
    register(customer)
    page = customer.go("/home")
    expect(page.get_by_text("No readings yet")).to_be_visible()
    with act():
        row = Row(meter_id="MTR-00000001", timestamp=now(), interval_seconds=60, energy_kwh=Decimal("0.042"))
        assert readings.store([row], source="test", now=now(), config=config).accepted == 1
    page.clock.fast_forward(21_000)
    expect(page.get_by_text("Reporting")).to_be_visible()
    # Somebody reads the table: the next refresh leaves it alone.
    page.get_by_text("Show as a table").click()
    page.clock.fast_forward(21_000)
    page.wait_for_timeout(300)
    expect(page.get_by_role("cell", name="0.042")).to_be_visible()


def test_a_password_can_be_shown(visitor: Callable[..., Visitor]) -> None:
    page = visitor().go("/login")
    field = page.get_by_label("Password", exact=True)
    field.fill("four unrelated words")
    page.get_by_role("button", name="Show").click()
    expect(field).to_have_attribute("type", "text")
    page.get_by_role("button", name="Hide").click()
    expect(field).to_have_attribute("type", "password")
    without = visitor(script=False).go("/login")
    expect(without.get_by_role("button", name="Show")).to_have_count(0)


def test_the_dashboard_counts_on_by_itself(visitor: Callable[..., Visitor], act: Callable, config: Config) -> None:
    with act():
        make_world(config)
    staff = visitor()
    staff.page.clock.install()
    page = staff.log_in("meera@example.com").page
    expect(page.locator("#numbers")).to_contain_text("2 wait for one")
    with act():
        make_user(name="Leela Fernandes", email="leela@example.com", now=now())
    page.clock.fast_forward(16_000)
    expect(page.locator("#numbers")).to_contain_text("3 wait for one")
    expect(page.locator("#regions")).to_have_count(1)
