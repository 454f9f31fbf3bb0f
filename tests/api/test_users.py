"""What admins do with accounts."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime

from portal.accounts import tokens
from portal.accounts.models import User
from tests.api.conftest import Api
from tests.factories import make_holder, make_user


def test_users_are_found_by_part_of_e_mail_name_or_meter(as_admin, act):
    with act():
        make_holder(meter_id="MTR-00000042", email="asha@example.com", name="Asha Kulkarni")
        make_user(email="ravi@example.com", name="Ravi 100% Rao")
    for words, found in (("ASHA@", 1), ("kulk", 1), ("00000042", 1), ("%25", 1), ("_", 0), ("example.com", 3)):
        data = as_admin.get(f"/admin/users?search={words}")["data"]
        assert (len(data["users"]), data["pagination"]["total"]) == (found, found), words
    assert as_admin.get("/admin/users?role=admin")["data"]["pagination"]["total"] == 1
    page = as_admin.get("/admin/users?limit=1&offset=1")["data"]
    assert page["pagination"] == {"total": 3, "limit": 1, "offset": 1, "has_more": True}
    as_admin.get("/admin/users?role=king", 422)


def test_a_list_costs_the_same_queries_however_long_it_is(app, as_admin, act):
    from sqlalchemy import event

    from portal.db import db

    with app.app_context():
        engine = db.engine
    seen: list[str] = []

    def note(_connection, _cursor, statement, *_more):
        seen.append(statement)

    def queries() -> int:
        seen.clear()
        event.listen(engine, "before_cursor_execute", note)
        as_admin.get("/admin/users?limit=100")
        event.remove(engine, "before_cursor_execute", note)
        return len(seen)

    with act():
        for _ in range(5):
            make_holder()
    few = queries()
    with act():
        for _ in range(10):
            make_holder()
    assert queries() == few


def test_roles_change_but_not_ones_own_and_not_for_holders_of_meters(as_admin, act):
    with act():
        user, holder = make_user(), make_holder()
    changed = as_admin.put(f"/admin/users/{user.user_id}/role", {"role": "operator"})["data"]["user"]
    assert changed["role"] == "operator"
    as_admin.put(f"/admin/users/{user.user_id}/role", {"role": "operator"})
    error = as_admin.put(f"/admin/users/{holder.user_id}/role", {"role": "operator"}, 409)
    assert error["code"] == "USER_HAS_METER"
    me = as_admin.get("/user/profile")["data"]["user"]["user_id"]
    assert as_admin.put(f"/admin/users/{me}/role", {"role": "user"}, 409)["code"] == "OWN_ACCOUNT"
    for nobody in (str(uuid.uuid4()), "x", "%00"):
        assert as_admin.put(f"/admin/users/{nobody}/role", {"role": "user"}, 404)["code"] == "USER_NOT_FOUND"
    as_admin.put(f"/admin/users/{user.user_id}/role", {"role": "king"}, 422)


def test_closing_takes_the_meter_back_and_ends_every_log_in(as_admin, act, log_in, visitor):
    with act():
        holder = make_holder(meter_id="MTR-00000007")
    program = log_in(holder)
    closed = as_admin.delete(f"/admin/users/{holder.user_id}")["data"]["user"]
    assert closed["meter_id"] is None
    program.get("/user/profile", 401)
    assert as_admin.delete(f"/admin/users/{holder.user_id}", 404)["code"] == "USER_NOT_FOUND"
    as_admin.put(f"/admin/users/{holder.user_id}/role", {"role": "admin"}, 404)
    assert as_admin.get("/admin/meters/MTR-00000007/history")["data"]["assignments"][0]["unassigned_at"]
    stats = as_admin.get("/admin/meters/stats")["data"]["stats"]
    assert stats["total_users"] == 0
    body = {"name": "Asha", "email": holder.email}
    assert visitor.post("/auth/register", body, 409)["code"] == "EMAIL_TAKEN"
    with act() as session:
        assert session.get(User, holder.user_id).closed_at is not None
    me = as_admin.get("/user/profile")["data"]["user"]["user_id"]
    assert as_admin.delete(f"/admin/users/{me}", 409)["code"] == "OWN_ACCOUNT"


def test_two_admins_who_demote_each_other_at_once_leave_one(app, act):
    with act():
        admins = [make_user(role="admin") for _ in range(2)]
        plain = [tokens.issue_tokens(admin, datetime.now(UTC), access_seconds=3600).access for admin in admins]
    barrier = threading.Barrier(2)

    def demote(mine: int) -> None:
        program = Api(app.test_client(), plain[mine])
        barrier.wait()
        program.raw("PUT", f"/admin/users/{admins[1 - mine].user_id}/role", {"role": "user"})

    threads = [threading.Thread(target=demote, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with act() as session:
        assert sum(1 for admin in admins if session.get(User, admin.user_id).role == "admin") == 1
