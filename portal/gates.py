"""Who may call a view. Closed by default: a route without a gate stops the start-up (promise 9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask

PUBLIC, CUSTOMER, OPERATOR, ADMIN, SIGNED_IN, KEY = "public", "customer", "operator", "admin", "signed_in", "key"
GATES = (PUBLIC, CUSTOMER, OPERATOR, ADMIN, SIGNED_IN, KEY)

# An admin may do all that an operator may.
ROLES_OF = {
    CUSTOMER: ("user",),
    OPERATOR: ("operator", "admin"),
    ADMIN: ("admin",),
    SIGNED_IN: ("user", "operator", "admin"),
}

View = TypeVar("View", bound=Callable[..., Any])


def gate(kind: str) -> Callable[[View], View]:
    """Mark a view with who may call it. The faces enforce the mark before the view runs."""
    if kind not in GATES:
        raise ValueError(f"{kind!r} is not a gate")

    def mark(view: View) -> View:
        view.portal_gate = kind  # type: ignore[attr-defined]
        return view

    return mark


def gate_of(app: Flask, endpoint: str | None) -> str | None:
    """The gate of an endpoint, None if it has none."""
    view = app.view_functions.get(endpoint or "")
    return getattr(view, "portal_gate", None)


def check_every_route(app: Flask) -> None:
    """Raise RuntimeError naming the routes that nobody has put a gate on."""
    # Files under static/ are the only thing that Flask serves by itself; they are public on purpose.
    open_by_accident = sorted(
        {
            rule.endpoint
            for rule in app.url_map.iter_rules()
            if rule.endpoint != "static" and gate_of(app, rule.endpoint) is None
        }
    )
    if open_by_accident:
        raise RuntimeError(f"These routes have no gate: {', '.join(open_by_accident)}")
