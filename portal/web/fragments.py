"""The htmx choice: a view answers its page, or the part of it that a script asked for."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, render_template, request


def wants_fragment() -> bool:
    """True for htmx; not when it restores a page from history, which needs the whole of it (htmx #3037)."""
    return request.headers.get("HX-Request") == "true" and request.headers.get("HX-History-Restore-Request") != "true"


def page_or_fragment(whole: str, part: str, /, status: int = 200, **context: Any) -> Response:
    """Render one of the two templates. `Vary` keeps a cache from giving one for the other."""
    partial = wants_fragment()
    response = make_response(render_template(part if partial else whole, partial=partial, **context), status)
    response.vary.update(("HX-Request", "HX-History-Restore-Request"))
    return response
