"""The pages of stock in a browser: a file sent with and without a script, a meter released, and nothing for axe."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect

from portal.audit import CLI
from portal.meters import actions
from portal.meters.models import Meter
from portal.meters.rules import meter_id
from tests.browser.conftest import DESKTOP, PHONE, Visitor
from tests.browser.world import now
from tests.factories import make_holder, make_pool, make_user

RIGHT = "meter,region,make,model\n" + "".join(f"MTR-{key:08},Pune-East,Secure,Premier 300\n" for key in range(500, 540))
WRONG = RIGHT.replace("MTR-00000511,Pune-East", "MTR-00000511,Atlantis").replace("MTR-00000520", "MTR-520")


@pytest.fixture
def stock(act: Callable, tmp_path: Path) -> Path:
    """Staff; meters that rest for a while yet, or no more; some that were never heard of; and a folder for files."""
    with act():
        make_user(name="Meera Iyer", email="meera@example.com", role="admin")
        make_user(name="Sanjay More", email="sanjay@example.com", role="operator")
        for key, (name, days) in enumerate((("Vikram Joshi", 30), ("Sunita Pawar", 3), ("Leela Fernandes", 0)), 1):
            since = now() - timedelta(days=40)
            user = make_holder(name=name, region="Pune-East", meter_id=meter_id(key), since=since)
            pool = make_pool(rest_days=days)
            back = now() - timedelta(days=4)
            actions.unassign(user.user_id, pool, to="quarantine", actor=CLI, now=back)
        for number, (name, region) in enumerate(
            (("Rohan Deshmukh", "Pune-East"), ("Fatima Shaikh", "Mumbai-North"), ("Gurpreet Singh Bedi", "Pune-East"))
        ):
            make_holder(name=name, region=region, since=now() - timedelta(days=20 - 7 * number))
    (tmp_path / "right.csv").write_text(RIGHT)
    (tmp_path / "wrong.csv").write_text(WRONG)
    return tmp_path


def both_sizes_and_themes(visitor: Visitor) -> list[str]:
    """What axe finds on the page that is open."""
    found = []
    for size in (DESKTOP, PHONE):
        visitor.page.set_viewport_size(size)
        for theme in ("light", "dark"):
            visitor.page.emulate_media(color_scheme=theme)
            found += [f"{size['width']} {theme}: {fault}" for fault in visitor.faults()]
    return found


PAGES = (
    "/admin/stock",
    "/admin/stock?status=quarantine",
    "/admin/stock?number=MTR-00000777",
    "/admin/stock?number=x",
    "/admin/quarantine",
    "/admin/quarantine?region=Delhi-North",
    "/admin/unheard",
    "/admin/unheard?days=30",
)
ACTS = ("/admin/meters/file", "/admin/quarantine/MTR-00000001/release", "/admin/quarantine/MTR-00000002/release")


@pytest.mark.parametrize(
    ("who", "paths"), [("meera@example.com", PAGES + ACTS), ("sanjay@example.com", PAGES)], ids=["admin", "operator"]
)
def test_axe_finds_nothing(visitor: Callable[..., Visitor], stock: Path, who: str, paths: tuple[str, ...]) -> None:
    staff = visitor().log_in(who)
    for path in paths:
        staff.go(path)
        assert both_sizes_and_themes(staff) == [], path


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_a_file_is_refused_corrected_and_taken(
    visitor: Callable[..., Visitor], stock: Path, act: Callable, script: bool
) -> None:
    staff = visitor(script=script).log_in("meera@example.com")
    page = staff.go("/admin/meters/file")
    page.get_by_label("File", exact=True).set_input_files(stock / "wrong.csv")
    page.get_by_role("button", name="Check and stock").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was stocked: 2 rows cannot be taken.")
    expect(page.get_by_role("row", name="Line 13")).to_contain_text("there is no region “Atlantis”")
    expect(page.get_by_role("row", name="Line 22")).to_contain_text("“MTR-520” is not a meter number")
    if script:
        assert both_sizes_and_themes(staff) == []
    page.get_by_label("File", exact=True).set_input_files(stock / "right.csv")
    page.get_by_role("button", name="Check and stock").click()
    expect(page.get_by_role("status")).to_contain_text("40 new meters, 0 changed, 0 as they were")
    with act() as session:
        assert session.get(Meter, 511).region == "Pune-East"


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_a_meter_is_released_and_then_those_whose_time_is_up(
    visitor: Callable[..., Visitor], stock: Path, script: bool
) -> None:
    staff = visitor(script=script, size=PHONE).log_in("meera@example.com")
    page = staff.go("/admin/quarantine")
    page.get_by_role("link", name="Release MTR-00000001").click()
    staff.heading("Release MTR-00000001?")
    page.get_by_label("Reason").fill("lies in the store")
    page.get_by_role("button", name="Release MTR-00000001").click()
    expect(page.get_by_role("status").first).to_contain_text("MTR-00000001 is in stock again.")
    page.get_by_role("button", name="Release 1 meter whose time is up").click()
    expect(page.get_by_role("status").first).to_contain_text("1 meter is in stock again.")
    expect(page.get_by_role("link", name="Release MTR-00000003")).to_be_visible()


def test_buttons_are_large_enough_for_fingers(visitor: Callable[..., Visitor], stock: Path) -> None:
    staff = visitor(size=PHONE).log_in("meera@example.com")
    for path in PAGES + ACTS:
        staff.go(path)
        for button in staff.page.locator("main .btn:visible").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 40, f"{path}: {button.inner_text()}"


def test_a_region_is_chosen_without_leaving_the_page(visitor: Callable[..., Visitor], stock: Path) -> None:
    page = visitor().log_in("sanjay@example.com").go("/admin/unheard")
    page.get_by_label("Region", exact=True).select_option("Mumbai-North")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("row", name="MTR-00000005")).to_contain_text("Fatima Shaikh")
    expect(page).to_have_url(re.compile("region=Mumbai-North"))


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_meters_are_stocked_and_found_by_the_keyboard_alone(
    visitor: Callable[..., Visitor], stock: Path, script: bool
) -> None:
    staff = visitor(script=script).log_in("meera@example.com")
    page = staff.go("/admin/stock")
    page.get_by_label("How many").focus()
    page.keyboard.type("0")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Give a whole number from 1 to 1,00,000.").last).to_be_visible()
    if script:
        assert both_sizes_and_themes(staff) == []
    page.get_by_label("How many").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("20")
    page.keyboard.press("Tab")
    page.keyboard.type("MTR-00000700")
    page.keyboard.press("Tab")
    page.keyboard.type("Pune-West")
    page.keyboard.press("Enter")
    if not page.url.endswith("place=Pune-West"):  # a select may take Enter for itself
        page.get_by_role("button", name="Stock these meters").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("MTR-00000700 to MTR-00000719: 20 stocked.")
    expect(page.get_by_role("row")).to_have_count(13)
    page.get_by_label("Number", exact=True).focus()
    page.keyboard.type("MTR-0000071")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row")).to_have_count(11)
    with page.expect_download() as download:
        page.get_by_role("link", name="These 10 meters as a file (CSV)").press("Enter")
    assert len(Path(download.value.path()).read_text().splitlines()) == 11
