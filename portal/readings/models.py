"""What is stored of readings and usage, and what can never be false.

Nothing here has a foreign key: readings of every number of the range are taken, and the time series stays free of
look-ups. The meter stands first in every key, so that the store can be spread by meter one day.
"""

from __future__ import annotations

from datetime import date
from enum import IntEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Text,
)
from sqlalchemy import text as sql_text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base, Kwh, UtcTime


class Kind(IntEnum):
    """What a reading tells: energy of an interval taken or given (solar), or the running total of the register."""

    IMPORT = 1
    EXPORT = 2
    REGISTER = 3


class Quality(IntEnum):
    """Whether the meter measured the value, or somebody estimated it (promise 5)."""

    MEASURED = 0
    ESTIMATED = 1


KINDS = "kind IN (1, 2, 3)"
QUALITIES = "quality IN (0, 1)"
INTERVAL = "CASE kind WHEN 3 THEN interval_seconds = 0 ELSE interval_seconds BETWEEN 1 AND 86400 END"


class Reading(Base):
    """The value in force for a meter, kind and instant; `value` in kWh.

    `read_at` is the start of the interval of `interval_seconds`, or the instant of a register reading (then 0).
    `version` counts the values that were told for this key; older ones are in `reading_versions`. `seq` and
    `reading_id` are the sender's own, `extra` what it told beside (voltage and so on), `source` who sent it ("key:3").
    Partitioned by month of `read_at`: `readings_p2026_11`; `readings_default` takes what no partition was made for.
    """

    __tablename__ = "readings"
    __table_args__ = (
        CheckConstraint(KINDS, name="kind"),
        CheckConstraint(QUALITIES, name="quality"),
        CheckConstraint(INTERVAL, name="interval"),
        CheckConstraint("value >= 0", name="value"),
        # In the order of every read: one meter, one kind, a stretch of time.
        PrimaryKeyConstraint("meter_key", "kind", "read_at"),
        {"postgresql_partition_by": "RANGE (read_at)"},
    )

    # In the order that packs tightest: a reading is there a hundred times a day for every meter.
    read_at: Mapped[UtcTime]
    received_at: Mapped[UtcTime]
    seq: Mapped[int | None] = mapped_column(BigInteger)
    meter_key: Mapped[int] = mapped_column(Integer)
    interval_seconds: Mapped[int] = mapped_column(Integer)
    kind: Mapped[int] = mapped_column(SmallInteger)
    quality: Mapped[int] = mapped_column(SmallInteger)
    version: Mapped[int] = mapped_column(Integer)
    value: Mapped[Kwh]
    source: Mapped[str] = mapped_column(String(40))
    reading_id: Mapped[str | None] = mapped_column(String(100))
    extra: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class ReadingVersion(Base):
    """A value that was told for a key and is not in force: replaced, or older by its `seq` when it came."""

    __tablename__ = "reading_versions"
    __table_args__ = (CheckConstraint(KINDS, name="kind"), CheckConstraint(QUALITIES, name="quality"))

    meter_key: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    read_at: Mapped[UtcTime] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    interval_seconds: Mapped[int] = mapped_column(Integer)
    quality: Mapped[int] = mapped_column(SmallInteger)
    value: Mapped[Kwh]
    seq: Mapped[int | None] = mapped_column(BigInteger)
    source: Mapped[str] = mapped_column(String(40))
    reading_id: Mapped[str | None] = mapped_column(String(100))
    extra: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    received_at: Mapped[UtcTime]
    superseded_at: Mapped[UtcTime]


class Quarantined(Base):
    """A row that staff must look at: readable, but of a meter, time or size that cannot be right.

    `state`: held until staff release it (then it is a reading too) or discard it; who, when and why.
    `payload` is the row as it came, as JSON text. `fingerprint` is the SHA-256 of code and payload: the same row again
    is held once.
    """

    __tablename__ = "quarantine"
    __table_args__ = (
        CheckConstraint("state IN ('held', 'released', 'discarded')", name="state"),
        CheckConstraint(
            "(state = 'held') = (decided_at IS NULL) AND (state = 'held') = (decided_by IS NULL) "
            "AND (state = 'held') = (reason IS NULL)",
            name="decided",
        ),
        Index(None, "received_at"),
        Index("ix_quarantine_held", "received_at", "quarantine_id", postgresql_where=sql_text("state = 'held'")),
    )

    quarantine_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    code: Mapped[str] = mapped_column(String(40))
    message: Mapped[str] = mapped_column(String(300))
    meter_id: Mapped[str] = mapped_column(String(50))
    read_at: Mapped[UtcTime]
    payload: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(40))
    received_at: Mapped[UtcTime]
    state: Mapped[str] = mapped_column(String(10), server_default="held")
    decided_at: Mapped[UtcTime | None]
    decided_by: Mapped[str | None] = mapped_column(String(200))
    reason: Mapped[str | None] = mapped_column(String(300))


class RegisterMeter(Base):
    """A meter that told its register: where usage is recomputed, its registers are looked at too."""

    __tablename__ = "register_meters"

    meter_key: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)


class RegisterUsage(Base):
    """Energy that follows from register readings where no interval energy came. Derived: made by `spread`.

    Shaped like a reading of the kind IMPORT, and beside those in the view `usage_intervals`: all usage is made of it.
    """

    __tablename__ = "register_usage"
    __table_args__ = (CheckConstraint("value >= 0", name="value"), CheckConstraint(QUALITIES, name="quality"))

    meter_key: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    read_at: Mapped[UtcTime] = mapped_column(primary_key=True)
    interval_seconds: Mapped[int] = mapped_column(Integer)
    value: Mapped[Kwh]
    quality: Mapped[int] = mapped_column(SmallInteger)


class _Usage:
    """Sums of the readings whose start lies in `[starts_at, ends_at)`; `reaches_at` is where their last interval ends.

    `estimated_kwh` is the part of `import_kwh` that was estimated. Seconds are of import intervals: measured,
    estimated, and the part in which intervals of one meter overlap (energy counted twice, or a clock that jumped: an
    exception for staff; the sums count every interval all the same, since nobody can say here which one is right).
    """

    meter_key: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    starts_at: Mapped[UtcTime] = mapped_column(primary_key=True)
    ends_at: Mapped[UtcTime]
    import_kwh: Mapped[Kwh]
    export_kwh: Mapped[Kwh | None]
    estimated_kwh: Mapped[Kwh]
    measured_seconds: Mapped[int] = mapped_column(Integer)
    estimated_seconds: Mapped[int] = mapped_column(Integer)
    overlap_seconds: Mapped[int] = mapped_column(Integer)
    reaches_at: Mapped[UtcTime | None]


class UsageHour(_Usage, Base):
    """Usage of one meter in one local hour. Derived: a function of the readings, made by `usage`."""

    __tablename__ = "usage_hourly"


class UsageDay(_Usage, Base):
    """Usage of one meter on one local day (23 to 25 hours). Derived from the hours."""

    __tablename__ = "usage_daily"

    day: Mapped[date]


class Touch(Base):
    """Readings changed in this half hour (UTC) of this meter: its hour and day are to be recomputed.

    Rows are only added and removed, never shared: whoever stores adds their own in the same transaction, so nobody
    waits and no change can slip between a recomputation and its note. Half hours because every zone's hours are whole
    ones of them (but for a few at :15 and :45, of which both hours are recomputed): storing needs to know no zone.
    """

    __tablename__ = "usage_touched"
    __table_args__ = (Index(None, "meter_key", "half_hour"),)

    touch_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    meter_key: Mapped[int] = mapped_column(Integer)
    half_hour: Mapped[UtcTime]
    touched_at: Mapped[UtcTime]
