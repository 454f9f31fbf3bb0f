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

from portal.accounts import queries as accounts
from portal.accounts.models import User
from portal.audit import Actor
from portal.db import session as database
from portal.gates import PUBLIC, ROLES_OF, gate_of
from portal.meters.pool import Pool

login_manager = LoginManager()
# A changed browser or address makes the session stale but does not end it: phones change addresses all day.
login_manager.session_protection = "basic"


class SignedIn(UserMixin):
    """The user of this request. The cookie carries their id and session version, so that a reset ends every log-in."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.user_id = user.user_id
        self.name = user.name
        self.email = user.email
        self.role = user.role
        self.region = user.region
        self.session_version = user.session_version

    def get_id(self) -> str:
        return f"{self.user_id}:{self.session_version}"


@login_manager.user_loader
def load_user(cookie: str) -> SignedIn | None:
    """The user of the cookie; None for a closed, suspended or reset account, or a cookie of another shape."""
    user_id, _colon, version = cookie.partition(":")
    try:
        user = database.get(User, uuid.UUID(user_id))
    except ValueError:
        return None
    if user is None or user.closed_at or user.suspended_at or str(user.session_version) != version:
        return None
    return SignedIn(user)


def log_in(user: User) -> None:
    """Begin a session; whatever the browser carried before is forgotten."""
    session.clear()
    session.permanent = True
    login_user(SignedIn(user))


def log_out() -> None:
    """End the session."""
    logout_user()
    session.clear()


def now() -> datetime:
    """The instant of this request, in UTC: the faces are the only ones that look at the clock."""
    return datetime.now(UTC)


def actor() -> Actor:
    """Who acts, for the audit log."""
    return Actor("user", current_user.email, current_user.user_id)


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
    if not target or not target.startswith("/") or "\\" in target or any(ord(char) < 33 for char in target):
        return None
    parts = urlsplit(target)
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
