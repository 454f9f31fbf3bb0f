"""The demo: invented people, a real year, and nothing of it in production."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

import pytest
from sqlalchemy import text

from portal import create_app
from portal.db import db
from portal.db import session as session_of_all
from portal.demo.loader import YEAR_OF_READINGS
from portal.demo.people import HOUSEHOLD, PEOPLE


def flask(app, *words):
    result = app.test_cli_runner().invoke(args=list(words))
    return result.exit_code, result.output


def months_of_the_file():
    """kWh by month of the year, each row rounded to the Wh, read without any of the portal's code."""
    sums = defaultdict(Decimal)
    with gzip.open(YEAR_OF_READINGS, "rt") as file:
        for start, kwh in list(csv.reader(file))[1:]:
            sums[int(start[5:7])] += Decimal(kwh).quantize(Decimal("0.001"), rounding=ROUND_HALF_UP)
    return dict(sums)


def counts(session):
    tables = ("users", "meters", "meter_assignments", "invoices")
    return [session.scalar(text(f"SELECT count(*) FROM {table}")) for table in tables]


@pytest.mark.promise(4)
def test_the_demo_is_whole_exact_and_loaded_once(app, act):
    code, output = flask(app, "demo", "load")
    assert code == 0, output
    assert "admin@segs.com             admin123" in output
    with act() as session:
        bills = session.execute(
            text("""
                SELECT extract(month FROM cycle_start)::int, total_consumption_kwh, missing_hours
                FROM invoices JOIN users USING (user_id) WHERE email = :email"""),
            {"email": HOUSEHOLD.email},
        ).all()
        assert len(bills) == 12
        file = months_of_the_file()
        # A year with a 29 February has a day that the file has not.
        assert {month: kwh for month, kwh, _ in bills} == file
        assert all(missing in (0, 24) for _, _, missing in bills)
        without = set(session.scalars(text("SELECT email FROM users WHERE role = 'user' AND meter_id IS NULL")))
        assert without == {person.email for person in PEOPLE if not person.has_meter}
        poor = session.scalars(
            text("""
                SELECT email FROM users u WHERE meter_id IS NOT NULL AND (
                    NOT EXISTS (SELECT FROM invoices i WHERE i.user_id = u.user_id) OR
                    (SELECT count(*) FROM usage_daily WHERE meter_key = substr(u.meter_id, 5)::int) < 59)""")
        ).all()
        assert poor == []
        before = counts(session)
    assert flask(app, "demo", "load")[0] == 0
    with act() as session:
        assert counts(session) == before

    code, output = flask(app, "demo", "check")
    assert code == 1
    assert "admin@segs.com" in output
    production = create_app(replace(app.config["PORTAL"], env="production"))
    assert flask(production, "demo", "load") == (
        1,
        "Error: PORTAL_ENV is production: there are no demo accounts here.\n",
    )
    answer = production.test_client().get("/readyz")
    assert answer.status_code == 503
    assert "demo accounts" in answer.get_json()["reason"]
    with production.app_context():
        session_of_all.remove()
        db.engine.dispose()


def test_a_database_without_demo_accounts_passes(app):
    assert flask(app, "demo", "check") == (0, "")
