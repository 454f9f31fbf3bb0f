"""A real PostgreSQL for every test: one server a run, one database a worker, emptied after each test.

Tests commit for real: constraints that are checked at commit are part of what is tested.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import text
from sqlalchemy.orm import Session, scoped_session

from portal import create_app, embedded
from portal.accounts import passwords
from portal.config import Config
from portal.db import db, session
from portal.tariffs.actions import load_published
from tests.factories import NOW, make_config

# What the migrations and the published tariffs bring stays between tests.
KEPT = ("alembic_version", "regions", "tariffs", "tariff_versions", "region_tariffs", "fuel_adjustments")
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300"}


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> None:
    """Argon2 with the least cost: what is tested is what we do with a hash."""
    passwords.hasher = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[embedded.Cluster, Path]]:
    """The run's own server; the last worker to leave stops it, and leaves nothing of it."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    data = root / "database"
    with embedded.running(data, FAST):
        cluster = embedded.locate(data)
        yield cluster, root
    if not cluster.is_up():
        cluster.remove()  # of root's runs pytest would forget the part under /var/tmp


@pytest.fixture(scope="session")
def database_url(server: tuple[embedded.Cluster, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated database of this worker's own, copied from one that is migrated once a run."""
    cluster, root = server
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    admin_url = cluster.url.replace("postgresql+psycopg", "postgresql")
    with (root / "template.lock").open("w") as lock, psycopg.connect(admin_url, autocommit=True) as admin:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not admin.execute("SELECT FROM pg_database WHERE datname = 'template_portal'").fetchall():
            _migrate(admin, cluster.url.replace("/portal?", "/template_portal?"))
        admin.execute(f"DROP DATABASE IF EXISTS test_{worker} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE test_{worker} TEMPLATE template_portal")
    return cluster.url.replace("/portal?", f"/test_{worker}?")


def _migrate(admin: psycopg.Connection[tuple[object, ...]], url: str) -> None:
    from flask_migrate import upgrade

    admin.execute("CREATE DATABASE building_portal")
    app = create_app(make_config(url.replace("template_portal", "building_portal")))
    with app.app_context():
        upgrade()
        load_reference_data()
        session.commit()
        session.remove()
        db.engine.dispose()
    # The name appears only when it is whole.
    admin.execute("ALTER DATABASE building_portal RENAME TO template_portal")


def load_reference_data() -> None:
    """What every installation has beside the schema: the published tariffs."""
    load_published(NOW)


@pytest.fixture(scope="session")
def worker_app(database_url: str) -> Iterator[Flask]:
    """One application a worker."""
    app = create_app(make_config(database_url))
    app.config["TESTING"] = True
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def app(worker_app: Flask) -> Iterator[Flask]:
    """The application on an empty database. No context is pushed: requests must get their own."""
    yield worker_app
    with worker_app.app_context():
        session.remove()
        empty_database(worker_app)


def empty_database(app: Flask) -> None:
    """Leave only what the migrations and the published tariffs brought."""
    with db.engine.begin() as connection:
        names = connection.scalars(
            text("""
                SELECT quote_ident(relname) FROM pg_class
                WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
                    AND relname <> ALL (:kept)"""),
            {"kept": list(KEPT)},
        ).all()
        # The audit log refuses to be emptied; only here, as superuser, are its triggers passed over.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE"))


@pytest.fixture
def config(app: Flask) -> Config:
    """The application's settings."""
    return app.config["PORTAL"]


@pytest.fixture
def area(app: Flask) -> Iterator[scoped_session[Session]]:
    """For tests of areas: a pushed context and its session."""
    with app.app_context():
        yield session


@pytest.fixture
def act(app: Flask) -> Callable[[], AbstractContextManager[scoped_session[Session]]]:
    """`with act():` does something in a context of its own and commits it; for tests that also use a client."""

    @contextmanager
    def acting() -> Iterator[scoped_session[Session]]:
        with app.app_context():
            yield session
            session.commit()

    return acting


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser or program that nobody knows."""
    return app.test_client()
