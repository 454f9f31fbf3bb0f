"""Log-ins, suspension and closing by the API."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from portal.accounts import staff
from portal.accounts.models import LogIn, User
from portal.audit import SYSTEM, AuditEntry
from portal.db import session
from portal.errors import Conflict
from tests.api.conftest import Api
from tests.factories import NOW, PASSWORD, make_holder, make_user

REASON = "The flat is claimed by two people."


@pytest.fixture
def asha(act):
    with act():
        return make_holder(email="asha@example.com")


def test_ones_log_ins_are_listed_and_ended_one_by_one(visitor, client, asha):
    def log_in_as(agent: str) -> Api:
        body = {"email": asha.email, "password": PASSWORD}
        answer = visitor.post("/auth/login", body, headers={"User-Agent": agent})
        return Api(client, answer["data"]["tokens"]["accessToken"])

    first, second = log_in_as("billing-robot/1.0"), log_in_as("curl/8.5")
    rows = first.get("/user/sessions")["data"]["sessions"]
    assert [(row["agent"], row["current"]) for row in rows] == [("curl/8.5", False), ("billing-robot/1.0", True)]
    first.delete(f"/user/sessions/{rows[0]['session_id']}")
    assert second.get("/user/profile", 401)["code"] == "TOKEN_REVOKED"
    first.get("/user/profile")
    assert first.delete(f"/user/sessions/{rows[0]['session_id']}", 404)["code"] == "SESSION_NOT_FOUND"


@pytest.mark.parametrize("session_id", ["x", str(uuid.UUID(int=7)), "somebody else's"])
def test_no_log_in_but_ones_own_can_be_ended(act, as_customer, log_in, asha, session_id):
    other = log_in(asha)
    if session_id == "somebody else's":
        session_id = other.get("/user/sessions")["data"]["sessions"][0]["session_id"]
    assert as_customer.delete(f"/user/sessions/{session_id}", 404)["code"] == "SESSION_NOT_FOUND"
    other.get("/user/profile")


def test_a_refresh_stays_in_its_log_in(visitor, client, asha):
    pair = visitor.post("/auth/login", {"email": asha.email, "password": PASSWORD})["data"]["tokens"]
    for _ in range(2):
        pair = visitor.post("/auth/refresh-token", {"refreshToken": pair["refreshToken"]})["data"]["tokens"]
    assert len(Api(client, pair["accessToken"]).get("/user/sessions")["data"]["sessions"]) == 1


def test_a_dead_refresh_token_ends_the_whole_log_in(visitor, client, asha, act):
    old = visitor.post("/auth/login", {"email": asha.email, "password": PASSWORD})["data"]["tokens"]
    new = visitor.post("/auth/refresh-token", {"refreshToken": old["refreshToken"]})["data"]["tokens"]
    assert visitor.post("/auth/refresh-token", {"refreshToken": old["refreshToken"]}, 401)["code"] == "TOKEN_REVOKED"
    Api(client, new["accessToken"]).get("/user/profile", 401)
    with act():
        assert session.scalars(select(LogIn.ended_at)).one() is not None


def test_suspension_keeps_somebody_out_with_its_reason_and_leaves_the_meter(visitor, as_admin, log_in, asha, act):
    program = log_in(asha)
    answer = as_admin.post(f"/admin/users/{asha.user_id}/suspend", {"reason": REASON})
    assert answer["data"]["user"]["status"] == "suspended"
    assert program.get("/user/profile", 401)["code"] == "TOKEN_REVOKED"
    error = visitor.post("/auth/login", {"email": asha.email, "password": PASSWORD}, 403)
    assert (error["code"], REASON in error["message"]) == ("ACCOUNT_SUSPENDED", True)
    assert "claimed" not in str(visitor.post("/auth/login", {"email": asha.email, "password": "wrong"}, 401))
    assert as_admin.post(f"/admin/users/{asha.user_id}/suspend", {"reason": REASON}, 409)["code"] == "ALREADY_SUSPENDED"
    as_admin.delete(f"/admin/users/{asha.user_id}/suspend")
    assert as_admin.delete(f"/admin/users/{asha.user_id}/suspend", 409)["code"] == "NOT_SUSPENDED"
    visitor.post("/auth/login", {"email": asha.email, "password": PASSWORD})
    with act():
        assert session.get(User, asha.user_id).meter_id == asha.meter_id
        acts = session.scalars(select(AuditEntry.action).where(AuditEntry.subject_id == str(asha.user_id))).all()
    assert acts[-2:] == ["user.suspended", "user.suspension_lifted"]


@pytest.mark.parametrize("reason", ["", "no", "x" * 301, None, "two\nlines of it"])
def test_a_suspension_has_a_reason_that_can_be_read(as_admin, asha, reason):
    assert (
        as_admin.post(f"/admin/users/{asha.user_id}/suspend", {"reason": reason}, 422)["details"][0]["field"]
        == "reason"
    )


def test_staff_end_every_log_in_of_somebody(as_admin, log_in, asha):
    programs = [log_in(asha), log_in(asha)]
    as_admin.post(f"/admin/users/{asha.user_id}/logout")
    for program in programs:
        assert program.get("/user/profile", 401)["code"] == "TOKEN_REVOKED"


def test_a_role_is_changed_only_in_a_fresh_log_in(as_admin, asha, act):
    with act():
        other = make_user()
        session.execute(update(LogIn).values(confirmed_at=datetime.now(UTC) - timedelta(minutes=16)))
    body = {"role": "operator"}
    assert as_admin.put(f"/admin/users/{other.user_id}/role", body, 403)["code"] == "FRESH_LOGIN_REQUIRED"
    with act():
        assert session.get(User, other.user_id).role == "user"
        session.execute(update(LogIn).values(confirmed_at=datetime.now(UTC)))
    as_admin.put(f"/admin/users/{other.user_id}/role", body)


def test_a_customer_closes_the_account_by_the_password(visitor, log_in, asha):
    program = log_in(asha)
    assert program.post("/user/close", {"password": "wrong"}, 401)["code"] == "INVALID_CREDENTIALS"
    program.post("/user/close", {"password": PASSWORD})
    program.get("/user/profile", 401)
    visitor.post("/auth/login", {"email": asha.email, "password": PASSWORD}, 401)
    # The address stays taken: bills refer to it.
    body = {"name": "Asha Again", "email": asha.email}
    assert visitor.post("/auth/register", body, 409)["code"] == "EMAIL_TAKEN"


def test_staff_are_closed_by_another_admin_only(as_operator):
    assert as_operator.post("/user/close", {"password": PASSWORD}, 409)["code"] == "STAFF_ACCOUNT"


def test_a_suspended_admin_does_not_count_when_the_last_one_is_to_go(area):
    one, other = make_user(role="admin"), make_user(role="admin")
    staff.suspend(other.user_id, REASON, actor=SYSTEM, now=NOW)
    for act in (
        lambda: staff.suspend(one.user_id, REASON, actor=SYSTEM, now=NOW),
        lambda: staff.change_role(one.user_id, "operator", actor=SYSTEM, now=NOW),
        lambda: staff.close(one, actor=SYSTEM, now=NOW),
    ):
        with pytest.raises(Conflict) as refusal:
            act()
        assert refusal.value.code == "LAST_ADMIN"
    # The suspended one may go: nobody could log in with it anyway.
    staff.close(other, actor=SYSTEM, now=NOW)


def test_nobody_suspends_themselves(as_admin):
    me = as_admin.get("/user/profile")["data"]["user"]["user_id"]
    assert as_admin.post(f"/admin/users/{me}/suspend", {"reason": REASON}, 409)["code"] == "OWN_ACCOUNT"
