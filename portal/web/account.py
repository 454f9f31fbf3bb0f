"""One's own account: details, password, log-ins, closing. For everybody who is logged in."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as AnyResponse

from portal import audit, limits
from portal.accounts import actions as accounts
from portal.accounts import log_ins, recovery, tokens
from portal.accounts.models import LogIn
from portal.db import session
from portal.errors import PortalError
from portal.gates import SIGNED_IN, gate
from portal.registration import close_own_account
from portal.web import formats
from portal.web.forms import ChangePasswordForm, ConfirmForm, PasswordForm, ProfileForm, put_errors
from portal.web.session import actor, home_of, log_out, now, pool, safe_next, zone
from portal.web.session import confirm as confirm_now
from portal.web.words import agent_words

account = Blueprint("account", __name__, url_prefix="/account")


@dataclass(frozen=True, slots=True)
class Row:
    """One log-in as its owner reads it."""

    login_id: uuid.UUID
    what: str
    since: str
    address: str
    here: bool


@account.get("")
@gate(SIGNED_IN)
def show() -> AnyResponse:
    """Who one is, and what one may change."""
    return _profile(ProfileForm(name=current_user.user.name, phone=current_user.user.phone))


@account.post("")
@gate(SIGNED_IN)
def change() -> AnyResponse:
    """Change name and number; an empty number removes it."""
    form = ProfileForm()
    try:
        accounts.change_profile(
            current_user.user, name=form.name.data or "", phone=form.phone_number(), actor=actor(), now=now()
        )
    except PortalError as error:
        session.rollback()
        return _profile(form, put_errors(form, error))
    session.commit()
    flash(_("Your details are changed."), "good")
    return redirect(url_for("account.show"), 303)


@account.get("/password")
@gate(SIGNED_IN)
def password() -> AnyResponse:
    """The form that changes the password."""
    return _page("account/password.html", ChangePasswordForm())


@account.post("/password")
@gate(SIGNED_IN)
def change_password() -> AnyResponse:
    """Every other log-in ends."""
    limits.TRIES.spend()
    form = ChangePasswordForm()
    new = form.newPassword.data or ""
    try:
        recovery.change_password(
            current_user.user, form.currentPassword.data or "", new, None,
            keep=current_user.log_in.login_id, now=now(), address=request.remote_addr,
        )  # fmt: skip
    except PortalError as error:
        session.rollback()
        return _page("account/password.html", form, _put(form, error, "currentPassword"))
    session.commit()
    flash(_("Your password is changed. Every other log-in has ended."), "good")
    return redirect(url_for("account.show"), 303)


@account.post("/sessions/<uuid:login_id>/end")
@gate(SIGNED_IN)
def end_session(login_id: uuid.UUID) -> AnyResponse:
    """End one log-in, here or elsewhere. One that has ended already is said, not an error page."""
    try:
        tokens.end_log_in(current_user.user, login_id, actor=actor(), now=now())
        session.commit()
        flash(_("This log-in has ended."), "good")
    except PortalError as error:
        session.rollback()
        flash(error.message, "warn")
    return redirect(url_for("account.show"), 303)


@account.post("/sessions/end-all")
@gate(SIGNED_IN)
def end_all_sessions() -> AnyResponse:
    """End every log-in, this one too."""
    tokens.revoke_all(current_user.user, now())
    audit.record("user.sessions_ended", actor(), now(), "user", current_user.user_id)
    session.commit()
    log_out()
    flash(_("You are logged out everywhere."), "good")
    return redirect(url_for("public.login"), 303)


@account.get("/close")
@gate(SIGNED_IN)
def close() -> AnyResponse:
    """What closing means, before it is done."""
    return _page("account/close.html", PasswordForm())


@account.post("/close")
@gate(SIGNED_IN)
def close_post() -> AnyResponse:
    """By the password. What was billed stays."""
    limits.TRIES.spend()
    form = PasswordForm()
    try:
        confirm_now(form.password.data or "")
        close_own_account(current_user.user_id, pool(), actor=actor(), now=now())
    except PortalError as error:
        session.rollback()
        return _page("account/close.html", form, _put(form, error, "password"))
    session.commit()
    log_out()
    flash(_("Your account is closed. What was billed stays owed."), "good")
    return redirect(url_for("public.start"), 303)


@account.get("/confirm")
@gate(SIGNED_IN)
def confirm() -> AnyResponse:
    """The password once more, before something that matters."""
    return _page("account/confirm.html", PasswordForm(next=safe_next(request.args.get("next")) or ""))


@account.post("/confirm")
@gate(SIGNED_IN)
def confirm_post() -> AnyResponse:
    """Make this log-in fresh, and go on."""
    limits.TRIES.spend()
    form = PasswordForm()
    try:
        confirm_now(form.password.data or "")
    except PortalError as error:
        session.rollback()
        return _page("account/confirm.html", form, _put(form, error, "password"))
    session.commit()
    return redirect(safe_next(form.next.data) or home_of(current_user), 303)


def _profile(form: ProfileForm, refusal: str | None = None) -> Response:
    rows = [_row(each) for each in log_ins.list_open(current_user.user_id, now())]
    return _page("account/profile.html", form, refusal, rows=rows, person=current_user.user, end=ConfirmForm())


def _row(each: LogIn) -> Row:
    since = each.created_at
    return Row(
        each.login_id,
        agent_words(each.kind, each.agent),
        f"{formats.day(since.astimezone(zone()).date())}, {formats.clock(since, zone())}",
        each.address or "",
        each.login_id == current_user.log_in.login_id,
    )


def _put(form: FlaskForm, error: PortalError, field: str) -> str | None:
    """A refused password stands beside its field."""
    if error.code == "INVALID_CREDENTIALS":
        form[field].errors = [_("This is not your present password.")]
        return None
    return put_errors(form, error)


def _page(template: str, form: FlaskForm, refusal: str | None = None, **more: object) -> Response:
    frame = "site.html" if current_user.role == "user" else "staff.html"
    status = 422 if refusal or form.errors else 200
    return make_response(render_template(template, form=form, refusal=refusal, frame=frame, **more), status)
