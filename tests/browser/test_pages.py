"""Every page: nothing for axe-core to find, no sideways scroll; phone and desktop, light and dark."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from portal.config import Config
from tests.browser.conftest import DESKTOP, PHONE, Visitor
from tests.browser.world import World, make_world

PUBLIC = ("/", "/register", "/login", "/forgot-password", "/reset-password", "/verify-email", "/nosuchpage")
ACCOUNT = ("/account", "/account/password", "/account/close", "/account/confirm")
CUSTOMER = (
    "/home",
    "/usage",
    "/usage?view=day",
    "/usage?view=year",
    "/bills",
    "/bills/{invoice}",
    "/meter",
    "/welcome",
    "/admin",
    *ACCOUNT,
)
WAITING = ("/home", "/usage", "/bills", "/meter", "/welcome")
ADMIN = (
    "/admin",
    "/admin/waiting",
    "/admin/waiting?q=nobody",
    "/admin/users",
    "/admin/users?q=nobody",
    "/admin/users/{customer}",
    "/admin/users/{waiting}",
    "/admin/assign",
    "/admin/users/{customer}/unassign",
    "/admin/users/{customer}/swap",
    "/admin/users/{customer}/relocate",
    "/admin/meters/MTR-00000001",
    "/admin/meters/MTR-00000777",
    "/admin/meters/MTR-00000777/status?to=faulty",
    "/admin/statistics",
    "/admin/bulk",
    "/account",
    "/account/password",
    "/admin/audit",
    "/admin/audit?q=nothing",
    "/admin/users/{customer}/role",
    "/admin/users/{customer}/suspend",
    "/admin/users/{customer}/close",
)
OPERATOR = (
    "/admin",
    "/admin/waiting",
    "/admin/users/{waiting}",
    "/admin/bulk",
    "/admin/held-readings",
    "/admin/held-readings?state=discarded",
    "/admin/held-readings/1",
)


@pytest.fixture
def world(act: Callable, config: Config) -> World:
    with act():
        return make_world(config)


def check(visitor: Visitor, world: World, paths: tuple[str, ...]) -> list[str]:
    """The faults of each page in both sizes and themes."""
    found = []
    for path in paths:
        filled = path.format(
            invoice=world.invoice_id, customer=world.customer.user_id, waiting=world.waiting[0].user_id
        )
        page = visitor.go(filled)
        for details in page.locator("details").all():
            details.evaluate("node => node.open = node.classList.contains('p-details')")
        for size in (DESKTOP, PHONE):
            page.set_viewport_size(size)
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme)
                found += [f"{path} {size['width']} {theme}: {fault}" for fault in visitor.faults()]
    return found


@pytest.mark.parametrize(
    ("who", "paths"),
    [
        (None, PUBLIC),
        ("asha@example.com", CUSTOMER),
        ("rohan@example.com", WAITING),
        ("meera@example.com", ADMIN),
        ("sanjay@example.com", OPERATOR),
    ],
    ids=["public", "customer", "waiting", "admin", "operator"],
)
def test_axe_finds_nothing(
    visitor: Callable[..., Visitor], world: World, who: str | None, paths: tuple[str, ...]
) -> None:
    somebody = visitor()
    if who:
        somebody.log_in(who)
    assert check(somebody, world, paths) == []


def test_refused_forms_are_as_good(visitor: Callable[..., Visitor], world: World) -> None:
    somebody = visitor()
    page = somebody.go("/register")
    page.get_by_label("Full name").fill("K")
    page.get_by_label("E-mail").fill("kavita@example")
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("alert")).to_contain_text("things to correct")
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            assert somebody.faults() == []
    # The link of the summary leads to its field.
    page.get_by_role("link", name=re.compile("^E-mail")).click()
    expect(page.get_by_label("E-mail")).to_be_focused()


def test_open_menus_are_as_good(visitor: Callable[..., Visitor], world: World) -> None:
    staff = visitor(size=PHONE).log_in("meera@example.com")
    staff.page.get_by_text("Menu", exact=True).click()
    expect(staff.page.get_by_role("link", name="Users", exact=True)).to_be_visible()
    assert staff.faults() == []
    customer = visitor().log_in("asha@example.com")
    customer.page.locator("summary", has_text="Asha Kulkarni").click()
    assert customer.faults() == []
    customer.page.get_by_role("button", name="Log out").click()
    expect(customer.page).to_have_url(customer.address + "/")


def test_the_bulk_pages_are_as_good(visitor: Callable[..., Visitor], world: World) -> None:
    staff = visitor(size=PHONE).log_in("meera@example.com")
    staff.go("/admin/bulk").get_by_role("button", name="Preview").click()
    staff.heading("Preview")
    assert staff.faults() == []
    staff.page.get_by_role("button", name="Assign 2 meters").click()
    staff.heading("Bulk run")
    assert staff.faults() == []


def test_buttons_are_large_enough_for_fingers(visitor: Callable[..., Visitor], world: World) -> None:
    somebody = visitor(size=PHONE).log_in("meera@example.com")
    for path in ("/admin", "/admin/waiting", "/admin/bulk", f"/admin/users/{world.customer.user_id}/unassign"):
        somebody.go(path)
        for button in somebody.page.locator("main .btn:visible").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 40, f"{path}: {button.inner_text()}"


def test_the_keyboard_skips_to_the_content_and_shows_where_it_is(visitor: Callable[..., Visitor], world: World) -> None:
    page = visitor().log_in("asha@example.com").page
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    assert skip.evaluate("node => getComputedStyle(node).outlineWidth") == "2px"
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#main$"))
