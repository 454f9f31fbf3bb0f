"""Ids in paths and bodies. One of a wrong shape is an id that nothing has: not found, never a fault."""

from __future__ import annotations

import uuid

from portal.errors import NotFound


def find_uuid(text: str) -> uuid.UUID | None:
    """The id, or None for what is none. Only the usual 36 characters: an id has one spelling."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def get_user_id(text: str) -> uuid.UUID:
    """The id of a user. Raises NotFound USER_NOT_FOUND for another shape."""
    found = find_uuid(text)
    if found is None:
        raise NotFound("There is no user with this id.", "USER_NOT_FOUND")
    return found


def get_session_id(text: str) -> uuid.UUID:
    """The id of a log-in. Raises NotFound SESSION_NOT_FOUND for another shape."""
    found = find_uuid(text)
    if found is None:
        raise NotFound("There is no such log-in, or it has ended.", "SESSION_NOT_FOUND")
    return found
