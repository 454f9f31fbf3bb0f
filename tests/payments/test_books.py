"""The books add up, whatever is done and in whatever order."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from portal.audit import SYSTEM
from portal.billing.actions import mark_overdue
from portal.billing.models import Invoice
from portal.db import session
from portal.errors import PortalError
from portal.payments import actions, disputes, queries
from portal.payments.actions import Receipt
from portal.payments.models import Payment, PaymentEntry
from portal.payments.rules import Standing, share_out, status_of
from tests.billing.bills import india, run
from tests.factories import make_holder

LATER = india(2027, 1, 31)
AMOUNTS = st.decimals(min_value=Decimal("0.01"), max_value=Decimal("700"), places=2)
BILL = st.integers(0, 3)
ACTS = st.one_of(
    st.tuples(st.just("receive"), BILL, AMOUNTS),
    st.tuples(st.just("settle"), BILL, st.none()),
    st.tuples(st.just("provider"), BILL, AMOUNTS),
    st.tuples(st.just("reverse"), st.integers(0, 20), st.none()),
    st.tuples(st.just("refund"), st.none(), AMOUNTS),
    st.tuples(st.just("credit"), BILL, AMOUNTS),
    st.tuples(st.just("dispute"), BILL, st.none()),
    st.tuples(st.just("decide"), BILL, st.one_of(st.none(), AMOUNTS)),
    st.tuples(st.just("overdue"), st.none(), st.none()),
    st.tuples(st.just("use_credit"), st.none(), st.none()),
)


@pytest.fixture
def user_id(app: Flask):
    with app.app_context():
        user = make_holder(since=india(2026, 7, 15))
        other = make_holder(since=india(2026, 7, 15))
        for month in (8, 9, 10, 11):
            run(2026, month, now=LATER)
        bill = session.scalars(select(Invoice).where(Invoice.user_id == other.user_id)).first()
        assert bill is not None
        actions.receive(bill.invoice_id, Receipt("cash", Decimal("12.34")), actor=SYSTEM, now=LATER)
        session.commit()
        yield user.user_id


def perform(user_id, act, which, amount) -> None:
    bills = list(session.scalars(select(Invoice).where(Invoice.user_id == user_id).order_by(Invoice.cycle_start)))
    who = {"actor": SYSTEM, "now": LATER}
    if act in ("receive", "settle", "provider"):
        actions.receive(bills[which].invoice_id, Receipt("cash", amount), settled=act == "provider", **who)
    elif act == "reverse":
        receipts = list(
            session.scalars(
                select(Payment.payment_id)
                .where(Payment.user_id == user_id, Payment.kind == "receipt")
                .order_by(Payment.recorded_at)
            )
        )
        if receipts:
            actions.reverse(receipts[which % len(receipts)], "did not hold", **who)
    elif act == "refund":
        actions.refund(user_id, amount, "bank", **who)
    elif act == "credit":
        actions.credit(bills[which].invoice_id, amount, "CN", **who)
    elif act == "dispute":
        disputes.open_dispute(bills[which].invoice_id, user_id, "This is far too much.", **who)
    elif act == "decide":
        for dispute in disputes.list_of_bill(bills[which].invoice_id):
            if dispute.status == "open":
                credit = disputes.Credit(amount, "CN-9") if amount else None
                disputes.decide(dispute.dispute_id, "We have looked at it.", credit, **who)
    elif act == "overdue":
        mark_overdue(LATER)
    else:
        actions.use_credit(**who)


def check(user_id) -> None:
    """Every sum, from the entries up."""
    session.expire_all()
    signed = {"receipt": 1, "credit_note": 1, "refund": -1, "reversal": -1, "credit_use": 0}
    net = Decimal(0)
    for payment in session.scalars(select(Payment).where(Payment.user_id == user_id)):
        entries = queries.list_entries(payment.payment_id)
        assert sum(entry.amount for entry in entries) == signed[payment.kind] * payment.amount
        net += signed[payment.kind] * payment.amount
    bills = list(session.scalars(select(Invoice).where(Invoice.user_id == user_id)))
    for bill in bills:
        entered = session.scalar(
            select(func.coalesce(func.sum(PaymentEntry.amount), 0)).where(PaymentEntry.invoice_id == bill.invoice_id)
        )
        assert bill.amount_paid == entered
        assert 0 <= bill.amount_paid <= bill.amount_due
        assert (bill.status == "paid") == (bill.balance == 0)
        assert (bill.status == "paid") == (bill.paid_at is not None)
        assert bill.status != "disputed" or bill.is_disputed
    credit = queries.credit_of(user_id)
    assert sum(bill.amount_paid for bill in bills) + credit == net
    assert queries.balance_of(user_id) == sum(bill.amount_due for bill in bills) - net
    assert queries.owed_by(user_id) == sum(bill.balance for bill in bills)


@pytest.mark.promise(10)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(ACTS, min_size=1, max_size=14))
def test_the_books_add_up_after_any_sequence(user_id, acts) -> None:
    outer = session.begin_nested()
    try:
        for act, which, amount in acts:
            inner = session.begin_nested()
            try:
                perform(user_id, act, which, amount)
                # What is checked at a commit is checked now.
                session.connection().exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
                session.connection().exec_driver_sql("SET CONSTRAINTS ALL DEFERRED")
                inner.commit()
            except PortalError:
                inner.rollback()
            check(user_id)
    finally:
        with suppress(Exception):
            outer.rollback()
        session.expire_all()


@given(
    amount=AMOUNTS, balances=st.lists(st.decimals(min_value=Decimal(0), max_value=Decimal(300), places=2), max_size=6)
)
def test_an_amount_is_shared_out_whole(amount, balances) -> None:
    shares = share_out(amount, list(enumerate(balances)))
    assert sum(share.amount for share in shares) == amount
    for share in shares:
        assert share.amount > 0
        assert share.bill is None or share.amount <= balances[share.bill]


@pytest.mark.parametrize(
    ("paid", "disputed", "is_disputed", "day", "status"),
    [
        ("0", "0", False, 6, "pending"),
        ("0", "0", False, 7, "overdue"),
        ("99.99", "0", False, 6, "pending"),
        ("100", "0", False, 7, "paid"),
        ("100", "100", True, 7, "paid"),
        ("0", "100", True, 6, "disputed"),
        ("0", "100", True, 7, "disputed"),  # not dunned
        ("0", "40", True, 6, "disputed"),
        ("0", "40", True, 7, "overdue"),  # for the other 60
        ("60", "40", True, 7, "disputed"),
    ],
)
def test_the_state_of_a_bill_follows_from_its_sums(paid, disputed, is_disputed, day, status) -> None:
    due_day = india(2026, 12, 6, 12).date()
    standing = Standing(Decimal(100), Decimal(paid), Decimal(disputed), is_disputed, due_day)
    assert status_of(standing, due_day.replace(day=day)) == status
