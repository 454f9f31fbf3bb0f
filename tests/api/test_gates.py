"""Promise 9: every route of the API by every kind of caller. A route without a row here fails."""

from __future__ import annotations

import pytest
from flask import Flask

# What somebody gets who may not: 401 for strangers, 403 for those who are known.
OPEN = "everybody"
SIGNED_IN = {"customer", "operator", "admin"}
STAFF = {"operator", "admin"}
ADMIN = {"admin"}
KEY = {"key"}
CUSTOMER = {"customer"}

ROUTES = {
    "POST /auth/register": OPEN,
    "POST /auth/verify-email": OPEN,
    "POST /auth/resend-otp": OPEN,
    "POST /auth/set-password": OPEN,
    "POST /auth/login": OPEN,
    "POST /auth/refresh-token": OPEN,
    "POST /auth/forgot-password": OPEN,
    "POST /auth/reset-password": OPEN,
    "PUT /auth/change-password": SIGNED_IN,
    "POST /auth/logout": SIGNED_IN,
    "POST /auth/logout-all": SIGNED_IN,
    "GET /user/profile": SIGNED_IN,
    "PUT /user/profile": SIGNED_IN,
    "GET /user/sessions": SIGNED_IN,
    "DELETE /user/sessions/<session_id>": SIGNED_IN,
    "POST /user/close": SIGNED_IN,
    "POST /admin/users/<user_id>/suspend": ADMIN,
    "DELETE /admin/users/<user_id>/suspend": ADMIN,
    "POST /admin/users/<user_id>/logout": ADMIN,
    "GET /admin/users": ADMIN,
    "PUT /admin/users/<user_id>/role": ADMIN,
    "DELETE /admin/users/<user_id>": ADMIN,
    "POST /admin/meters/assign": ADMIN,
    "DELETE /admin/meters/unassign/<user_id>": ADMIN,
    "POST /admin/assign-meter": ADMIN,
    "POST /admin/meters/bulk-assign": ADMIN,
    "GET /admin/meters/stats": ADMIN,
    "GET /admin/meters": ADMIN,
    "GET /admin/meters/<meter_id>/history": ADMIN,
    "POST /admin/meters/swap": ADMIN,
    "POST /admin/meters/relocate": ADMIN,
    "PUT /admin/meters/<meter_id>/status": ADMIN,
    "GET /admin/meters/<meter_id>/events": ADMIN,
    "GET /admin/users/<user_id>/events": ADMIN,
    "POST /telemetry": KEY,
    "POST /telemetry/batch": KEY,
    "GET /telemetry/quarantine": STAFF,
    "POST /telemetry/quarantine/<held_id>/release": STAFF,
    "POST /telemetry/quarantine/<held_id>/discard": STAFF,
    "GET /telemetry/my-meter": CUSTOMER,
    "GET /telemetry/my-meter/history": CUSTOMER,
    "GET /telemetry/my-meter/daily": CUSTOMER,
    "GET /telemetry/my-meter/monthly": CUSTOMER,
    "GET /telemetry/my-meter/stats": CUSTOMER,
    "GET /telemetry/my-meter/compare": CUSTOMER,
    "GET /telemetry/meters/<meter_id>": STAFF,
    "GET /telemetry/meters/<meter_id>/history": STAFF,
    "GET /billing/invoices": SIGNED_IN,
    "GET /billing/invoices/<invoice_id>": SIGNED_IN,
    "GET /billing/invoices/<invoice_id>/proof": SIGNED_IN,
    "GET /billing/current-cycle": CUSTOMER,
    "GET /billing/estimated": CUSTOMER,
    "PUT /billing/invoices/<invoice_id>/paid": STAFF,
    "POST /billing/invoices/<invoice_id>/dispute": SIGNED_IN,
    "GET /billing/payment-history": CUSTOMER,
    "GET /billing/invoices/<invoice_id>/pdf": SIGNED_IN,
    "GET /billing/operator/overdue/<region>": STAFF,
    "GET /billing/operator/analytics": STAFF,
    "GET /billing/operator/export": STAFF,
    "POST /billing/operator/generate-monthly": STAFF,
    "GET /billing/operator/jobs/<job_id>": STAFF,
    "GET /admin/jobs": ADMIN,
    "GET /admin/jobs/<job_id>": ADMIN,
    "POST /admin/jobs/<job_id>/cancel": ADMIN,
    "POST /admin/jobs/<job_id>/undo": ADMIN,
    "GET /admin/jobs/<job_id>/csv": ADMIN,
}


def routes_of(app: Flask) -> set[str]:
    return {
        f"{method} {rule.rule.removeprefix('/api/v1')}"
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


@pytest.mark.promise(9)
def test_every_route_has_a_row(app):
    assert routes_of(app) == set(ROUTES)


@pytest.mark.promise(9)
@pytest.mark.parametrize("route", ROUTES)
def test_who_may_call(route, visitor, as_customer, as_operator, as_admin, as_key):
    method, path = route.split(" ")
    path = path.replace("<", "").replace(">", "")
    programs = {"customer": as_customer, "operator": as_operator, "admin": as_admin, "key": as_key}
    statuses = {who: program.raw(method, path).status_code for who, program in programs.items()}
    stranger = visitor.raw(method, path).status_code
    if ROUTES[route] == OPEN:
        assert {stranger, *statuses.values()} <= {422}
        return
    assert stranger == 401
    for who, status in statuses.items():
        if who in ROUTES[route]:
            assert status not in (401, 403), who
        elif who == "key":
            assert status == 401
        else:
            assert status == 403, who


def test_the_document_declares_the_same_routes_and_gates(app, client):
    document = client.get("/openapi.json").json
    declared = {
        f"{method.upper()} {path.removeprefix('/api/v1')}".replace("{", "<").replace("}", ">"): operation["security"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert set(declared) == set(ROUTES)
    for route, security in declared.items():
        wanted = [] if ROUTES[route] == OPEN else [{"ingestKey": []}] if ROUTES[route] == KEY else [{"accessToken": []}]
        assert security == wanted, route
