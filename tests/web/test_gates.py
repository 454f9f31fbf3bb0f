"""Promise 9 for pages: every route by every role. A route without a row here fails."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.factories import make_user
from tests.web.conftest import Browser

EVERYBODY = {"nobody", "user", "operator", "admin"}
SIGNED_IN = {"user", "operator", "admin"}
CUSTOMER = {"user"}
STAFF = {"operator", "admin"}
ADMIN = {"admin"}

ROUTES = {
    "GET /": EVERYBODY,
    "GET /register": EVERYBODY,
    "POST /register": EVERYBODY,
    "GET /login": EVERYBODY,
    "POST /login": EVERYBODY,
    "POST /logout": EVERYBODY,
    "GET /forgot-password": EVERYBODY,
    "POST /forgot-password": EVERYBODY,
    "GET /reset-password": EVERYBODY,
    "POST /reset-password": EVERYBODY,
    "GET /verify-email": EVERYBODY,
    "POST /verify-email": EVERYBODY,
    "POST /verify-email/send": EVERYBODY,
    "GET /set-password": EVERYBODY,
    "POST /set-password": EVERYBODY,
    "GET /account": SIGNED_IN,
    "POST /account": SIGNED_IN,
    "GET /account/password": SIGNED_IN,
    "POST /account/password": SIGNED_IN,
    "POST /account/sessions/<uuid:login_id>/end": SIGNED_IN,
    "POST /account/sessions/end-all": SIGNED_IN,
    "GET /account/close": SIGNED_IN,
    "POST /account/close": SIGNED_IN,
    "GET /account/confirm": SIGNED_IN,
    "POST /account/confirm": SIGNED_IN,
    "GET /welcome": CUSTOMER,
    "GET /home": CUSTOMER,
    "GET /usage": CUSTOMER,
    "GET /bills": CUSTOMER,
    "GET /bills/<uuid:invoice_id>": CUSTOMER,
    "GET /bills/<uuid:invoice_id>/bill.pdf": CUSTOMER,
    "GET /bills/<uuid:invoice_id>/dispute": CUSTOMER,
    "POST /bills/<uuid:invoice_id>/dispute": CUSTOMER,
    "POST /bills/<uuid:invoice_id>/dispute/withdraw": CUSTOMER,
    "GET /bills/<uuid:invoice_id>/proof.json": CUSTOMER,
    "GET /meter": CUSTOMER,
    "GET /admin": STAFF,
    "GET /admin/billing": STAFF,
    "POST /admin/billing": STAFF,
    "GET /admin/billing/<uuid:run_id>": STAFF,
    "POST /admin/billing/<uuid:run_id>/decide": STAFF,
    "POST /admin/billing/<uuid:run_id>/approve": STAFF,
    "POST /admin/billing/<uuid:run_id>/again": STAFF,
    "GET /admin/billing/<uuid:run_id>/cancel": STAFF,
    "POST /admin/billing/<uuid:run_id>/cancel": STAFF,
    "GET /admin/corrections": STAFF,
    "GET /admin/corrections/<uuid:invoice_id>": STAFF,
    "POST /admin/corrections/<uuid:invoice_id>": STAFF,
    "GET /admin/tariffs": ADMIN,
    "GET /admin/tariffs/<version_id>": ADMIN,
    "GET /admin/waiting": STAFF,
    "GET /admin/users": STAFF,
    "GET /admin/users/options": STAFF,
    "GET /admin/users/<uuid:user_id>": STAFF,
    "GET /admin/held-readings": STAFF,
    "GET /admin/held-readings/<held_id>": STAFF,
    "POST /admin/held-readings/<held_id>": STAFF,
    "GET /admin/assign": ADMIN,
    "POST /admin/assign": ADMIN,
    "POST /admin/waiting/<uuid:user_id>/assign": ADMIN,
    "GET /admin/users/<uuid:user_id>/unassign": ADMIN,
    "POST /admin/users/<uuid:user_id>/unassign": ADMIN,
    "GET /admin/users/<uuid:user_id>/role": ADMIN,
    "POST /admin/users/<uuid:user_id>/role": ADMIN,
    "GET /admin/users/<uuid:user_id>/suspend": ADMIN,
    "POST /admin/users/<uuid:user_id>/suspend": ADMIN,
    "POST /admin/users/<uuid:user_id>/lift": ADMIN,
    "POST /admin/users/<uuid:user_id>/logout": ADMIN,
    "GET /admin/users/<uuid:user_id>/close": ADMIN,
    "POST /admin/users/<uuid:user_id>/close": ADMIN,
    "GET /admin/audit": ADMIN,
    "GET /admin/stock": STAFF,
    "POST /admin/stock": ADMIN,
    "GET /admin/stock.csv": STAFF,
    "GET /admin/meters/file": ADMIN,
    "POST /admin/meters/file": ADMIN,
    "GET /admin/quarantine": STAFF,
    "POST /admin/quarantine/release": ADMIN,
    "GET /admin/quarantine/<meter_id>/release": ADMIN,
    "POST /admin/quarantine/<meter_id>/release": ADMIN,
    "GET /admin/unheard": STAFF,
    "GET /admin/users/<uuid:user_id>/swap": ADMIN,
    "POST /admin/users/<uuid:user_id>/swap": ADMIN,
    "GET /admin/users/<uuid:user_id>/relocate": ADMIN,
    "POST /admin/users/<uuid:user_id>/relocate": ADMIN,
    "POST /admin/waiting/assign": ADMIN,
    "GET /admin/statistics": STAFF,
    "GET /admin/meters/free": STAFF,
    "GET /admin/meters/<meter_id>": STAFF,
    "GET /admin/meters/<meter_id>/status": ADMIN,
    "POST /admin/meters/<meter_id>/status": ADMIN,
    "GET /admin/bulk": ADMIN,
    "POST /admin/bulk": ADMIN,
    "GET /admin/bulk/file": ADMIN,
    "POST /admin/bulk/file": ADMIN,
    "GET /admin/jobs": ADMIN,
    "GET /admin/jobs/<uuid:job_id>": ADMIN,
    "POST /admin/jobs/<uuid:job_id>/run": ADMIN,
    "POST /admin/jobs/<uuid:job_id>/cancel": ADMIN,
    "GET /admin/jobs/<uuid:job_id>/undo": ADMIN,
    "POST /admin/jobs/<uuid:job_id>/undo": ADMIN,
    "GET /admin/jobs/<uuid:job_id>/corrected.csv": ADMIN,
    "GET /admin/jobs/<uuid:job_id>/rows.csv": ADMIN,
}
NOT_PAGES = ("/api", "/static", "/healthz", "/readyz", "/openapi.json")


def pages_of(app: Flask) -> set[str]:
    return {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        if not rule.rule.startswith(NOT_PAGES)
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


@pytest.mark.promise(9)
def test_every_page_has_a_row(app: Flask) -> None:
    assert pages_of(app) == set(ROUTES)


@pytest.fixture
def client_of(app: Flask, act: Callable) -> Callable[[str], FlaskClient]:
    def make(role: str) -> FlaskClient:
        client = app.test_client()
        if role != "nobody":
            with act():
                make_user(email=f"{role}@example.com", role=role)
            Browser(client).log_in(f"{role}@example.com")
        return client

    return make


@pytest.mark.promise(9)
@pytest.mark.parametrize("role", ["nobody", "user", "operator", "admin"])
def test_each_role_reaches_its_own_pages_and_no_others(client_of: Callable[[str], FlaskClient], role: str) -> None:
    client = client_of(role)
    nobody_is = str(uuid.UUID(int=0))
    for route, allowed in ROUTES.items():
        if route == "POST /logout":
            continue
        method, path = route.split(" ")
        for name in ("run_id", "invoice_id", "user_id", "job_id", "login_id"):
            path = path.replace(f"<uuid:{name}>", nobody_is)
        response = client.open(path, method=method)
        if role in allowed:
            # Past the gate: a page, an unknown id, or a form without its token.
            assert response.status_code in (200, 303, 400, 404), f"{role} {route}: {response.status_code}"
            assert "/login?" not in response.headers.get("Location", ""), f"{role} {route}"
        elif role == "nobody":
            assert response.status_code == 303, f"{role} {route}: {response.status_code}"
            assert response.headers["Location"].startswith("/login"), f"{role} {route}"
        else:
            assert response.status_code == 403, f"{role} {route}: {response.status_code}"


@pytest.mark.parametrize("path", [route.split(" ")[1] for route in ROUTES if route.startswith("POST ")])
def test_a_form_without_its_token_changes_nothing(client_of: Callable[[str], FlaskClient], path: str) -> None:
    client = client_of("user" if ROUTES[f"POST {path}"] == CUSTOMER else "admin")
    path = re.sub("<uuid:[a-z_]+>", str(uuid.UUID(int=0)), path)
    response = client.post(path, data={"name": "x"})
    assert response.status_code == 400
    assert "This page was open too long" in response.text
