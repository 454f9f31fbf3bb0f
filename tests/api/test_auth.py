"""The auth and user rows of the contract."""

from __future__ import annotations

import re

import pytest

from portal.accounts.models import User
from tests.factories import PASSWORD, make_holder, make_user

ASHA = {"name": "Asha Kulkarni", "email": "asha@example.com", "phone": "+919876543210", "region": "Mumbai-North"}


def code_in(mail) -> str:
    return re.search(r"\b\d{6}\b", mail.body)[0]


def test_registering_gives_account_and_meter_in_one_call(visitor):
    answer = visitor.post("/auth/register", ASHA, 201)
    user = answer["data"]["user"]
    assert set(user) >= {"user_id", "email", "name", "phone", "role", "email_verified", "meter_id", "region"}
    assert user["email"] == "asha@example.com"
    assert user["phone"] == "+919876543210"
    assert user["role"] == "user"
    assert user["email_verified"] is False
    assert user["meter_id"] == "MTR-00000001"
    assert user["region"] == "Mumbai-North"
    assert "meter_assignment" not in answer["data"]
    assert "password_hash" not in str(answer)


def test_without_a_password_a_code_goes_out_that_leads_to_one(visitor, mails):
    visitor.post("/auth/register", ASHA, 201)
    [mail] = mails()
    assert mail.recipient == "asha@example.com"
    code = code_in(mail)
    token = visitor.post("/auth/verify-email", {"email": "ASHA@example.com", "otp": code})["data"]["set_password_token"]
    passwords = {"password": PASSWORD, "confirmPassword": PASSWORD}
    error = visitor.post("/auth/set-password", {"set_password_token": token, **passwords, "confirmPassword": "x"}, 422)
    assert error["details"][0]["field"] == "confirmPassword"
    visitor.post("/auth/set-password", {"set_password_token": token, **passwords})
    error = visitor.post("/auth/set-password", {"set_password_token": token, **passwords}, 409)
    assert error["code"] == "PASSWORD_ALREADY_SET"
    user = visitor.post("/auth/login", {"email": "asha@example.com", "password": PASSWORD})["data"]["user"]
    assert user["email_verified"] is True


def test_with_a_password_one_can_log_in_at_once_and_verifying_gives_no_token(visitor, mails):
    visitor.post("/auth/register", {**ASHA, "password": PASSWORD}, 201)
    assert mails() == []
    data = visitor.post("/auth/login", {"email": "asha@example.com", "password": PASSWORD})["data"]
    assert set(data["tokens"]) == {"accessToken", "refreshToken", "expiresIn"}
    assert data["tokens"]["expiresIn"] == 3600
    visitor.post("/auth/resend-otp", {"email": "asha@example.com"})
    answer = visitor.post("/auth/verify-email", {"email": "asha@example.com", "otp": code_in(mails()[0])})
    assert answer["data"] == {}


@pytest.mark.promise(2)
def test_without_a_free_meter_the_account_stands_and_the_meter_is_pending(app, visitor, as_admin, monkeypatch):
    from dataclasses import replace

    monkeypatch.setitem(app.config, "PORTAL", replace(app.config["PORTAL"], meter_last=1))
    visitor.post("/auth/register", ASHA, 201)
    answer = visitor.post("/auth/register", {**ASHA, "email": "ravi@example.com"}, 201)
    assert answer["data"]["user"]["meter_id"] is None
    pending = answer["data"]["meter_assignment"]
    assert pending["status"] == "pending"
    assert pending["code"] == "NO_METERS_AVAILABLE"
    assert "METER_LAST" in pending["message"]
    stats = as_admin.get("/admin/meters/stats")["data"]["stats"]
    assert (stats["users_without_meters"], stats["available_meters"]) == (1, 0)


def test_an_address_is_taken_in_any_case(visitor):
    visitor.post("/auth/register", ASHA, 201)
    assert visitor.post("/auth/register", {**ASHA, "email": "ASHA@Example.com"}, 409)["code"] == "EMAIL_TAKEN"


def test_an_unknown_region_is_refused_with_the_names_of_those_there_are(visitor):
    error = visitor.post("/auth/register", {**ASHA, "region": "Atlantis"}, 422)
    assert error["code"] == "VALIDATION_ERROR"
    assert "Mumbai-North" in error["message"]
    assert "Chennai-North" in error["message"]
    assert [detail["field"] for detail in error["details"]] == ["region"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "A"}, "name"),
        ({"name": "A" * 101}, "name"),
        ({"name": "  A  "}, "name"),
        ({"name": "Asha\nKulkarni"}, "name"),
        ({"name": 7}, "name"),
        ({"name": None}, "name"),
        ({"email": "asha"}, "email"),
        ({"email": "asha@"}, "email"),
        ({"email": ["asha@example.com"]}, "email"),
        ({"email": "a" * 250 + "@example.com"}, "email"),
        ({"phone": "98765"}, "phone"),
        ({"phone": 919876543210}, "phone"),
        ({"region": ""}, "region"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 129}, "password"),
        ({"password": "password1234"}, "password"),
        ({"role": "admin"}, "role"),
        ({"meter_id": "MTR-00000009"}, "meter_id"),
    ],
)
def test_a_wrong_field_of_a_registration_is_named(visitor, change, field):
    error = visitor.post("/auth/register", {**ASHA, **change}, 422)
    assert error["code"] == "VALIDATION_ERROR"
    assert [detail["field"] for detail in error["details"]] == [field]


def test_every_wrong_field_is_named_at_once(visitor):
    error = visitor.post("/auth/register", {"name": "A", "email": 3, "phone": True}, 422)
    assert sorted(detail["field"] for detail in error["details"]) == ["email", "name", "phone"]
    wrong = {"name": "A", "email": "bad", "phone": "1", "region": "Atlantis", "password": "aaaaaaaaaaaaaaa"}
    error = visitor.post("/auth/register", wrong, 422)
    assert {detail["field"] for detail in error["details"]} == wrong.keys()
    assert any("Chennai-North" in detail["message"] for detail in error["details"])


def test_one_answer_for_every_cause_that_would_tell_who_has_an_account(visitor, act):
    with act() as session:
        make_user(email="known@example.com")
        make_user(email="nopassword@example.com", password=None)
        make_user(email="closed@example.com").closed_at = make_user().created_at
        session.flush()
    answers = {
        str(visitor.post("/auth/login", {"email": f"{name}@example.com", "password": password}, 401))
        for name, password in (
            ("known", "wrong"),
            ("unknown", PASSWORD),
            ("nopassword", PASSWORD),
            ("closed", PASSWORD),
        )
    }
    assert len(answers) == 1
    assert "INVALID_CREDENTIALS" in answers.pop()


def test_suspension_shows_only_after_the_right_password(visitor, act):
    with act():
        user = make_user(email="held@example.com")
        user.suspended_at = user.created_at
    assert visitor.post("/auth/login", {"email": "held@example.com", "password": "no"}, 401)
    error = visitor.post("/auth/login", {"email": "held@example.com", "password": PASSWORD}, 403)
    assert error["code"] == "ACCOUNT_SUSPENDED"


def test_an_old_short_password_still_logs_in(visitor, act):
    from portal.accounts import passwords

    with act():
        make_user(email="admin@segs.com", role="admin").password_hash = passwords.hash_password("admin123")
    data = visitor.post("/auth/login", {"email": "admin@segs.com", "password": "admin123"})["data"]
    assert data["user"]["role"] == "admin"


def logged_in(visitor, act) -> dict:
    with act():
        user = make_user()
    return visitor.post("/auth/login", {"email": user.email, "password": PASSWORD})["data"]["tokens"]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_refreshing_gives_a_new_pair_and_ends_the_old_one(visitor, act):
    old = logged_in(visitor, act)
    new = visitor.post("/auth/refresh-token", {"refreshToken": old["refreshToken"]})["data"]["tokens"]
    visitor.get("/user/profile", headers=bearer(new["accessToken"]))
    assert visitor.get("/user/profile", 401, headers=bearer(old["accessToken"]))["code"] == "TOKEN_REVOKED"


def test_a_refresh_token_used_twice_ends_its_whole_family_and_no_other(visitor, act):
    old, other = logged_in(visitor, act), logged_in(visitor, act)
    new = visitor.post("/auth/refresh-token", {"refreshToken": old["refreshToken"]})["data"]["tokens"]
    assert visitor.post("/auth/refresh-token", {"refreshToken": old["refreshToken"]}, 401)["code"] == "TOKEN_REVOKED"
    assert visitor.get("/user/profile", 401, headers=bearer(new["accessToken"]))["code"] == "TOKEN_REVOKED"
    visitor.post("/auth/refresh-token", {"refreshToken": new["refreshToken"]}, 401)
    visitor.get("/user/profile", headers=bearer(other["accessToken"]))


def test_an_access_token_is_no_refresh_token_and_the_other_way_round(visitor, act):
    pair = logged_in(visitor, act)
    visitor.post("/auth/refresh-token", {"refreshToken": pair["accessToken"]}, 401)
    assert visitor.get("/user/profile", 401, headers=bearer(pair["refreshToken"]))["code"] == "UNAUTHORIZED"


def test_an_expired_token_says_so(visitor, act):
    from sqlalchemy import text

    pair = logged_in(visitor, act)
    with act() as session:
        session.execute(text("UPDATE tokens SET expires_at = now() - interval '1 second'"))
    assert visitor.get("/user/profile", 401, headers=bearer(pair["accessToken"]))["code"] == "TOKEN_EXPIRED"
    assert visitor.post("/auth/refresh-token", {"refreshToken": pair["refreshToken"]}, 401)["code"] == "TOKEN_EXPIRED"


def test_logging_out_ends_this_log_in_and_logging_out_everywhere_all(visitor, act):
    with act():
        user = make_user()
    first, second, third = (
        visitor.post("/auth/login", {"email": user.email, "password": PASSWORD})["data"]["tokens"] for _ in range(3)
    )
    visitor.post("/auth/logout", headers=bearer(first["accessToken"]))
    visitor.get("/user/profile", 401, headers=bearer(first["accessToken"]))
    visitor.post("/auth/refresh-token", {"refreshToken": first["refreshToken"]}, 401)
    visitor.get("/user/profile", headers=bearer(second["accessToken"]))
    visitor.post("/auth/logout-all", headers=bearer(second["accessToken"]))
    for pair in (second, third):
        visitor.get("/user/profile", 401, headers=bearer(pair["accessToken"]))


def test_a_refresh_token_that_comes_with_the_log_out_ends_too_if_it_is_ones_own(visitor, act):
    mine, other = logged_in(visitor, act), logged_in(visitor, act)
    visitor.post("/auth/logout", {"refreshToken": other["refreshToken"]}, headers=bearer(mine["accessToken"]))
    visitor.get("/user/profile", headers=bearer(other["accessToken"]))


def test_asking_for_a_code_answers_the_same_for_everybody(visitor, act, mails):
    with act():
        make_user(email="known@example.com")
    for path, more in (
        ("/auth/forgot-password", {}),
        ("/auth/resend-otp", {}),
        ("/auth/resend-otp", {"purpose": "reset"}),
    ):
        known = visitor.post(path, {"email": "known@example.com", **more})
        unknown = visitor.post(path, {"email": "unknown@example.com", **more})
        assert known == unknown
    assert {mail.recipient for mail in mails()} == {"known@example.com"}
    assert len(mails()) == 3


def test_a_reset_needs_the_newest_code_and_ends_every_session(visitor, act, mails):
    with act():
        user = make_user(email="known@example.com")
    pair = visitor.post("/auth/login", {"email": user.email, "password": PASSWORD})["data"]["tokens"]
    for _ in range(2):
        visitor.post("/auth/forgot-password", {"email": user.email})
    old, new = (code_in(mail) for mail in mails())
    body = {"email": user.email, "newPassword": "another four words", "confirmPassword": "another four words"}
    if old != new:
        assert visitor.post("/auth/reset-password", {**body, "otp": old}, 401)["code"] == "INVALID_CODE"
    visitor.post("/auth/reset-password", {**body, "otp": new, "confirmPassword": "something else"}, 422)
    visitor.post("/auth/reset-password", {**body, "otp": new})
    visitor.post("/auth/reset-password", {**body, "otp": new}, 401)
    visitor.get("/user/profile", 401, headers=bearer(pair["accessToken"]))
    visitor.post("/auth/login", {"email": user.email, "password": PASSWORD}, 401)
    visitor.post("/auth/login", {"email": user.email, "password": "another four words"})


def test_a_code_takes_five_tries_and_no_more_than_five_are_sent_an_hour(visitor, act, mails):
    with act():
        user = make_user(email="known@example.com")
    for _ in range(7):
        visitor.post("/auth/forgot-password", {"email": user.email})
    assert len(mails()) == 5
    code = code_in(mails()[-1])
    body = {"email": user.email, "newPassword": "another four words", "confirmPassword": "another four words"}
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    for _ in range(5):
        visitor.post("/auth/reset-password", {**body, "otp": wrong}, 401)
    visitor.post("/auth/reset-password", {**body, "otp": code}, 401)


def test_a_code_ends_after_fifteen_minutes_and_is_kept_only_as_a_keyed_hash(visitor, act, mails):
    from sqlalchemy import text

    visitor.post("/auth/register", ASHA, 201)
    code = code_in(mails()[0])
    with act() as session:
        [(kept, minutes)] = session.execute(
            text("SELECT code_hash, extract(epoch FROM expires_at - created_at) / 60 FROM codes")
        ).all()
        assert minutes == 15
        assert code.encode() not in kept
        session.execute(text("UPDATE codes SET expires_at = now() - interval '1 second'"))
    visitor.post("/auth/verify-email", {"email": ASHA["email"], "otp": code}, 401)


def test_a_code_for_one_purpose_or_person_is_none_for_another(visitor, act, mails):
    visitor.post("/auth/register", ASHA, 201)
    with act():
        make_user(email="known@example.com")
    code = code_in(mails()[0])
    body = {"newPassword": "another four words", "confirmPassword": "another four words", "otp": code}
    visitor.post("/auth/reset-password", {**body, "email": ASHA["email"]}, 401)
    visitor.post("/auth/verify-email", {"email": "known@example.com", "otp": code}, 401)
    visitor.post("/auth/verify-email", {"email": ASHA["email"], "otp": code})


def test_changing_the_password_needs_the_old_one_and_ends_the_other_log_ins(visitor, act):
    with act():
        user = make_user()
    here, elsewhere = (
        visitor.post("/auth/login", {"email": user.email, "password": PASSWORD})["data"]["tokens"] for _ in range(2)
    )
    change = {"currentPassword": PASSWORD, "newPassword": "another four words", "confirmPassword": "another four words"}
    headers = bearer(here["accessToken"])
    assert visitor.put("/auth/change-password", {**change, "currentPassword": "no"}, 401, headers=headers)
    visitor.put("/auth/change-password", {**change, "newPassword": "short"}, 422, headers=headers)
    visitor.put("/auth/change-password", change, headers=headers)
    visitor.get("/user/profile", headers=headers)
    visitor.get("/user/profile", 401, headers=bearer(elsewhere["accessToken"]))
    visitor.post("/auth/login", {"email": user.email, "password": "another four words"})


def test_a_profile_is_shown_and_name_and_phone_can_be_changed(log_in, act):
    with act():
        user = make_holder()
    mine = log_in(user)
    assert mine.get("/user/profile")["data"]["user"]["meter_id"] == "MTR-00000001"
    changed = mine.put("/user/profile", {"name": "Ravi Rao", "phone": "+919812345678"})["data"]["user"]
    assert (changed["name"], changed["phone"]) == ("Ravi Rao", "+919812345678")
    assert mine.put("/user/profile", {"phone": ""})["data"]["user"]["phone"] is None
    for field in ("region", "role", "meter_id", "email"):
        assert mine.put("/user/profile", {field: "x"}, 422)["details"][0]["field"] == field
    with act() as session:
        assert session.get(User, user.user_id).name == "Ravi Rao"


def test_a_suspended_or_closed_account_loses_its_tokens(log_in, act):
    with act():
        held, closed = make_user(), make_user()
    programs = log_in(held), log_in(closed)
    with act() as session:
        session.get(User, held.user_id).suspended_at = held.created_at
        session.get(User, closed.user_id).closed_at = held.created_at
    assert programs[0].get("/user/profile", 403)["code"] == "ACCOUNT_SUSPENDED"
    assert programs[1].get("/user/profile", 401)["code"] == "TOKEN_REVOKED"
