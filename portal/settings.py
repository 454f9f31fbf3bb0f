"""How the portal's settings become those of Flask and its extensions."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from portal.config import Config

MIGRATIONS = Path(__file__).parent.parent / "migrations"
MAX_BODY = 16 * 1024 * 1024


def flask_settings(config: Config) -> dict[str, Any]:
    """The keys that Flask, Flask-SQLAlchemy, Flask-WTF and the session cookie read."""
    return {
        "SECRET_KEY": config.secret_key,
        "SQLALCHEMY_DATABASE_URI": config.database_url,
        "SQLALCHEMY_ENGINE_OPTIONS": {
            # Instants come back in UTC, whatever the server's own zone is (promise 8). Compiling a statement over
            # many partitions takes a hundred times as long as running it, so no JIT.
            "connect_args": {"options": "-c timezone=UTC -c statement_timeout=60000 -c jit=off", "connect_timeout": 5},
            # What people typed does not belong in a log.
            "hide_parameters": True,
            "pool_size": 10,
            "max_overflow": 10,
        },
        "MAX_CONTENT_LENGTH": MAX_BODY,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": config.production,
        "SESSION_COOKIE_NAME": "portal_session",
        "PERMANENT_SESSION_LIFETIME": timedelta(days=14),
        "WTF_CSRF_TIME_LIMIT": None,
        "BABEL_DEFAULT_LOCALE": "en_IN",
        "BABEL_DEFAULT_TIMEZONE": "Asia/Kolkata",
        "RATELIMIT_ENABLED": config.ratelimit_enabled,
    }


def trust_proxies(app: Flask, count: int) -> None:
    """Believe so many reverse proxies about the address and scheme of callers; without one, anybody could claim any."""
    if count:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count)  # type: ignore[method-assign]
