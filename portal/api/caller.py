"""Who calls, and what every view needs to hand to an area: the instant, the actor, the meters."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import current_app, g, request

from portal.accounts import tokens
from portal.accounts.log_ins import Device
from portal.accounts.models import ApiKey, User
from portal.audit import Actor
from portal.config import Config
from portal.errors import Forbidden, Unauthorized
from portal.gates import KEY, PUBLIC, ROLES_OF
from portal.meters.pool import Pool


@dataclass(frozen=True, slots=True)
class Caller:
    """The person behind an access token, and the log-in that it belongs to."""

    user: User
    family_id: uuid.UUID


def now() -> datetime:
    """The instant of this request, UTC; the same for all that it does."""
    if "api_now" not in g:
        g.api_now = datetime.now(UTC)
    return g.api_now


def config() -> Config:
    """The portal's settings."""
    return current_app.config["PORTAL"]


def pool() -> Pool:
    """The free meters of the configured range."""
    return Pool.of(config())


def caller() -> Caller:
    """The person who calls. Only behind a gate for persons."""
    return g.api_caller


def user() -> User:
    """The person's account. Only behind a gate for persons."""
    return caller().user


def key() -> ApiKey:
    """The program's key. Only behind a gate for keys."""
    return g.api_key


def actor() -> Actor:
    """Who acts, for the audit log."""
    if "api_caller" in g:
        return Actor("user", user().email, user().user_id, address())
    if "api_key" in g:
        return Actor("key", key().name, address=address())
    return Actor("user", "visitor", address=address())


def actor_called(email: str) -> Actor:
    """A visitor who acts for themselves, under the address that they give."""
    return Actor("user", email.strip()[:200], address=address())


def address() -> str | None:
    """Where the request comes from, for the audit log."""
    return request.remote_addr


def device() -> Device:
    """What logs in, for the list of log-ins."""
    return Device(request.user_agent.string, address())


def _bearer() -> str:
    """The token of the Authorization header. Raises Unauthorized. Cookies are never looked at."""
    scheme, _blank, token = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("Send a token in the header: `Authorization: Bearer …`.")
    return token.strip()


def open_gate(gate: str, scope: str | None) -> None:
    """Let in whom the gate names. Raises Unauthorized, then Forbidden, before anything of the request is read."""
    if gate == PUBLIC:
        return
    plain = _bearer()
    if gate == KEY:
        found = tokens.find_key(plain)
        if found is None:
            if tokens.is_access_token(plain):
                raise Forbidden("This call is for programs: it takes an ingestion key, not a person's access token.")
            raise Unauthorized("This key is not known or has been revoked.")
        if found.scope != scope:
            raise Forbidden(f"This key does not open calls of the scope {scope}.")
        g.api_key = found
        return
    person, family_id = tokens.get_access(plain, now())
    if person.role not in ROLES_OF[gate]:
        raise Forbidden("Your account's role does not include this call.")
    g.api_caller = Caller(person, family_id)
