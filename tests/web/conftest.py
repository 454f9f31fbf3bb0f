"""Browsers without a screen: each page that they fetch is linted, each call states the status that it expects."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from portal.accounts.models import User
from portal.web import account as account_module
from portal.web import admin as admin_module
from portal.web import bulk as bulk_module
from portal.web import customer as customer_module
from portal.web import held as held_module
from portal.web import meters as meters_module
from portal.web import operator as operator_module
from portal.web import people as people_module
from portal.web import public as public_module
from portal.web import quarantine as quarantine_module
from portal.web import recovery as recovery_module
from portal.web import statistics as statistics_module
from portal.web import stock as stock_module
from portal.web import stock_file as stock_file_module
from portal.web import supply as supply_module
from portal.web import unheard as unheard_module
from tests.factories import NOW, PASSWORD, make_holder, make_user
from tests.web.pages import Page

Act = Callable[[], AbstractContextManager[Any]]
HTMX = {"HX-Request": "true"}


class Browser:
    """A person at a browser: keeps cookies, sends the token of the page that it last saw."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client
        self.token = ""

    def get(self, path: str, status: int = 200, **more: Any) -> Page:
        """A page."""
        return self._page(self.client.get(path, **more), status)

    def part(self, path: str, status: int = 200) -> str:
        """A fragment, as htmx asks for it."""
        return self.checked(self.client.get(path, headers=HTMX), status).text

    def post(self, path: str, status: int = 303, *, headers: dict[str, str] | None = None, **form: str) -> TestResponse:
        """Send a form with its token; 303 is success."""
        data = {"csrf_token": self.token, **form}
        return self.checked(self.client.post(path, data=data, headers=headers), status)

    def refused(self, path: str, **form: str) -> Page:
        """Send a form that is refused: the page again, with 422."""
        return self._page(self.post(path, 422, **form), 422)

    def _page(self, response: TestResponse, status: int) -> Page:
        self.checked(response, status)
        assert response.mimetype == "text/html"
        page = Page(response.text)
        assert page.faults() == [], f"{response.request.path}: {page.faults()}"
        self.token = page.value_of.get("csrf_token", self.token)
        return page

    @staticmethod
    def checked(response: TestResponse, status: int) -> TestResponse:
        """The answer, if it has this status."""
        assert response.status_code == status, f"{response.status_code} instead of {status}: {response.text[:800]}"
        return response

    def log_in(self, email: str, password: str = PASSWORD) -> Browser:
        """Through the form, like everybody."""
        self.get("/login")
        self.post("/login", email=email, password=password)
        return self


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noon in India on the 15th of November 2026."""
    for module in (
        account_module,
        admin_module,
        bulk_module,
        customer_module,
        held_module,
        meters_module,
        operator_module,
        people_module,
        public_module,
        quarantine_module,
        recovery_module,
        statistics_module,
        stock_file_module,
        supply_module,
        stock_module,
        unheard_module,
    ):
        monkeypatch.setattr(module, "now", lambda: NOW)


@pytest.fixture
def nobody(client: FlaskClient) -> Browser:
    """Somebody who is not logged in."""
    return Browser(client)


@pytest.fixture
def as_customer(app: Flask, act: Act) -> Callable[[User], Browser]:
    """Log in as this customer, in a browser of their own."""
    return lambda user: Browser(app.test_client()).log_in(user.email)


@pytest.fixture
def holder(act: Act) -> User:
    """A customer with a meter."""
    with act():
        return make_holder(name="Asha Kulkarni", email="asha@example.com")


@pytest.fixture
def customer(app: Flask, holder: User) -> Browser:
    """The browser of a customer with a meter."""
    return Browser(app.test_client()).log_in(holder.email)


@pytest.fixture
def operator(app: Flask, act: Act) -> Browser:
    """The browser of an operator."""
    with act():
        make_user(name="Sanjay More", email="sanjay@example.com", role="operator")
    return Browser(app.test_client()).log_in("sanjay@example.com")


@pytest.fixture
def admin(app: Flask, act: Act) -> Browser:
    """The browser of an administrator."""
    with act():
        make_user(name="Meera Iyer", email="meera@example.com", role="admin")
    return Browser(app.test_client()).log_in("meera@example.com")
