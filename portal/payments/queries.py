"""Reads of money: what came, what is owed, what waits. Amounts are INR."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import aliased

from portal.accounts.models import User
from portal.billing.models import Invoice
from portal.db import session
from portal.errors import NotFound
from portal.payments.models import Payment, PaymentEntry

_ZERO = Decimal(0)


def get_payment(payment_id: uuid.UUID, user_id: uuid.UUID | None = None) -> Payment:
    """The payment; with `user_id` only if it is theirs. Raises NotFound PAYMENT_NOT_FOUND."""
    query = select(Payment).where(Payment.payment_id == payment_id)
    payment = session.scalar(query if user_id is None else query.where(Payment.user_id == user_id))
    if payment is None:
        raise NotFound("There is no payment with this id.", "PAYMENT_NOT_FOUND")
    return payment


def find_request(request_key: str) -> Payment | None:
    """The payment that a request made (uq_payments_request)."""
    return session.scalar(select(Payment).where(Payment.request_key == request_key))


def find_reversal(payment_id: uuid.UUID) -> Payment | None:
    """What took the payment back (uq_payments_reverses)."""
    return session.scalar(select(Payment).where(Payment.reverses == payment_id))


def _not_reversed() -> ColumnElement[bool]:
    reversal = aliased(Payment)
    return ~select(reversal.payment_id).where(reversal.reverses == Payment.payment_id).exists()


def find_receipt(user_id: uuid.UUID, invoice_id: uuid.UUID, method: str, reference: str) -> Payment | None:
    """A receipt for the bill with this method and reference that still holds (ix_payments_invoice_id).

    A cheque that bounced may be presented again: the reversed one is passed over.
    """
    return session.scalar(
        select(Payment).where(
            Payment.user_id == user_id,
            Payment.invoice_id == invoice_id,
            Payment.kind == "receipt",
            func.lower(Payment.method) == method.lower(),
            func.lower(Payment.reference) == reference.lower(),
            _not_reversed(),
        )
    )


def list_entries(payment_id: uuid.UUID) -> list[PaymentEntry]:
    """Where a payment went."""
    return list(
        session.scalars(
            select(PaymentEntry).where(PaymentEntry.payment_id == payment_id).order_by(PaymentEntry.entry_id)
        )
    )


def credit_of(user_id: uuid.UUID) -> Decimal:
    """A customer's credit on account (ix_payment_entries_credit)."""
    query = select(func.sum(PaymentEntry.amount)).where(
        PaymentEntry.user_id == user_id, PaymentEntry.invoice_id.is_(None)
    )
    return session.scalar(query) or _ZERO


def list_credit_used(user_id: uuid.UUID) -> list[tuple[uuid.UUID, Decimal]]:
    """(bill, credit that it was paid with), the latest use first."""
    rows = session.execute(
        select(PaymentEntry.invoice_id, func.sum(PaymentEntry.amount))
        .join(Payment, Payment.payment_id == PaymentEntry.payment_id)
        .where(Payment.user_id == user_id, Payment.kind == "credit_use", PaymentEntry.invoice_id.is_not(None))
        .group_by(PaymentEntry.invoice_id)
        .having(func.sum(PaymentEntry.amount) > 0)
        .order_by(func.max(PaymentEntry.entry_id).desc())
    )
    return [(invoice_id, amount) for invoice_id, amount in rows if invoice_id is not None]


def _gives_back() -> ColumnElement[bool]:
    """Bills that nothing is to be paid for, and that do not say so yet; cancelled ones that money still lies on."""
    return or_(
        (Invoice.status == "cancelled") & (Invoice.amount_paid > 0),
        Invoice.status.in_(("pending", "overdue", "disputed")) & (Invoice.amount_due <= Invoice.amount_paid),
    )


def list_to_release(user_id: uuid.UUID) -> list[Invoice]:
    """A customer's bills whose money, or whose negative amount, belongs on the account (ix_invoices_user_cycle)."""
    query = select(Invoice).where(Invoice.user_id == user_id, _gives_back()).order_by(Invoice.cycle_start)
    return list(session.scalars(query.with_for_update()))


def list_waiting(user_id: uuid.UUID) -> list[Invoice]:
    """A customer's bills that wait for money, the first due first; what is disputed waits for its decision."""
    query = (
        select(Invoice)
        .where(
            Invoice.user_id == user_id,
            Invoice.status.in_(("pending", "overdue")),
            Invoice.is_disputed.is_(False),
            Invoice.amount_due > Invoice.amount_paid,
        )
        .order_by(Invoice.due_date, Invoice.cycle_start)
    )
    return list(session.scalars(query.with_for_update()))


def list_with_credit_to_use() -> list[uuid.UUID]:
    """Customers who have credit and a bill that waits, or a bill that gives back.

    Plan: the few entries on account by ix_payment_entries_credit; the bills by ix_invoices_gives_back.
    """
    rich = (
        select(PaymentEntry.user_id)
        .where(PaymentEntry.invoice_id.is_(None))
        .group_by(PaymentEntry.user_id)
        .having(func.sum(PaymentEntry.amount) > 0)
        .subquery()
    )
    waits = (
        select(Invoice.user_id)
        .join(rich, rich.c.user_id == Invoice.user_id)
        .where(
            Invoice.status.in_(("pending", "overdue")),
            Invoice.is_disputed.is_(False),
            Invoice.amount_due > Invoice.amount_paid,
        )
    )
    return list(session.scalars(waits.union(select(Invoice.user_id).where(_gives_back()))))


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """A payment with what a list shows beside it."""

    payment: Payment
    invoice_number: str | None
    user_name: str
    user_email: str
    reversed: bool

    @property
    def status(self) -> str:
        """completed; reversed for a receipt that did not hold."""
        return "reversed" if self.reversed else "completed"


@dataclass(frozen=True, slots=True)
class PaymentPage:
    """One page of payments, and how many there are in all."""

    payments: list[PaymentRow]
    total: int


def list_payments(
    user_id: uuid.UUID | None = None, limit: int = 20, offset: int = 0, *, search: str = "", moves: bool = False
) -> PaymentPage:
    """A customer's payments (ix_payments_user) or everybody's (ix_payments_recorded), newest first.

    `moves` shows credit that was moved to a bill too. `search` is a bill's number, a reference or an e-mail, whole.
    """
    query = (
        select(Payment, Invoice.invoice_number, User.name, User.email)
        .outerjoin(Invoice, Invoice.invoice_id == Payment.invoice_id)
        .join(User, User.user_id == Payment.user_id)
    )
    if user_id is not None:
        query = query.where(Payment.user_id == user_id)
    if not moves:
        query = query.where(Payment.kind != "credit_use")
    if word := search.strip().lower():
        query = query.where(
            or_(
                func.lower(Invoice.invoice_number) == word,
                func.lower(Payment.reference) == word,
                func.lower(User.email) == word,
            )
        )
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    rows = session.execute(
        query.order_by(Payment.recorded_at.desc(), Payment.payment_id).limit(limit).offset(offset)
    ).all()
    ids = [row[0].payment_id for row in rows]
    gone = set(session.scalars(select(Payment.reverses).where(Payment.reverses.in_(ids)))) if ids else set()
    shown = [PaymentRow(row[0], row[1], row[2], row[3], row[0].payment_id in gone) for row in rows]
    return PaymentPage(shown, total)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one payment did to one bill: positive settles."""

    payment: Payment
    amount: Decimal


def list_settlements(invoice_id: uuid.UUID) -> list[Settlement]:
    """What was entered for a bill, oldest first (ix_payment_entries_invoice_id). Get the bill first: whose is it?"""
    rows = session.execute(
        select(Payment, PaymentEntry.amount)
        .join(PaymentEntry, PaymentEntry.payment_id == Payment.payment_id)
        .where(PaymentEntry.invoice_id == invoice_id)
        .order_by(PaymentEntry.entry_id)
    )
    return [Settlement(payment, amount) for payment, amount in rows]


def owed_by(user_id: uuid.UUID) -> Decimal:
    """What the customer's bills still ask for together, credit not taken off (ix_invoices_user_cycle)."""
    query = select(func.sum(Invoice.amount_due - Invoice.amount_paid)).where(
        Invoice.user_id == user_id, Invoice.status.in_(("pending", "overdue", "disputed"))
    )
    return session.scalar(query) or _ZERO


def balance_of(user_id: uuid.UUID) -> Decimal:
    """Bills less everything that was entered: what is owed; negative is credit."""
    billed = session.scalar(
        select(func.sum(Invoice.amount_due)).where(Invoice.user_id == user_id, Invoice.status != "cancelled")
    )
    entered = session.scalar(select(func.sum(PaymentEntry.amount)).where(PaymentEntry.user_id == user_id))
    return (billed or _ZERO) - (entered or _ZERO)
