"""Accounts: who may have one, and proving that one has it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from portal.accounts import actions, passwords, queries, tokens
from portal.accounts.models import Token
from portal.audit import CLI, SYSTEM
from portal.errors import Conflict, Forbidden, Invalid, Unauthorized
from tests.factories import NOW, PASSWORD, make_user

pytestmark = pytest.mark.usefixtures("area")


def create(**changes):
    values = {
        "name": "Asha Kulkarni",
        "email": "asha@example.com",
        "phone": "+919876543210",
        "region": "Mumbai-North",
        "password": None,
    } | changes
    return actions.create_user(**values, actor=SYSTEM, now=NOW)


def test_every_wrong_field_is_told_at_once():
    with pytest.raises(Invalid) as refused:
        create(name="A", email="asha@", phone="12345", region="Atlantis", password="short")
    assert [field.field for field in refused.value.fields] == ["name", "email", "phone", "region", "password"]
    assert "Chennai-North" in refused.value.message


@pytest.mark.parametrize("email", ["ASHA@example.com", "Asha@Example.COM", " asha@example.com "])
def test_an_address_is_taken_in_any_case(email):
    create()
    with pytest.raises(Conflict) as refused:
        create(email=email)
    assert refused.value.code == "EMAIL_TAKEN"


def test_a_refused_address_leaves_the_transaction_usable(area):
    create()
    with pytest.raises(Conflict):
        create()
    create(email="second@example.com")
    area.commit()
    assert queries.find_user_by_email("second@example.com")


@pytest.mark.parametrize("name", [" A ", "x" * 101, "a\x00b", ""])
def test_names_that_are_none(name):
    with pytest.raises(Invalid):
        create(name=name)


def test_a_name_in_any_script_is_fine():
    assert create(name="आशा कुलकर्णी").name == "आशा कुलकर्णी"


@pytest.mark.parametrize("password", ["elevenchars", "x" * 129, "aaaaaaaaaaaaaa", "Password1234"])
def test_passwords_that_are_too_easy(password):
    with pytest.raises(Invalid) as refused:
        create(password=password)
    assert refused.value.fields[0].field == "password"


class TestCredentials:
    def test_the_right_password_in_any_case_of_the_address(self):
        user = make_user(email="asha@example.com")
        assert actions.check_credentials("ASHA@example.com", PASSWORD) is user

    def test_one_answer_for_wrong_unknown_closed_and_without_password(self):
        make_user(email="asha@example.com")
        make_user(email="none@example.com", password=None)
        make_user(email="closed@example.com").closed_at = NOW
        for email, password in (
            ("asha@example.com", "something else"),
            ("nobody@example.com", PASSWORD),
            ("none@example.com", ""),
            ("none@example.com", "a password that nobody has"),
            ("closed@example.com", PASSWORD),
        ):
            assert actions.check_credentials(email, password) is None

    def test_an_unknown_address_costs_a_hash_too(self, monkeypatch):
        counted = []
        real = passwords.hasher.verify_and_update
        monkeypatch.setattr(passwords.hasher, "verify_and_update", lambda *args: counted.append(1) or real(*args))
        actions.check_credentials("nobody@example.com", PASSWORD)
        assert counted == [1]


class TestTokens:
    def test_nothing_readable_is_stored(self, area):
        pair = tokens.issue_tokens(make_user(), NOW, access_seconds=3600)
        stored = area.scalars(select(Token.token_hash)).all()
        assert pair.access.encode() not in stored
        assert len(stored) == 2

    def test_an_access_token_opens_until_it_expires(self):
        user = make_user()
        pair = tokens.issue_tokens(user, NOW, access_seconds=3600)
        assert tokens.get_access(pair.access, NOW + timedelta(seconds=3599))[0] is user
        with pytest.raises(Unauthorized) as refused:
            tokens.get_access(pair.access, NOW + timedelta(seconds=3600))
        assert refused.value.code == "TOKEN_EXPIRED"

    def test_a_refresh_token_is_no_access_token_and_the_other_way_round(self):
        pair = tokens.issue_tokens(make_user(), NOW, access_seconds=3600)
        with pytest.raises(Unauthorized):
            tokens.get_access(pair.refresh, NOW)
        with pytest.raises(Unauthorized):
            tokens.rotate(pair.access, NOW, access_seconds=3600)

    def test_refresh_gives_a_new_pair_and_ends_the_old_one(self):
        user = make_user()
        old = tokens.issue_tokens(user, NOW, access_seconds=3600)
        new = tokens.rotate(old.refresh, NOW, access_seconds=3600)
        assert tokens.get_access(new.access, NOW)[0] is user
        with pytest.raises(Unauthorized) as refused:
            tokens.get_access(old.access, NOW)
        assert refused.value.code == "TOKEN_REVOKED"

    def test_a_dead_refresh_token_ends_its_whole_family_and_no_other(self):
        user = make_user()
        old, other = (tokens.issue_tokens(user, NOW, access_seconds=3600) for _ in range(2))
        new = tokens.rotate(old.refresh, NOW, access_seconds=3600)
        assert tokens.rotate(old.refresh, NOW, access_seconds=3600) is None
        with pytest.raises(Unauthorized):
            tokens.get_access(new.access, NOW)
        assert tokens.get_access(other.access, NOW)[0] is user

    def test_suspended_users_are_told_and_closed_ones_are_not_let_in(self):
        user = make_user()
        pair = tokens.issue_tokens(user, NOW, access_seconds=3600)
        user.suspended_at = NOW
        with pytest.raises(Forbidden):
            tokens.get_access(pair.access, NOW)
        user.suspended_at, user.closed_at = None, NOW
        with pytest.raises(Unauthorized):
            tokens.get_access(pair.access, NOW)

    def test_a_key_opens_until_it_is_revoked(self, area):
        plain = tokens.create_key("head-end", "ingest", actor=CLI, now=NOW)
        key = tokens.find_key(plain)
        assert key.scope == "ingest"
        key.revoked_at = NOW
        area.flush()
        assert tokens.find_key(plain) is None
        assert tokens.find_key("pk_something") is None
