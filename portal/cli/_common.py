"""What every command shares: a database that runs while it works, and refusals told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
from flask import current_app, has_app_context
from flask.cli import AppGroup, ScriptInfo
from psycopg.errors import DiskFull
from sqlalchemy.exc import OperationalError

from portal import embedded
from portal.config import Config
from portal.db import session
from portal.errors import PortalError
from portal.meters.pool import Pool


def config() -> Config:
    """The settings of the running app."""
    return current_app.config["PORTAL"]


def pool() -> Pool:
    """The free meters of the configured range."""
    return Pool.of(config())


def now() -> datetime:
    """The clock of the commands, UTC."""
    return datetime.now(UTC)


@contextmanager
def _working(ctx: click.Context) -> Iterator[None]:
    """A running database, and one clear line instead of a traceback for what a person can put right."""
    settings: Config = ctx.ensure_object(ScriptInfo).load_app().config["PORTAL"]
    try:
        if settings.embedded:
            with embedded.running(settings.data_dir):
                try:
                    yield
                finally:
                    # Flask ends the context of a command after this, when the database has stopped.
                    if has_app_context():
                        session.remove()
        else:
            yield
    except PortalError as error:
        raise click.ClickException(error.message) from None
    except embedded.EmbeddedError as error:
        raise click.ClickException(str(error)) from None
    except OperationalError as error:
        if isinstance(error.orig, DiskFull):
            raise click.ClickException("The disk of the database is full. Make room on it, then try again.") from None
        if error.connection_invalidated or error.orig is None or getattr(error.orig, "sqlstate", None) is None:
            raise click.ClickException("The database does not answer; look at DATABASE_URL.") from None
        raise


class DatabaseCommand(click.Command):
    """A command of its own (`flask simulate`) that works on the database."""

    def invoke(self, ctx: click.Context) -> Any:
        app = ctx.ensure_object(ScriptInfo).load_app()
        with _working(ctx), app.app_context():
            return super().invoke(ctx)


class DatabaseGroup(AppGroup):
    """A group of commands (`flask meters …`) that work on the database; each has the app's context."""

    def invoke(self, ctx: click.Context) -> Any:
        with _working(ctx):
            return super().invoke(ctx)
