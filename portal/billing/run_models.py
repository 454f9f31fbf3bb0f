"""A billing run as staff do it: what it would bill, what is odd about it, what was decided, and how far it is."""

from __future__ import annotations

import uuid
from datetime import date

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from portal.accounts.models import Region, User
from portal.billing.models import Invoice
from portal.db import Base, Kwh, Money, UtcTime
from portal.meters.models import Connection

OPEN = ("calculating", "draft", "issuing")


class BillingRun(Base):
    """The bills of the cycles that end with a month, of a region or of all. Nothing is issued before it is approved."""

    __tablename__ = "billing_runs"
    __table_args__ = (
        CheckConstraint("status IN ('calculating', 'draft', 'issuing', 'issued', 'cancelled')", name="status"),
        CheckConstraint("month BETWEEN 1 AND 12", name="month"),
        CheckConstraint("status NOT IN ('issuing', 'issued') OR approved_at IS NOT NULL", name="approved"),
        # One at a time for a month and region.
        Index(
            "uq_billing_runs_open", "year", "month", text("coalesce(region, '')"), unique=True,
            postgresql_where=text("status IN ('calculating', 'draft', 'issuing')"),
        ),
        Index("ix_billing_runs_created", text("created_at DESC")),
    )  # fmt: skip

    run_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    year: Mapped[int] = mapped_column(SmallInteger)
    month: Mapped[int] = mapped_column(SmallInteger)
    region: Mapped[str | None] = mapped_column(String(100), ForeignKey(Region.name))
    status: Mapped[str] = mapped_column(String(12))
    job_id: Mapped[uuid.UUID | None]
    created_at: Mapped[UtcTime]
    created_by: Mapped[str] = mapped_column(String(200))
    creator_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(User.user_id))
    calculated_at: Mapped[UtcTime | None]
    approved_at: Mapped[UtcTime | None]
    approved_by: Mapped[str | None] = mapped_column(String(200))
    ended_at: Mapped[UtcTime | None]

    @property
    def first_day(self) -> date:
        """The first day of its month."""
        return date(self.year, self.month, 1)


class BillingRunItem(Base):
    """One connection of a run. kWh and INR are of the preview; the bill is worked out again when it is issued.

    waiting: not worked out yet. ready: can be issued, if it has no exception or somebody decided so. refused: cannot be
    billed, `code` and `error` say why. issued: has its bill. done: has one already, or none is due.
    """

    __tablename__ = "billing_run_items"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'ready', 'refused', 'issued', 'done')", name="state"),
        CheckConstraint("decision IN ('issue', 'hold')", name="decision"),
        CheckConstraint("(state = 'issued') = (invoice_id IS NOT NULL)", name="issued"),
        # What is still to do, in order.
        Index("ix_billing_run_items_state", "run_id", "state", "connection_id"),
        # What a person must look at.
        Index(
            "ix_billing_run_items_odd", "run_id", "connection_id",
            postgresql_where=text("exceptions <> '[]' OR state = 'refused'"),
        ),
    )  # fmt: skip

    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(BillingRun.run_id), primary_key=True)
    connection_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(Connection.connection_id), primary_key=True, autoincrement=False
    )
    state: Mapped[str] = mapped_column(String(8), server_default="waiting")
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(User.user_id))
    meter_id: Mapped[str | None] = mapped_column(String(50))
    exceptions: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    kwh: Mapped[Kwh | None]
    usual_kwh: Mapped[Kwh | None]
    unsure_percent: Mapped[int | None] = mapped_column(SmallInteger)
    total_cost: Mapped[Money | None]
    amount_due: Mapped[Money | None]
    code: Mapped[str | None] = mapped_column(String(60))
    error: Mapped[str | None] = mapped_column(Text)
    decision: Mapped[str | None] = mapped_column(String(5))
    decided_by: Mapped[str | None] = mapped_column(String(200))
    invoice_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Invoice.invoice_id))
