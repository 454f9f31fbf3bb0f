"""The pages, by audience: public, customer, operator, admin. Server-rendered; htmx where it helps."""

from __future__ import annotations

from flask import Flask, abort, request
from flask_babel import Babel
from flask_wtf import CSRFProtect

babel = Babel()
csrf = CSRFProtect()


def register_web(app: Flask) -> None:
    """Add the pages, the session, the token of every form, the headers and the error pages."""
    from portal.web import (  # they add their views to customer, operator and admin
        bill_money,  # noqa: F401
        bill_proof,  # noqa: F401
        bulk,  # noqa: F401
        errors,
        headers,
        held,  # noqa: F401
        meters,  # noqa: F401
        quarantine,  # noqa: F401
        session,
        statistics,  # noqa: F401
        stock,  # noqa: F401
        stock_file,  # noqa: F401
        supply,  # noqa: F401
        templates,
        unheard,  # noqa: F401
    )
    from portal.web.account import account
    from portal.web.admin import admin
    from portal.web.billing_runs import billing
    from portal.web.corrections import correcting
    from portal.web.customer import customer
    from portal.web.operator import operator
    from portal.web.people import people
    from portal.web.public import public
    from portal.web.recovery import recovery
    from portal.web.tariffs import tariffs

    babel.init_app(app)
    session.set_up(app)
    # Checked by hand below: the default hook would ask programs for a token too, and `/api/` opens to no cookie.
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False
    csrf.init_app(app)

    @app.before_request
    def refuse_nul() -> None:
        # No name, address or search has one, and PostgreSQL keeps none in its texts.
        if session.is_page(request.path) and any("\0" in text for text in request.values.values()):
            abort(400)

    @app.before_request
    def check_token() -> None:
        # An address that leads to no view does nothing: its 404 or 405 says more than a missing token.
        if session.is_page(request.path) and request.routing_exception is None:
            csrf.protect()

    headers.set_up(app, app.config["PORTAL"])
    templates.set_up(app)
    errors.set_up(app)
    for blueprint in (billing, correcting, tariffs, public, recovery, account, customer, operator, people, admin):
        app.register_blueprint(blueprint)
