"""Money as entries that are never edited: a mistake is answered by a new entry (triggers refuse all else)."""

from __future__ import annotations

import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, SmallInteger, String, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from portal.accounts.models import User
from portal.billing.models import Invoice
from portal.db import Base, Money, UtcTime

METHODS = ("cash", "cheque", "bank", "upi", "online", "other")
KINDS = ("receipt", "refund", "reversal", "credit_use", "credit_note")


class Payment(Base):
    """One movement of a customer's money, INR. `amount` is positive; `kind` says which way it goes.

    receipt: it came in. credit_note: the utility gives it. refund: credit was paid out. reversal: a receipt that did
    not hold (a bounced cheque), named by `reverses`. credit_use: credit on account moved to a bill, or back.
    `invoice_id` is the bill that it was meant for; where it went is said by its entries.
    """

    __tablename__ = "payments"
    __table_args__ = (
        CheckConstraint("kind IN ('receipt', 'refund', 'reversal', 'credit_use', 'credit_note')", name="kind"),
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("(kind = 'reversal') = (reverses IS NOT NULL)", name="reverses"),
        # A receipt is reversed once, however many clerks do it at once.
        Index("uq_payments_reverses", "reverses", unique=True, postgresql_where=text("reverses IS NOT NULL")),
        # The same request again is the same payment.
        Index("uq_payments_request", "request_key", unique=True, postgresql_where=text("request_key IS NOT NULL")),
        # A customer's history, newest first.
        Index("ix_payments_user", "user_id", text("recorded_at DESC")),
        # Staff: all of them, newest first.
        Index("ix_payments_recorded", text("recorded_at DESC")),
    )

    payment_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.user_id))
    invoice_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Invoice.invoice_id), index=True)
    kind: Mapped[str] = mapped_column(String(12))
    amount: Mapped[Money]
    method: Mapped[str] = mapped_column(String(40))
    reference: Mapped[str | None] = mapped_column(String(120))
    notes: Mapped[str | None] = mapped_column(Text)
    reverses: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("payments.payment_id"))
    request_key: Mapped[str | None] = mapped_column(String(200))
    received_at: Mapped[UtcTime]
    recorded_at: Mapped[UtcTime]
    recorded_by: Mapped[str] = mapped_column(String(200))


class PaymentEntry(Base):
    """Where a payment's money went, INR: to a bill, or (without one) to the customer's credit on account.

    Positive settles, negative takes back. The entries of a payment come to its amount, with the sign of its kind; those
    of a credit_use come to nothing. A trigger keeps `invoices.amount_paid` at the sum of a bill's entries.
    """

    __tablename__ = "payment_entries"
    __table_args__ = (
        CheckConstraint("amount <> 0", name="amount"),
        # A customer's credit on account.
        Index("ix_payment_entries_credit", "user_id", postgresql_where=text("invoice_id IS NULL")),
    )

    entry_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    payment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Payment.payment_id), index=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.user_id))
    invoice_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Invoice.invoice_id), index=True)
    amount: Mapped[Money]


class Dispute(Base):
    """What a customer says is wrong with a bill, and what came of it; both stand as they were written (trigger).

    `lines` are the positions of the lines in dispute, NULL for the whole bill; `amount` is what is not asked for until
    the decision. explained: the bill stands, `answer` says why. credited: a credit note corrects it.
    """

    __tablename__ = "disputes"
    __table_args__ = (
        CheckConstraint("status IN ('open', 'explained', 'credited', 'withdrawn')", name="status"),
        CheckConstraint("(status = 'open') = (decided_at IS NULL)", name="decided"),
        CheckConstraint("(status = 'credited') = (credit_amount IS NOT NULL)", name="credited"),
        # One at a time for a bill.
        Index("uq_disputes_open", "invoice_id", unique=True, postgresql_where=text("status = 'open'")),
        # The inbox of staff, longest wait first.
        Index("ix_disputes_inbox", "opened_at", postgresql_where=text("status = 'open'")),
    )

    dispute_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    invoice_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Invoice.invoice_id), index=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.user_id))
    reason: Mapped[str] = mapped_column(Text)
    lines: Mapped[list[int] | None] = mapped_column(ARRAY(SmallInteger))
    amount: Mapped[Money]
    opened_at: Mapped[UtcTime]
    status: Mapped[str] = mapped_column(String(10), server_default="open", default="open")
    answer: Mapped[str | None] = mapped_column(Text)
    credit_reference: Mapped[str | None] = mapped_column(String(120))
    credit_amount: Mapped[Money | None]
    decided_at: Mapped[UtcTime | None]
    decided_by: Mapped[str | None] = mapped_column(String(200))
