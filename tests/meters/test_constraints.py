"""The tables alone hold promise 1: raw SQL, none of the code's own checks."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from portal.db import db
from tests.factories import NOW, make_holder, make_user


def open_row(user, meter_key, since="2026-11-15 06:30+00", until=None):
    return text("""
        INSERT INTO meter_assignments (connection_id, user_id, meter_key, assigned_at, unassigned_at, how, assigned_by)
        SELECT connection_id, :user, :key, CAST(:since AS timestamptz), CAST(:until AS timestamptz), 'admin', 'test'
        FROM connections LIMIT 1""").bindparams(user=user, key=meter_key, since=since, until=until)


@pytest.fixture
def two_holders(area):
    first, second = make_holder(), make_holder()
    area.commit()
    return first, second


@pytest.mark.promise(1)
def test_a_meter_has_no_second_open_row(area, two_holders):
    with pytest.raises(DBAPIError, match="uq_meter_assignments_meter_open"):
        area.execute(open_row(make_user().user_id, 1))


@pytest.mark.promise(1)
def test_a_user_has_no_second_open_row(area, two_holders):
    area.execute(text("INSERT INTO meters (meter_key, meter_id) VALUES (9, 'MTR-00000009')"))
    with pytest.raises(DBAPIError, match="uq_meter_assignments_user_open"):
        area.execute(open_row(two_holders[0].user_id, 9))


@pytest.mark.promise(1)
@pytest.mark.parametrize(
    ("since", "until", "refused"),
    [
        ("2026-11-01 00:00+00", "2026-11-15 06:30+00", False),  # ends where the open one begins
        ("2026-11-01 00:00+00", "2026-11-15 06:30:00.000001+00", True),
        ("2026-11-20 00:00+00", "2026-11-21 00:00+00", True),
    ],
)
def test_a_closed_row_never_reaches_into_an_open_one(area, two_holders, since, until, refused):
    row = open_row(make_user().user_id, 1, since, until)
    if refused:
        with pytest.raises(DBAPIError, match="is taken before"):
            area.execute(row)
    else:
        area.execute(row)
        area.commit()


@pytest.mark.promise(1)
def test_closed_rows_never_overlap(area, two_holders):
    area.execute(open_row(make_user().user_id, 1, "2026-10-01 00:00+00", "2026-10-10 00:00+00"))
    area.execute(open_row(make_user().user_id, 1, "2026-10-10 00:00+00", "2026-10-20 00:00+00"))
    with pytest.raises(DBAPIError, match="ex_meter_assignments_meter_closed"):
        area.execute(open_row(make_user().user_id, 1, "2026-10-19 23:59+00", "2026-10-21 00:00+00"))


@pytest.mark.promise(1)
def test_an_open_row_never_begins_in_a_closed_one(area, two_holders):
    area.execute(text("INSERT INTO meters (meter_key, meter_id) VALUES (9, 'MTR-00000009')"))
    area.execute(open_row(make_user().user_id, 9, "2026-10-01 00:00+00", "2026-10-10 00:00+00"))
    with pytest.raises(DBAPIError, match="was taken after"):
        area.execute(open_row(make_user().user_id, 9, "2026-10-09 23:59+00"))


@pytest.mark.promise(1)
def test_two_transactions_that_cannot_see_each_other_still_meet(app, act):
    """One writes an open row, the other a closed one that overlaps it, at once."""
    with act() as session:
        first, second = make_holder(), make_user()
        one, two = make_user().user_id, second.user_id
        session.execute(text("INSERT INTO meters (meter_key, meter_id) VALUES (9, 'MTR-00000009')"))
        del first
    refused = []
    with app.app_context(), db.engine.connect() as left:
        left.execute(open_row(one, 9))

        def right():
            with app.app_context(), db.engine.connect() as connection:
                try:
                    connection.execute(open_row(two, 9, "2026-11-01 00:00+00", "2026-11-20 00:00+00"))
                except DBAPIError as error:
                    refused.append(str(error))

        thread = threading.Thread(target=right)
        thread.start()
        time.sleep(0.3)
        left.execute(text("UPDATE users SET meter_id = 'MTR-00000009' WHERE user_id = :user"), {"user": one})
        left.execute(text("UPDATE meters SET status = 'assigned' WHERE meter_key = 9"))
        left.commit()
        thread.join()
    assert len(refused) == 1
    assert "is taken before" in refused[0]


@pytest.mark.promise(1)
@pytest.mark.parametrize(
    "lie",
    [
        "UPDATE users SET meter_id = NULL WHERE meter_id = 'MTR-00000001'",
        "UPDATE users SET meter_id = 'MTR-00000077' WHERE meter_id = 'MTR-00000001'",
        "UPDATE meters SET status = 'in_stock' WHERE meter_key = 1",
        "UPDATE meter_assignments SET unassigned_at = assigned_at + interval '1 day' WHERE meter_key = 1",
        "DELETE FROM meter_assignments WHERE meter_key = 1",
    ],
)
def test_user_meter_and_assignment_say_the_same_at_commit(area, two_holders, lie):
    area.execute(text(lie))
    with pytest.raises(DBAPIError, match=r"shows meter|status of meter"):
        area.commit()
    area.rollback()


def test_the_audit_log_only_grows(area, two_holders):
    assert area.scalar(text("SELECT count(*) FROM audit_log WHERE action = 'meter.assigned'")) == 2
    with pytest.raises(DBAPIError, match="append-only"):
        area.execute(text("UPDATE audit_log SET action = 'nothing'"))
    area.rollback()
    with pytest.raises(DBAPIError, match="append-only"):
        area.execute(text("DELETE FROM audit_log"))
    area.rollback()


def test_an_address_is_taken_in_any_case(area):
    make_user(email="asha@example.com")
    with pytest.raises(DBAPIError, match="uq_users_email"):
        area.execute(
            text(
                "INSERT INTO users (user_id, email, name, created_at)"
                " VALUES (gen_random_uuid(), 'ASHA@example.com', 'A B', :now)"
            ),
            {"now": NOW},
        )
