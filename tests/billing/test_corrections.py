"""Promise 6 after issue: late data flag a bill, a person confirms, a credit note and a new bill take its place."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from flask import Flask
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session

from portal.audit import SYSTEM, AuditEntry
from portal.billing import chain, corrections, proof, queries, terms
from portal.billing.correction_models import CreditNote, CreditNoteLine, Review
from portal.billing.models import Invoice
from portal.config import Config
from portal.db import session
from portal.errors import Conflict, Invalid, NotFound
from portal.meters import rules
from portal.periods import Period
from portal.readings import actions as readings
from portal.tariffs.models import FuelAdjustment
from portal.tariffs.queries import Catalogue
from tests.billing.bills import HALF_HOUR, give_readings, india, run
from tests.factories import NOW, make_holder
from tests.readings.feed import row, store

Area = scoped_session[Session]
OCTOBER = (india(2026, 10, 1), india(2026, 11, 1))
LATE = india(2026, 10, 20, 12)


def _billed(area: Area, config: Config, *months: int) -> Invoice:
    """A customer with half an hour of 20 October missing, billed; the last of the bills."""
    user = make_holder(since=india(2026, 7, 15))
    assert user.meter_id
    for month in months or (10,):
        give_readings(user.meter_id, india(2026, month, 1), india(2026, month + 1, 1), config, kwh="0.25")
        run(2026, month)
    return area.scalars(select(Invoice).order_by(Invoice.cycle_start.desc()).limit(1)).one()


def _correct_a_reading(bill: Invoice, config: Config, kwh: str = "5.25") -> None:
    give_readings(bill.meter_id, LATE, LATE + HALF_HOUR, config, kwh=kwh)


def _review(bill: Invoice) -> Review | None:
    return corrections.review(bill, Catalogue(), NOW)


def test_a_bill_that_comes_out_the_same_is_not_flagged(area: Area, config: Config) -> None:
    bill = _billed(area, config)

    assert _review(bill) is None
    with pytest.raises(Conflict, match="nothing to correct"):
        corrections.correct(bill.invoice_id, "because", actor=SYSTEM, now=NOW)


@pytest.mark.promise(6)
def test_late_data_that_somebody_else_added_up_first_flags_the_bill_all_the_same(area: Area, config: Config) -> None:
    """An import and a billing run bring usage up to date before the worker comes by."""
    bill = _billed(area, config)
    while readings.refresh_usage():
        pass
    _correct_a_reading(bill, config)
    readings.refresh_meter(rules.meter_key(bill.meter_id), Period(*OCTOBER))

    touched: list[tuple[int, datetime]] = []
    readings.refresh_usage(100, touched)
    assert corrections.review_touched(touched, NOW) == 1


@pytest.mark.promise(6)
def test_a_register_that_changes_the_time_before_it_flags_the_bill_of_that_time(area: Area, config: Config) -> None:
    """Of 28 October to 3 November only the two ends were known; what the meter showed on 2 November comes late."""
    user = make_holder(since=india(2026, 10, 28))
    assert user.meter_id
    told = {"meter_id": user.meter_id}
    store([row(timestamp=india(2026, 10, 28), register_kwh=Decimal(100), **told)], config)
    store([row(timestamp=india(2026, 11, 3), register_kwh=Decimal(160), **told)], config)
    run(2026, 10)
    bill = area.scalars(select(Invoice)).one()
    while readings.refresh_usage():
        pass
    assert bill.total_consumption_kwh == Decimal(40)
    store([row(timestamp=india(2026, 11, 2, 12), register_kwh=Decimal(144), **told)], config)

    touched: list[tuple[int, datetime]] = []
    readings.refresh_usage(100, touched)
    assert corrections.review_touched(touched, NOW) == 1


@pytest.mark.promise(6)
def test_a_corrected_reading_flags_the_bill_as_soon_as_the_worker_has_seen_it(area: Area, config: Config) -> None:
    bill = _billed(area, config)
    other = make_holder(since=india(2026, 7, 15))
    assert other.meter_id
    run(2026, 10)
    while readings.refresh_usage():
        pass
    _correct_a_reading(bill, config)

    touched: list[tuple[int, datetime]] = []
    readings.refresh_usage(100, touched)
    assert corrections.review_touched(touched, NOW) == 1

    [(found, flagged)], total = corrections.list_open()
    assert (flagged.invoice_id, total, found.reasons) == (bill.invoice_id, 1, ["readings"])
    assert found.kwh_after - found.kwh_before == 5
    assert found.difference == Decimal("101.39")  # 5 kWh of the third slab, 17.48 each, and the duty on them
    assert bill.status == "pending"


@pytest.mark.promise(6)
def test_a_correction_is_a_credit_note_and_a_new_bill_and_leaves_the_old_one_as_it_was(
    area: Area, config: Config
) -> None:
    bill = _billed(area, config)
    before = chain.write_document(bill, queries.list_lines(bill.invoice_id))
    _correct_a_reading(bill, config)
    flagged = _review(bill)
    assert flagged is not None

    made = corrections.correct(
        bill.invoice_id, "The meter told 5 kWh late.", expected=flagged.fingerprint, actor=SYSTEM, now=NOW
    )

    area.commit()  # the triggers look at commit
    area.expire_all()
    assert chain.write_document(bill, queries.list_lines(bill.invoice_id)) == before
    assert (bill.status, made.note.total_cost, made.note.amount) == ("cancelled", -bill.total_cost, -bill.amount_due)
    assert made.note.credit_note_number == "CN-202611-0000001"
    assert [line.amount for line in corrections.list_credit_lines(made.note.credit_note_id)] == [
        -line.amount for line in queries.list_lines(bill.invoice_id)
    ]
    new = made.replacement
    assert new is not None
    assert (new.invoice_number, new.cycle_start, new.carried_in) == (
        "INV-202610-0000002", bill.cycle_start, bill.carried_in,
    )  # fmt: skip
    assert new.total_consumption_kwh == bill.total_consumption_kwh + 5
    assert (new.chain_place, new.previous_hash) == (2, bill.proof_hash)
    assert proof.verify(new, queries.list_lines(new.invoice_id), Catalogue()).holds
    assert corrections.list_open() == ([], 0)
    assert flagged.status == "corrected"
    assert area.scalar(select(func.count()).select_from(AuditEntry).where(AuditEntry.action == "bill.corrected")) == 1
    assert run(2026, 10).existing == 1  # and the month is billed, once


@pytest.mark.promise(6)
@pytest.mark.parametrize("model", [CreditNote, CreditNoteLine])
def test_a_credit_note_cannot_be_changed_or_removed(
    area: Area, config: Config, model: type[CreditNote] | type[CreditNoteLine]
) -> None:
    bill = _billed(area, config)
    _correct_a_reading(bill, config)
    corrections.correct(bill.invoice_id, "late", actor=SYSTEM, now=NOW)
    area.commit()
    amount = {"total_cost": 0} if model is CreditNote else {"amount": 0}
    for statement in (update(model).values(amount), delete(model)):
        with pytest.raises(IntegrityError, match="never changes"):
            area.execute(statement)
        area.rollback()


@pytest.mark.promise(6)
def test_a_credit_note_that_does_not_take_the_whole_bill_back_never_comes_to_be(area: Area, config: Config) -> None:
    bill = _billed(area, config)
    note = CreditNote(
        credit_note_number="CN-1", invoice_id=bill.invoice_id, user_id=bill.user_id, total_cost=-1, amount=-1,
        reasons=[], note="why not", line_count=0, document_hash="0" * 64, created_at=NOW, created_by="x",
    )  # fmt: skip
    area.add(note)
    with pytest.raises(IntegrityError, match="as a whole"):
        area.commit()
    area.rollback()


def test_the_bills_after_a_corrected_one_stay_and_the_next_one_settles_the_rounding(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 7, 15))
    assert user.meter_id
    for month in (8, 9):
        give_readings(user.meter_id, india(2026, month, 1), india(2026, month + 1, 1), config, kwh="0.25")
        run(2026, month)
    august, september = area.scalars(select(Invoice).order_by(Invoice.cycle_start))
    give_readings(user.meter_id, india(2026, 8, 5), india(2026, 8, 5, 1), config, kwh="3.21")
    made = corrections.correct(august.invoice_id, "late", actor=SYSTEM, now=NOW)
    assert made.replacement is not None
    assert _review(september) is None

    give_readings(user.meter_id, *OCTOBER, config, kwh="0.25")
    run(2026, 10)

    bills = [bill for bill in area.scalars(select(Invoice)) if bill.status != "cancelled"]
    october = next(bill for bill in bills if bill.cycle_start.month == 10)
    # What was asked for and what it cost differ by the last rounding only.
    assert sum(bill.amount_due - bill.total_cost for bill in bills) == october.rounding + october.carried_in + sum(
        bill.amount_due - bill.total_cost for bill in bills if bill is not october
    )
    assert abs(sum(bill.amount_due for bill in bills) - sum(bill.total_cost for bill in bills)) <= 5


def test_credit_of_panels_that_changes_flags_the_bills_after_it(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 8, 15))
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 9, 1), india(2026, 10, 1), config, kwh="0.1", export_kwh="0.2")
    run(2026, 9)
    give_readings(user.meter_id, *OCTOBER, config, kwh="0.25")
    run(2026, 10)
    september, october = area.scalars(select(Invoice).order_by(Invoice.cycle_start))
    give_readings(user.meter_id, india(2026, 9, 5), india(2026, 9, 5, 1), config, kwh="0.1", export_kwh="9")
    assert _review(october) is None
    corrections.correct(september.invoice_id, "more was given", actor=SYSTEM, now=NOW)

    flagged = _review(october)

    assert flagged is not None
    assert (flagged.reasons, flagged.difference < 0) == (["credit"], True)


def test_a_published_fuel_value_that_comes_late_flags_the_bill(area: Area, config: Config) -> None:
    bill = _billed(area, config)
    values = {"valid_from": OCTOBER[0].date(), "valid_until": None, "source": "circular"}
    late = FuelAdjustment(licensee="MSEDCL", series="per_kwh", rates=["0.10"], **values)
    area.add(late)
    area.flush()

    flagged = _review(bill)

    assert flagged is not None
    assert flagged.reasons == ["tariff"]
    area.rollback()


def test_terms_of_a_supply_that_change_after_issue_flag_nothing(area: Area, config: Config) -> None:
    bill = _billed(area, config)
    terms.set_terms(bill.user_id, phase=3, options=["time_of_day"], actor=SYSTEM, now=NOW)

    assert _review(bill) is None


def test_a_person_can_leave_a_bill_as_it_is_until_other_figures_come(area: Area, config: Config) -> None:
    bill = _billed(area, config)
    _correct_a_reading(bill, config)
    assert _review(bill)
    corrections.keep(bill.invoice_id, "agreed with the customer", actor=SYSTEM, now=NOW)
    assert _review(bill) is None
    with pytest.raises(NotFound):
        corrections.keep(bill.invoice_id, "again", actor=SYSTEM, now=NOW)

    _correct_a_reading(bill, config, "6.25")

    assert _review(bill)


def test_a_difference_that_goes_away_needs_no_decision(area: Area, config: Config) -> None:
    bill = _billed(area, config)
    values = {"valid_from": OCTOBER[0].date(), "valid_until": None, "source": "circular"}
    wrong = FuelAdjustment(licensee="MSEDCL", series="per_kwh", rates=["0.10"], **values)
    area.add(wrong)
    area.flush()
    flagged = _review(bill)
    assert flagged
    area.delete(wrong)
    area.flush()

    assert _review(bill) is None

    assert (flagged.status, flagged.decided_by) == ("gone", "the portal")
    area.rollback()


def test_a_person_confirms_the_difference_that_they_saw_and_no_other(area: Area, config: Config) -> None:
    bill = _billed(area, config)
    _correct_a_reading(bill, config)
    flagged = _review(bill)
    assert flagged is not None
    seen = flagged.fingerprint
    _correct_a_reading(bill, config, "7.25")

    with pytest.raises(Conflict, match="have changed"):
        corrections.correct(bill.invoice_id, "late", expected=seen, actor=SYSTEM, now=NOW)
    with pytest.raises(Invalid):
        corrections.correct(bill.invoice_id, " ", actor=SYSTEM, now=NOW)


@pytest.mark.promise(6)
@pytest.mark.promise(10)
def test_two_people_who_correct_at_once_make_one_credit_note_and_one_bill(app: Flask, config: Config) -> None:
    with app.app_context():
        bill = _billed(session, config)
        _correct_a_reading(bill, config)
        session.commit()
        invoice_id = bill.invoice_id
    outcomes: list[str] = []
    gate = threading.Barrier(4)

    def act() -> None:
        with app.app_context():
            gate.wait()
            try:
                corrections.correct(invoice_id, "late", actor=SYSTEM, now=datetime.now(UTC))
                session.commit()
                outcomes.append("made")
            except Conflict as refusal:
                session.rollback()
                outcomes.append(refusal.code)

    threads = [threading.Thread(target=act) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["INVOICE_CANCELLED"] * 3 + ["made"]
    with app.app_context():
        assert session.scalar(select(func.count()).select_from(CreditNote)) == 1
        assert session.scalar(select(func.count()).select_from(Invoice).where(Invoice.status != "cancelled")) == 1


def test_all_issued_bills_can_be_looked_at_again(area: Area, config: Config) -> None:
    bill = _billed(area, config)
    _correct_a_reading(bill, config)
    chunks: list[tuple[int, int]] = []

    seen = corrections.review_issued(india(2026, 1, 1), NOW, on_chunk=lambda *told: chunks.append(told))

    assert (seen, chunks) == ((1, 1), [(1, 1)])
