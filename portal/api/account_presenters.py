"""What programs read of log-ins."""

from __future__ import annotations

import uuid

from typing_extensions import TypedDict

from portal.accounts.models import LogIn
from portal.api.fields import Time, Uuid


class SessionJson(TypedDict):
    """One log-in, of a browser or a program."""

    session_id: Uuid
    kind: str
    agent: str
    address: str | None
    created_at: Time
    expires_at: Time
    current: bool


def session_json(row: LogIn, current: uuid.UUID) -> SessionJson:
    """One log-in; `current` is that of the caller."""
    return {
        "session_id": str(row.login_id),
        "kind": row.kind,
        "agent": row.agent,
        "address": row.address,
        "created_at": row.created_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
        "current": row.login_id == current,
    }
