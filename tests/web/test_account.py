"""What people do with their own account in a browser: codes, passwords, log-ins, closing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import select, update

from portal.accounts.models import Code, LogIn, User
from portal.accounts.queries import find_user_by_email
from portal.audit import SYSTEM, AuditEntry
from portal.billing.models import Invoice
from portal.config import Config
from portal.db import session
from portal.outbox import Mail
from portal.registration import register
from tests.billing import bills
from tests.billing.bills import give_readings, india
from tests.factories import NOW, PASSWORD, make_holder, make_pool, make_user
from tests.web.conftest import Browser

NEW = "slow river paper kite"


@pytest.fixture
def last_code(act: Callable) -> Callable[[], str]:
    def read() -> str:
        with act():
            body = session.scalars(select(Mail.body).order_by(Mail.mail_id.desc())).first()
        return re.search(r"\b[0-9]{6}\b", body or "")[0]

    return read


@pytest.fixture
def second(app: Flask, holder: User) -> Browser:
    """The same customer at another device."""
    client = app.test_client()
    client.environ_base = {"REMOTE_ADDR": "203.0.113.9", "HTTP_USER_AGENT": "Mozilla/5.0 (Android 15) Firefox/140.0"}
    return Browser(client).log_in(holder.email)


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


def test_a_new_customer_confirms_the_address_with_the_code_of_the_mail(
    nobody: Browser, act: Callable, last_code: Callable
) -> None:
    nobody.get("/register")
    nobody.post("/register", name="Kavita Sharma", email="kavita@example.com", region="Pune-West", password=PASSWORD)
    assert "Not confirmed yet" in nobody.get("/account").plain
    page = nobody.get("/verify-email")
    assert page.value_of["email"] == "kavita@example.com"
    code = last_code()
    page = nobody.refused("/verify-email", email="kavita@example.com", otp=wrong(code))
    assert "This code is wrong" in page.plain
    # As people type and programs paste it.
    nobody.post("/verify-email", email="kavita@example.com", otp=f" {code[:3]} {code[3:]} ")
    assert "Not confirmed yet" not in nobody.get("/account").plain
    with act():
        assert find_user_by_email("kavita@example.com").email_verified_at == NOW


def test_an_account_without_a_password_gets_one_after_the_code(
    nobody: Browser, act: Callable, last_code: Callable
) -> None:
    with act():
        register("Ravi Rao", "ravi@example.com", None, None, None, make_pool(), actor=SYSTEM, now=NOW)
    nobody.get("/verify-email")
    nobody.post("/verify-email/send", email="ravi@example.com")
    nobody.get("/verify-email")
    assert (
        nobody.post("/verify-email", email="ravi@example.com", otp=last_code()).headers["Location"] == "/set-password"
    )
    nobody.get("/set-password")
    assert "12 to 128" in nobody.refused("/set-password", password="short").plain
    assert nobody.post("/set-password", password=NEW).headers["Location"] == "/login"
    Browser(nobody.client).log_in("ravi@example.com", NEW)


def test_the_page_of_the_first_password_needs_the_code_first(nobody: Browser) -> None:
    assert nobody.checked(nobody.client.get("/set-password"), 303).headers["Location"] == "/verify-email"
    nobody.get("/login")
    assert nobody.post("/set-password", password=NEW).headers["Location"] == "/verify-email"


def test_a_forgotten_password_is_replaced_and_every_log_in_ends(
    nobody: Browser, customer: Browser, holder: User, last_code: Callable, act: Callable
) -> None:
    nobody.get("/forgot-password")
    nobody.post("/forgot-password", email="ASHA@example.com")
    page = nobody.get("/reset-password")
    assert "If an account has this address" in page.plain
    code = last_code()
    page = nobody.refused("/reset-password", email=holder.email, otp=code, newPassword="password12345")
    assert "easy to guess" in page.plain  # and the code stays good
    nobody.refused("/reset-password", email=holder.email, otp=wrong(code), newPassword=NEW)
    nobody.post("/reset-password", email=holder.email, otp=code, newPassword=NEW)
    customer.checked(customer.client.get("/home"), 303)
    nobody.get("/login")
    nobody.refused("/login", email=holder.email, password=PASSWORD)
    nobody.post("/login", email=holder.email, password=NEW)
    with act():
        assert session.scalars(select(Mail.kind).order_by(Mail.mail_id)).all()[-1] == "password_changed"


@pytest.mark.parametrize("how", ["used", "expired", "five wrong ones"])
def test_a_code_that_is_over_is_worth_nothing(
    nobody: Browser, holder: User, last_code: Callable, act: Callable, how: str
) -> None:
    nobody.get("/forgot-password")
    nobody.post("/forgot-password", email=holder.email)
    nobody.get("/reset-password")
    code = last_code()
    if how == "used":
        nobody.post("/reset-password", email=holder.email, otp=code, newPassword=NEW)
    elif how == "expired":
        with act():
            session.execute(update(Code).values(expires_at=NOW))
    else:
        for _ in range(5):
            nobody.refused("/reset-password", email=holder.email, otp=wrong(code), newPassword=NEW)
    nobody.get("/reset-password")
    nobody.refused("/reset-password", email=holder.email, otp=code, newPassword="another four odd words")


@pytest.mark.parametrize("path", ["/forgot-password", "/verify-email/send"])
def test_a_stranger_learns_nothing_about_who_has_an_account(app: Flask, holder: User, path: str) -> None:
    answers = []
    for email in (holder.email, "nobody@example.com"):
        browser = Browser(app.test_client())
        browser.get("/forgot-password")
        answer = browser.post(path, email=email)
        page = browser.get(answer.headers["Location"])
        answers.append((answer.headers["Location"], page.plain.replace(email, "")))
    assert answers[0] == answers[1]


def test_an_address_typed_for_a_code_is_not_put_into_the_address_of_a_page(nobody: Browser, holder: User) -> None:
    nobody.get("/forgot-password")
    assert "asha" not in nobody.post("/forgot-password", email=holder.email).headers["Location"]


def test_details_are_changed_and_an_empty_number_removes_it(customer: Browser, holder: User, act: Callable) -> None:
    customer.get("/account")
    assert "country code" in customer.refused("/account", name="Asha K", phone="12").plain
    customer.post("/account", name="Asha Rao", phone="98765 43210")
    with act():
        assert (session.get(User, holder.user_id).name, session.get(User, holder.user_id).phone) == (
            "Asha Rao",
            "+919876543210",
        )
    customer.get("/account")
    customer.post("/account", name="Asha Rao", phone="")
    with act():
        assert session.get(User, holder.user_id).phone is None
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "user.profile_changed")).first()
        assert entry.details == {
            "before": {"name": "Asha Kulkarni", "phone": None},
            "after": {"name": "Asha Rao", "phone": "+919876543210"},
        }
        assert entry.address == "127.0.0.1"


def test_role_region_and_meter_are_not_the_persons_to_change(customer: Browser, holder: User, act: Callable) -> None:
    customer.get("/account")
    customer.post("/account", name="Asha Rao", phone="", role="admin", region="Delhi-North", meter_id="MTR-00000099")
    with act():
        user = session.get(User, holder.user_id)
        assert (user.role, user.region, user.meter_id) == ("user", "Pune-West", holder.meter_id)


def test_a_changed_password_ends_the_other_log_ins_only(customer: Browser, second: Browser, holder: User) -> None:
    customer.get("/account/password")
    page = customer.refused("/account/password", currentPassword="not this one", newPassword=NEW)
    assert "This is not your present password." in page.plain
    customer.post("/account/password", currentPassword=PASSWORD, newPassword=NEW)
    customer.get("/home")
    second.checked(second.client.get("/home"), 303)


def test_log_ins_are_listed_and_ended_one_by_one(customer: Browser, second: Browser, act: Callable) -> None:
    page = customer.get("/account")
    assert "Firefox, Android" in page.plain
    assert "203.0.113.9" in page.plain
    with act():
        theirs = session.scalars(select(LogIn).where(LogIn.address == "203.0.113.9")).one()
    customer.post(f"/account/sessions/{theirs.login_id}/end")
    second.checked(second.client.get("/home"), 303)
    assert "203.0.113.9" not in customer.get("/account").plain
    customer.get("/home")


def test_nobody_ends_a_strangers_log_in(app: Flask, customer: Browser, act: Callable) -> None:
    with act():
        make_user(email="ravi@example.com")
    other = Browser(app.test_client()).log_in("ravi@example.com")
    with act():
        theirs = session.scalars(select(LogIn).order_by(LogIn.created_at.desc())).first()
    customer.get("/account")
    customer.post(f"/account/sessions/{theirs.login_id}/end")
    assert "There is no such log-in" in customer.get("/account").plain
    other.get("/home")


def test_log_out_everywhere_ends_this_one_too(customer: Browser, second: Browser) -> None:
    customer.get("/account")
    customer.post("/account/sessions/end-all")
    for browser in (customer, second):
        browser.checked(browser.client.get("/home"), 303)


def test_a_copied_cookie_is_worth_nothing_after_log_out(app: Flask, customer: Browser) -> None:
    stolen = customer.client.get_cookie("portal_session").value
    customer.get("/home")
    customer.post("/logout")
    thief = app.test_client()
    thief.set_cookie("portal_session", stolen)
    assert thief.get("/home").status_code == 303


def test_a_session_that_a_stranger_fixed_is_not_the_one_that_is_logged_in(
    app: Flask, nobody: Browser, holder: User
) -> None:
    nobody.get("/login")
    planted = nobody.client.get_cookie("portal_session").value
    nobody.post("/login", email=holder.email, password=PASSWORD)
    thief = app.test_client()
    thief.set_cookie("portal_session", planted)
    assert thief.get("/home").status_code == 303
    assert nobody.client.get_cookie("portal_session").value != planted


def test_a_log_in_ends_after_thirty_days_however_often_it_is_used(customer: Browser, act: Callable) -> None:
    customer.get("/home")
    with act():
        row = session.scalars(select(LogIn)).one()
        assert row.expires_at - row.created_at == timedelta(days=30)
        row.expires_at = datetime.now(UTC)
    customer.checked(customer.client.get("/home"), 303)


def test_a_customer_closes_the_account_and_bills_stay(app: Flask, config: Config, act: Callable) -> None:
    with act():
        holder = make_holder(since=india(2026, 9, 10))
        give_readings(holder.meter_id, india(2026, 10, 1), india(2026, 11, 1), config)
        bills.run(2026, 10)
    with act():
        before = session.scalars(select(Invoice.invoice_id)).all()
        assert len(before) == 1
    customer = Browser(app.test_client()).log_in(holder.email)
    customer.get("/account/close")
    assert "not your present password" in customer.refused("/account/close", password="wrong wrong wrong").plain
    customer.post("/account/close", password=PASSWORD)
    customer.checked(customer.client.get("/home"), 303)
    customer.get("/login")
    customer.refused("/login", email=holder.email, password=PASSWORD)
    with act():
        user = session.get(User, holder.user_id)
        assert (user.closed_at, user.meter_id) == (NOW, None)
        assert session.scalars(select(Invoice.invoice_id)).all() == before


def test_staff_do_not_close_themselves(admin: Browser) -> None:
    admin.get("/account/close")
    assert "closed by another administrator" in admin.refused("/account/close", password=PASSWORD).plain
    admin.get("/admin")


def test_the_reason_of_a_suspension_is_said_after_the_right_password(
    nobody: Browser, holder: User, act: Callable
) -> None:
    with act():
        user = session.get(User, holder.user_id)
        user.suspended_at, user.suspended_reason = NOW, "Two people claim this flat"
    nobody.get("/login")
    assert "claim this flat" not in nobody.refused("/login", email=holder.email, password="wrong wrong").plain
    page = nobody.refused("/login", email=holder.email, password=PASSWORD)
    assert "This account is suspended: Two people claim this flat. Call 1912." in page.plain


def test_paste_is_allowed_and_managers_are_told_what_each_field_is(nobody: Browser) -> None:
    for path in ("/login", "/register", "/reset-password"):
        text = nobody.get(path).text
        assert "onpaste" not in text
        assert re.search(r'autocomplete="(new|current)-password"', text)
        assert "maxlength" not in re.search(r'<input[^>]*type="password"[^>]*>', text)[0]
