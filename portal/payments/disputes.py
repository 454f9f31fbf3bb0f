"""A customer says what is wrong with a bill; staff answer. What is disputed is not asked for meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select

from portal import audit
from portal.accounts.models import User
from portal.accounts.queries import get_user
from portal.audit import Actor
from portal.billing.models import Invoice
from portal.billing.queries import get_invoice, list_lines
from portal.db import session
from portal.errors import Conflict, Invalid, NotFound
from portal.money import money_str
from portal.outbox import send_mail
from portal.payments import actions
from portal.payments.models import Dispute
from portal.payments.rules import check_amount

_REFUSALS = {"paid": "INVOICE_ALREADY_PAID", "cancelled": "INVOICE_CANCELLED"}
_OUTCOMES = {
    "explained": "The bill stands as it is.",
    "credited": "We credit you {amount} rupees for it.",
}


def open_dispute(
    invoice_id: uuid.UUID,
    user_id: uuid.UUID,
    reason: str,
    lines: Sequence[int] | None = None,
    *,
    actor: Actor,
    now: datetime,
) -> Dispute:
    """The owner says why a bill, or single lines of it (their positions), are wrong, in 10 to 2000 characters.

    Raises NotFound INVOICE_NOT_FOUND also for a foreign bill, Conflict INVOICE_ALREADY_PAID, INVOICE_CANCELLED or
    INVOICE_ALREADY_DISPUTED, Invalid for the reason or the lines.
    """
    told = reason.strip()
    if not 10 <= len(told) <= 2000:
        raise Invalid.field("dispute_reason", "Say in 10 to 2000 characters what is wrong.")
    get_invoice(invoice_id, user_id)
    actions.lock_customer(user_id)
    invoice = get_invoice(invoice_id, user_id)
    session.refresh(invoice, with_for_update=True)
    if invoice.status in _REFUSALS:
        raise Conflict(f"This bill is {invoice.status}; it cannot be disputed.", _REFUSALS[invoice.status])
    if invoice.is_disputed:
        raise Conflict("This bill is disputed already. Staff will answer.", "INVOICE_ALREADY_DISPUTED")
    chosen = sorted(set(lines)) if lines else None
    amount = _amount_of(invoice, chosen)
    dispute = Dispute(
        dispute_id=uuid.uuid4(),
        invoice_id=invoice_id,
        user_id=user_id,
        reason=told,
        lines=chosen,
        amount=amount,
        opened_at=now,
    )
    session.add(dispute)
    invoice.is_disputed, invoice.disputed_amount = True, amount
    invoice.dispute_reason, invoice.disputed_at = told, now
    actions.stand(invoice, now)
    details = {"dispute": str(dispute.dispute_id), "amount": money_str(amount), "lines": chosen}
    audit.record("bill.disputed", actor, now, "invoice", invoice_id, details)
    return dispute


def _amount_of(invoice: Invoice, positions: list[int] | None) -> Decimal:
    """What is in dispute: the whole bill, or the chosen lines of it, never more than the bill asks for."""
    due = max(invoice.amount_due, Decimal(0))
    if positions is None:
        return due
    amounts = {line.position: line.amount for line in list_lines(invoice.invoice_id)}
    if not set(positions) <= set(amounts):
        raise Invalid.field("line_items", "This bill has no such line.")
    return min(due, max(sum((amounts[each] for each in positions), Decimal(0)), Decimal(0)))


@dataclass(frozen=True, slots=True)
class Credit:
    """What a decision gives back: INR, and the number of the credit note that says so."""

    amount: Decimal
    reference: str


def decide(dispute_id: uuid.UUID, answer: str, credit: Credit | None = None, *, actor: Actor, now: datetime) -> Dispute:
    """Staff answer: with an explanation the bill stands; with `credit` its amount is settled by a credit note.

    The customer is told by mail. Raises NotFound DISPUTE_NOT_FOUND, Conflict DISPUTE_DECIDED, Invalid for the values.
    """
    told = answer.strip()
    if not 10 <= len(told) <= 2000:
        raise Invalid.field("answer", "Explain the outcome in 10 to 2000 characters.")
    dispute, invoice = _locked(dispute_id)
    if credit is not None:
        if invoice.status == "cancelled":
            raise Conflict(
                "This bill was taken back, and another stands in its place: a credit would be given twice. Explain it.",
                "INVOICE_CANCELLED",
            )
        amount = check_amount(credit.amount, "credit_amount")
        if amount > invoice.amount_due:
            raise Invalid.field("credit_amount", "That is more than the bill asked for.")
        dispute.credit_amount, dispute.credit_reference = amount, credit.reference
    outcome = "explained" if credit is None else "credited"
    _close(dispute, invoice, outcome, actor, now, answer=told)
    if credit is not None:
        actions.credit(invoice.invoice_id, credit.amount, credit.reference, actor=actor, now=now)
    audit.record("dispute.decided", actor, now, "invoice", invoice.invoice_id, {"outcome": outcome})
    _tell(dispute, invoice, told, now)
    return dispute


def withdraw(dispute_id: uuid.UUID, user_id: uuid.UUID, *, actor: Actor, now: datetime) -> Dispute:
    """The customer takes it back. Raises NotFound DISPUTE_NOT_FOUND (also a foreign one), Conflict DISPUTE_DECIDED."""
    dispute, invoice = _locked(dispute_id, user_id)
    _close(dispute, invoice, "withdrawn", actor, now)
    audit.record("dispute.withdrawn", actor, now, "invoice", invoice.invoice_id)
    return dispute


def _locked(dispute_id: uuid.UUID, user_id: uuid.UUID | None = None) -> tuple[Dispute, Invoice]:
    dispute = get_dispute(dispute_id, user_id)
    actions.lock_customer(dispute.user_id)
    session.refresh(dispute, with_for_update=True)
    if dispute.status != "open":
        raise Conflict("This dispute is decided already.", "DISPUTE_DECIDED")
    invoice = get_invoice(dispute.invoice_id)
    session.refresh(invoice, with_for_update=True)
    return dispute, invoice


def _close(
    dispute: Dispute, invoice: Invoice, status: str, actor: Actor, now: datetime, *, answer: str | None = None
) -> None:
    dispute.status, dispute.decided_at, dispute.decided_by = status, now, actor.label[:200]
    dispute.answer = answer
    invoice.is_disputed, invoice.disputed_amount = False, Decimal(0)
    actions.stand(invoice, now)


def _tell(dispute: Dispute, invoice: Invoice, answer: str, now: datetime) -> None:
    user = get_user(dispute.user_id)
    outcome = _OUTCOMES[dispute.status].format(amount=money_str(dispute.credit_amount or Decimal(0)))
    send_mail(
        "dispute_decided",
        user.email,
        f"Our answer about bill {invoice.invoice_number}",
        f"Hello {user.name},\n\nyou disputed bill {invoice.invoice_number}. {outcome}\n\n{answer}\n\n"
        "The bill and its history are in the portal under Bills.",
        now,
    )


def get_dispute(dispute_id: uuid.UUID, user_id: uuid.UUID | None = None) -> Dispute:
    """The dispute; with `user_id` only if it is theirs. Raises NotFound DISPUTE_NOT_FOUND."""
    query = select(Dispute).where(Dispute.dispute_id == dispute_id)
    dispute = session.scalar(query if user_id is None else query.where(Dispute.user_id == user_id))
    if dispute is None:
        raise NotFound("There is no dispute with this id.", "DISPUTE_NOT_FOUND")
    return dispute


def list_of_bill(invoice_id: uuid.UUID) -> list[Dispute]:
    """A bill's disputes, newest first (ix_disputes_invoice_id). Get the bill first: it checks whose it is."""
    query = select(Dispute).where(Dispute.invoice_id == invoice_id).order_by(Dispute.opened_at.desc())
    return list(session.scalars(query))


@dataclass(frozen=True, slots=True)
class DisputeRow:
    """A dispute in the inbox."""

    dispute: Dispute
    invoice: Invoice
    user_name: str
    user_email: str


def count_open() -> int:
    """How many wait for an answer (ix_disputes_inbox)."""
    return session.scalar(select(func.count()).select_from(Dispute).where(Dispute.status == "open")) or 0


def list_disputes(*, is_open: bool, limit: int = 20, offset: int = 0) -> tuple[list[DisputeRow], int]:
    """Open ones, longest wait first (ix_disputes_inbox); or decided ones, newest first. And how many in all."""
    which = Dispute.status == "open" if is_open else Dispute.status != "open"
    order = Dispute.opened_at.asc() if is_open else Dispute.decided_at.desc()
    rows = session.execute(
        select(Dispute, Invoice, User.name, User.email)
        .join(Invoice, Invoice.invoice_id == Dispute.invoice_id)
        .join(User, User.user_id == Dispute.user_id)
        .where(which)
        .order_by(order)
        .limit(limit)
        .offset(offset)
    )
    total = session.scalar(select(func.count()).select_from(Dispute).where(which)) or 0
    return [DisputeRow(*row) for row in rows], total
