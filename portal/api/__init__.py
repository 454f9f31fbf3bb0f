"""The JSON interface under /api/v1, for programs. `blueprint.py` shows how a call is declared."""

from __future__ import annotations

from flask import Flask


def register_api(app: Flask) -> None:
    """Add the calls of /api/v1, the envelope of their errors, and /openapi.json."""
    from portal.accounts import queries as accounts
    from portal.api import document, errors
    from portal.api.auth import api as auth
    from portal.api.billing import api as billing
    from portal.api.held import api as held
    from portal.api.ingest import api as ingest
    from portal.api.jobs import api as jobs
    from portal.api.meters import api as meters
    from portal.api.payments import api as payments
    from portal.api.proof import api as proof
    from portal.api.supply import api as supply
    from portal.api.telemetry import api as telemetry
    from portal.api.usage import api as usage
    from portal.api.users import api as users

    blueprints = (auth, users, meters, supply, ingest, held, telemetry, usage, billing, payments, proof, jobs)
    errors.set_up(app)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    calls = [call for blueprint in blueprints for call in blueprint.calls]
    document.serve(app, calls, lambda: [region.name for region in accounts.list_regions()])
