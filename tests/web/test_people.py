"""What administrators do with accounts, and the trail that it leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from portal.accounts.models import LogIn, User
from portal.audit import SYSTEM, AuditEntry, record
from portal.db import session
from tests.factories import NOW, PASSWORD, make_user
from tests.web.conftest import Browser

REASON = "Two people claim this flat."


def test_a_role_is_changed_and_written_down_with_before_after_and_address(admin: Browser, act: Callable) -> None:
    with act():
        ravi = make_user(email="ravi@example.com", name="Ravi Rao")
    admin.get(f"/admin/users/{ravi.user_id}/role")
    admin.post(f"/admin/users/{ravi.user_id}/role", role="operator")
    assert "Ravi Rao is Operator now." in admin.get(f"/admin/users/{ravi.user_id}").plain
    page = admin.get(f"/admin/audit?q={ravi.user_id}+role")
    assert "user.role_changed" in page.plain
    assert "user → operator" in page.plain
    assert "meera@example.com 127.0.0.1" in page.plain


def test_a_role_asks_for_the_password_when_the_log_in_is_old(admin: Browser, act: Callable) -> None:
    with act():
        ravi = make_user(email="ravi@example.com")
    path = f"/admin/users/{ravi.user_id}/role"
    admin.get(path)
    with act():
        session.execute(update(LogIn).values(confirmed_at=datetime.now(UTC) - timedelta(minutes=16)))
    # Neither the page nor a form that was open since before.
    assert admin.post(path, role="admin").headers["Location"] == f"/account/confirm?next={path}"
    away = admin.checked(admin.client.get(path), 303).headers["Location"]
    page = admin.get(away)
    assert "not your present password" in admin.refused(away, password="wrong", next=path).plain
    assert admin.post(away, password=PASSWORD, next=page.value_of["next"]).headers["Location"] == path
    with act():
        assert session.get(User, ravi.user_id).role == "user"
    admin.get(path)
    admin.post(path, role="admin")
    with act():
        assert session.get(User, ravi.user_id).role == "admin"


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_the_password_page_leads_to_no_other_site(admin: Browser, target: str) -> None:
    admin.get("/account/confirm")
    assert admin.post("/account/confirm", password=PASSWORD, next=target).headers["Location"] == "/admin"


def test_the_last_admin_and_oneself_are_refused_in_words(admin: Browser, act: Callable) -> None:
    with act():
        me = session.scalars(select(User).where(User.role == "admin")).one()
    admin.get(f"/admin/users/{me.user_id}/role")
    page = admin.refused(f"/admin/users/{me.user_id}/role", role="user")
    assert "Nobody can change their own role." in page.plain
    assert "Nobody can suspend" in admin.refused(f"/admin/users/{me.user_id}/suspend", reason=REASON).plain
    assert "Nobody can close" in admin.refused(f"/admin/users/{me.user_id}/close").plain


def test_of_admins_who_remove_each_other_at_once_one_stays(app: Flask, act: Callable) -> None:
    for how, form in (("role", {"role": "user"}), ("suspend", {"reason": REASON}), ("close", {})):
        with act():
            pair = [make_user(role="admin") for _ in range(2)]
            session.execute(
                update(User).where(User.role == "admin", ~User.user_id.in_([each.user_id for each in pair]))
                .values(closed_at=NOW)
            )  # fmt: skip
        browsers = [Browser(app.test_client()).log_in(each.email) for each in pair]
        for browser in browsers:
            browser.get("/account")
        start = threading.Barrier(2)

        def remove(browser: Browser, other: User, how: str = how, form: dict = form, start: threading.Barrier = start):
            start.wait()
            browser.client.post(f"/admin/users/{other.user_id}/{how}", data={"csrf_token": browser.token, **form})

        threads = [threading.Thread(target=remove, args=(browsers[i], pair[1 - i])) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with act():
            left = session.scalar(
                select(func.count()).where(User.role == "admin", User.closed_at.is_(None), User.suspended_at.is_(None))
            )
        assert left == 1, how


def test_somebody_is_suspended_with_a_reason_and_let_in_again(
    app: Flask, admin: Browser, holder: User, customer: Browser
) -> None:
    path = f"/admin/users/{holder.user_id}"
    admin.get(f"{path}/suspend")
    assert "5 to 300" in admin.refused(f"{path}/suspend", reason="no").plain
    admin.post(f"{path}/suspend", reason=REASON)
    customer.checked(customer.client.get("/home"), 303)
    page = admin.get(path)
    assert REASON in page.plain
    assert holder.meter_id in page.plain
    admin.post(f"{path}/lift")
    Browser(app.test_client()).log_in(holder.email)


def test_every_log_in_of_somebody_is_ended(admin: Browser, holder: User, customer: Browser) -> None:
    admin.get(f"/admin/users/{holder.user_id}")
    admin.post(f"/admin/users/{holder.user_id}/logout")
    customer.checked(customer.client.get("/home"), 303)


def test_an_account_is_closed_by_an_admin(admin: Browser, holder: User, act: Callable) -> None:
    admin.get(f"/admin/users/{holder.user_id}/close")
    admin.post(f"/admin/users/{holder.user_id}/close")
    assert "Closed" in admin.get(f"/admin/users/{holder.user_id}").plain
    admin.get(f"/admin/users/{holder.user_id}/close", 404)


def test_the_trail_is_searched_by_words_and_days_and_paged(admin: Browser, act: Callable) -> None:
    with act():
        for number in reversed(range(30)):
            record(
                "meter.assigned", SYSTEM, NOW - timedelta(days=number), "meter", f"MTR-{number:08d}", {"how": "bulk"}
            )
        record("test.odd", SYSTEM, NOW, "meter", "100%_sure", {})
    page = admin.get("/admin/audit?q=meter.assigned")
    assert "1–24 of 30" in page.plain
    assert "MTR-00000000" in page.plain
    assert "MTR-00000029" in admin.get("/admin/audit?q=meter.assigned&offset=24").plain
    page = admin.get("/admin/audit?q=meter.assigned&start=2026-11-10&end=2026-11-11")
    assert ("MTR-00000004" in page.plain, "MTR-00000005" in page.plain, "MTR-00000003" in page.plain) == (
        True,
        True,
        False,
    )
    # Signs of a pattern are letters like others.
    assert "test.odd" in admin.get("/admin/audit?q=100%25_s").plain
    assert "No act matches" in admin.get("/admin/audit?q=1%25sure").plain
    assert "No act matches" in admin.get("/admin/audit?start=2030-01-01&end=whenever").plain


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
def test_the_audit_log_cannot_be_changed_or_emptied(act: Callable, area: object, statement: str) -> None:
    record("test.act", SYSTEM, NOW, "meter", "MTR-00000001", {})
    session.commit()
    with pytest.raises(DBAPIError, match="append-only"):
        session.execute(text(statement))
    session.rollback()
    assert session.scalar(select(func.count()).select_from(AuditEntry)) == 1
