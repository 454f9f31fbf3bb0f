"""Error pages of our own: what happened, why, and where to go from here. Never an exception's own text."""

from __future__ import annotations

from flask import Flask, Response, g, make_response, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from portal.db import session
from portal.errors import Conflict, Forbidden, Invalid, NotFound, PortalError, Unauthorized, Unavailable
from portal.limits import TooMany
from portal.logs import get_logger
from portal.web.fragments import wants_fragment
from portal.web.session import home_of

STATUS: tuple[tuple[type[PortalError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (Invalid, 422),
    (Forbidden, 403),
    (Unauthorized, 401),
    (Unavailable, 503),
    (TooMany, 429),
)


def page_for_http(error: HTTPException) -> Response:
    """The page of an HTTP error. `Allow` of a 405 is kept."""
    code = error.code or 500
    response = _page(code, *_words(code))
    if isinstance(error, HTTPException) and getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))  # type: ignore[attr-defined]
    return response


def page_for_csrf(_error: CSRFError) -> Response:
    """The page was open too long, or the cookie is gone: nothing was done."""
    return _page(
        400,
        _("This page was open too long"),
        _("The form could not be matched to your session, so nothing was changed."),
        _("Go back, load the page again and send the form once more."),
    )


def page_for_refusal(error: PortalError) -> Response:
    """A refusal that the view did not put beside a form."""
    session.rollback()
    code = next((status for kind, status in STATUS if isinstance(error, kind)), 400)
    title, why, next_step = _words(code)
    response = _page(code, title, why if code == 404 else error.message, next_step)
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def page_for_fault(error: Exception) -> Response:
    """A fault of ours: it is logged with the number of the request, the person sees none of it."""
    session.rollback()
    get_logger().error("page_failed", path=request.path, exc_info=getattr(error, "original_exception", None) or error)
    return _page(500, *_words(500))


def _words(code: int) -> tuple[str, str, str]:
    """Title, why, and what to do."""
    if code == 404:
        return (
            _("There is no such page"),
            _("The address may be mistyped, or it belongs to something that is not yours to see."),
            _("Start again from your own pages."),
        )
    if code == 403:
        return (
            _("This page is not for your account"),
            _("You are logged in, but your role does not include it."),
            _("If you need it, ask an administrator."),
        )
    if code == 405:
        return (
            _("This address can't be opened that way"),
            _("It is only the target of a form."),
            _("Open the page that has the form, and send it from there."),
        )
    if code == 429:
        return (
            _("Too many tries"),
            _("To keep accounts safe, only a few tries are taken in a short time."),
            _("Wait a minute, then try again."),
        )
    if code == 413:
        return (_("That is too large"), _("What was sent is larger than this page takes."), _("Send less at once."))
    if code in (400, 409, 422):
        return (
            _("That could not be done"),
            _("What was sent could not be read."),
            _("Go back and check what you entered."),
        )
    return (
        _("Something failed on our side"),
        _("Nothing that you sent was changed by half: it is done as a whole or not at all."),
        _("Try again in a minute. If it fails again, tell us."),
    )


def _page(code: int, title: str, why: str, next_step: str) -> Response:
    if wants_fragment():
        return make_response(f"{title}. {why}", code)
    signed_in = current_user.is_authenticated
    return make_response(
        render_template(
            "errors/error.html",
            title=title,
            why=why,
            next_step=next_step,
            address=home_of(current_user) if signed_in else url_for("public.start"),
            link=_("Go to your home page") if signed_in else _("Go to the start page"),
            request_id=g.get("request_id", ""),
        ),
        code,
    )


def set_up(app: Flask) -> None:
    """Answer errors with pages. What goes wrong under `/api/` never comes here: its own face answers it before."""
    for code in (400, 401, 403, 404, 405, 413, 429):
        app.register_error_handler(code, page_for_http)
    app.register_error_handler(CSRFError, page_for_csrf)
    app.register_error_handler(PortalError, page_for_refusal)
    app.register_error_handler(500, page_for_fault)
