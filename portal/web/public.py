"""Pages that need no log-in: start, registration, log-in and -out."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user
from werkzeug.wrappers import Response as AnyResponse

from portal import limits
from portal.accounts import codes, recovery
from portal.accounts import queries as accounts
from portal.accounts.actions import check_credentials
from portal.accounts.models import User
from portal.audit import Actor
from portal.db import session
from portal.errors import PortalError
from portal.gates import PUBLIC, gate
from portal.registration import register as register_customer
from portal.web.forms import LoginForm, RegisterForm, put_errors
from portal.web.session import home_of, log_in, log_out, now, pool, safe_next, secret

public = Blueprint("public", __name__)


@public.get("/")
@gate(PUBLIC)
def start() -> str:
    """What this is, for people who come the first time."""
    return render_template("public/start.html")


@public.get("/register")
@gate(PUBLIC)
def register() -> AnyResponse:
    """The form of a new account."""
    if current_user.is_authenticated:
        return redirect(home_of(current_user), 303)
    return _register_page(_register_form())


@public.post("/register")
@gate(PUBLIC)
def register_post() -> AnyResponse:
    """A new account, its meter and its session."""
    limits.REGISTER.spend()
    form = _register_form()
    name, email = form.name.data or "", form.email.data or ""
    try:
        registered = register_customer(
            name, email, form.phone_number(), form.region.data or None, form.password.data or "", pool(),
            actor=Actor("user", email.strip()[:200], address=request.remote_addr), now=now(),
        )  # fmt: skip
        recovery.send_code_to(registered.user, codes.VERIFY, secret=secret(), now=now())
    except PortalError as error:
        session.rollback()
        return _refused(form, error)
    session.commit()
    log_in(registered.user)
    return redirect(url_for("customer.welcome"), 303)


def _register_form() -> RegisterForm:
    form = RegisterForm()
    names = [region.name for region in accounts.list_regions()]
    form.region.choices = [("", _("Choose your region")), *((name, name) for name in names)]
    return form


def _register_page(form: RegisterForm, refusal: str | None = None, taken: bool = False, status: int = 200) -> Response:
    return make_response(render_template("public/register.html", form=form, refusal=refusal, taken=taken), status)


def _refused(form: RegisterForm, error: PortalError) -> Response:
    if error.code == "EMAIL_TAKEN":
        form.email.errors = [_("There is an account with this address already.")]
        return _register_page(form, taken=True, status=422)
    return _register_page(form, put_errors(form, error), status=422)


@public.get("/login")
@gate(PUBLIC)
def login() -> AnyResponse:
    """The log-in form."""
    if current_user.is_authenticated:
        return redirect(home_of(current_user), 303)
    form = LoginForm(next=safe_next(request.args.get("next")) or "")
    return make_response(render_template("public/login.html", form=form, refusal=None))


@public.post("/login")
@gate(PUBLIC)
def login_post() -> AnyResponse:
    """Begin a session. One answer for every cause that would tell who has an account."""
    form = LoginForm()
    user = _check(form.email.data or "", form.password.data or "")
    if user is None or user.suspended_at is not None:
        refusal = _suspended(user) if user else _("The e-mail address or the password is not right.")
        return make_response(render_template("public/login.html", form=form, refusal=refusal), 422)
    log_in(user)
    return redirect(safe_next(form.next.data) or home_of(user), 303)


def _suspended(user: User) -> str:
    """Why somebody with the right password is kept out: the reason that staff wrote for them."""
    if not user.suspended_reason:
        return _("This account is suspended. Call 1912.")
    return _("This account is suspended: %(reason)s Call 1912.", reason=user.suspended_reason.rstrip(".") + ".")


def _check(email: str, password: str) -> User | None:
    """Whose these are. A try counts against the limit unless it was right."""
    limits.LOGIN.spend()
    limits.LOGIN_ACCOUNT.spend(email)
    user = check_credentials(email, password)
    if user is not None:
        limits.LOGIN.give_back()
        limits.LOGIN_ACCOUNT.give_back(email)
    return user


@public.post("/logout")
@gate(PUBLIC)
def logout() -> AnyResponse:
    """End the session; a session that has ended already is no error."""
    log_out()
    return redirect(url_for("public.start"), 303)
