"""Many programs at once, each on its own thread and connection."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import text

from portal.accounts import tokens
from tests.api.conftest import V1
from tests.factories import NOW, PASSWORD, make_holder, make_user


def at_once(app: Flask, calls: list[tuple[str, str, dict | None]], token: str | None = None) -> Counter:
    """(status, code) of calls that all begin together; each has a client of its own."""
    barrier = threading.Barrier(len(calls))
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    def one(call):
        method, path, body = call
        client = app.test_client()
        barrier.wait()
        response = client.open(V1 + path, method=method, json=body, headers=headers)
        return response.status_code, response.json.get("error", {}).get("code")

    with ThreadPoolExecutor(len(calls)) as threads:
        return Counter(threads.map(one, calls))


@pytest.fixture
def admin_token(act) -> str:
    from datetime import UTC, datetime

    with act():
        return tokens.issue_tokens(make_user(role="admin"), datetime.now(UTC), access_seconds=3600).access


@pytest.mark.promise(1)
def test_of_forty_who_assign_one_meter_one_succeeds(app, act, admin_token):
    with act():
        users = [make_user() for _ in range(40)]
    calls = [
        ("POST", "/admin/meters/assign", {"userId": str(user.user_id), "meterId": "MTR-00000777"}) for user in users
    ]
    assert at_once(app, calls, admin_token) == {(200, None): 1, (409, "METER_ALREADY_ASSIGNED"): 39}


@pytest.mark.promise(1)
def test_of_twenty_who_assign_to_one_user_one_succeeds(app, act, admin_token):
    with act():
        user = make_user()
    calls = [
        ("POST", "/admin/meters/assign", {"userId": str(user.user_id), "meterId": f"MTR-{number:08d}"})
        for number in range(1, 21)
    ]
    assert at_once(app, calls, admin_token) == {(200, None): 1, (409, "USER_HAS_METER"): 19}


@pytest.mark.promise(1)
def test_sixty_four_registrations_at_once_all_succeed_with_meters_of_their_own(app, act):
    calls = [
        ("POST", "/auth/register", {"name": f"Guest {n}", "email": f"guest{n}@example.com", "region": "Pune-West"})
        for n in range(64)
    ]
    assert at_once(app, calls) == {(201, None): 64}
    with act() as session:
        rows = session.execute(text("SELECT count(*), count(meter_id), count(DISTINCT meter_id) FROM users")).one()
        assert tuple(rows) == (64, 64, 64)
        assert session.scalar(text("SELECT max(meter_id) FROM users")) == "MTR-00000064"


def test_of_twenty_registrations_of_one_address_one_succeeds(app, act):
    calls = [
        ("POST", "/auth/register", {"name": "Asha", "email": email, "password": PASSWORD})
        for email in ["asha@example.com", "ASHA@example.com"] * 10
    ]
    assert at_once(app, calls) == {(201, None): 1, (409, "EMAIL_TAKEN"): 19}
    with act() as session:
        assert session.scalar(text("SELECT count(*) FROM meter_assignments")) == 1


def test_unassigning_assigning_and_bulk_runs_together_leave_everybody_with_one_meter(app, act, admin_token):
    with act():
        holders = [make_holder(since=NOW) for _ in range(10)]
        for _ in range(20):
            make_user()
    calls = (
        [("DELETE", f"/admin/meters/unassign/{user.user_id}", None) for user in holders]
        + [("POST", "/admin/meters/bulk-assign", None)] * 6
        + [("POST", "/admin/meters/assign", {"userId": str(user.user_id)}) for user in holders]
    )
    found = at_once(app, calls, admin_token)
    assert {status for status, _ in found} <= {200, 409}, found
    with act() as session:
        open_rows = session.execute(
            text("""SELECT count(*), count(DISTINCT user_id), count(DISTINCT meter_key)
                    FROM meter_assignments WHERE unassigned_at IS NULL""")
        ).one()
        shown = session.scalar(text("SELECT count(meter_id) FROM users"))
    assert len(set(open_rows) | {shown}) == 1


def test_a_refresh_token_used_ten_times_at_once_gives_one_pair_and_ends_the_family(app, act):
    from datetime import UTC, datetime

    with act():
        pair = tokens.issue_tokens(make_user(), datetime.now(UTC), access_seconds=3600)
    found = at_once(app, [("POST", "/auth/refresh-token", {"refreshToken": pair.refresh})] * 10)
    assert found == {(200, None): 1, (401, "TOKEN_REVOKED"): 9}
    with act() as session:
        assert session.scalar(text("SELECT count(*) FROM tokens WHERE revoked_at IS NULL")) == 0


def test_guesses_at_once_are_counted_one_by_one(app, act, monkeypatch):
    from portal.accounts import codes

    with act():
        user = make_user(email="asha@example.com")
        from datetime import UTC, datetime

        plain = codes.issue_code(user, "verify", secret=app.config["SECRET_KEY"], now=datetime.now(UTC))
    wrong = f"{(int(plain) + 1) % 1_000_000:06d}"
    compared = []
    compare = codes.hmac.compare_digest

    def counting(left, right):
        compared.append(1)
        return compare(left, right)

    monkeypatch.setattr(codes.hmac, "compare_digest", counting)
    found = at_once(app, [("POST", "/auth/verify-email", {"email": "asha@example.com", "otp": wrong})] * 30)
    assert found == {(401, "INVALID_CODE"): 30}
    assert len(compared) == 5
    with act() as session:
        assert session.scalar(text("SELECT tries FROM codes")) == 5
