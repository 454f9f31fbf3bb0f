"""Start, registration, log-in and -out, and the headers and errors that all pages share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import select

from portal import limits
from portal.accounts.models import User
from portal.accounts.queries import find_user_by_email
from portal.audit import SYSTEM
from portal.db import session
from portal.meters import actions
from portal.meters.queries import find_open_assignment
from portal.web.session import safe_next
from tests.factories import NOW, PASSWORD, make_holder, make_pool, make_user
from tests.web.conftest import Browser
from tests.web.pages import Page

KAVITA = {
    "name": "Kavita Sharma",
    "email": "kavita@example.com",
    "phone": "98765 43210",
    "region": "Pune-West",
    "password": PASSWORD,
}


def test_the_start_page_leads_to_both_doors(nobody: Browser) -> None:
    page = nobody.get("/")
    assert {"/register", "/login"} <= set(page.links)


def test_registration_gives_a_meter_and_a_session(nobody: Browser, act: Callable) -> None:
    nobody.get("/register")
    assert nobody.post("/register", **KAVITA).headers["Location"] == "/welcome"
    page = nobody.get("/welcome")
    assert page.h1 == ["Welcome, Kavita. Your meter is assigned."]
    assert "MTR-00000001" in page.plain
    assert "Assigned 15 November 2026, 12:00" in page.plain
    with act():
        user = find_user_by_email("KAVITA@example.com")
        assert (user.meter_id, user.phone, user.region) == ("MTR-00000001", "+919876543210", "Pune-West")
        assert find_open_assignment(user.user_id).how == "registration"


@pytest.mark.promise(2)
def test_registration_without_a_free_meter_is_a_welcome_too(app: Flask, nobody: Browser, act: Callable) -> None:
    settings = app.config["PORTAL"]
    app.config["PORTAL"] = replace(settings, meter_first=1, meter_last=1)
    try:
        with act():
            make_holder(meter_id="MTR-00000001", pool=make_pool(1, 1))
        nobody.get("/register")
        nobody.post("/register", **KAVITA)
        page = nobody.get("/welcome")
        assert page.h1 == ["Welcome, Kavita. Your account is open."]
        assert "No meter is free for you just now." in page.plain
        assert "No meter yet" in nobody.get("/home").plain
    finally:
        app.config["PORTAL"] = settings


def test_every_wrong_field_is_told_at_once_and_nothing_typed_is_lost(nobody: Browser, act: Callable) -> None:
    nobody.get("/register")
    wrong = KAVITA | {"email": "kavita@example", "phone": "12", "region": "Atlantis", "password": "short"}
    page = nobody.refused("/register", **wrong)
    assert page.titles[0].startswith("Error:")
    assert "4 things to correct" in page.plain
    for name in ("email", "phone", "region", "password"):
        assert f"#{name}" in page.links
        assert f"{name}-error" in page.ids
    assert page.value_of["name"] == "Kavita Sharma"
    assert page.value_of["email"] == "kavita@example"
    with act():
        assert session.scalars(select(User)).all() == []


@pytest.mark.parametrize("email", ["asha@example.com", "ASHA@Example.COM"])
def test_a_taken_address_is_told_beside_the_field_with_the_way_in(nobody: Browser, holder: User, email: str) -> None:
    nobody.get("/register")
    page = nobody.refused("/register", **(KAVITA | {"email": email}))
    assert "There is an account with this address already." in page.plain
    assert page.links.count("/login") >= 2


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("9876543210", "+919876543210"),
        ("098765-43210", "+919876543210"),
        ("+44 20 7946 0958", "+442079460958"),
        ("", None),
    ],
)
def test_ten_digits_are_an_indian_mobile_number(nobody: Browser, act: Callable, typed: str, kept: str | None) -> None:
    nobody.get("/register")
    nobody.post("/register", **(KAVITA | {"phone": typed}))
    with act():
        assert find_user_by_email("kavita@example.com").phone == kept


def test_log_in_and_out(nobody: Browser, holder: User) -> None:
    nobody.get("/login")
    assert nobody.post("/login", email="ASHA@example.com", password=PASSWORD).headers["Location"] == "/home"
    nobody.get("/home")
    assert nobody.post("/logout").headers["Location"] == "/"
    assert nobody.checked(nobody.client.get("/home"), 303).headers["Location"] == "/login?next=/home"


@pytest.mark.parametrize("email", ["asha@example.com", "nobody@example.com"])
def test_a_wrong_log_in_does_not_tell_who_has_an_account(nobody: Browser, holder: User, email: str) -> None:
    nobody.get("/login")
    page = nobody.refused("/login", email=email, password="not the password")
    assert "The e-mail address or the password is not right." in page.plain
    assert page.value_of["email"] == email
    assert page.value_of["password"] == ""


def test_a_suspended_account_is_told_only_after_the_right_password(
    nobody: Browser, holder: User, act: Callable
) -> None:
    with act():
        session.get(User, holder.user_id).suspended_at = NOW
    nobody.get("/login")
    assert "suspended" not in nobody.refused("/login", email=holder.email, password="wrong").plain
    assert "suspended" in nobody.refused("/login", email=holder.email, password=PASSWORD).plain


@pytest.mark.parametrize("change", ["suspended_at", "closed_at"])
def test_a_session_ends_with_the_account(customer: Browser, holder: User, act: Callable, change: str) -> None:
    customer.get("/home")
    with act():
        user = session.get(User, holder.user_id)
        if change == "closed_at":
            actions.unassign(user.user_id, make_pool(), actor=SYSTEM, now=NOW)
        setattr(user, change, NOW)
    customer.checked(customer.client.get("/home"), 303)


@pytest.mark.parametrize("role", ["operator", "admin"])
def test_staff_land_on_the_dashboard(nobody: Browser, act: Callable, role: str) -> None:
    with act():
        make_user(email="staff@example.com", role=role)
    nobody.get("/login")
    assert nobody.post("/login", email="staff@example.com", password=PASSWORD).headers["Location"] == "/admin"


def test_after_log_in_one_goes_where_one_wanted(nobody: Browser, holder: User) -> None:
    away = nobody.checked(nobody.client.get("/usage?view=day&on=2026-11-14"), 303).headers["Location"]
    page = nobody.get(away)
    assert page.value_of["next"] == "/usage?view=day&on=2026-11-14"
    answer = nobody.post("/login", email=holder.email, password=PASSWORD, next=page.value_of["next"])
    assert answer.headers["Location"] == "/usage?view=day&on=2026-11-14"


ELSEWHERE = ("https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example")


@pytest.mark.parametrize("target", [*ELSEWHERE, "javascript:x", "home", "", None])
def test_nobody_is_sent_to_another_site(target: str | None) -> None:
    assert safe_next(target) is None


def test_wrong_passwords_are_enough_after_a_while(app: Flask, nobody: Browser, holder: User) -> None:
    app.config["RATELIMIT_ENABLED"] = True
    try:
        nobody.get("/login")
        for _ in range(limits.LOGIN_ACCOUNT.times):
            nobody.refused("/login", email=holder.email, password="wrong wrong wrong")
        answer = nobody.post("/login", 429, email=holder.email, password=PASSWORD)
        assert 0 < int(answer.headers["Retry-After"]) <= 300
        assert Page(answer.text).h1 == ["Too many tries"]
    finally:
        app.config["RATELIMIT_ENABLED"] = False


@pytest.mark.parametrize("path", ["/", "/login", "/register", "/nosuchpage"])
def test_the_browser_may_load_nothing_but_our_own_files(nobody: Browser, path: str) -> None:
    headers = nobody.client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_a_page_of_ones_own_is_kept_by_no_cache(customer: Browser) -> None:
    assert customer.client.get("/home").headers["Cache-Control"] == "no-store"


def test_files_have_their_sum_in_the_address_and_may_be_kept(nobody: Browser) -> None:
    page = nobody.client.get("/").text
    address = page.split('href="/static/app.css?v=')[1].split('"')[0]
    with nobody.client.get(f"/static/app.css?v={address}") as answer:
        kept = answer.headers["Cache-Control"]
    assert "immutable" in kept
    assert "max-age=31536000" in kept


def test_an_unknown_page_says_so_and_leads_back(nobody: Browser) -> None:
    page = nobody.get("/nosuchpage", 404)
    assert page.h1 == ["There is no such page"]
    assert "/" in page.links


def test_a_wrong_method_keeps_what_is_allowed(customer: Browser) -> None:
    answer = customer.post("/home", 405)
    assert "GET" in answer.headers["Allow"]
    assert Page(answer.text).faults() == []


def test_a_fault_shows_nothing_of_its_inside(app: Flask, customer: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr("portal.web.customer.home_page", broken)
    app.config["TESTING"] = app.config["PROPAGATE_EXCEPTIONS"] = False
    try:
        page = customer.get("/home", 500)
    finally:
        app.config["TESTING"], app.config["PROPAGATE_EXCEPTIONS"] = True, None
    assert page.h1 == ["Something failed on our side"]
    assert "secret" not in page.text


def test_a_session_that_ended_moves_the_whole_page_to_log_in_not_the_part(nobody: Browser) -> None:
    answer = nobody.client.get("/home", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/login")


def test_a_character_that_no_text_has_is_refused(nobody: Browser, holder: User) -> None:
    nobody.get("/login")
    assert Page(nobody.post("/login", 400, email="a\0b@example.com", password="x").text).faults() == []
    nobody.get("/login?next=%00", 400)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'O\'Brien & "Sons"', "अनिता कुलकर्णी"])
def test_a_name_is_shown_as_it_was_typed_and_is_never_markup(nobody: Browser, name: str) -> None:
    nobody.get("/register")
    nobody.post("/register", **(KAVITA | {"name": name}))
    page = nobody.get("/home")
    assert name in page.plain
    assert "<script>alert" not in page.text
