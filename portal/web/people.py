"""What administrators do with accounts: roles, suspension, log-ins, closing; and the audit trail of everything."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from portal import audit
from portal.accounts import queries as accounts
from portal.accounts import staff
from portal.accounts.models import User
from portal.db import session
from portal.errors import PortalError
from portal.gates import ADMIN, gate
from portal.registration import close_account
from portal.web import trail
from portal.web.forms import ConfirmForm, RoleForm, SuspendForm, put_errors
from portal.web.fragments import page_or_fragment
from portal.web.lists import PAGE, offset_of_request, pager
from portal.web.session import actor, needs_fresh_log_in, now, pool
from portal.web.words import ROLE

people = Blueprint("people", __name__, url_prefix="/admin")


@people.get("/users/<uuid:user_id>/role")
@gate(ADMIN)
def role(user_id: uuid.UUID) -> AnyResponse:
    """The roles, and what each may do; only in a fresh log-in."""
    person = staff.get_open(user_id)
    return needs_fresh_log_in() or _page("role", person, _role_form(person.role))


@people.post("/users/<uuid:user_id>/role")
@gate(ADMIN)
def role_post(user_id: uuid.UUID) -> AnyResponse:
    """Change it. The log-in must be fresh at this moment too."""
    stale = needs_fresh_log_in()
    if stale is not None:
        return stale
    form = _role_form()
    try:
        changed = staff.change_role(user_id, form.role.data or "", actor=actor(), now=now())
    except PortalError as error:
        session.rollback()
        return _page("role", accounts.get_user(user_id), form, put_errors(form, error) or error.message)
    session.commit()
    flash(_("%(name)s is %(role)s now.", name=changed.name, role=ROLE[changed.role]), "good")
    return _to(user_id)


@people.get("/users/<uuid:user_id>/suspend")
@gate(ADMIN)
def suspend(user_id: uuid.UUID) -> AnyResponse:
    """Why, and what it does, before it is done."""
    return _page("suspend", staff.get_open(user_id), SuspendForm())


@people.post("/users/<uuid:user_id>/suspend")
@gate(ADMIN)
def suspend_post(user_id: uuid.UUID) -> AnyResponse:
    """Keep somebody out."""
    form = SuspendForm()
    try:
        changed = staff.suspend(user_id, form.reason.data or "", actor=actor(), now=now())
    except PortalError as error:
        session.rollback()
        return _page("suspend", accounts.get_user(user_id), form, put_errors(form, error))
    session.commit()
    flash(_("%(name)s is suspended, and every log-in has ended.", name=changed.name), "good")
    return _to(user_id)


@people.post("/users/<uuid:user_id>/lift")
@gate(ADMIN)
def lift(user_id: uuid.UUID) -> AnyResponse:
    """Let a suspended person in again."""
    return _do(user_id, staff.lift_suspension, _("The person may log in again."))


@people.post("/users/<uuid:user_id>/logout")
@gate(ADMIN)
def log_out_everywhere(user_id: uuid.UUID) -> AnyResponse:
    """End every log-in of somebody."""
    return _do(user_id, staff.end_sessions, _("Every log-in of this account has ended."))


@people.get("/users/<uuid:user_id>/close")
@gate(ADMIN)
def close(user_id: uuid.UUID) -> AnyResponse:
    """What closing means, before it is done."""
    return _page("close", staff.get_open(user_id), ConfirmForm())


@people.post("/users/<uuid:user_id>/close")
@gate(ADMIN)
def close_post(user_id: uuid.UUID) -> AnyResponse:
    """Close it; what was billed stays."""
    try:
        close_account(user_id, pool(), actor=actor(), now=now())
    except PortalError as error:
        session.rollback()
        return _page("close", accounts.get_user(user_id), ConfirmForm(), error.message)
    session.commit()
    flash(_("The account is closed."), "good")
    return _to(user_id)


@people.get("/audit")
@gate(ADMIN)
def show_trail() -> Response:
    """Every act, newest first: searched by who, what, whom and address, and by day."""
    form, offset = trail.search_form(request.args), offset_of_request()
    rows, total = audit.search(trail.chosen(form), PAGE * 2, offset)
    return page_or_fragment(
        "admin/audit.html", "admin/_audit.html",
        form=form, rows=trail.rows(rows), pages=pager(len(rows), total, offset, PAGE * 2),
    )  # fmt: skip


def _role_form(present: str | None = None) -> RoleForm:
    form = RoleForm(role=present) if present else RoleForm()
    form.role.choices = [(key, word) for key, word in ROLE.items()]
    return form


def _do(user_id: uuid.UUID, act: Callable[..., User], said: str) -> AnyResponse:
    try:
        act(user_id, actor=actor(), now=now())
        session.commit()
        flash(said, "good")
    except PortalError as error:
        session.rollback()
        flash(error.message, "warn")
    return _to(user_id)


def _to(user_id: uuid.UUID) -> AnyResponse:
    return redirect(url_for("operator.user", user_id=user_id), 303)


def _page(name: str, person: User, form: Any, refusal: str | None = None) -> Response:
    status = 422 if refusal or form.errors else 200
    return make_response(render_template(f"admin/{name}.html", person=person, form=form, refusal=refusal), status)
