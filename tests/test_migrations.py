"""The schema is what the models say, the chain has one end, and every step can be taken back."""

from __future__ import annotations

import os

import psycopg
import pytest
from alembic.script import ScriptDirectory
from flask_migrate import Config as AlembicConfig
from flask_migrate import check, downgrade, upgrade
from sqlalchemy import text

from portal import create_app
from portal.db import db, session
from portal.health import schema_at_head
from portal.settings import MIGRATIONS
from tests.factories import make_config, make_holder


def named(url, name):
    """The same server, another database."""
    address, _, options = url.partition("?")
    return f"{address.rpartition('/')[0]}/{name}?{options}"


@pytest.fixture
def own_app(database_url):
    """An application on a database of this test's own, copied from the migrated one."""
    # One for each worker: tests of this file may run at the same moment.
    own = f"migrating_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    admin_url = named(database_url, "portal").replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {own} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {own} TEMPLATE template_portal")
    app = create_app(make_config(named(database_url, own)))
    yield app
    with app.app_context():
        session.remove()
        db.engine.dispose()


def test_the_chain_has_one_end():
    config = AlembicConfig()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1


def test_the_schema_is_what_the_models_say(own_app):
    with own_app.app_context():
        check()  # raises when the models ask for a change


def test_every_step_goes_back_and_forth_over_a_filled_database(own_app):
    with own_app.app_context():
        make_holder()
        session.commit()
        assert schema_at_head()
        downgrade(revision="base")
        left = session.scalars(
            text("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
        ).all()
        assert left == ["alembic_version"]
        assert not schema_at_head()
        session.rollback()
        upgrade()
        make_holder()
        session.commit()


def test_readyz_tells_a_database_that_is_behind(own_app):
    client = own_app.test_client()
    assert client.get("/readyz").status_code == 200
    with own_app.app_context():
        session.execute(text("UPDATE alembic_version SET version_num = 'something older'"))
        session.commit()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "flask db upgrade" in answer.get_json()["reason"]
    assert client.get("/healthz").get_json() == {"status": "ok"}
