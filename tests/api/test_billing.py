"""The billing rows of the contract."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from portal import jobs
from portal.api import billing, caller
from portal.meters.rules import meter_key
from tests.billing.bills import give_readings, india
from tests.factories import NOW, make_holder, make_user

MONEY = re.compile(r"-?\d+\.\d{2}")
KWH = re.compile(r"\d+\.\d{3,6}")
OCTOBER = {"year": 2026, "month": 10}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """It is noon in India on 15 November 2026."""
    monkeypatch.setattr(caller, "datetime", SimpleNamespace(now=lambda zone: NOW))


@pytest.fixture
def holder(act, config):
    """A customer of Pune who used 0.25 kWh each half hour since 1 October."""
    with act():
        user = make_holder(since=india(2026, 9, 30, 12), region="Pune-West", meter_id="MTR-00000007")
        give_readings(7, india(2026, 10, 1), NOW - timedelta(minutes=30), config)
    return user


@pytest.fixture
def mine(holder, log_in):
    return log_in(holder)


def test_a_month_is_billed_once(as_operator, mine):
    answer = as_operator.post("/billing/operator/generate-monthly", {**OCTOBER, "region": "Pune-West"})["data"]
    assert {key: answer[key] for key in ("year", "month", "region", "summary")} == {
        **OCTOBER,
        "region": "Pune-West",
        "summary": {"success": 1, "failed": 0, "total": 1},
    }
    assert "errors" not in answer
    again = as_operator.post("/billing/operator/generate-monthly", OCTOBER)["data"]
    assert again["summary"] == {"success": 0, "failed": 0, "total": 0}
    assert again["region"] is None
    assert mine.get("/billing/invoices")["data"]["pagination"]["total"] == 1


def test_bills_are_listed_and_shown_with_their_lines(as_operator, mine):
    as_operator.post("/billing/operator/generate-monthly", OCTOBER)
    data = mine.get("/billing/invoices")["data"]
    assert data["pagination"] == {"total": 1, "limit": 20, "offset": 0, "has_more": False}
    [listed] = data["invoices"]
    assert set(listed) >= {
        "invoice_id",
        "invoice_number",
        "billing_period_start",
        "billing_period_end",
        "total_consumption_kwh",
        "total_cost",
        "currency",
        "status",
        "due_date",
        "is_disputed",
        "created_at",
    }
    assert listed["billing_period_start"] == "2026-10-01T00:00:00+05:30"
    assert listed["billing_period_end"] == "2026-11-01T00:00:00+05:30"
    assert listed["total_consumption_kwh"] == "372.000"
    assert listed["currency"] == "INR"
    assert listed["status"] == "pending"
    assert listed["due_date"] == "2026-12-06"
    assert listed["is_disputed"] is False

    whole = mine.get(f"/billing/invoices/{listed['invoice_id']}")["data"]["invoice"]
    assert {key: whole[key] for key in listed} == listed
    assert whole["meter_id"] == "MTR-00000007"
    assert whole["region"] == "Pune-West"
    assert whole["paid_at"] is None
    for key in ("base_cost", "tax_amount", "surcharges", "discounts", "total_cost", "amount_due"):
        assert MONEY.fullmatch(whole[key]), key
    total = (
        Decimal(whole["base_cost"])
        + Decimal(whole["surcharges"])
        + Decimal(whole["tax_amount"])
        - Decimal(whole["discounts"])
    )
    assert Decimal(whole["total_cost"]) == total
    lines = whole["line_items"]
    for line in lines:
        assert set(line) >= {
            "line_item_id",
            "description",
            "period_start",
            "period_end",
            "kwh_consumed",
            "rate_per_kwh",
            "amount",
        }
        assert line["kwh_consumed"] is None or KWH.fullmatch(line["kwh_consumed"])
        assert MONEY.fullmatch(line["amount"])
    signed = sum(Decimal(line["amount"]) * (-1 if line["category"] == "discount" else 1) for line in lines)
    assert signed == total or sum(Decimal(line["amount"]) for line in lines) == total


@pytest.mark.promise(9)
def test_a_foreign_bill_is_not_found_whoever_asks(as_operator, as_admin, as_customer, mine):
    as_operator.post("/billing/operator/generate-monthly", OCTOBER)
    [bill] = mine.get("/billing/invoices")["data"]["invoices"]
    for program in (as_operator, as_admin, as_customer):
        assert program.get("/billing/invoices")["data"]["invoices"] == []
        for invoice_id in (bill["invoice_id"], str(uuid.uuid4()), "1", "x", "%00"):
            assert program.get(f"/billing/invoices/{invoice_id}", 404)["code"] == "INVOICE_NOT_FOUND"
            reason = {"dispute_reason": "This is not my bill."}
            assert program.post(f"/billing/invoices/{invoice_id}/dispute", reason, 404)["code"] == "INVOICE_NOT_FOUND"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 1),
        ("?status=pending", 1),
        ("?status=paid", 0),
        ("?start_date=2026-10-01&end_date=2026-10-31", 1),
        ("?start_date=2026-10-02", 0),
        ("?end_date=2026-09-30", 0),
        ("?offset=1", 0),
    ],
)
def test_bills_can_be_chosen(as_operator, mine, query, found):
    as_operator.post("/billing/operator/generate-monthly", OCTOBER)
    assert len(mine.get(f"/billing/invoices{query}")["data"]["invoices"]) == found


@pytest.mark.parametrize(
    "query", ["status=lost", "start_date=1", "start_date=2026-13-01", "end_date=2026-10-01T00:00:00Z", "limit=1000"]
)
def test_a_wrong_choice_is_named(mine, query):
    details = mine.get(f"/billing/invoices?{query}", 422)["details"]
    assert [each["field"] for each in details] == [query.partition("=")[0]]


def test_the_running_cycle_and_its_estimate(mine):
    cycle = mine.get("/billing/current-cycle")["data"]
    assert cycle["cycle_start"] == "2026-11-01T00:00:00+05:30"
    assert cycle["cycle_end"] == "2026-12-01T00:00:00+05:30"
    assert cycle["days_remaining"] == 16
    assert cycle["current_month_invoice"] is None
    estimate = mine.get("/billing/estimated")["data"]
    assert set(estimate) >= {
        "period_start",
        "period_end",
        "days_elapsed",
        "total_days",
        "consumption_to_date_kwh",
        "projected_consumption_kwh",
        "avg_tariff_rate",
        "estimated_base_cost",
        "estimated_tax",
        "estimated_total",
        "currency",
        "confidence_level",
    }
    assert (estimate["days_elapsed"], estimate["total_days"]) == (15, 30)
    assert estimate["confidence_level"] == "high"
    assert KWH.fullmatch(estimate["consumption_to_date_kwh"])
    assert estimate["projected_consumption_kwh"] == cycle["estimated_consumption_kwh"]
    assert estimate["estimated_total"] == cycle["estimated_cost"]
    base, tax = Decimal(estimate["estimated_base_cost"]), Decimal(estimate["estimated_tax"])
    assert base + tax == Decimal(estimate["estimated_total"])


def test_without_a_meter_there_is_no_cycle(as_customer):
    for path in ("/billing/current-cycle", "/billing/estimated"):
        assert as_customer.get(path, 404)["code"] == "METER_NOT_ASSIGNED"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "year"),
        ({"year": 2026}, "month"),
        ({"year": 2026, "month": 13}, "month"),
        ({"year": 2026, "month": 0}, "month"),
        ({"year": "2026", "month": 10}, "year"),
        ({"year": 1e99, "month": 10}, "year"),
        ({"year": 2026, "month": 10, "region": "Atlantis"}, "region"),
    ],
)
def test_a_month_that_does_not_exist_is_refused(as_operator, body, field):
    details = as_operator.post("/billing/operator/generate-monthly", body, 422)["details"]
    assert field in [each["field"] for each in details]


def test_a_month_that_lasts_is_not_billed(as_operator):
    assert (
        as_operator.post("/billing/operator/generate-monthly", {"year": 2026, "month": 11}, 409)["code"]
        == "MONTH_NOT_OVER"
    )


def test_staff_record_money_and_nobody_pays_twice(as_operator, mine):
    as_operator.post("/billing/operator/generate-monthly", OCTOBER)
    [bill] = mine.get("/billing/invoices")["data"]["invoices"]
    path = f"/billing/invoices/{bill['invoice_id']}/paid"
    body = {"payment_method": "cash", "payment_reference": "R-17", "paid_at": "2026-11-14T10:00:00+05:30"}
    assert mine.put(path, body, 403)["code"] == "FORBIDDEN"
    assert as_operator.put(path, {**body, "paid_at": "2026-12-01T00:00:00+05:30"}, 422)
    assert as_operator.put(path, {**body, "paid_at": 5}, 422)
    assert as_operator.put(path, {**body, "paid_at": "2026-11-14T10:00:00"}, 422)
    paid = as_operator.put(path, body)["data"]["invoice"]
    assert (paid["status"], paid["paid_at"]) == ("paid", "2026-11-14T10:00:00+05:30")
    assert as_operator.put(path, body, 409)["code"] == "INVOICE_ALREADY_PAID"
    reason = {"dispute_reason": "I was away all month."}
    assert mine.post(f"/billing/invoices/{bill['invoice_id']}/dispute", reason, 409)["code"] == "INVOICE_ALREADY_PAID"
    assert as_operator.put("/billing/invoices/x/paid", body, 404)["code"] == "INVOICE_NOT_FOUND"


def test_the_owner_disputes_a_bill(as_operator, mine):
    as_operator.post("/billing/operator/generate-monthly", OCTOBER)
    [bill] = mine.get("/billing/invoices")["data"]["invoices"]
    path = f"/billing/invoices/{bill['invoice_id']}/dispute"
    for reason in ("short", "x" * 2001, "          x         "):
        mine.post(path, {"dispute_reason": reason}, 422)
    disputed = mine.post(path, {"dispute_reason": "I was away all month."})["data"]["invoice"]
    assert (disputed["status"], disputed["is_disputed"]) == ("disputed", True)
    assert mine.post(path, {"dispute_reason": "I was away all month."}, 409)["code"] == "INVOICE_ALREADY_DISPUTED"


def test_more_than_fit_at_once_are_a_job_with_the_same_summary(app, act, as_operator, as_admin, holder, monkeypatch):
    monkeypatch.setattr(billing, "AT_ONCE", 1)
    with act():
        make_holder(since=india(2026, 9, 30, 12), region="Pune-West", meter_id="MTR-00000008")
        make_user()
    job = as_operator.post("/billing/operator/generate-monthly", OCTOBER, 202)["data"]["job"]
    with app.app_context():
        jobs.run(uuid.UUID(job["job_id"]))
    shown = as_operator.get(job["status_url"].removeprefix("/api/v1"))["data"]["job"]
    assert shown["result"] == as_admin.get(f"/admin/jobs/{job['job_id']}")["data"]["job"]["result"]
    assert (shown["status"], shown["done"], shown["total"]) == ("done", 2, 2)
    assert shown["result"]["summary"] == {"success": 2, "failed": 0, "total": 2}
    assert meter_key("MTR-00000008") == 8


@pytest.mark.promise(10)
def test_a_billing_job_that_was_killed_goes_on_and_bills_nobody_twice(app, act, as_operator, as_admin, monkeypatch):
    from portal.billing import actions

    monkeypatch.setattr(billing, "AT_ONCE", 1)
    monkeypatch.setattr(actions, "CHUNK", 1)
    with act():
        for number in range(1, 4):
            make_holder(since=india(2026, 9, 30, 12), region="Pune-West", meter_id=f"MTR-0000000{number}")
    job = as_operator.post("/billing/operator/generate-monthly", OCTOBER, 202)["data"]["job"]
    whole, calls = actions._bill_one, []

    def killed_at_the_third(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*args, **kwargs)

    monkeypatch.setattr(actions, "_bill_one", killed_at_the_third)
    with app.app_context(), pytest.raises(KeyboardInterrupt):
        jobs.run(uuid.UUID(job["job_id"]))
    monkeypatch.setattr(actions, "_bill_one", whole)
    with app.app_context():
        jobs.run(uuid.UUID(job["job_id"]))
    shown = as_admin.get(f"/admin/jobs/{job['job_id']}")["data"]["job"]
    assert shown["result"]["summary"] == {"success": 3, "failed": 0, "total": 3}
    assert (shown["done"], shown["total"]) == (3, 3)


@pytest.mark.promise(9)
def test_the_proof_of_a_bill_is_its_owners_alone(as_operator, as_customer, mine):
    as_operator.post("/billing/operator/generate-monthly", OCTOBER)
    [listed] = mine.get("/billing/invoices")["data"]["invoices"]
    proof = mine.get(f"/billing/invoices/{listed['invoice_id']}/proof")["data"]["proof"]
    assert proof["document"]["invoice_number"] == listed["invoice_number"]
    assert re.fullmatch("[0-9a-f]{64}", proof["sha256"])
    for who in (as_customer, as_operator):
        who.get(f"/billing/invoices/{listed['invoice_id']}/proof", 404)
    mine.get("/billing/invoices/x/proof", 404)
