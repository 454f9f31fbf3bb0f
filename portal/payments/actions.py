"""Money that came, went back or did not hold. Callers commit.

Every act first locks the customer's row, then bills: two clerks at once, or a clerk and a provider, go one by one.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select

from portal import audit
from portal.accounts.models import User
from portal.accounts.queries import get_user, zone_of
from portal.audit import Actor
from portal.billing.models import Invoice
from portal.billing.queries import get_invoice
from portal.db import session
from portal.errors import Conflict, Forbidden, Invalid, NotFound
from portal.money import money_str
from portal.outbox import send_mail
from portal.payments import queries
from portal.payments.models import Payment, PaymentEntry
from portal.payments.rules import Standing, check_amount, check_received, method_of, share_out, status_of
from portal.periods import local_date

AMOUNT_CODES = {"paid": "INVOICE_ALREADY_PAID", "cancelled": "INVOICE_CANCELLED"}


@dataclass(frozen=True, slots=True)
class Receipt:
    """Money as somebody received it. `amount` None is what the bill still asks for; `request_key` makes it safe to
    send again."""

    method: str
    amount: Decimal | None = None
    reference: str | None = None
    received_at: datetime | None = None
    notes: str | None = None
    request_key: str | None = None


def receive(invoice_id: uuid.UUID, receipt: Receipt, *, actor: Actor, now: datetime, settled: bool = False) -> Payment:
    """Money for a bill: what is more than it asks for becomes credit on account, and pays the customer's other bills.

    `settled` takes it also for a bill that was paid or cancelled meanwhile (a provider has the money already); without
    it that is refused. Raises NotFound INVOICE_NOT_FOUND, Forbidden for one's own bill, Conflict INVOICE_ALREADY_PAID,
    INVOICE_CANCELLED, PAYMENT_ALREADY_RECORDED (same method and reference) or REQUEST_KEY_REUSED, Invalid for the
    values.
    """
    user_id = get_invoice(invoice_id).user_id
    if actor.user_id == user_id and not settled:
        # Staff may have been customers before, with bills that are still open.
        raise Forbidden("Nobody marks their own bill paid.")
    lock_customer(user_id)
    invoice = _locked(invoice_id)
    method, reference = method_of(receipt.method), (receipt.reference or "").strip() or None
    if known := _same_request(receipt, invoice_id, method, reference):
        return known
    if invoice.status in AMOUNT_CODES and not settled:
        raise Conflict(f"This bill is {invoice.status}.", AMOUNT_CODES[invoice.status])
    balance = invoice.balance if invoice.status != "cancelled" else Decimal(0)
    if receipt.amount is None and balance <= 0:
        raise Conflict("Nothing is due for this bill.", "INVOICE_ALREADY_PAID")
    amount = balance if receipt.amount is None else check_amount(receipt.amount)
    received_at = receipt.received_at or now
    check_received(received_at, invoice.created_at, now)
    if reference and queries.find_receipt(user_id, invoice_id, method, reference):
        raise Conflict(
            f"A payment by {method} with the reference {reference} is already recorded for this bill.",
            "PAYMENT_ALREADY_RECORDED",
        )
    payment = _write(
        "receipt", user_id, amount, method, actor, now, invoice_id=invoice_id, reference=reference,
        notes=receipt.notes, received_at=received_at, request_key=receipt.request_key,
    )  # fmt: skip
    shares = share_out(amount, [(invoice, balance)])
    enter(payment, [(share.bill.invoice_id if share.bill else None, share.amount) for share in shares])
    stand(invoice, now, payment)
    details = {
        "amount": money_str(amount),
        "method": method,
        "reference": reference,
        "payment": str(payment.payment_id),
    }
    audit.record("payment.received", actor, now, "invoice", invoice_id, details)
    if any(share.bill is None for share in shares):
        use_credit_of(user_id, actor=actor, now=now)
    _mail_receipt(payment, invoice, now)
    return payment


def _mail_receipt(payment: Payment, invoice: Invoice, now: datetime) -> None:
    user = get_user(payment.user_id)
    left = max(invoice.balance, Decimal(0))
    rest = f"Still to pay for it: {money_str(left)} rupees." if left else "Nothing more is due for it."
    send_mail(
        "receipt",
        user.email,
        f"We received {money_str(payment.amount)} rupees for bill {invoice.invoice_number}",
        f"Hello {user.name},\n\nwe received {money_str(payment.amount)} rupees for bill {invoice.invoice_number}. "
        f"{rest}\n\n"
        f"Payment {payment.payment_id}, by {payment.method}"
        f"{', reference ' + payment.reference if payment.reference else ''}.\n\n"
        "The receipt is in the portal under Bills.",
        now,
    )


def _same_request(receipt: Receipt, invoice_id: uuid.UUID, method: str, reference: str | None) -> Payment | None:
    """The payment that this request made before. Raises Conflict where its key came with other content."""
    if receipt.request_key is None:
        return None
    known = queries.find_request(receipt.request_key)
    if known is None:
        return None
    same = (known.invoice_id, known.method, known.reference) == (invoice_id, method, reference)
    if not same or receipt.amount not in (None, known.amount):
        raise Conflict("This key was used for another payment.", "REQUEST_KEY_REUSED")
    return known


def reverse(payment_id: uuid.UUID, reason: str, *, actor: Actor, now: datetime) -> Payment:
    """A receipt did not hold (a bounced cheque): its entries are taken back, bills and credit as they were.

    Credit of it that paid other bills is taken from them first, the latest first. Raises NotFound PAYMENT_NOT_FOUND,
    Conflict PAYMENT_NOT_REVERSIBLE or PAYMENT_ALREADY_REVERSED, Invalid without a reason.
    """
    if not 3 <= len(reason.strip()) <= 500:
        raise Invalid.field("reason", "Say in 3 to 500 characters why it did not hold.")
    first = queries.get_payment(payment_id)
    lock_customer(first.user_id)
    if first.kind != "receipt":
        raise Conflict("Only money that was received can be reversed.", "PAYMENT_NOT_REVERSIBLE")
    if queries.find_reversal(payment_id) is not None:
        raise Conflict("This payment is already reversed.", "PAYMENT_ALREADY_REVERSED")
    entries = queries.list_entries(payment_id)
    on_account = sum((entry.amount for entry in entries if entry.invoice_id is None), Decimal(0))
    _take_credit_back(first.user_id, on_account, actor=actor, now=now)
    reversal = _write(
        "reversal", first.user_id, first.amount, first.method, actor, now, invoice_id=first.invoice_id,
        reference=first.reference, notes=reason.strip(), reverses=payment_id,
    )  # fmt: skip
    enter(reversal, [(entry.invoice_id, -entry.amount) for entry in entries])
    for entry in entries:
        if entry.invoice_id is not None:
            stand(_locked(entry.invoice_id), now)
    details = {"amount": money_str(first.amount), "reason": reason.strip()}
    audit.record("payment.reversed", actor, now, "payment", payment_id, details)
    return reversal


def _take_credit_back(user_id: uuid.UUID, wanted: Decimal, *, actor: Actor, now: datetime) -> None:
    """Move credit from the bills that it paid, the latest first, until `wanted` is on the account again."""
    lacking = wanted - queries.credit_of(user_id)
    for invoice_id, used in queries.list_credit_used(user_id):
        part = min(lacking, used)
        if part <= 0:
            return
        move = _write("credit_use", user_id, part, "credit", actor, now, invoice_id=invoice_id)
        enter(move, [(invoice_id, -part), (None, part)])
        stand(_locked(invoice_id), now)
        lacking -= part


def refund(
    user_id: uuid.UUID, amount: Decimal, method: str, reference: str | None = None, *, actor: Actor, now: datetime
) -> Payment:
    """Credit on account is paid out. Raises Conflict NOT_ENOUGH_CREDIT, Invalid for the amount."""
    amount = check_amount(amount)
    lock_customer(user_id)
    credit = queries.credit_of(user_id)
    if amount > credit:
        raise Conflict(f"There are only {money_str(credit)} rupees of credit on this account.", "NOT_ENOUGH_CREDIT")
    payment = _write("refund", user_id, amount, method_of(method), actor, now, reference=reference)
    enter(payment, [(None, -amount)])
    audit.record("payment.refunded", actor, now, "user", user_id, {"amount": money_str(amount)})
    return payment


def credit(invoice_id: uuid.UUID, amount: Decimal, reference: str, *, actor: Actor, now: datetime) -> Payment:
    """A credit note of the utility as money: it settles its bill; what the bill no longer asks for is credit."""
    amount = check_amount(amount)
    user_id = get_invoice(invoice_id).user_id
    lock_customer(user_id)
    invoice = _locked(invoice_id)
    payment = _write(
        "credit_note", user_id, amount, "credit_note", actor, now, invoice_id=invoice_id, reference=reference
    )
    shares = share_out(amount, [(invoice, invoice.balance)] if invoice.status != "cancelled" else [])
    enter(payment, [(share.bill.invoice_id if share.bill else None, share.amount) for share in shares])
    stand(invoice, now, payment)
    use_credit_of(user_id, actor=actor, now=now)
    return payment


def use_credit(*, actor: Actor, now: datetime) -> int:
    """Let credit on account pay the bills that wait for money; how many customers it concerned. Safe to run again."""
    customers = queries.list_with_credit_to_use()
    for user_id in customers:
        use_credit_of(user_id, actor=actor, now=now)
    return len(customers)


def use_credit_of(user_id: uuid.UUID, *, actor: Actor, now: datetime) -> None:
    """One customer's: bills that owe the customer and cancelled ones give to the account, then it pays the oldest."""
    lock_customer(user_id)
    for invoice in queries.list_to_release(user_id):
        over = -invoice.balance if invoice.status != "cancelled" else invoice.amount_paid
        if over > 0:
            move = _write("credit_use", user_id, over, "credit", actor, now, invoice_id=invoice.invoice_id)
            enter(move, [(invoice.invoice_id, -over), (None, over)])
        stand(invoice, now)
    waiting = queries.list_waiting(user_id)
    available = max(queries.credit_of(user_id), Decimal(0))
    for share in share_out(available, [(invoice, invoice.balance) for invoice in waiting]):
        if share.bill is not None:
            bill = share.bill.invoice_id
            move = _write("credit_use", user_id, share.amount, "credit", actor, now, invoice_id=bill)
            enter(move, [(None, -share.amount), (bill, share.amount)])
            stand(share.bill, now, move)
    session.flush()


def lock_customer(user_id: uuid.UUID) -> None:
    """One act at a time on a customer's money. Raises NotFound USER_NOT_FOUND."""
    query = select(User.user_id).where(User.user_id == user_id).with_for_update(key_share=True)
    if session.scalar(query) is None:
        raise NotFound("There is no user with this id.", "USER_NOT_FOUND")


def _locked(invoice_id: uuid.UUID) -> Invoice:
    invoice = get_invoice(invoice_id)
    session.refresh(invoice, with_for_update=True)
    return invoice


def _write(
    kind: str,
    user_id: uuid.UUID,
    amount: Decimal,
    method: str,
    actor: Actor,
    now: datetime,
    *,
    invoice_id: uuid.UUID | None = None,
    reference: str | None = None,
    notes: str | None = None,
    received_at: datetime | None = None,
    reverses: uuid.UUID | None = None,
    request_key: str | None = None,
) -> Payment:
    payment = Payment(
        payment_id=uuid.uuid4(),
        user_id=user_id,
        invoice_id=invoice_id,
        kind=kind,
        amount=amount,
        method=method,
        reference=reference,
        notes=notes,
        reverses=reverses,
        request_key=request_key,
        received_at=received_at or now,
        recorded_at=now,
        recorded_by=actor.label[:200],
    )
    session.add(payment)
    session.flush()
    return payment


def enter(payment: Payment, entries: list[tuple[uuid.UUID | None, Decimal]]) -> None:
    """Write where the money went; the database adds it to each bill."""
    for invoice_id, amount in entries:
        session.add(
            PaymentEntry(payment_id=payment.payment_id, user_id=payment.user_id, invoice_id=invoice_id, amount=amount)
        )
    session.flush()


def stand(invoice: Invoice, now: datetime, payment: Payment | None = None) -> None:
    """Bring a bill's state to what its entries and disputes say. `payment` is what moved it, if one did."""
    session.flush()
    session.refresh(invoice)
    if invoice.status == "cancelled":
        return
    status = status_of(standing_of(invoice), local_date(now, zone_of(invoice.region)))
    if status != "paid":
        invoice.paid_at = None
        if invoice.amount_paid <= 0:
            invoice.payment_method = invoice.payment_reference = invoice.payment_notes = None
    elif invoice.paid_at is None:
        invoice.paid_at = payment.received_at if payment is not None else now
        if payment is not None:
            invoice.payment_method, invoice.payment_reference = payment.method, payment.reference
            invoice.payment_notes = payment.notes
    invoice.status = status
    session.flush()


def standing_of(invoice: Invoice) -> Standing:
    """The bill's figures that decide its state."""
    return Standing(
        invoice.amount_due, invoice.amount_paid, invoice.disputed_amount, invoice.is_disputed, invoice.due_date
    )
