"""What is stored of meters and their holders, and what can never be false.

The integer key of a meter is its number: MTR-00000013 is 13. Neither the time series nor a person needs a look-up.
"""

from __future__ import annotations

import uuid
from decimal import Decimal

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    String,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from portal.accounts.models import Region, User
from portal.db import Base, Kwh, UtcTime

STATUSES = ("in_stock", "assigned", "quarantine", "faulty", "retired")
HOWS = ("registration", "admin", "bulk", "legacy", "swap", "relocation", "csv")
UNASSIGNED_HOWS = ("admin", "swap", "relocation", "closing", "undo")


class Meter(Base):
    """A meter that was stocked, assigned or heard of; other numbers of the range have no row yet.

    `region` NULL is unallocated stock. Triggers hold `status` to the open assignment and to the table of moves.
    `digits` is how many the register shows (kWh) before it begins again; `quarantine_until` NULL in quarantine means
    until staff release it.
    """

    __tablename__ = "meters"
    __table_args__ = (
        CheckConstraint("meter_id = 'MTR-' || lpad(meter_key::text, 8, '0')", name="meter_id"),
        CheckConstraint("meter_key BETWEEN 1 AND 99999999", name="meter_key"),
        CheckConstraint("status IN ('in_stock', 'assigned', 'quarantine', 'faulty', 'retired')", name="status"),
        CheckConstraint("phase IN (1, 3)", name="phase"),
        CheckConstraint("digits BETWEEN 4 AND 9", name="digits"),
        CheckConstraint("quarantine_until IS NULL OR status = 'quarantine'", name="rest"),
        # Whose time in quarantine is up.
        Index("ix_meters_resting", "quarantine_until", "meter_key", postgresql_where=text("status = 'quarantine'")),
        # Blocks of a region's stock for the pool of free meters.
        Index("ix_meters_stock", "region", "meter_key", postgresql_where=text("status = 'in_stock'")),
        # Counting what cannot be assigned.
        Index("ix_meters_blocked", "meter_key", postgresql_where=text("status IN ('faulty', 'retired')")),
    )

    meter_key: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    meter_id: Mapped[str] = mapped_column(String(50), unique=True)
    region: Mapped[str | None] = mapped_column(String(100), ForeignKey(Region.name))
    status: Mapped[str] = mapped_column(String(12), server_default="in_stock")
    make: Mapped[str | None] = mapped_column(String(60))
    model: Mapped[str | None] = mapped_column(String(60))
    phase: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    multiplier: Mapped[Decimal] = mapped_column(Numeric(8, 3), server_default="1")
    digits: Mapped[int] = mapped_column(SmallInteger, server_default="6")
    quarantine_until: Mapped[UtcTime | None]
    commissioned_at: Mapped[UtcTime | None]
    last_seen_at: Mapped[UtcTime | None]


class FreeMeter(Base):
    """The pool: what can be claimed now. A claim deletes its row (SKIP LOCKED); a rollback gives it back."""

    __tablename__ = "free_meters"
    __table_args__ = (Index("ix_free_meters_region_meter_key", "region", "meter_key"),)

    meter_key: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    region: Mapped[str | None] = mapped_column(String(100), ForeignKey(Region.name))


class PoolSource(Base):
    """What the pool has drawn of the range, [first_key, next_key): one row. Its lock makes refills take turns."""

    __tablename__ = "pool_source"
    __table_args__ = (CheckConstraint("single", name="one_row"),)

    single: Mapped[bool] = mapped_column(Boolean, primary_key=True)
    first_key: Mapped[int] = mapped_column(Integer, server_default="1")
    next_key: Mapped[int] = mapped_column(Integer)


class Connection(Base):
    """A customer's unbroken supply. A change of meter goes on within it; bills are one per connection and cycle."""

    __tablename__ = "connections"
    __table_args__ = (
        CheckConstraint("ends_at > starts_at", name="period"),
        CheckConstraint("phase IN (1, 3)", name="phase"),
        Index("uq_connections_user_open", "user_id", unique=True, postgresql_where=text("ends_at IS NULL")),
        Index(None, "region", "starts_at"),
        Index(None, "user_id", "starts_at"),
    )

    connection_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.user_id))
    region: Mapped[str | None] = mapped_column(String(100), ForeignKey(Region.name))
    tariff_category: Mapped[str] = mapped_column(String(30), server_default="residential")
    sanctioned_load_kw: Mapped[Decimal] = mapped_column(Numeric(8, 2), server_default="2")
    phase: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    options: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    entitlements: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    starts_at: Mapped[UtcTime]
    ends_at: Mapped[UtcTime | None]


class Assignment(Base):
    """Who held which meter, `[assigned_at, unassigned_at)`. Promise 1 stands here.

    Open rows: one per meter and one per user (partial unique indexes). Closed rows: no overlap per meter or user
    (partial exclusions). Closed against open: the trigger `meter_assignments_no_overlap`. Whole-table exclusions
    would do the same and make a bulk run nine times slower than the bare UPDATE.

    `assigned_act` and `unassigned_act` are rows of the audit log: one of a single act, one for a whole bulk run.
    `heard`: a reading of the meter since the start is known; the worker marks it some time after.
    """

    __tablename__ = "meter_assignments"
    __table_args__ = (
        CheckConstraint("unassigned_at > assigned_at", name="period"),
        CheckConstraint("how IN ('registration', 'admin', 'bulk', 'legacy', 'swap', 'relocation', 'csv')", name="how"),
        CheckConstraint("unassigned_how IN ('admin', 'swap', 'relocation', 'closing', 'undo')", name="unassigned_how"),
        CheckConstraint("opening_register >= 0 AND closing_register >= 0", name="registers"),
        # Whom a bulk run served.
        Index("ix_meter_assignments_act", "assigned_act", postgresql_where=text("how IN ('bulk', 'csv')")),
        Index(
            "uq_meter_assignments_meter_open", "meter_key", unique=True, postgresql_where=text("unassigned_at IS NULL")
        ),
        Index("uq_meter_assignments_user_open", "user_id", unique=True, postgresql_where=text("unassigned_at IS NULL")),
        ExcludeConstraint(
            (text("meter_key"), "="),
            (text("tstzrange(assigned_at, unassigned_at)"), "&&"),
            name="ex_meter_assignments_meter_closed",
            where=text("unassigned_at IS NOT NULL"),
            using="gist",
        ),
        ExcludeConstraint(
            (text("user_id"), "="),
            (text("tstzrange(assigned_at, unassigned_at)"), "&&"),
            name="ex_meter_assignments_user_closed",
            where=text("unassigned_at IS NOT NULL"),
            using="gist",
        ),
        Index(None, "connection_id"),
        Index(None, "assigned_at"),
        # Whose meter is not known to have been heard of since, longest silent first (portal.readings.unheard).
        Index(
            "ix_meter_assignments_unheard",
            "assigned_at",
            "assignment_id",
            postgresql_where=text("unassigned_at IS NULL AND NOT heard"),
        ),
        # Registers that staff read: they make usage as the meter's own do.
        Index(
            "ix_meter_assignments_registers",
            "meter_key",
            postgresql_where=text("opening_register IS NOT NULL OR closing_register IS NOT NULL"),
        ),
    )

    assignment_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey(Connection.connection_id))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.user_id))
    meter_key: Mapped[int] = mapped_column(ForeignKey(Meter.meter_key))
    assigned_at: Mapped[UtcTime]
    unassigned_at: Mapped[UtcTime | None]
    opening_register: Mapped[Kwh | None]
    closing_register: Mapped[Kwh | None]
    how: Mapped[str] = mapped_column(String(15))
    assigned_by: Mapped[str] = mapped_column(String(200))
    assigned_act: Mapped[int | None] = mapped_column(BigInteger)
    unassigned_by: Mapped[str | None] = mapped_column(String(200))
    unassigned_how: Mapped[str | None] = mapped_column(String(15))
    unassigned_act: Mapped[int | None] = mapped_column(BigInteger)
    heard: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))


class Tally(Base):
    """What one statement changed of a count; the sum over `what` is the count. Triggers write them, `stats` folds them.

    `what`: a role (all users of it), customer (with an open account), holder, a status of meters (bucket: 100,000
    numbers), given and taken (bucket: the local day's number since 2000-01-01).
    """

    __tablename__ = "tallies"

    tally_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    what: Mapped[str] = mapped_column(String(12))
    region: Mapped[str | None] = mapped_column(String(100))
    bucket: Mapped[int] = mapped_column(server_default="0")
    n: Mapped[int] = mapped_column(BigInteger)
