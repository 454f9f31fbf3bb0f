"""Corrections as they are kept: what differs and what was decided, and the credit notes, which never change."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, SmallInteger, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from portal.accounts.models import User
from portal.billing.models import Invoice
from portal.db import Base, Kwh, Money, Rate, UtcTime

REASONS = ("readings", "supply", "tariff", "credit")


class Review(Base):
    """A bill that would come out otherwise today: by how much, why, and what a person decided (promise 6).

    `fingerprint` names the figures that were compared: what was left as it is comes back only when they are others.
    """

    __tablename__ = "invoice_reviews"
    __table_args__ = (
        CheckConstraint("status IN ('open', 'kept', 'corrected', 'gone')", name="status"),
        CheckConstraint("(status = 'open') = (decided_at IS NULL)", name="decided"),
        # The list of staff, longest wait first.
        Index("ix_invoice_reviews_open", "found_at", postgresql_where=text("status = 'open'")),
    )

    invoice_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Invoice.invoice_id), primary_key=True)
    status: Mapped[str] = mapped_column(String(10), server_default="open", default="open")
    reasons: Mapped[list[str]] = mapped_column(JSONB)
    kwh_before: Mapped[Kwh]
    kwh_after: Mapped[Kwh]
    total_before: Mapped[Money]
    total_after: Mapped[Money]
    fingerprint: Mapped[str] = mapped_column(String(64))
    found_at: Mapped[UtcTime]
    decided_at: Mapped[UtcTime | None]
    decided_by: Mapped[str | None] = mapped_column(String(200))
    note: Mapped[str | None] = mapped_column(Text)

    @property
    def difference(self) -> Decimal:
        """What the bill would cost more (INR); negative: less."""
        return self.total_after - self.total_before


class CreditNote(Base):
    """Takes a whole bill back: its lines with the other sign. The bill in its place is `replacement_id`, if one is.

    Triggers refuse every change; another checks at commit that its lines come to minus the bill's total.
    """

    __tablename__ = "credit_notes"
    __table_args__ = (
        CheckConstraint("length(note) BETWEEN 3 AND 2000", name="note"),
        # A bill is taken back once, however many people decide at the same time.
        Index("uq_credit_notes_invoice", "invoice_id", unique=True),
        Index("ix_credit_notes_user", "user_id", "created_at"),
    )

    credit_note_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    credit_note_number: Mapped[str] = mapped_column(String(30), unique=True)
    invoice_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Invoice.invoice_id))
    replacement_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Invoice.invoice_id))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.user_id))
    total_cost: Mapped[Money]
    amount: Mapped[Money]
    reasons: Mapped[list[str]] = mapped_column(JSONB)
    note: Mapped[str] = mapped_column(Text)
    line_count: Mapped[int] = mapped_column(SmallInteger)
    document_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[UtcTime]
    created_by: Mapped[str] = mapped_column(String(200))


class CreditNoteLine(Base):
    """One line of a credit note: that of the bill, with the other sign."""

    __tablename__ = "credit_note_lines"
    __table_args__ = (Index("uq_credit_note_lines_position", "credit_note_id", "position", unique=True),)

    line_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    credit_note_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(CreditNote.credit_note_id))
    position: Mapped[int] = mapped_column(SmallInteger)
    code: Mapped[str] = mapped_column(String(60))
    description: Mapped[str] = mapped_column(String(200))
    kwh: Mapped[Kwh | None]
    rate: Mapped[Rate | None]
    amount: Mapped[Money]

    def as_document(self) -> dict[str, Any]:
        """As the note's hash holds it."""
        return {"position": self.position, "code": self.code, "amount": str(self.amount)}
