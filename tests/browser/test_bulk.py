"""Bulk runs in a real browser: every page without a fault on phone and desktop, and progress that moves by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from portal import jobs
from portal.audit import SYSTEM
from portal.jobs import bulk_assign
from portal.jobs.parts import Tally
from tests.browser.conftest import DESKTOP, PHONE, Visitor
from tests.factories import make_user

SHEET = """user;meter;date
asha0@example.com;MTR-00000050;2026-02-01
nobody@example.com;;
asha1@example.com;13;31-01-2026
"""


@pytest.fixture
def running(act: Callable[[], Any]) -> Any:
    """An admin, some who wait, and a run that is at work elsewhere."""
    with act():
        make_user(name="Meera Iyer", email="meera@example.com", role="admin")
        for number in range(8):
            make_user(email=f"asha{number}@example.com", region=("Pune-East", "Delhi-South", None)[number % 3])
        args = bulk_assign.arguments(None, None, dry_run=False, actor=SYSTEM)
        job = jobs.start(bulk_assign.KIND, args, total=4000, created_by=None, now=datetime.now(UTC))
        job.status, job.done, job.place = "running", 1000, Tally(success=1000).to_json()
        job.started_at, job.moved_at = datetime.now(UTC) - timedelta(seconds=20), datetime.now(UTC)
    return job


@pytest.mark.parametrize(("size", "theme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_every_page_of_a_bulk_run_is_without_a_fault(
    visitor: Callable[..., Visitor], running: Any, tmp_path: Path, size: dict[str, int], theme: str
) -> None:
    meera = visitor(size=size, theme=theme).log_in("meera@example.com")
    page = meera.page
    sheet = tmp_path / "list.csv"
    sheet.write_text(SHEET)
    found = {}

    def look(name: str) -> None:
        found[name] = meera.faults()

    meera.go("/admin/bulk/file")
    look("file")
    page.set_input_files("input[type=file]", str(sheet))
    page.get_by_role("button", name="Look at every row").click()
    look("looked at")
    page.get_by_role("link", name="that are left").click()
    expect(page.get_by_text("there is no such customer")).to_be_visible()
    look("wrong rows")
    meera.go("/admin/bulk")
    look("bulk")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("Nothing has changed yet.")).to_be_visible()
    look("preview")
    page.get_by_role("button", name="Assign 8 meters").click()
    expect(page.get_by_text("8 customers have a meter now.")).to_be_visible()
    look("result")
    page.get_by_role("link", name="Undo this run").click()
    look("undo")
    page.get_by_role("button", name="Take back 8 meters").click()
    expect(page.get_by_text("8 meters are back in stock, and")).to_be_visible()
    look("undone")
    meera.go("/admin/jobs")
    look("runs")
    meera.go(f"/admin/jobs/{running.job_id}")
    look("running")
    assert not {name: faults for name, faults in found.items() if faults}


def test_progress_moves_by_itself_and_a_stop_is_seen(
    visitor: Callable[..., Visitor], running: Any, act: Callable[[], Any]
) -> None:
    meera = visitor().log_in("meera@example.com")
    meera.go(f"/admin/jobs/{running.job_id}")
    expect(meera.page.get_by_text("1,000 of 4,000 customers")).to_be_visible()
    with act():
        jobs.lock_job(running.job_id).done = 2000
    expect(meera.page.get_by_text("2,000 of 4,000 customers")).to_be_visible()
    meera.page.get_by_role("button", name="Stop after this one").click()
    expect(meera.page.get_by_text("What was done stays, and is listed below.")).to_be_visible()


def test_without_a_script_the_same_is_there(visitor: Callable[..., Visitor], running: Any) -> None:
    meera = visitor(script=False).log_in("meera@example.com")
    meera.go("/admin/bulk").get_by_role("button", name="Preview").click()
    meera.page.get_by_role("button", name="Assign 8 meters").click()
    expect(meera.page.get_by_text("8 customers have a meter now.")).to_be_visible()
    meera.go(f"/admin/jobs/{running.job_id}").get_by_role("button", name="Stop after this one").click()
    expect(meera.page.get_by_text("What was done stays, and is listed below.")).to_be_visible()
