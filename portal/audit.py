"""Who did what, when, to whom. Written in the transaction of the act itself."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, Index, String, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base, UtcTime, session


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. `kind` is user, key, cli or system; `label` is what a person reads in the log, `address` from where."""

    kind: str
    label: str
    user_id: uuid.UUID | None = None
    address: str | None = None


SYSTEM = Actor("system", "the portal")
CLI = Actor("cli", "command line")


class AuditEntry(Base):
    """One act. Rows are only ever added: triggers refuse changes, removals and emptying."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index(None, "subject_type", "subject_id", "audit_id"),
        Index(None, "actor_id", "audit_id"),
    )

    audit_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[UtcTime]
    actor_kind: Mapped[str] = mapped_column(String(20))
    actor_label: Mapped[str] = mapped_column(String(200))
    actor_id: Mapped[uuid.UUID | None]
    address: Mapped[str | None] = mapped_column(String(45))
    action: Mapped[str] = mapped_column(String(60))
    subject_type: Mapped[str] = mapped_column(String(30))
    subject_id: Mapped[str] = mapped_column(String(60))
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)


def record(
    action: str,
    actor: Actor,
    now: datetime,
    subject_type: str,
    subject_id: object,
    details: dict[str, Any] | None = None,
) -> AuditEntry:
    """Note an act in this transaction, and give the row. `details` is JSON: no passwords, codes or tokens."""
    entry = AuditEntry(
        at=now,
        actor_kind=actor.kind,
        actor_label=actor.label,
        actor_id=actor.user_id,
        address=actor.address,
        action=action,
        subject_type=subject_type,
        subject_id=str(subject_id),
        details=details or {},
    )
    session.add(entry)
    return entry


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which acts: `words` in who, what or whom; of one subject; from and before an instant."""

    words: str = ""
    subject_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None


def search(which: AuditFilter, limit: int = 20, offset: int = 0) -> tuple[list[AuditEntry], int]:
    """A page of acts, newest first (pk_audit_log; of one subject ix_audit_log_subject_type_subject_id_audit_id)."""
    query = select(AuditEntry)
    if which.subject_id is not None:
        query = query.where(AuditEntry.subject_type == "user", AuditEntry.subject_id == which.subject_id)
    for word in which.words.split()[:5]:
        part = "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        query = query.where(
            or_(
                AuditEntry.actor_label.ilike(part),
                AuditEntry.action.ilike(part),
                AuditEntry.subject_id.ilike(part),
                AuditEntry.address.ilike(part),
            )
        )
    if which.start is not None:
        query = query.where(AuditEntry.at >= which.start)
    if which.end is not None:
        query = query.where(AuditEntry.at < which.end)
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    rows = session.scalars(query.order_by(AuditEntry.audit_id.desc()).limit(limit).offset(offset))
    return list(rows), total
