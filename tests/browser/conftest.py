"""The portal in a real browser: a live server on a real database, Debian's chromium, axe-core."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from werkzeug.serving import make_server

from tests.factories import PASSWORD

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
expect.set_options(timeout=10_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here, and keep it on one worker: one browser at a time is enough for a small machine."""
    for item in items:
        if "tests/browser/" in item.path.as_posix():
            item.add_marker("browser")
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for one file of tests: playwright's event loop must not stay for other tests of this process."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        # CI says this where a chromium can be had: then a browser test that does not run has failed.
        leave = pytest.fail if os.environ.get("PORTAL_BROWSER_REQUIRED") else pytest.skip
        leave("There is no chromium here. `apt-get install chromium` brings it.")
    # Chromium's sandbox does not start for root.
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS + root)
        yield browser
        browser.close()


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """Where the portal answers."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Visitor:
    """Somebody at a browser. What the console complains about is kept, and fails the test at its end."""

    page: Page
    address: str
    complaints: list[str]

    def go(self, path: str) -> Page:
        """Open an address of the portal."""
        self.page.goto(self.address + path)
        return self.page

    def log_in(self, email: str, password: str = PASSWORD) -> Visitor:
        """Through the form."""
        self.go("/login")
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.page.get_by_role("main").get_by_role("button", name="Log in").click()
        expect(self.page).not_to_have_url(self.address + "/login")
        return self

    def heading(self, text: str) -> None:
        """The page's heading is this."""
        expect(self.page.get_by_role("heading", level=1)).to_have_text(text)

    def faults(self) -> list[str]:
        """What axe-core finds on the page, and whether it scrolls sideways."""
        found = []
        for rule in Axe().run(self.page).response["violations"]:
            places = [" ".join(map(str, node["target"])) for node in rule["nodes"]]
            found.append(f"{rule['id']}: {', '.join(places[:4])}")
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return found + ([f"scrolls {wide} px sideways"] if wide > 0 else [])


@pytest.fixture
def visitor(chromium: Browser, address: str) -> Iterator[Callable[..., Visitor]]:
    """`visitor()` is a new person with a browser of their own; `script=False` has none."""
    contexts: list[tuple[BrowserContext, list[str]]] = []

    def arrive(*, script: bool = True, size: dict[str, int] = DESKTOP, theme: str = "light") -> Visitor:
        context = chromium.new_context(java_script_enabled=script, viewport=size, color_scheme=theme)
        page = context.new_page()
        complaints: list[str] = []

        def heard(message: ConsoleMessage) -> None:
            # A status that the test asked for is no complaint; a refused style, script or fetch is.
            if message.type == "error" and "the server responded with a status of 4" not in message.text:
                complaints.append(message.text)

        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        contexts.append((context, complaints))
        return Visitor(page, address, complaints)

    yield arrive
    for context, complaints in contexts:
        context.close()
        assert complaints == []
