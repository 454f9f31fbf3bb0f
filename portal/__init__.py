"""The portal: meters, readings and bills of an electricity utility."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the launcher imports this package too, and needs none of them
    from flask import Flask

    from portal.config import Config


def create_app(config: Config) -> Flask:
    """The application. It opens no connection and starts nothing: that is for the first request or command."""
    from flask import Flask
    from flask_migrate import Migrate

    from portal import cli, health, jobs, logs
    from portal.api import register_api
    from portal.db import db
    from portal.gates import check_every_route
    from portal.settings import MIGRATIONS, flask_settings, trust_proxies
    from portal.web import register_web

    app = Flask(__name__, template_folder="../templates", static_folder="../static")
    app.config.update(flask_settings(config), PORTAL=config)
    trust_proxies(app, config.trusted_proxies)
    logs.set_up(app)
    db.init_app(app)
    Migrate(app, db, directory=str(MIGRATIONS), compare_type=True)
    jobs.set_up(app)
    health.register(app)
    register_api(app)
    register_web(app)
    cli.register(app)
    check_every_route(app)
    return app
