"""Money that comes, goes back or does not hold, and what a bill says of it."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from decimal import Decimal

import pytest
from flask import Flask
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session

from portal.accounts.models import User
from portal.audit import SYSTEM, Actor
from portal.billing import corrections
from portal.billing.actions import mark_overdue
from portal.billing.models import Invoice
from portal.config import Config
from portal.db import session
from portal.errors import Conflict, Forbidden, Invalid, NotFound
from portal.outbox import Mail
from portal.payments import actions, disputes, queries
from portal.payments.actions import Receipt
from portal.payments.disputes import Credit
from portal.payments.models import Payment
from tests.billing.bills import give_readings, india, run
from tests.factories import NOW, make_holder

Area = scoped_session[Session]
LATER = india(2026, 12, 31)


@pytest.fixture
def customer(area: Area) -> User:
    """A customer of Pune with three bills of the fixed charge and its duty, and somebody else with as many."""
    user = make_holder(since=india(2026, 7, 15))
    make_holder(since=india(2026, 7, 15))
    for month in (8, 9, 10):
        run(2026, month)
    area.commit()
    return user


def bills_of(user: User) -> list[Invoice]:
    """Oldest first."""
    query = select(Invoice).where(Invoice.user_id == user.user_id).order_by(Invoice.cycle_start)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def pay(bill: Invoice, amount: str | None = None, **details: object) -> Payment:
    """By the system, in cash."""
    settled = bool(details.pop("settled", False))
    receipt = Receipt(
        str(details.pop("method", "cash")),
        Decimal(amount) if amount else None,
        **details,  # type: ignore[arg-type]
    )
    return actions.receive(bill.invoice_id, receipt, actor=SYSTEM, now=NOW, settled=settled)


def test_a_part_leaves_the_rest_and_the_rest_makes_it_paid(customer: User) -> None:
    bill = bills_of(customer)[0]
    due = bill.amount_due
    pay(bill, "60")
    assert (bill.status, bill.amount_paid, bill.balance, bill.paid_at) == ("pending", 60, due - 60, None)
    pay(bill, received_at=NOW - timedelta(days=1))
    assert (bill.status, bill.balance, bill.paid_at) == ("paid", 0, NOW - timedelta(days=1))
    assert queries.credit_of(customer.user_id) == 0


def test_what_is_over_pays_the_next_bills_and_the_rest_is_credit(area: Area, customer: User) -> None:
    first, second, third = bills_of(customer)
    total = first.amount_due + second.amount_due
    pay(first, str(total + 10))
    assert [bill.status for bill in bills_of(customer)] == ["paid", "paid", "pending"]
    assert third.amount_paid == 10
    pay(third, str(third.balance + 300))
    assert queries.credit_of(customer.user_id) == 300
    assert queries.balance_of(customer.user_id) == -300
    # The next bill is paid by it, once it is there.
    run(2026, 11, now=LATER)
    assert actions.use_credit(actor=SYSTEM, now=LATER) == 1
    newest = bills_of(customer)[-1]
    assert (newest.status, newest.payment_method) == ("paid", "credit")
    assert queries.credit_of(customer.user_id) == 300 - newest.amount_due
    assert actions.use_credit(actor=SYSTEM, now=LATER) == 0
    area.commit()


def test_a_cheque_that_bounces_takes_everything_back_that_it_paid(area: Area, customer: User) -> None:
    first, second, _third = bills_of(customer)
    over = first.amount_due + second.amount_due + 5
    cheque = pay(first, str(over), method="Cheque", reference="000417")
    mark_overdue(LATER)
    back = actions.reverse(cheque.payment_id, "returned unpaid", actor=SYSTEM, now=LATER)
    area.commit()
    assert [bill.amount_paid for bill in bills_of(customer)] == [0, 0, 0]
    assert [bill.status for bill in bills_of(customer)] == ["overdue"] * 3
    assert bills_of(customer)[0].paid_at is None
    assert queries.credit_of(customer.user_id) == 0
    assert (back.kind, back.amount, back.reverses) == ("reversal", over, cheque.payment_id)
    with pytest.raises(Conflict) as refusal:
        actions.reverse(cheque.payment_id, "returned again", actor=SYSTEM, now=LATER)
    assert refusal.value.code == "PAYMENT_ALREADY_REVERSED"
    with pytest.raises(Conflict) as refusal:
        actions.reverse(back.payment_id, "no such thing", actor=SYSTEM, now=LATER)
    assert refusal.value.code == "PAYMENT_NOT_REVERSIBLE"
    # It may be presented again.
    pay(bills_of(customer)[0], method="cheque", reference="000417")
    assert bills_of(customer)[0].status == "paid"


def test_credit_is_paid_out_and_never_more_than_there_is(area: Area, customer: User) -> None:
    for bill in bills_of(customer):
        pay(bill)
    last = bills_of(customer)[-1]
    pay(last, "75.50", settled=True)
    with pytest.raises(Conflict) as refusal:
        actions.refund(customer.user_id, Decimal("75.51"), "bank", actor=SYSTEM, now=NOW)
    assert refusal.value.code == "NOT_ENOUGH_CREDIT"
    actions.refund(customer.user_id, Decimal("75.50"), "bank", actor=SYSTEM, now=NOW)
    area.commit()
    assert queries.credit_of(customer.user_id) == 0
    assert queries.balance_of(customer.user_id) == 0


def test_the_same_payment_is_recorded_once(customer: User) -> None:
    bill, other, _third = bills_of(customer)
    first = pay(bill, "50", method="cheque", reference="000123", request_key="clerk:1")
    assert pay(bill, "50", method="cheque", reference="000123", request_key="clerk:1") is first
    with pytest.raises(Conflict) as refusal:
        pay(bill, "51", method="cheque", reference="000123", request_key="clerk:1")
    assert refusal.value.code == "REQUEST_KEY_REUSED"
    with pytest.raises(Conflict) as refusal:
        pay(bill, "50", method="Cheque", reference=" 000123 ", request_key="clerk:2")
    assert refusal.value.code == "PAYMENT_ALREADY_RECORDED"
    # One cheque may pay two bills.
    pay(other, "50", method="cheque", reference="000123")
    assert (bill.amount_paid, other.amount_paid) == (50, 50)


def test_two_clerks_at_once_record_one_cheque(app: Flask, area: Area, customer: User) -> None:
    invoice_id, user_id, due = bills_of(customer)[0].invoice_id, customer.user_id, bills_of(customer)[0].amount_due
    area.commit()
    outcomes: list[str] = []
    start = threading.Barrier(6)

    def clerk() -> None:
        with app.app_context():
            start.wait()
            try:
                receipt = Receipt("cheque", due, "000999")
                actions.receive(invoice_id, receipt, actor=SYSTEM, now=NOW)
                session.commit()
                outcomes.append("recorded")
            except Conflict as refusal:
                session.rollback()
                outcomes.append(refusal.code)

    clerks = [threading.Thread(target=clerk) for _ in range(6)]
    for each in clerks:
        each.start()
    for each in clerks:
        each.join()
    assert outcomes.count("recorded") == 1
    assert set(outcomes) <= {"recorded", "INVOICE_ALREADY_PAID", "PAYMENT_ALREADY_RECORDED"}
    assert area.scalar(select(func.count()).select_from(Payment).where(Payment.user_id == user_id)) == 1


@pytest.mark.parametrize("amount", ["0", "-1", "0.001", "100000000", "NaN"])
def test_what_is_no_amount_is_refused(customer: User, amount: str) -> None:
    with pytest.raises(Invalid):
        pay(bills_of(customer)[0], amount)


def test_refusals_have_names(customer: User) -> None:
    bill = bills_of(customer)[0]
    with pytest.raises(NotFound):
        actions.receive(uuid.uuid4(), Receipt("cash"), actor=SYSTEM, now=NOW)
    for wrong in (NOW + timedelta(seconds=1), bill.created_at - timedelta(days=367)):
        with pytest.raises(Invalid):
            pay(bill, received_at=wrong)
    pay(bill)
    with pytest.raises(Conflict) as refusal:
        pay(bill, "5")
    assert refusal.value.code == "INVOICE_ALREADY_PAID"


@pytest.mark.promise(10)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payments SET amount = amount + 1",
        "DELETE FROM payments",
        "UPDATE payment_entries SET amount = amount + 1",
        "DELETE FROM payment_entries",
        "INSERT INTO payment_entries (payment_id, user_id, invoice_id, amount)"
        " SELECT payment_id, user_id, invoice_id, 1 FROM payments",
        "UPDATE invoices SET status = 'paid', paid_at = now() WHERE status = 'pending'",
    ],
)
def test_the_database_refuses_edited_books(area: Area, customer: User, statement: str) -> None:
    pay(bills_of(customer)[0], "10")
    area.commit()
    with pytest.raises(IntegrityError):
        _execute_and_commit(area, statement)


def _execute_and_commit(area: Area, statement: str) -> None:
    area.execute(text(statement))
    area.commit()


def test_every_receipt_is_told_by_mail(area: Area, customer: User) -> None:
    bill = bills_of(customer)[0]
    pay(bill, "60.50", method="upi", reference="UPI-7")
    mail = area.scalars(select(Mail)).one()
    assert (mail.kind, mail.recipient) == ("receipt", customer.email)
    assert "60.50" in mail.subject
    assert bill.invoice_number in mail.subject
    assert f"Still to pay for it: {bill.amount_due - Decimal('60.50'):.2f}" in mail.body
    assert "UPI-7" in mail.body


def test_a_credit_note_settles_its_bill_and_the_rest_is_credit(customer: User) -> None:
    first, second, _third = bills_of(customer)
    pay(first)
    actions.credit(first.invoice_id, Decimal(30), "CN-1", actor=SYSTEM, now=NOW)
    # The bill was paid: the credit goes to the next one.
    assert second.amount_paid == 30
    actions.credit(second.invoice_id, second.balance, "CN-2", actor=SYSTEM, now=NOW)
    assert second.status == "paid"


def test_nobody_marks_their_own_bill_paid(customer: User) -> None:
    """Not even a member of staff who was a customer before."""
    first, *_ = bills_of(customer)
    with pytest.raises(Forbidden, match="own bill"):
        actions.receive(
            first.invoice_id, Receipt("cash"), actor=Actor("user", customer.email, customer.user_id), now=NOW
        )
    assert first.amount_paid == 0


def test_a_dispute_of_a_bill_that_was_taken_back_is_explained_and_never_credited(
    customer: User, config: Config
) -> None:
    first, *_ = bills_of(customer)
    reason = "This use cannot be mine, I was away."
    dispute = disputes.open_dispute(first.invoice_id, customer.user_id, reason, None, actor=SYSTEM, now=NOW)
    give_readings(first.meter_id, india(2026, 8, 3), india(2026, 8, 4), config, kwh="0.5")
    corrections.correct(first.invoice_id, "readings came late", actor=SYSTEM, now=NOW)
    answer = "The bill was worked out again from the readings."
    with pytest.raises(Conflict, match="given twice"):
        disputes.decide(dispute.dispute_id, answer, Credit(Decimal(10), "CN-9"), actor=SYSTEM, now=NOW)
    assert disputes.decide(dispute.dispute_id, answer, actor=SYSTEM, now=NOW).status == "explained"
