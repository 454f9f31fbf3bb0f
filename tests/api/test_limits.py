"""Rate limits: who is counted, what counts, and what the refusal says."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from portal import limits
from portal.settings import trust_proxies
from tests.factories import PASSWORD, make_user


@pytest.fixture(autouse=True)
def switched_on(app, monkeypatch):
    monkeypatch.setitem(app.config, "RATELIMIT_ENABLED", True)


def log_in(visitor, status, email="asha@example.com", password="wrong", address="192.0.2.1"):
    return visitor.post(
        "/auth/login", {"email": email, "password": password}, status, environ_base={"REMOTE_ADDR": address}
    )


def test_too_many_wrong_passwords_wait_and_are_told_how_long(visitor):
    for _ in range(limits.LOGIN_ACCOUNT.times):
        log_in(visitor, 401)
    assert log_in(visitor, 429, email="ASHA@example.com ")["code"] == "TOO_MANY_REQUESTS"
    response = visitor.raw(
        "POST", "/auth/login", {"email": "asha@example.com", "password": "x"}, environ_base={"REMOTE_ADDR": "192.0.2.1"}
    )
    assert 0 < int(response.headers["Retry-After"]) <= limits.LOGIN_ACCOUNT.seconds


def test_a_stranger_locks_nobody_out(visitor, act):
    with act():
        make_user(email="asha@example.com")
    for _ in range(limits.LOGIN_ACCOUNT.times + 1):
        visitor.raw("POST", "/auth/login", {"email": "asha@example.com", "password": "x"},
                    environ_base={"REMOTE_ADDR": "192.0.2.1"})  # fmt: skip
    log_in(visitor, 429, password=PASSWORD)
    log_in(visitor, 200, password=PASSWORD, address="198.51.100.1")


def test_right_passwords_do_not_count(visitor, act):
    with act():
        make_user(email="asha@example.com")
    for _ in range(limits.LOGIN_ACCOUNT.times * 2):
        log_in(visitor, 200, password=PASSWORD)


def test_one_address_cannot_try_many_accounts_and_a_network_of_ipv6_counts_as_one(visitor):
    for number in range(limits.LOGIN.times):
        log_in(visitor, 401, email=f"{number}@example.com", address=f"2001:db8::{number:x}")
    log_in(visitor, 429, email="next@example.com", address="2001:db8::ffff")
    log_in(visitor, 401, email="next@example.com", address="2001:db8:0:1::1")


def test_a_window_ends(visitor, act):
    for _ in range(limits.LOGIN_ACCOUNT.times):
        log_in(visitor, 401)
    log_in(visitor, 429)
    with act() as session:
        session.execute(text("UPDATE rate_counts SET expires_at = now() - interval '1 second'"))
    log_in(visitor, 401)


def test_codes_are_limited_the_same_for_known_and_unknown_addresses(visitor, act):
    with act():
        make_user(email="known@example.com")
    for email in ("known@example.com", "unknown@example.com"):
        for _ in range(limits.CODES_ACCOUNT.times):
            visitor.post("/auth/forgot-password", {"email": email})
        visitor.post("/auth/forgot-password", {"email": email}, 429)


def test_neither_address_nor_e_mail_is_kept(visitor, act):
    log_in(visitor, 401)
    with act() as session:
        kept = str(session.execute(text("SELECT * FROM rate_counts")).all())
    assert "192.0.2.1" not in kept
    assert "asha" not in kept


def test_when_the_counts_cannot_be_kept_limits_let_through(visitor, act, app, monkeypatch):
    monkeypatch.setattr(limits, "_SPEND", text("SELECT * FROM no_such_table WHERE :key = :key AND :seconds > 0"))
    for _ in range(limits.LOGIN_ACCOUNT.times + 2):
        log_in(visitor, 401)


def test_the_switch_turns_them_off(app, visitor, monkeypatch):
    monkeypatch.setitem(app.config, "RATELIMIT_ENABLED", False)
    for _ in range(limits.LOGIN_ACCOUNT.times + 2):
        log_in(visitor, 401)


def spend_log_ins(visitor, first: int, count: int) -> None:
    for number in range(first, first + count):
        visitor.raw(
            "POST", "/auth/login", {"email": "asha@example.com", "password": "x"},
            headers={"X-Forwarded-For": f"198.51.100.{number}"},
        )  # fmt: skip


def test_a_forwarded_address_is_believed_only_where_a_proxy_is_configured(app, visitor, monkeypatch):
    spend_log_ins(visitor, 1, limits.LOGIN_ACCOUNT.times)
    visitor.post("/auth/login", {"email": "asha@example.com", "password": "x"}, 429)
    behind_proxy = {"X-Forwarded-For": "203.0.113.9, 198.51.100.77"}
    body = {"email": "asha@example.com", "password": "x"}
    visitor.post("/auth/login", body, 429, headers=behind_proxy)
    monkeypatch.setattr(app, "wsgi_app", app.wsgi_app)
    trust_proxies(app, 1)
    visitor.post("/auth/login", body, 401, headers=behind_proxy)
    with_other_claim = {"X-Forwarded-For": "203.0.113.10, 198.51.100.77"}
    for _ in range(limits.LOGIN_ACCOUNT.times - 1):
        visitor.post("/auth/login", body, 401, headers=with_other_claim)
    visitor.post("/auth/login", body, 429, headers=with_other_claim)
