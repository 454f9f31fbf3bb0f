"""Runs the migrations, each in its own transaction, one runner at a time.

A migration that waits for a lock stops everybody who queues behind it, so it waits five seconds and gives up;
it can simply be run again.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from alembic import context
from flask import current_app
from sqlalchemy import text

import portal
from portal import embedded
from portal.config import Config

# Every table of every area, so that the draft of a migration sees them all.
for module in pkgutil.walk_packages(portal.__path__, "portal."):
    if module.name.endswith(".models") or module.name in ("portal.audit", "portal.outbox", "portal.jobs"):
        importlib.import_module(module.name)

# One number for "migrations of this portal": two `flask db upgrade` at once run one after the other.
MIGRATION_LOCK = 7_406_001


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """Leave the queue's own tables to the queue, and the partitions of readings to readings."""
    return not (kind == "table" and name and name.startswith(("procrastinate_", "readings_p", "readings_default")))


def run() -> None:
    db = current_app.extensions["migrate"].db
    engine = db.engine
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text("SET lock_timeout = '5s'; SET statement_timeout = '15min'"))
        connection.commit()
        try:
            context.configure(
                connection=connection,
                target_metadata=db.metadata,
                include_name=include_name,
                compare_type=True,
                transaction_per_migration=True,
            )
            with context.begin_transaction():
                context.run_migrations()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
            connection.commit()
            # The limits above are this run's; the connection must not take them back to the pool.
            connection.invalidate()


config: Config = current_app.config["PORTAL"]
if config.embedded:
    with embedded.running(config.data_dir):
        run()
else:
    run()
