"""Writers that check nothing, many at once, with raw SQL: what the tables refuse is all that stands in their way."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from portal.db import db, session
from portal.meters.models import STATUSES
from portal.meters.rules import MOVES
from tests.factories import make_user
from tests.meters.test_races import nothing_is_false

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
METERS = (1, 2, 3)
WRITERS, TRIES = 8, 150
_SUPPLY = """
    INSERT INTO connections (user_id, starts_at, ends_at) VALUES (:user, :start, :end) RETURNING connection_id"""
_PERIOD = """
    INSERT INTO meter_assignments (connection_id, user_id, meter_key, assigned_at, unassigned_at, how, assigned_by)
    VALUES (:supply, :user, :meter, :start, :end, 'admin', 'careless')"""


def careless_act(connection, chance, users):
    """Something that a program might write; half of it would be a lie."""
    user, meter = chance.choice(users), chance.choice(METERS)
    start = BEGIN + timedelta(days=chance.randrange(12))
    kind = chance.choice(["closed", "open", "open", "close", "close", "status", "show", "move"])
    values = {"user": user, "meter": meter, "start": start, "status": chance.choice(STATUSES)}
    if kind in ("closed", "open"):
        values["end"] = start + timedelta(days=chance.randrange(1, 4)) if kind == "closed" else None
        values["supply"] = connection.scalar(text(_SUPPLY), values)
        connection.execute(text(_PERIOD), values)
        if kind == "open":
            connection.execute(text("UPDATE meters SET status = 'assigned' WHERE meter_key = :meter"), values)
            connection.execute(
                text("UPDATE users SET meter_id = 'MTR-0000000' || CAST(:meter AS text) WHERE user_id = :user"), values
            )
    elif kind == "close":
        closing = "WHERE unassigned_at IS NULL AND meter_key = :meter RETURNING user_id, connection_id"
        for owner, supply in connection.execute(
            text(f"UPDATE meter_assignments SET unassigned_at = :start {closing}"), values
        ).all():
            values |= {"owner": owner, "supply": supply}
            connection.execute(text("UPDATE connections SET ends_at = :start WHERE connection_id = :supply"), values)
            connection.execute(text("UPDATE users SET meter_id = NULL WHERE user_id = :owner"), values)
        connection.execute(text("UPDATE meters SET status = :status WHERE meter_key = :meter"), values)
    elif kind == "status":
        connection.execute(text("UPDATE meters SET status = :status WHERE meter_key = :meter"), values)
    elif kind == "show":
        connection.execute(
            text("UPDATE users SET meter_id = 'MTR-0000000' || CAST(:meter AS text) WHERE user_id = :user"), values
        )
    else:
        connection.execute(
            text(
                "UPDATE meter_assignments SET assigned_at = :start WHERE unassigned_at IS NULL AND meter_key = :meter"
            ),
            values,
        )


@pytest.mark.promise(1)
@pytest.mark.parametrize("isolation", ["READ COMMITTED", "SERIALIZABLE"])
def test_the_tables_alone_keep_careless_writers_to_the_truth(app, act, isolation):
    with act():
        users = [make_user().user_id for _ in range(4)]
        for meter in METERS:
            session.execute(text("INSERT INTO meters (meter_key, meter_id) VALUES (:key, :id)"), {
                "key": meter, "id": f"MTR-{meter:08d}",
            })  # fmt: skip

    def write(seed):
        chance, came_to = random.Random(seed), Counter()
        with app.app_context(), db.engine.connect() as bare:
            connection = bare.execution_options(isolation_level=isolation)
            for _ in range(TRIES):
                try:
                    careless_act(connection, chance, users)
                    connection.commit()
                    came_to["written"] += 1
                except DBAPIError as refusal:
                    connection.rollback()
                    came_to[refusal.orig.sqlstate] += 1
        return came_to

    with ThreadPoolExecutor(WRITERS) as threads:
        came_to = sum(threads.map(write, range(WRITERS)), Counter())
    assert came_to["written"] > 20
    # Exclusion, check (a move outside the table, a period upside down), and what is held together at commit.
    assert set(came_to) >= {"23P01", "23514", "23000"}
    with act():
        nothing_is_false()
        overlapping = text("""
            SELECT count(*) FROM meter_assignments a JOIN meter_assignments b ON a.assignment_id < b.assignment_id
                AND (a.meter_key = b.meter_key OR a.user_id = b.user_id)
                AND tstzrange(a.assigned_at, a.unassigned_at) && tstzrange(b.assigned_at, b.unassigned_at)""")
        assert session.scalar(overlapping) == 0
        assert session.scalar(text("SELECT count(*) FROM meter_assignments")) > 0
        disagreeing = text("""
            SELECT count(*) FROM meters m WHERE (status = 'assigned') <> EXISTS (
                SELECT FROM meter_assignments a WHERE a.meter_key = m.meter_key AND unassigned_at IS NULL)""")
        assert session.scalar(disagreeing) == 0


def test_assignments_are_not_written_from_an_old_snapshot(app, act):
    with act():
        user = make_user().user_id
    with app.app_context(), db.engine.connect() as bare:
        connection = bare.execution_options(isolation_level="REPEATABLE READ")
        connection.execute(text("INSERT INTO meters (meter_key, meter_id) VALUES (1, 'MTR-00000001')"))
        values = {"user": user, "meter": 1, "start": BEGIN, "end": BEGIN + timedelta(days=1)}
        values["supply"] = connection.scalar(text(_SUPPLY), values)
        with pytest.raises(DBAPIError, match="read committed or serializable"):
            connection.execute(text(_PERIOD), values)


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("after", STATUSES)
def test_the_database_moves_meters_by_the_table_of_the_rules(area, before, after):
    area.execute(text("INSERT INTO meters (meter_key, meter_id, status) VALUES (1, 'MTR-00000001', :s)"), {"s": before})
    change = text("UPDATE meters SET status = :s WHERE meter_key = 1")
    if before == after or after in MOVES[before]:
        area.execute(change, {"s": after})
    else:
        with pytest.raises(DBAPIError, match=f"cannot go from {before} to {after}"):
            area.execute(change, {"s": after})
    area.rollback()


def test_a_retired_meter_is_not_even_removed(area):
    area.execute(text("INSERT INTO meters (meter_key, meter_id, status) VALUES (1, 'MTR-00000001', 'retired')"))
    area.commit()
    with pytest.raises(DBAPIError, match="its row stays"):
        area.execute(text("DELETE FROM meters WHERE meter_key = 1"))
    area.rollback()
