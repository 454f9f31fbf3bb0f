"""/healthz: the process answers. /readyz: the database answers and its schema is the one this code needs."""

from __future__ import annotations

from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from flask import Flask, Response, jsonify
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from portal.db import session
from portal.demo.loader import list_open_accounts
from portal.gates import PUBLIC, gate
from portal.settings import MIGRATIONS


def schema_at_head() -> bool:
    """True if every migration of this code has run. Raises SQLAlchemyError when the database does not answer."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(MIGRATIONS))
    head = ScriptDirectory.from_config(config).get_current_head()
    if not session.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL")):
        return False
    return bool(session.scalar(text("SELECT version_num FROM alembic_version")) == head)


def register(app: Flask) -> None:
    """Add both checks."""

    @app.get("/healthz")
    @gate(PUBLIC)
    def healthz() -> Response:
        return jsonify(status="ok")

    @app.get("/readyz")
    @gate(PUBLIC)
    def readyz() -> tuple[Response, int]:
        try:
            at_head = schema_at_head()
        except SQLAlchemyError:
            return jsonify(status="unavailable", reason="The database does not answer."), 503
        if not at_head:
            return jsonify(status="unavailable", reason="Migrations are missing: run `flask db upgrade`."), 503
        if app.config["PORTAL"].production and list_open_accounts():
            return jsonify(
                status="unavailable", reason="The database holds demo accounts: see `flask demo check`."
            ), 503
        return jsonify(status="ok"), 200
