"""Pages for codes of mails: proving an address, the first password, and a new one for a forgotten one.

What was typed stands in the browser's session between the pages, never in an address: addresses are logged and shared.
"""

from __future__ import annotations

from flask import Blueprint, Response, flash, make_response, redirect, render_template, session, url_for
from flask import request as asked
from flask_babel import gettext as _
from flask_login import current_user
from werkzeug.wrappers import Response as AnyResponse

from portal import limits
from portal.accounts import codes
from portal.accounts import recovery as accounts
from portal.db import session as database
from portal.errors import PortalError
from portal.gates import PUBLIC, gate
from portal.web.forms import AddressForm, CodeForm, FirstPasswordForm, ResetForm, put_errors
from portal.web.session import home_of, now, secret

recovery = Blueprint("recovery", __name__)

_EMAIL, _TOKEN = "code_email", "set_password_token"


@recovery.get("/forgot-password")
@gate(PUBLIC)
def forgot() -> AnyResponse:
    """Where should the code go."""
    return _page("public/forgot.html", AddressForm(email=session.get(_EMAIL, "")))


@recovery.post("/forgot-password")
@gate(PUBLIC)
def forgot_post() -> AnyResponse:
    """Send a code; the answer is the same whether or not the address is known."""
    _send(AddressForm().email.data or "", codes.RESET)
    return redirect(url_for("recovery.reset"), 303)


@recovery.get("/reset-password")
@gate(PUBLIC)
def reset() -> AnyResponse:
    """The code of the mail and a new password."""
    return _page("public/reset.html", ResetForm(email=session.get(_EMAIL, "")))


@recovery.post("/reset-password")
@gate(PUBLIC)
def reset_post() -> AnyResponse:
    """A new password; every log-in of the account ends."""
    form = ResetForm()
    email, new = form.email.data or "", form.newPassword.data or ""
    _spend(email)
    try:
        user = accounts.reset_password(
            email, form.digits(), new, new, secret=secret(), now=now(), address=asked.remote_addr
        )
    except PortalError as error:
        database.rollback()
        return _page("public/reset.html", form, put_errors(form, error))
    database.commit()
    if user is None:
        return _wrong_code("public/reset.html", form)
    session.pop(_EMAIL, None)
    flash(_("Your password is changed, and every log-in has ended. Log in with the new one."), "good")
    return redirect(url_for("public.login"), 303)


@recovery.get("/verify-email")
@gate(PUBLIC)
def verify() -> AnyResponse:
    """The code that proves an address."""
    return _page("public/verify.html", CodeForm(email=_own_email() or session.get(_EMAIL, "")))


@recovery.post("/verify-email")
@gate(PUBLIC)
def verify_post() -> AnyResponse:
    """Take the code. An account without a password goes on to set one."""
    form = CodeForm()
    email = form.email.data or ""
    _spend(email)
    verified = accounts.verify_email(email, form.digits(), secret=secret(), now=now(), address=asked.remote_addr)
    database.commit()
    if verified is None:
        return _wrong_code("public/verify.html", form)
    session.pop(_EMAIL, None)
    if verified.set_password_token is not None:
        session[_TOKEN] = verified.set_password_token
        return redirect(url_for("recovery.first_password"), 303)
    flash(_("Your address is confirmed."), "good")
    return redirect(home_of(current_user) if current_user.is_authenticated else url_for("public.login"), 303)


@recovery.post("/verify-email/send")
@gate(PUBLIC)
def send_again() -> AnyResponse:
    """Another code; the answer is the same whether or not the address is known."""
    _send(AddressForm().email.data or _own_email() or "", codes.VERIFY)
    return redirect(url_for("recovery.verify"), 303)


@recovery.get("/set-password")
@gate(PUBLIC)
def first_password() -> AnyResponse:
    """The first password, after the address was proven in this browser."""
    if _TOKEN not in session:
        return redirect(url_for("recovery.verify"), 303)
    return _page("public/first_password.html", FirstPasswordForm())


@recovery.post("/set-password")
@gate(PUBLIC)
def first_password_post() -> AnyResponse:
    """Set it. A token that is used or old leads back to the code."""
    limits.TRIES.spend()
    form = FirstPasswordForm()
    password = form.password.data or ""
    try:
        accounts.set_first_password(
            session.get(_TOKEN, ""), password, password, secret=secret(), now=now(), address=asked.remote_addr
        )
    except PortalError as error:
        database.rollback()
        if not error.fields:
            session.pop(_TOKEN, None)
            flash(error.message, "warn")
            return redirect(url_for("recovery.verify"), 303)
        return _page("public/first_password.html", form, put_errors(form, error))
    database.commit()
    session.pop(_TOKEN, None)
    flash(_("Your password is set. Log in with it."), "good")
    return redirect(url_for("public.login"), 303)


def _send(email: str, purpose: str) -> None:
    limits.CODES.spend()
    limits.CODES_ACCOUNT.spend(email)
    accounts.send_code(email, purpose, secret=secret(), now=now())
    database.commit()
    session[_EMAIL] = email.strip()[:254]
    flash(_("If an account has this address, a code is on its way to it. It is good for 15 minutes."), "info")


def _spend(email: str) -> None:
    limits.TRIES.spend()
    limits.TRIES_ACCOUNT.spend(email)


def _own_email() -> str:
    return current_user.email if current_user.is_authenticated else ""


def _wrong_code(template: str, form: CodeForm) -> Response:
    form.otp.errors = [_("This code is wrong, or it has been used or has expired. Ask for a new one.")]
    return _page(template, form)


def _page(template: str, form: AddressForm | CodeForm | FirstPasswordForm, refusal: str | None = None) -> Response:
    status = 422 if refusal or form.errors else 200
    return make_response(render_template(template, form=form, refusal=refusal), status)
