"""Mails to send. A mail is a row of the act's own transaction; nothing is sent inside a request."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base, UtcTime, session


class Mail(Base):
    """One mail, plain text. `sent_at` NULL means that it waits."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_waiting", "mail_id", postgresql_where=text("sent_at IS NULL")),)

    mail_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(String(30))
    recipient: Mapped[str] = mapped_column(String(254))
    subject: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[UtcTime]
    sent_at: Mapped[UtcTime | None]


def send_mail(kind: str, recipient: str, subject: str, body: str, now: datetime) -> None:
    """Put a mail in the outbox, in this transaction."""
    session.add(Mail(kind=kind, recipient=recipient, subject=subject, body=body, created_at=now))
