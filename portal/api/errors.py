"""Every refusal under /api/ as the failure envelope: one table from our error classes to HTTP statuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import psycopg
from flask import Flask, Response, request
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from portal.db import session
from portal.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, PortalError, Unauthorized, Unavailable
from portal.limits import TooMany
from portal.logs import get_logger

DOCUMENT = "/openapi.json"
DATABASE_AWAY = "The database does not answer now. Try again in a moment."
READ_AWAY = 64 * 1024 * 1024


class BadRequest(PortalError):
    """The request cannot be taken as it is, for a reason that is no single field's."""

    code = "BAD_REQUEST"


class MalformedJson(BadRequest):
    """The body is not JSON to its end."""

    code = "MALFORMED_JSON"


class WrongMediaType(PortalError):
    """The body is something else than JSON."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class TooLarge(PortalError):
    """More than this call takes at once."""

    code = "PAYLOAD_TOO_LARGE"


STATUS: Mapping[type[PortalError], int] = {
    BadRequest: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    WrongMediaType: 415,
    Invalid: 422,
    TooMany: 429,
    Unavailable: 503,
}

# What HTTP itself refuses before a view is reached.
_OF_HTTP: Mapping[int, tuple[str, str]] = {
    400: ("BAD_REQUEST", "The request cannot be read."),
    404: ("NOT_FOUND", "There is no such path. /openapi.json lists those there are."),
    405: ("METHOD_NOT_ALLOWED", "This path does not take this method; the Allow header names those it takes."),
    413: ("PAYLOAD_TOO_LARGE", "The body is larger than this call takes."),
    415: ("UNSUPPORTED_MEDIA_TYPE", "Send the body as application/json."),
    503: ("UNAVAILABLE", "The portal cannot answer now. Try again in a moment."),
}

# PostgreSQL: serialization failure and deadlock; the same act may simply be done again.
_TRY_AGAIN = frozenset({"40001", "40P01"})


def is_api(path: str) -> bool:
    """True for every path that answers programs."""
    return path == "/api" or path.startswith("/api/") or path == DOCUMENT


def status_of(error: PortalError) -> int:
    """The HTTP status of a refusal."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 400)


def to_response(content: Mapping[str, Any], status: int) -> Response:
    """JSON, UTF-8, never kept by anybody on the way."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text + "\n", status, {"Cache-Control": "no-store"}, mimetype="application/json")


def failure(status: int, code: str, message: str, fields: tuple[FieldError, ...] = ()) -> Response:
    """The failure envelope."""
    error: dict[str, Any] = {"code": code, "message": message}
    if fields:
        error["details"] = [{"field": each.field, "message": each.message} for each in fields]
    response = to_response({"success": False, "error": error}, status)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="portal"'
    return response


def _of_refusal(error: PortalError) -> Response:
    status = status_of(error)
    fields = error.fields
    if status == 422 and not fields:
        fields = (FieldError("body", error.message),)
    response = failure(status, error.code, error.message, fields)
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _of_http(error: HTTPException) -> Response:
    status = 404 if isinstance(error, RequestRedirect) else error.code or 500
    if status >= 500 and status != 503:
        return _of_fault(error)
    code, message = _OF_HTTP.get(status, ("BAD_REQUEST", "The request cannot be taken as it is."))
    response = failure(status, code, message)
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def is_worth_another_try(error: Exception) -> bool:
    """True when the database ended the transaction for the sake of another one, so that doing it again may work."""
    if isinstance(error, IntegrityError):
        return True
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _TRY_AGAIN


def _of_database(error: DBAPIError) -> Response:
    get_logger().error("api_database_error", path=request.path, exc_info=error)
    if isinstance(error, IntegrityError) or is_worth_another_try(error):
        return failure(409, "CONFLICT", "Somebody else changed the same thing at this moment. Try again.")
    if isinstance(error, DataError):
        return _of_refusal(Invalid("A value is out of range."))
    if isinstance(error, OperationalError) or error.connection_invalidated:
        return failure(503, "UNAVAILABLE", DATABASE_AWAY)
    return failure(500, "INTERNAL_ERROR", "Something failed on our side. Nothing was changed.")


def _of_fault(error: Exception) -> Response:
    get_logger().error("api_fault", path=request.path, exc_info=error)
    return failure(500, "INTERNAL_ERROR", "Something failed on our side. Nothing was changed.")


def _read_away() -> None:
    """Take what is left of the body, within reason.

    A server that answers in the middle of a body and hangs up looks like a broken line to the sender, who never reads
    the answer. Only where the server marks the end of the body itself; elsewhere such a read could wait forever.
    """
    if request.environ.get("wsgi.input_terminated"):
        left = READ_AWAY
        while left > 0 and (chunk := request.environ["wsgi.input"].read(min(left, 65_536))):
            left -= len(chunk)


def answer_error(error: Exception) -> Response:
    """The envelope for whatever went wrong; what the request had begun is taken back."""
    try:
        session.rollback()
    except (SQLAlchemyError, psycopg.Error):
        # The connection is dead, and with it what had begun on it.
        session.remove()
    _read_away()
    if isinstance(error, PortalError):
        return _of_refusal(error)
    if isinstance(error, HTTPException):
        return _of_http(error)
    if isinstance(error, DBAPIError):
        return _of_database(error)
    if isinstance(error, psycopg.OperationalError):
        # From the driver itself: a line that broke in the middle of a COPY.
        get_logger().error("api_database_error", path=request.path, exc_info=error)
        return failure(503, "UNAVAILABLE", DATABASE_AWAY)
    return _of_fault(error)


def set_up(app: Flask) -> None:
    """Answer every error under /api/ here, whatever handlers the pages register.

    Flask looks for app-level handlers by status first, and only those see a 404 or 405 of the router; so the two
    faces would have to share each handler. The one door that all errors pass is taken instead.
    """
    for_pages = app.handle_user_exception

    def handle(error: Exception) -> Any:
        return answer_error(error) if is_api(request.path) else for_pages(error)

    app.handle_user_exception = handle  # type: ignore[method-assign, assignment]

    @app.after_request
    def name_methods(response: Response) -> Response:
        # Flask answers OPTIONS by itself: an empty 200 that calls itself HTML.
        if request.method == "OPTIONS" and response.status_code == 200 and is_api(request.path):
            response.status_code = 204
            del response.headers["Content-Type"]
        return response
