"""Swap, relocation, status, history and acts dated back, by the API."""

from __future__ import annotations

from datetime import timedelta

import pytest

from portal.audit import CLI
from portal.billing import supply
from portal.meters import queries
from tests.billing.bills import give_readings, india, run
from tests.factories import NOW, make_holder, make_user

SINCE = india(2026, 9, 1)


@pytest.fixture
def asha(act):
    """Who holds MTR-00000001 since 1 September."""
    with act():
        user = make_holder(since=SINCE, email="asha@example.com", region="Pune-West")
    return str(user.user_id)


def test_assigning_dated_back(as_admin, act):
    with act():
        user = str(make_user().user_id)
    body = {"userId": user, "since": "2026-10-01T00:00:00+05:30", "openingRegister": "12.5", "reason": "paper"}
    as_admin.post("/admin/meters/assign", body)
    [event] = as_admin.get(f"/admin/users/{user}/events")["data"]["events"]
    assert (event["what"], event["at"][:16], event["register_kwh"], event["why"]) == (
        "assigned",
        "2026-09-30T18:30",
        "12.500",
        "paper",
    )


@pytest.mark.parametrize(
    ("since", "status"),
    [
        ("2099-01-01T00:00:00Z", 409),
        ("1999-12-31T00:00:00Z", 409),
        ("yesterday", 422),
        ("2026-10-01T00:00:00", 422),
        (5, 422),
    ],
)
def test_a_start_that_cannot_be_is_told_beside_its_field(as_admin, act, since, status):
    with act():
        user = str(make_user().user_id)
    error = as_admin.post("/admin/meters/assign", {"userId": user, "since": since}, status)
    assert [each["field"] for each in error["details"]] == ["since"]


def test_taking_back_dated_back_stays_before_the_bills_and_after_the_start(as_admin, act, asha, config):
    with act():
        give_readings("MTR-00000001", SINCE, india(2026, 11, 1), config)
        run(2026, 9)
        run(2026, 10)
    path = f"/admin/meters/unassign/{asha}?at="
    error = as_admin.delete(path + "2026-10-20T00:00:00Z", 409)
    assert error["code"] == "PERIOD_BILLED"
    assert "INV-202610-0000001" in error["message"]
    data = as_admin.delete(path + "2026-11-05T00:00:00Z&to=faulty&reason=burnt&closingRegister=900")["data"]
    assert data == {"user_id": asha, "meter_id": "MTR-00000001"}
    event = as_admin.get("/admin/meters/MTR-00000001/events")["data"]["events"][0]
    assert (event["what"], event["becomes"], event["why"], event["register_kwh"]) == (
        "taken_back",
        "faulty",
        "burnt",
        "900.000",
    )


@pytest.mark.parametrize("at", ["2026-08-31T18:30:00Z", "2099-01-01T00:00:00Z"])
def test_an_end_that_cannot_be_is_told_beside_its_field(as_admin, asha, at):
    error = as_admin.delete(f"/admin/meters/unassign/{asha}?at={at}", 409)
    assert error["code"] == "INSTANT_NOT_POSSIBLE"
    assert [each["field"] for each in error["details"]] == ["at"]


def test_a_swap_is_one_act_in_one_supply(as_admin, act, asha):
    body = {"userId": asha, "meterId": "MTR-00000044", "closingRegister": "812.5", "openingRegister": 0, "to": "faulty"}
    data = as_admin.post("/admin/meters/swap", body)["data"]
    assert (data["old_meter_id"], data["meter_id"], data["region"]) == ("MTR-00000001", "MTR-00000044", "Pune-West")
    newest, before, _ = as_admin.get(f"/admin/users/{asha}/events")["data"]["events"]
    assert (newest["what"], before["what"]) == ("swapped_in", "swapped_out")
    assert newest["act"] == before["act"]
    assert newest["at"] == before["at"] == data["at"]
    with act():
        assert len({row.connection_id for row in queries.list_assignments(meter_key=44)}) == 1
    [meter] = as_admin.get("/admin/meters?status=faulty")["data"]["meters"]
    assert meter["meter_id"] == "MTR-00000001"


def test_a_closing_register_below_the_opening_one_needs_a_roll_over(as_admin, act):
    with act():
        user = str(make_user().user_id)
    as_admin.post("/admin/meters/assign", {"userId": user, "openingRegister": "999000"})
    body = {"userId": user, "closingRegister": "12"}
    error = as_admin.post("/admin/meters/swap", body, 409)
    assert "rolled over" in error["message"]
    as_admin.post("/admin/meters/swap", body | {"closingRegister": "1000000"}, 409)
    for wrong in ("-1", "NaN", "1e3", True):
        as_admin.post("/admin/meters/swap", body | {"closingRegister": wrong}, 422)
    as_admin.post("/admin/meters/swap", body | {"rolledOver": True})


def test_a_relocation_ends_one_supply_and_begins_another(as_admin, act, asha):
    data = as_admin.post("/admin/meters/relocate", {"userId": asha, "region": "Delhi-North"})["data"]
    assert data == {"user_id": asha, "meter_id": "MTR-00000002", "region": "Delhi-North"}
    as_admin.post("/admin/meters/relocate", {"userId": asha, "region": "Delhi-North"}, 409)
    as_admin.post("/admin/meters/relocate", {"userId": asha, "region": "Atlantis"}, 422)
    # The meter that came back stays in the region where it is.
    [meter] = as_admin.get("/admin/meters?status=in_stock")["data"]["meters"]
    assert (meter["meter_id"], meter["region"]) == ("MTR-00000001", "Pune-West")


def test_refusals_of_a_swap_come_in_the_order_of_an_assignment(as_admin, act, asha):
    with act():
        waits, other = str(make_user().user_id), make_holder(region="Delhi-North")
    as_admin.put("/admin/meters/MTR-00000030/status", {"status": "quarantine"})
    as_admin.delete(f"/admin/meters/unassign/{other.user_id}")

    def refused(status, user_id, meter_id):
        return as_admin.post("/admin/meters/swap", {"userId": user_id, "meterId": meter_id}, status)["code"]

    assert refused(404, "nobody", "MTR-1") == "USER_NOT_FOUND"
    assert refused(404, waits, "MTR-1") == "METER_NOT_FOUND"
    assert refused(404, waits, "MTR-00000009") == "METER_NOT_ASSIGNED"
    assert refused(409, asha, "MTR-00000001") == "METER_ALREADY_ASSIGNED"
    assert refused(409, asha, "MTR-00000030") == "METER_NOT_ASSIGNABLE"
    assert refused(409, asha, "MTR-00000002") == "REGION_MISMATCH"


def test_a_status_moves_by_the_table(as_admin, asha):
    def put(status, meter, to):
        return as_admin.put(f"/admin/meters/{meter}/status", {"status": to, "reason": "looked at it"}, status)

    put(404, "MTR-99999999", "faulty")
    assert put(409, "MTR-00000001", "faulty")["code"] == "METER_ALREADY_ASSIGNED"
    put(422, "MTR-00000005", "assigned")
    assert put(200, "MTR-00000005", "faulty")["data"]["meter"]["status"] == "faulty"
    assert put(409, "MTR-00000005", "faulty")["code"] == "METER_STATUS_UNCHANGED"
    assert put(409, "MTR-00000005", "quarantine")["code"] == "METER_MOVE_REFUSED"
    put(200, "MTR-00000005", "retired")
    assert put(409, "MTR-00000005", "in_stock")["code"] == "METER_RETIRED"
    whats = [each["what"] for each in as_admin.get("/admin/meters/MTR-00000005/events")["data"]["events"]]
    assert whats == ["retired", "faulty"]


def test_a_history_has_pages_and_names_who_acted(as_admin, asha):
    as_admin.post("/admin/meters/swap", {"userId": asha})
    page = as_admin.get(f"/admin/users/{asha}/events?limit=2&offset=1")["data"]
    assert page["pagination"] == {"total": 3, "limit": 2, "offset": 1, "has_more": False}
    assert [each["what"] for each in page["events"]] == ["swapped_out", "assigned"]
    assert page["events"][0]["who"].endswith("@example.com")
    as_admin.get("/admin/users/nobody/events", 404)
    as_admin.get("/admin/meters/MTR-1/events", 404)


def test_a_moved_start_stands_in_the_meters_history_too(as_admin, act, asha):
    with act() as session:
        user = queries.find_holder(1)
        supply.move_start(user.user_id, SINCE - timedelta(days=3), actor=CLI, now=NOW)
        session.flush()
    whats = [each["what"] for each in as_admin.get("/admin/meters/MTR-00000001/events")["data"]["events"]]
    assert sorted(whats) == ["assigned", "start_moved"]


@pytest.mark.parametrize("code", ["faulty", "quarantine"])
def test_meters_out_of_use_do_not_count_as_available_but_for_those_that_rest(as_admin, code):
    before = as_admin.get("/admin/meters/stats")["data"]["stats"]["available_meters"]
    as_admin.put("/admin/meters/MTR-00000007/status", {"status": code})
    after = as_admin.get("/admin/meters/stats")["data"]["stats"]["available_meters"]
    assert before - after == (1 if code == "faulty" else 0)
