"""What can go wrong, in the field's words. No HTTP here: a face maps each class to its status."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that was refused, and what to put there instead."""

    field: str
    message: str


class PortalError(Exception):
    """A refusal that a person or a program can act on.

    `code` is the UPPER_SNAKE name that programs compare, `message` a sentence for people,
    `fields` the single inputs that were wrong.
    """

    code = "ERROR"

    def __init__(self, message: str, code: str | None = None, fields: Iterable[FieldError] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.fields = tuple(fields)


class Invalid(PortalError):
    """The request is well formed, but its content cannot be taken."""

    code = "VALIDATION_ERROR"

    @classmethod
    def field(cls, field: str, message: str) -> Invalid:
        """One wrong field, told beside it."""
        return cls(message, fields=[FieldError(field, message)])


class NotFound(PortalError):
    """There is no such thing, or none that the asker may see."""

    code = "NOT_FOUND"


class Conflict(PortalError):
    """The request is right, but the state of things does not allow it now."""

    code = "CONFLICT"


class Forbidden(PortalError):
    """Known, but not allowed."""

    code = "FORBIDDEN"


class Unauthorized(PortalError):
    """Not known: no token, a wrong one, or one that has ended."""

    code = "UNAUTHORIZED"


class Unavailable(PortalError):
    """A part that is needed does not answer."""

    code = "UNAVAILABLE"
