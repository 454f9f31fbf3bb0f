"""Who is at the browser: flask-login's session, the gates of the pages, and where a log-in leads."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from flask import Flask, Response, abort, current_app, redirect, request, session, url_for
from flask_babel import gettext as _
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from werkzeug.wrappers import Response as AnyResponse

from portal.accounts import log_ins, recovery
from portal.accounts import queries as accounts
from portal.accounts.log_ins import Device
from portal.accounts.models import LogIn, User
from portal.audit import Actor
from portal.db import session as database
from portal.gates import PUBLIC, ROLES_OF, gate_of
from portal.meters.pool import Pool

login_manager = LoginManager()
# A changed browser or address makes the session stale but does not end it: phones change addresses all day.
login_manager.session_protection = "basic"


class SignedIn(UserMixin):
    """The user of this request. The cookie carries the id of the log-in, a row that can be ended from elsewhere."""

    def __init__(self, user: User, row: LogIn) -> None:
        self.log_in = row
        self.user = user
        self.user_id = user.user_id
        self.name = user.name
        self.email = user.email
        self.role = user.role
        self.region = user.region

    def get_id(self) -> str:
        return str(self.log_in.login_id)


@login_manager.user_loader
def load_user(cookie: str) -> SignedIn | None:
    """The user of the cookie; None when the log-in has ended, for a closed or suspended account, or another shape."""
    try:
        found = log_ins.find_open(uuid.UUID(cookie), datetime.now(UTC))
    except ValueError:
        return None
    return None if found is None else SignedIn(*found)


def log_in(user: User) -> None:
    """Begin a session and commit it; whatever the browser carried before is forgotten, so no session can be fixed."""
    session.clear()
    session.permanent = True
    row = log_ins.begin(user, log_ins.BROWSER, device(), datetime.now(UTC))
    database.commit()
    login_user(SignedIn(user, row))


def log_out() -> None:
    """End the session here and in the database, so that a copy of the cookie is worth nothing; commit it."""
    if current_user.is_authenticated:
        log_ins.end(current_user.log_in.login_id, datetime.now(UTC))
        database.commit()
    logout_user()
    session.clear()


def now() -> datetime:
    """The instant of this request, in UTC: the faces are the only ones that look at the clock."""
    return datetime.now(UTC)


def actor() -> Actor:
    """Who acts, for the audit log."""
    return Actor("user", current_user.email, current_user.user_id, request.remote_addr)


def device() -> Device:
    """What is at the door, for the list of log-ins."""
    return Device(request.user_agent.string, request.remote_addr)


def confirm(password: str) -> None:
    """Make this log-in fresh by the password. Raises Unauthorized INVALID_CREDENTIALS; the caller commits."""
    recovery.confirm_password(current_user.user, password, current_user.log_in.login_id, datetime.now(UTC))


def needs_fresh_log_in() -> AnyResponse | None:
    """For acts that need the password again: None if it was given within 15 minutes, else the way to give it."""
    if log_ins.is_fresh(current_user.log_in, datetime.now(UTC)):
        return None
    # A form lies at the address that it is sent to, so this leads back to it.
    return redirect(url_for("account.confirm", next=request.path), 303)


def secret() -> str:
    """What codes are hashed with."""
    return str(current_app.config["PORTAL"].secret_key)


def pool() -> Pool:
    """The free meters of the configured range."""
    config = current_app.config["PORTAL"]
    return Pool.of(config)


def zone() -> ZoneInfo:
    """The zone of the user's region."""
    region = current_user.region if current_user.is_authenticated else None
    return accounts.zone_of(region)


def home_of(user: User | SignedIn) -> str:
    """The first page of a role."""
    return url_for("customer.home") if user.role == "user" else url_for("operator.dashboard")


def safe_next(target: str | None) -> str | None:
    """The path to go on to after log-in, if it lies on this site; None for anything else.

    Browsers read a backslash as a slash and drop control characters, so neither may stand in it.
    """
    if (
        not target
        or not target.startswith("/")
        or "\\" in target
        or any(ord(char) < 33 or ord(char) == 127 for char in target)
    ):
        return None
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    return None if parts.scheme or parts.netloc or target.startswith("//") else target


def is_page(path: str) -> bool:
    """True for everything that this face answers; `/api` has its own gates, and no cookie opens it."""
    return path != "/api" and not path.startswith("/api/")


def enforce_gate() -> AnyResponse | None:
    """Before every page: let in whom the view's gate names. A page that has no gate would not have started."""
    if request.endpoint in (None, "static") or not is_page(request.path):
        return None
    gate = gate_of(current_app, request.endpoint)
    if gate == PUBLIC:
        return None
    if not current_user.is_authenticated:
        return to_login()
    if current_user.role not in ROLES_OF.get(gate or "", ()):
        abort(403)
    return None


def to_login() -> AnyResponse:
    """To the log-in page, and back after it. A fragment's request moves the whole page there."""
    here = request.full_path.rstrip("?") if request.method == "GET" and not request.headers.get("HX-Request") else None
    address = url_for("public.login", next=here)
    if request.headers.get("HX-Request"):
        return Response(_("Log in again."), 401, {"HX-Redirect": url_for("public.login")})
    return redirect(address, 303)


def set_up(app: Flask) -> None:
    """Attach the session and the gates."""
    login_manager.init_app(app)
    app.before_request(enforce_gate)
