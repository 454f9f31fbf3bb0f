"""The admin rows of the contract: meters, bulk runs, statistics, the legacy call."""

from __future__ import annotations

import csv
import io
import uuid
from dataclasses import replace

import pytest

from portal import jobs
from portal.accounts.models import User
from portal.audit import SYSTEM
from portal.meters import bulk, life
from portal.meters.models import Meter
from tests.factories import NOW, make_holder, make_pool, make_user

NOBODY = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def test_assigning_without_a_meter_takes_the_next_free_one(as_admin, act):
    with act():
        user = make_user(region="Pune-West")
    answer = as_admin.post("/admin/meters/assign", {"userId": str(user.user_id)})
    assert answer["data"] == {"user_id": str(user.user_id), "meter_id": "MTR-00000001", "region": "Pune-West"}


def test_assigning_a_named_meter_with_a_region_moves_the_user_there(as_admin, act):
    with act():
        user = make_user(region="Pune-West")
    body = {"userId": str(user.user_id), "meterId": "MTR-00000050", "region": "Bangalore-East"}
    answer = as_admin.post("/admin/meters/assign", body)
    assert answer["data"] == {"user_id": str(user.user_id), "meter_id": "MTR-00000050", "region": "Bangalore-East"}
    with act() as session:
        stored = session.get(User, user.user_id)
        assert (stored.meter_id, stored.region) == ("MTR-00000050", "Bangalore-East")


def test_refusals_come_in_the_order_of_the_contract(app, as_admin, act, monkeypatch):
    monkeypatch.setitem(app.config, "PORTAL", replace(app.config["PORTAL"], meter_last=60))
    with act() as session:
        holder = make_holder(meter_id="MTR-00000007")
        free = make_user(region="Pune-West")
        session.flush()
        bulk.provision("MTR-00000020", "MTR-00000020", "Delhi-North", make_pool(), actor=SYSTEM, now=NOW)
        life.move_meter("MTR-00000030", "faulty", make_pool(), actor=SYSTEM, now=NOW)
    held, waiting = str(holder.user_id), str(free.user_id)

    def refused(status, user_id, meter_id=None, **more):
        body = {"userId": user_id, **({"meterId": meter_id} if meter_id is not None else {}), **more}
        return as_admin.post("/admin/meters/assign", body, status)["code"]

    for no_user in (NOBODY, "nobody", "", "0" * 5000, NOBODY.replace("-", ""), "{" + NOBODY + "}"):
        assert refused(404, no_user, "MTR-99999999") == "USER_NOT_FOUND"
    for no_meter in ("MTR-00000061", "MTR-00000000", "MTR-1", "", "mtr-00000001", "MTR-00000001\n", "x" * 5000):
        assert refused(404, held, no_meter) == "METER_NOT_FOUND"
    assert refused(409, held, "MTR-00000030") == "USER_HAS_METER"
    assert refused(409, held) == "USER_HAS_METER"
    assert refused(409, waiting, "MTR-00000030") == "METER_NOT_ASSIGNABLE"
    assert refused(409, waiting, "MTR-00000007") == "METER_ALREADY_ASSIGNED"
    assert refused(409, waiting, "MTR-00000020") == "REGION_MISMATCH"
    assert refused(422, waiting, "MTR-00000020", region="Atlantis") == "VALIDATION_ERROR"
    as_admin.post("/admin/meters/assign", {"userId": waiting, "meterId": "MTR-00000020", "region": "Delhi-North"})


def test_an_exhausted_range_says_how_to_extend_it(app, as_admin, act, monkeypatch):
    monkeypatch.setitem(app.config, "PORTAL", replace(app.config["PORTAL"], meter_last=1))
    with act():
        make_holder(meter_id="MTR-00000001")
        user = make_user()
    error = as_admin.post("/admin/meters/assign", {"userId": str(user.user_id)}, 409)
    assert error["code"] == "NO_METERS_AVAILABLE"
    assert "METER_LAST" in error["message"]


def test_staff_get_no_meter(as_admin, act):
    with act():
        operator = make_user(role="operator")
    error = as_admin.post("/admin/meters/assign", {"userId": str(operator.user_id)}, 409)
    assert error["code"] == "USER_NOT_CUSTOMER"


def test_unassigning_frees_the_meter_for_somebody_else(as_admin, act):
    with act():
        holder, other = make_holder(meter_id="MTR-00000007"), make_user()
    answer = as_admin.delete(f"/admin/meters/unassign/{holder.user_id}")
    assert answer["data"] == {"user_id": str(holder.user_id), "meter_id": "MTR-00000007"}
    assert as_admin.delete(f"/admin/meters/unassign/{holder.user_id}", 404)["code"] == "METER_NOT_ASSIGNED"
    for nobody in (NOBODY, "nobody", "%00", "1", "..%2e", "%F0%9F%98%80"):
        assert as_admin.delete(f"/admin/meters/unassign/{nobody}", 404)["code"] == "USER_NOT_FOUND"
    as_admin.post("/admin/meters/assign", {"userId": str(other.user_id), "meterId": "MTR-00000007"})


@pytest.mark.parametrize("sent", [{}, {"json": {}}, {"content_type": "application/json"}])
def test_a_bulk_run_takes_an_empty_post(as_admin, act, sent):
    with act():
        users = [make_user(region="Pune-West"), make_user(region=None)]
        make_user(role="operator")
    data = as_admin.post("/admin/meters/bulk-assign", **sent)["data"]
    assert data["summary"] == {"success": 2, "failed": 0, "total": 2}
    assert data["failed_assignments"] == []
    assert data["successful_assignments"] == [
        {"user_id": str(user.user_id), "email": user.email, "meter_id": f"MTR-0000000{number}", "region": user.region}
        for number, user in enumerate(users, start=1)
    ]
    assert as_admin.post("/admin/meters/bulk-assign")["data"]["summary"] == {"success": 0, "failed": 0, "total": 0}


def test_a_bulk_run_can_be_narrowed_and_rehearsed(as_admin, act):
    with act():
        for region in ("Pune-West", "Pune-West", "Pune-West", "Delhi-North"):
            make_user(region=region)
    shown = as_admin.post("/admin/meters/bulk-assign", {"region": "Pune-West", "dryRun": True})["data"]
    assert shown["summary"] == {"success": 3, "failed": 0, "total": 3}
    done = as_admin.post("/admin/meters/bulk-assign", {"region": "Pune-West", "limit": 2})["data"]
    assert done["summary"] == {"success": 2, "failed": 0, "total": 2}
    assert done["successful_assignments"] == shown["successful_assignments"][:2]
    stats = as_admin.get("/admin/meters/stats")["data"]["stats"]
    assert stats["users_without_meters"] == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"region": "Atlantis"}, "region"),
        ({"limit": 0}, "limit"),
        ({"limit": "5"}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"dryRun": "yes"}, "dryRun"),
        ({"dry_run": True}, "dry_run"),
        ({"regions": "Pune-West"}, "regions"),
        ([], "body"),
    ],
)
def test_a_bulk_run_refuses_what_it_does_not_know(as_admin, body, field):
    assert [each["field"] for each in as_admin.post("/admin/meters/bulk-assign", body, 422)["details"]] == [field]


def test_a_bulk_run_lists_whom_it_could_not_serve(app, as_admin, act, monkeypatch):
    monkeypatch.setitem(app.config, "PORTAL", replace(app.config["PORTAL"], meter_last=1))
    with act():
        users = [make_user() for _ in range(2)]
    data = as_admin.post("/admin/meters/bulk-assign")["data"]
    assert data["summary"] == {"success": 1, "failed": 1, "total": 2}
    [failed] = data["failed_assignments"]
    assert set(failed) == {"user_id", "email", "error"}
    assert failed["email"] == users[1].email
    assert "METER_LAST" in failed["error"]


@pytest.fixture
def crowd(act):
    """1,003 customers who wait, two of them in Delhi."""
    from sqlalchemy import text

    with act() as session:
        session.execute(
            text("""
                INSERT INTO users (user_id, email, name, role, region, created_at)
                SELECT gen_random_uuid(), 'waiting' || n || '@example.com', 'Waiting ' || n, 'user',
                    CASE WHEN n <= 2 THEN 'Delhi-North' ELSE 'Pune-West' END, now() + make_interval(secs => n)
                FROM generate_series(1, 1003) AS n""")
        )


def run_job(app, job_id):
    with app.app_context():
        jobs.run(uuid.UUID(job_id))


@pytest.mark.usefixtures("crowd")
def test_more_than_a_thousand_are_a_job_that_answers_with_the_same_summary(app, as_admin, monkeypatch):
    monkeypatch.setitem(app.config, "PORTAL", replace(app.config["PORTAL"], meter_last=1001))
    job = as_admin.post("/admin/meters/bulk-assign", status=202)["data"]["job"]
    assert set(job) >= {"job_id", "status", "status_url"}
    assert (job["status"], job["total"]) == ("queued", 1003)
    run_job(app, job["job_id"])
    shown = as_admin.get(job["status_url"].removeprefix("/api/v1"))["data"]["job"]
    assert (shown["kind"], shown["status"], shown["done"], shown["total"]) == ("bulk_assign", "done", 1003, 1003)
    result = shown["result"]
    assert result["summary"] == {"success": 1001, "failed": 2, "total": 1003}
    assert len(result["successful_assignments"]) == 1000
    assert set(result["successful_assignments"][0]) == {"user_id", "email", "meter_id", "region"}
    assert len(result["failed_assignments"]) == 2
    assert set(result["failed_assignments"][0]) == {"user_id", "email", "error"}
    response = as_admin.raw("GET", f"/admin/jobs/{job['job_id']}/csv")
    assert response.mimetype == "text/csv"
    rows = list(csv.DictReader(io.StringIO(response.get_data(as_text=True))))
    assert len(rows) == 1003
    assert sum(1 for row in rows if row["meter_id"]) == 1001
    assert len({row["meter_id"] for row in rows if row["meter_id"]}) == 1001
    assert as_admin.get(f"/billing/operator/jobs/{job['job_id']}", 404)["code"] == "JOB_NOT_FOUND"
    stats = as_admin.get("/admin/meters/stats")["data"]["stats"]
    assert stats["users_with_meters"] == 1001
    assert stats["meters_by_region"][0]["region"] == "Pune-West"


@pytest.mark.usefixtures("crowd")
def test_a_job_takes_up_everybody_once_though_most_cannot_be_served(app, as_admin, monkeypatch):
    monkeypatch.setitem(app.config, "PORTAL", replace(app.config["PORTAL"], meter_last=1))
    job = as_admin.post("/admin/meters/bulk-assign", status=202)["data"]["job"]
    run_job(app, job["job_id"])
    result = as_admin.get(f"/admin/jobs/{job['job_id']}")["data"]["job"]["result"]
    assert result["summary"] == {"success": 1, "failed": 1002, "total": 1003}
    assert len(result["failed_assignments"]) == 1000
    assert len({each["user_id"] for each in result["failed_assignments"]}) == 1000


@pytest.mark.promise(10)
@pytest.mark.usefixtures("crowd")
def test_a_job_that_was_killed_goes_on_where_it_was(app, as_admin, monkeypatch):
    job = as_admin.post("/admin/meters/bulk-assign", status=202)["data"]["job"]
    whole = bulk.assign_chunk
    calls = []

    def killed_in_the_second_chunk(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*args, **kwargs)

    monkeypatch.setattr(bulk, "assign_chunk", killed_in_the_second_chunk)
    with pytest.raises(KeyboardInterrupt):
        run_job(app, job["job_id"])
    shown = as_admin.get(f"/admin/jobs/{job['job_id']}")["data"]["job"]
    assert (shown["status"], shown["done"]) == ("running", bulk.CHUNK)
    monkeypatch.setattr(bulk, "assign_chunk", whole)
    run_job(app, job["job_id"])
    result = as_admin.get(f"/admin/jobs/{job['job_id']}")["data"]["job"]["result"]
    assert result["summary"] == {"success": 1003, "failed": 0, "total": 1003}


@pytest.mark.usefixtures("crowd")
def test_a_job_is_stopped_listed_and_undone(app, as_admin, as_operator):
    job = as_admin.post("/admin/meters/bulk-assign", status=202)["data"]["job"]
    stopped = as_admin.post(f"/admin/jobs/{job['job_id']}/cancel")["data"]["job"]
    assert (stopped["status"], stopped["result"]["summary"]["total"]) == ("cancelled", 0)
    assert as_admin.post(f"/admin/jobs/{job['job_id']}/cancel", status=409)["code"] == "JOB_ENDED"
    assert as_admin.post(f"/admin/jobs/{job['job_id']}/undo", status=409)["code"] == "JOB_NOT_UNDOABLE"
    data = as_admin.post("/admin/meters/bulk-assign", {"limit": 3})["data"]
    undone = as_admin.post(f"/admin/jobs/{data['job_id']}/undo")["data"]["job"]
    assert (undone["kind"], undone["status"]) == ("bulk_undo", "done")
    assert undone["result"]["summary"] == {"success": 3, "failed": 0, "total": 3}
    assert as_admin.get("/admin/meters/stats")["data"]["stats"]["users_with_meters"] == 0
    listed = as_admin.get("/admin/jobs")["data"]
    assert [each["kind"] for each in listed["jobs"]] == ["bulk_undo", "bulk_assign", "bulk_assign"]
    assert listed["pagination"]["total"] == 3
    rows = as_admin.raw("GET", f"/admin/jobs/{undone['job_id']}/csv").get_data(as_text=True).splitlines()
    assert len(rows) == 4
    for nobody in (NOBODY, "1", "%00"):
        assert as_admin.post(f"/admin/jobs/{nobody}/cancel", status=404)["code"] == "JOB_NOT_FOUND"
        assert as_admin.post(f"/admin/jobs/{nobody}/undo", status=404)["code"] == "JOB_NOT_FOUND"


def test_an_undo_names_whatever_stands_in_its_way(as_admin, act):
    with act():
        users = [make_user(), make_user()]
    data = as_admin.post("/admin/meters/bulk-assign")["data"]
    as_admin.delete(f"/admin/meters/unassign/{users[1].user_id}")
    refusal = as_admin.post(f"/admin/jobs/{data['job_id']}/undo", status=409)
    assert refusal["code"] == "JOB_HAS_DEPENDENTS"
    assert [each["field"] for each in refusal["details"]] == ["MTR-00000002"]
    assert users[1].email in refusal["details"][0]["message"]
    assert as_admin.get("/admin/meters/stats")["data"]["stats"]["users_with_meters"] == 1


@pytest.mark.usefixtures("crowd")
def test_a_job_can_be_rehearsed_too(app, as_admin):
    job = as_admin.post("/admin/meters/bulk-assign", {"dryRun": True}, 202)["data"]["job"]
    run_job(app, job["job_id"])
    result = as_admin.get(f"/admin/jobs/{job['job_id']}")["data"]["job"]["result"]
    assert result["summary"] == {"success": 1003, "failed": 0, "total": 1003}
    assert as_admin.get("/admin/meters/stats")["data"]["stats"]["users_with_meters"] == 0


@pytest.mark.usefixtures("crowd")
def test_a_limit_of_a_thousand_or_a_small_region_answers_at_once(as_admin):
    assert as_admin.post("/admin/meters/bulk-assign", {"region": "Delhi-North"})["data"]["summary"]["total"] == 2
    assert as_admin.post("/admin/meters/bulk-assign", {"limit": 1000})["data"]["summary"]["total"] == 1000


def test_a_job_of_any_other_id_is_not_found(as_admin):
    for nobody in (NOBODY, "1", "x", "%00"):
        assert as_admin.get(f"/admin/jobs/{nobody}", 404)["code"] == "JOB_NOT_FOUND"
        assert as_admin.get(f"/admin/jobs/{nobody}/csv", 404)["code"] == "JOB_NOT_FOUND"


def test_statistics_count_customers_with_open_accounts(as_admin, act):
    with act():
        for number in range(1, 4):
            make_holder(meter_id=f"MTR-0000000{number}", region="Mumbai-North")
        make_holder(meter_id="MTR-00000004", region="Delhi-North")
        make_user()
        make_user(role="operator")
        make_user().closed_at = NOW
        life.move_meter("MTR-00000009", "faulty", make_pool(), actor=SYSTEM, now=NOW)
    stats = as_admin.get("/admin/meters/stats")["data"]["stats"]
    assert stats.pop("last_assigned_at").startswith("2026-11-15T06:30:00")
    assert stats == {
        "total_users": 5,
        "users_with_meters": 4,
        "users_without_meters": 1,
        "assignment_percentage": 80.0,
        "meters_by_region": [{"region": "Mumbai-North", "count": 3}, {"region": "Delhi-North", "count": 1}],
        "available_meters": 9_999_995,
        "range": {"first": "MTR-00000001", "last": "MTR-10000000"},
    }


def test_statistics_of_nothing(as_admin):
    stats = as_admin.get("/admin/meters/stats")["data"]["stats"]
    assert (stats["total_users"], stats["assignment_percentage"], stats["last_assigned_at"]) == (0, 0.0, None)


def test_the_legacy_call_keeps_its_old_answers_and_names_its_successor(as_admin, act, visitor):
    with act():
        holder, user = make_holder(meter_id="MTR-00000007"), make_user()
    path = "/admin/assign-meter"
    assert as_admin.post(path, {"userId": str(user.user_id), "meterId": "MTR-00000008"})["data"] is None
    for user_id, meter_id, status, code in (
        (user.user_id, "MTR-00000009", 400, "METER_ALREADY_ASSIGNED"),
        (holder.user_id, "MTR-00000007", 400, "METER_ALREADY_ASSIGNED"),
        (NOBODY, "MTR-00000009", 404, "USER_NOT_FOUND"),
        (holder.user_id, "MTR-99999999", 404, "METER_NOT_FOUND"),
    ):
        response = as_admin.raw("POST", path, {"userId": str(user_id), "meterId": meter_id})
        assert (response.status_code, response.json["error"]["code"]) == (status, code)
        assert response.headers["Deprecation"].startswith("@")
        assert response.headers["Link"] == '</api/v1/admin/meters/assign>; rel="successor-version"'
    as_admin.post(path, {"userId": str(user.user_id)}, 422)
    assert "Deprecation" in visitor.raw("POST", path).headers


def test_meters_are_listed_and_their_history_shown(as_admin, act):
    with act():
        holder = make_holder(meter_id="MTR-00000007")
        make_holder(meter_id="MTR-00000008")
    as_admin.delete(f"/admin/meters/unassign/{holder.user_id}")
    page = as_admin.get("/admin/meters?limit=1")["data"]
    assert page["pagination"] == {"total": 2, "limit": 1, "offset": 0, "has_more": True}
    assert page["meters"][0]["meter_id"] == "MTR-00000007"
    assert page["meters"][0]["user_id"] is None
    [other] = as_admin.get("/admin/meters?status=assigned&region=Pune-West")["data"]["meters"]
    assert other["meter_id"] == "MTR-00000008"
    [period] = as_admin.get("/admin/meters/MTR-00000007/history")["data"]["assignments"]
    assert period["user_id"] == str(holder.user_id)
    assert period["unassigned_at"]
    assert as_admin.get("/admin/meters/MTR-00000100/history")["data"]["assignments"] == []
    for nothing in ("MTR-10000001", "x", "%00"):
        assert as_admin.get(f"/admin/meters/{nothing}/history", 404)["code"] == "METER_NOT_FOUND"


def test_every_act_is_in_the_audit_log(as_admin, act):
    from sqlalchemy import text

    with act():
        user = make_user()
    as_admin.post("/admin/meters/assign", {"userId": str(user.user_id)})
    as_admin.delete(f"/admin/meters/unassign/{user.user_id}")
    with act() as session:
        rows = session.execute(
            text("SELECT action, actor_kind, actor_id FROM audit_log WHERE subject_id = :id ORDER BY audit_id"),
            {"id": str(user.user_id)},
        ).all()
        assert [row.action for row in rows][-2:] == ["meter.assigned", "meter.unassigned"]
        assert {row.actor_kind for row in rows[-2:]} == {"user"}
        assert all(row.actor_id for row in rows[-2:])
        assert session.get(Meter, 1).status == "in_stock"
