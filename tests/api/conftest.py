"""Clients of the API for each kind of caller. Every call states the status that it expects."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from portal.accounts import tokens
from portal.accounts.models import User
from portal.audit import SYSTEM
from tests.factories import make_user

V1 = "/api/v1"


class Api:
    """A program: one token or none. Checks status and envelope of every answer."""

    def __init__(self, client: FlaskClient, token: str | None = None) -> None:
        self.client = client
        self.token = token

    def call(
        self,
        method: str,
        path: str,
        status: int,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """The parsed answer; for refusals the `error` object, for success the whole envelope."""
        response = self.raw(method, path, body, headers=headers, **more)
        answer = json.loads(response.data) if response.data else {}
        assert response.status_code == status, answer
        assert response.headers["X-Request-ID"]
        assert response.mimetype == "application/json"
        if status >= 400:
            assert set(answer) == {"success", "error"}
            assert answer["success"] is False
            assert set(answer["error"]) <= {"code", "message", "details"}
            assert status != 422 or answer["error"]["details"]
            return answer["error"]
        assert answer["success"] is True
        assert isinstance(answer["message"], str)
        assert "data" in answer
        return answer

    def raw(
        self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None, **more: Any
    ) -> TestResponse:
        """The response as it is."""
        sent = dict(headers or {})
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if body is not None:
            more["json"] = body
        return self.client.open(V1 + path if path.startswith("/") else path, method=method, headers=sent, **more)

    def get(self, path: str, status: int = 200, **more: Any) -> dict[str, Any]:
        return self.call("GET", path, status, **more)

    def post(self, path: str, body: object = None, status: int = 200, **more: Any) -> dict[str, Any]:
        return self.call("POST", path, status, body, **more)

    def put(self, path: str, body: object = None, status: int = 200, **more: Any) -> dict[str, Any]:
        return self.call("PUT", path, status, body, **more)

    def delete(self, path: str, status: int = 200, **more: Any) -> dict[str, Any]:
        return self.call("DELETE", path, status, **more)


Acting = Callable[[], AbstractContextManager[Any]]


@pytest.fixture
def visitor(client: FlaskClient) -> Api:
    """A program without a token."""
    return Api(client)


@pytest.fixture
def log_in(client: FlaskClient, act: Acting) -> Callable[[User], Api]:
    """A program with an access token of this user."""

    def as_user(user: User) -> Api:
        with act():
            pair = tokens.issue_tokens(user, datetime.now(UTC), access_seconds=3600)
        return Api(client, pair.access)

    return as_user


def _of_role(role: str) -> Any:
    def as_role(act: Acting, log_in: Callable[[User], Api]) -> Api:
        with act():
            user = make_user(role=role)
        return log_in(user)

    return pytest.fixture(name=f"as_{role if role != 'user' else 'customer'}")(as_role)


as_customer = _of_role("user")
as_operator = _of_role("operator")
as_admin = _of_role("admin")


@pytest.fixture
def as_key(client: FlaskClient, act: Acting) -> Api:
    """A program with an ingestion key."""
    with act():
        plain = tokens.create_key("head-end", "ingest", actor=SYSTEM, now=datetime.now(UTC))
    return Api(client, plain)


@pytest.fixture
def mails(act: Acting) -> Callable[[], list[Any]]:
    """The mails of the outbox, oldest first."""
    from sqlalchemy import select

    from portal.outbox import Mail

    def listed() -> list[Any]:
        with act() as session:
            return list(session.scalars(select(Mail).order_by(Mail.mail_id)))

    return listed
