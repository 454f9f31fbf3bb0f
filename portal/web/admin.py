"""Acts of administrators on meters: assign, unassign, bulk. Each form works without a script; success is a 303."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import ngettext
from werkzeug.wrappers import Response as AnyResponse

from portal.accounts import queries as accounts
from portal.db import session
from portal.errors import PortalError
from portal.gates import ADMIN, gate
from portal.meters import actions, queries
from portal.web import staff
from portal.web.forms import AssignForm, put_errors, typed_instant
from portal.web.fragments import wants_fragment
from portal.web.session import actor, now, pool

admin = Blueprint("admin", __name__, url_prefix="/admin")

MOST_CHOSEN = 100

# Which field of the form a refusal belongs to.
_FIELD_OF = {
    "USER_NOT_FOUND": "email",
    "USER_HAS_METER": "email",
    "USER_NOT_CUSTOMER": "email",
    "METER_NOT_FOUND": "meter_id",
    "METER_NOT_ASSIGNABLE": "meter_id",
    "METER_ALREADY_ASSIGNED": "meter_id",
    "REGION_MISMATCH": "region",
    "NO_METERS_AVAILABLE": "meter_id",
}


@admin.get("/assign")
@gate(ADMIN)
def assign() -> AnyResponse:
    """The form that gives a meter to one customer."""
    return _assign_page(staff.assign_form(request.args.get("email", ""), request.args.get("meter", "")))


@admin.post("/assign")
@gate(ADMIN)
def assign_post() -> AnyResponse:
    """Give the named or the next free meter."""
    form = staff.assign_form()
    try:
        user = accounts.get_user_by_email(form.email.data or "")
        number = (form.meter_id.data or "").strip().upper() or None
        given = actions.assign(
            user.user_id,
            pool(),
            number,
            form.region.data or None,
            how="admin",
            since=typed_instant("since", form.since.raw_data, accounts.zone_of(form.region.data or user.region)),
            reason=(form.reason.data or "").strip()[:500],
            actor=actor(),
            now=now(),
        )
    except PortalError as error:
        session.rollback()
        return _assign_page(form, _put(form, error), 422)
    session.commit()
    flash(_("%(meter)s is assigned to %(name)s.", meter=given.meter_id, name=user.name), "good")
    return redirect(url_for("operator.user", user_id=user.user_id), 303)


def _assign_page(form: AssignForm, refusal: str | None = None, status: int = 200) -> Response:
    known = accounts.find_user_by_email(form.email.data) if form.email.data else None
    region = form.region.data or (known.region if known else None)
    free = queries.list_free([region], pool())[region]
    return make_response(render_template("admin/assign.html", form=form, refusal=refusal, free=free), status)


def _put(form: AssignForm, error: PortalError) -> str | None:
    name = _FIELD_OF.get(error.code)
    if name is None:
        return put_errors(form, error)
    form[name].errors = [error.message]
    return None


@admin.post("/waiting/<uuid:user_id>/assign")
@gate(ADMIN)
def assign_next(user_id: uuid.UUID) -> AnyResponse:
    """The next free meter for somebody who waits: in the row itself, or back to the list."""
    person = accounts.get_user(user_id)
    try:
        given: Any = actions.assign(user_id, pool(), how="admin", actor=actor(), now=now())
        session.commit()
        text, tone = _("%(meter)s is assigned to %(name)s.", meter=given.meter_id, name=person.name), "good"
    except PortalError as error:
        session.rollback()
        given, text, tone = None, error.message, "warn"
    if wants_fragment():
        return make_response(render_template("admin/_assigned_row.html", person=person, given=given, refusal=text))
    flash(text, tone)
    return redirect(url_for("operator.waiting"), 303)


@admin.post("/waiting/assign")
@gate(ADMIN)
def assign_chosen() -> AnyResponse:
    """The next free meter for each who was ticked; one who gets none does not stop the others."""
    chosen = [uuid.UUID(each) for each in dict.fromkeys(request.form.getlist("user")[:MOST_CHOSEN]) if _is_id(each)]
    given, refused = [], []
    for user_id in chosen:
        try:
            given.append(actions.assign(user_id, pool(), how="admin", actor=actor(), now=now()))
            session.commit()
        except PortalError as error:
            session.rollback()
            refused.append(error.message)
    if not chosen:
        flash(_("Tick the customers first."), "warn")
    if given:
        pairs = ", ".join(f"{each.email}: {each.meter_id}" for each in given)
        flash(ngettext("%(num)s meter assigned: ", "%(num)s meters assigned: ", len(given)) + pairs + ".", "good")
    for message in refused:
        flash(message, "warn")
    return redirect(url_for("operator.waiting"), 303)


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
