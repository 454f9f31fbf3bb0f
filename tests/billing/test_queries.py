"""Lists of bills: whose, which, in what order, at what cost."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session, scoped_session

from portal.accounts.models import User
from portal.audit import SYSTEM
from portal.billing import actions, queries
from portal.db import db
from portal.errors import NotFound
from portal.meters import bulk
from portal.meters import queries as meter_queries
from portal.meters.undo import Given, begin_undo, take_back
from portal.payments.disputes import open_dispute
from tests.billing.bills import india, run
from tests.factories import NOW, make_holder, make_pool, make_user

Area = scoped_session[Session]


@contextmanager
def counting() -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(db.engine, "before_cursor_execute", note)


@pytest.fixture
def customer(area: Area) -> User:
    """A customer with the bills of July to October, beside another one."""
    user, _other = make_holder(since=india(2026, 7, 1)), make_holder(since=india(2026, 7, 1))
    for month in (7, 8, 9, 10):
        run(2026, month)
    return user


def test_a_customer_sees_their_own_bills_newest_first(customer: User) -> None:
    page = queries.list_invoices(customer.user_id)

    assert page.total == 4
    assert {bill.user_id for bill in page.invoices} == {customer.user_id}
    assert [bill.cycle_start.month for bill in page.invoices] == [10, 9, 8, 7]


def test_pages_of_bills(customer: User) -> None:
    page = queries.list_invoices(customer.user_id, limit=2, offset=1)

    assert ([bill.cycle_start.month for bill in page.invoices], page.total) == ([9, 8], 4)


@pytest.mark.parametrize(
    ("start", "end", "months"),
    [
        (date(2026, 8, 1), None, [10, 9, 8]),
        (date(2026, 8, 2), None, [10, 9]),
        (None, date(2026, 9, 1), [9, 8, 7]),
        (date(2026, 8, 1), date(2026, 8, 31), [8]),
        (date(2026, 9, 2), date(2026, 9, 30), []),
    ],
)
def test_bills_between_days(customer: User, start: date | None, end: date | None, months: list[int]) -> None:
    page = queries.list_invoices(customer.user_id, start_date=start, end_date=end)

    assert [bill.cycle_start.month for bill in page.invoices] == months


def test_bills_by_status(customer: User) -> None:
    newest = queries.list_invoices(customer.user_id).invoices[0]
    actions.mark_overdue(india(2027, 1, 1))
    open_dispute(newest.invoice_id, customer.user_id, "The meter was broken.", actor=actions_actor(), now=NOW)

    assert queries.list_invoices(customer.user_id, "disputed").total == 1
    assert queries.list_invoices(customer.user_id, "overdue").total == 3
    assert queries.search_invoices("Pune-West", "overdue").total == 7
    assert queries.search_invoices("Delhi-South").total == 0


def actions_actor() -> actions.Actor:
    """Whoever disputes."""
    return actions.Actor("user", "a customer")


@pytest.mark.promise(9)
def test_a_bulk_run_that_was_undone_gave_nobody_supply(area: Area) -> None:
    waiting = make_user()
    act = bulk.begin_run(None, actor=SYSTEM, now=india(2026, 10, 3))
    bulk.assign_chunk(make_pool(), act=act, actor=SYSTEM, now=india(2026, 10, 3))
    held = meter_queries.find_open_assignment(waiting.user_id)
    assert held is not None
    assert queries.list_due_connections(2026, 10) == [held.connection_id]
    given = [Given(waiting.user_id, held.meter_key, True)]
    undo = begin_undo(act, None, actor=SYSTEM, now=india(2026, 10, 5))
    take_back(given, make_pool(), act=act, undo=undo, actor=SYSTEM, now=india(2026, 10, 5))
    assert queries.list_due_connections(2026, 10) == []


def test_a_foreign_bill_does_not_exist(customer: User) -> None:
    foreign = next(bill for bill in queries.search_invoices().invoices if bill.user_id != customer.user_id)

    for ask in (
        lambda: queries.get_invoice(foreign.invoice_id, customer.user_id),
        lambda: queries.get_invoice(uuid.uuid4()),
        lambda: open_dispute(foreign.invoice_id, customer.user_id, "This is not mine.", actor=actions_actor(), now=NOW),
    ):
        with pytest.raises(NotFound) as refusal:
            ask()
        assert refusal.value.code == "INVOICE_NOT_FOUND"
    assert queries.get_invoice(foreign.invoice_id).invoice_id == foreign.invoice_id


def test_a_list_costs_two_statements_however_long(area: Area, customer: User) -> None:
    for limit in (2, 4):
        area.expire_all()
        user_id = customer.user_id
        with counting() as sent:
            page = queries.list_invoices(user_id, limit=limit)
            assert [bill.invoice_number for bill in page.invoices]
        assert len(sent) == 2
