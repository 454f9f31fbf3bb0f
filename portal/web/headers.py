"""What every answer says to the browser about what it may do."""

from __future__ import annotations

from flask import Flask, Response, request
from flask_login import current_user

from portal.config import Config
from portal.web.session import is_page

# Nothing but our own files, no inline script or style, no frame around us.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
A_YEAR = 31_536_000


def set_up(app: Flask, config: Config) -> None:
    """Add the headers after every request."""

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        if config.production:
            response.headers.setdefault("Strict-Transport-Security", f"max-age={A_YEAR}")
        if request.endpoint == "static":
            # Addresses carry the sum of the content (templates.asset), so a file never changes under its address.
            if request.args.get("v"):
                response.cache_control.max_age = A_YEAR
                response.cache_control.public = True
                response.cache_control.no_cache = None
                response.cache_control.immutable = True
        elif is_page(request.path) and current_user.is_authenticated:
            # The back button after log-out must not show somebody's bill.
            response.headers["Cache-Control"] = "no-store"
        return response
