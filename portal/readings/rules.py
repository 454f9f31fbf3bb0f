"""Which readings can be taken, and what they tell: pure decisions, no database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import msgspec

from portal.meters.rules import find_meter_key, meter_id
from portal.money import round_energy
from portal.readings.incoming import Row
from portal.readings.models import Kind, Quality

MAX_ROWS = 10_000
DEFAULT_INTERVAL = 900
MAX_INTERVAL = 86_400
# Mean power of one interval beyond which no meter of a customer can be right: far above any low-voltage supply (kW).
MAX_MEAN_KW = Decimal(1_000)
MAX_REGISTER = Decimal(100_000_000)
# Meters whose clock has lost its battery tell dates before this.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MAX_TEXT = 100
MAX_METADATA = 4_000
_SEQ_LIMIT = 2**63
_HALF_HOUR = timedelta(minutes=30)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO = Decimal(0)

Key = tuple[int, int, datetime]


class Told(NamedTuple):
    """One value that was told for a key: kWh to six decimals, UTC. `row` is its place in the batch, from 0."""

    row: int
    meter_key: int
    kind: int
    read_at: datetime
    interval_seconds: int
    value: Decimal
    quality: int
    seq: int | None
    reading_id: str | None
    extra: str | None

    @property
    def key(self) -> Key:
        """What has one value in force."""
        return (self.meter_key, self.kind, self.read_at)

    def same_as(self, other: Told) -> bool:
        """True if both tell the same of the same interval."""
        return (
            self.value == other.value
            and self.interval_seconds == other.interval_seconds
            and self.quality == other.quality
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a row is not taken. `held` rows go to quarantine; their code begins with QUARANTINED_."""

    code: str
    message: str

    @property
    def held(self) -> bool:
        """True if staff shall look at the row."""
        return self.code.startswith("QUARANTINED_")


@dataclass(frozen=True, slots=True)
class Limits:
    """What this portal takes: meters from `first` to `last`, instants up to `latest`."""

    first: int
    last: int
    latest: datetime


def check(index: int, row: Row, limits: Limits, default_interval: int = DEFAULT_INTERVAL) -> list[Told] | Refused:
    """The values that a row tells (energy or register, and export), or why it is not taken."""
    key = find_meter_key(row.meter_id)
    if key is None:
        return Refused("BAD_METER_ID", "meterId is not a meter number; they look like MTR-00000013.")
    read_at = _in_utc(row.timestamp)
    if read_at is None:
        return Refused("BROKEN_TIMESTAMP", "timestamp needs an offset from UTC, such as 2026-11-01T00:00:00+05:30.")
    interval = default_interval if row.interval_seconds is None else row.interval_seconds
    if not 1 <= interval <= MAX_INTERVAL:
        return Refused("BAD_INTERVAL", f"intervalSeconds must be from 1 to {MAX_INTERVAL}.")
    values = _values(row, interval)
    if isinstance(values, Refused):
        return values
    extra = _beside(row)
    if isinstance(extra, Refused):
        return extra
    refused = _suspicion(key, read_at, interval, values, limits)
    if refused:
        return refused
    quality = Quality.ESTIMATED if row.status is not None and row.status.lower() == "estimated" else Quality.MEASURED
    return [
        Told(
            index,
            key,
            kind,
            read_at,
            0 if kind == Kind.REGISTER else interval,
            round_energy(value),
            quality,
            row.seq,
            row.reading_id,
            extra,
        )
        for kind, value in values
    ]


def _in_utc(instant: datetime) -> datetime | None:
    if instant.tzinfo is None:
        return None
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        return None


def _values(row: Row, interval: int) -> list[tuple[Kind, Decimal]] | Refused:
    given = (row.energy_kwh is not None) + (row.register_kwh is not None) + (row.power_kw is not None)
    if given == 0:
        return Refused("MISSING_VALUE", "Give one of energyKwh, registerKwh and powerKw.")
    if given > 1:
        return Refused("SEVERAL_VALUES", "Give only one of energyKwh, registerKwh and powerKw.")
    for name, number in (
        ("energyKwh", row.energy_kwh),
        ("registerKwh", row.register_kwh),
        ("powerKw", row.power_kw),
        ("exportKwh", row.export_kwh),
    ):
        if number is not None:
            if not number.is_finite():
                return Refused("NOT_FINITE", f"{name} is not a finite number.")
            if number < 0:
                return Refused("NEGATIVE_VALUE", f"{name} is negative; energy given goes into exportKwh.")
    if row.register_kwh is not None:
        if row.export_kwh is not None:
            return Refused("BAD_FIELD", "exportKwh is the energy of an interval; it does not go with registerKwh.")
        return [(Kind.REGISTER, row.register_kwh.copy_abs())]
    if row.power_kw is not None:
        # A power beyond all measure is held back below; multiplying it could overflow.
        energy = row.power_kw if row.power_kw > MAX_REGISTER else row.power_kw * interval / 3600
    else:
        energy = row.energy_kwh or _ZERO
    values = [(Kind.IMPORT, energy.copy_abs())]
    if row.export_kwh is not None:
        values.append((Kind.EXPORT, row.export_kwh.copy_abs()))
    return values


def _beside(row: Row) -> str | Refused | None:
    """What else the row tells, as a JSON object of texts; None if nothing."""
    if row.seq is not None and not -_SEQ_LIMIT <= row.seq < _SEQ_LIMIT:
        return Refused("BAD_FIELD", "seq does not fit into 64 bits.")
    beside: dict[str, str] = {}
    for name, number in (
        ("voltage", row.voltage),
        ("current", row.current),
        ("frequency", row.frequency),
        ("powerFactor", row.power_factor),
        ("temperature", row.temperature),
    ):
        if number is not None:
            text = str(number)
            if not number.is_finite() or len(text) > MAX_TEXT:
                return Refused("NOT_FINITE", f"{name} is not a finite number.")
            beside[name] = text
    for name, words in (("readingId", row.reading_id), ("status", row.status), ("region", row.region)):
        if words is not None:
            if len(words) > MAX_TEXT or not _is_storable(words):
                return Refused("BAD_FIELD", f"{name} is longer than {MAX_TEXT} characters or not plain text.")
            if name != "readingId":
                beside[name] = words
    if row.metadata is not msgspec.UNSET:
        metadata = bytes(row.metadata)
        if len(metadata) > MAX_METADATA:
            return Refused("BAD_FIELD", f"metadata is longer than {MAX_METADATA} bytes.")
        # Kept as the text it came as: a database would refuse some of what JSON allows.
        beside["metadata"] = metadata.decode()
    return json.dumps(beside) if beside else None


def _is_storable(words: str) -> bool:
    """True if PostgreSQL can keep the text: no NUL, no half of a surrogate pair."""
    return "\0" not in words and not any("\ud800" <= each <= "\udfff" for each in words)


def _suspicion(
    key: int, read_at: datetime, interval: int, values: list[tuple[Kind, Decimal]], limits: Limits
) -> Refused | None:
    if not limits.first <= key <= limits.last:
        return Refused(
            "QUARANTINED_OUTSIDE_RANGE",
            f"{meter_id(key)} is outside the range of this utility, {meter_id(limits.first)} to "
            f"{meter_id(limits.last)}. The row is held for staff.",
        )
    if read_at > limits.latest:
        return Refused("QUARANTINED_FUTURE", "timestamp lies in the future. The row is held for staff.")
    if read_at < EARLIEST:
        return Refused("QUARANTINED_TOO_OLD", "timestamp lies before the year 2000. The row is held for staff.")
    for kind, value in values:
        most = MAX_REGISTER if kind == Kind.REGISTER else MAX_MEAN_KW * interval / 3600
        if value > most:
            return Refused(
                "QUARANTINED_IMPLAUSIBLE",
                f"A value is beyond what is plausible ({most.normalize():f} kWh). The row is held for staff.",
            )
    return None


def check_meter(told: Told, status: str, commissioned_at: datetime | None) -> Refused | None:
    """Why a reading of this meter is held back, or None."""
    if status == "retired":
        return Refused("QUARANTINED_RETIRED", f"{meter_id(told.meter_key)} is retired. The row is held for staff.")
    if commissioned_at is not None and told.read_at < commissioned_at:
        return Refused(
            "QUARANTINED_BEFORE_COMMISSIONING",
            f"{meter_id(told.meter_key)} was commissioned after this time. The row is held for staff.",
        )
    return None


def exceeds(told: Told, most_kw: int) -> bool:
    """True if the mean power of the interval is more than `most_kw`."""
    return told.interval_seconds > 0 and told.value * 3600 > most_kw * told.interval_seconds


def beyond(told: Told, most_kw: int) -> Refused:
    """Why such a value is held back."""
    return Refused(
        "QUARANTINED_BEYOND_LIMIT",
        f"That is more than {meter_id(told.meter_key)} can carry by its phases ({most_kw} kW). The row is held for "
        "staff.",
    )


def half_hours_of(told: Told) -> tuple[datetime, ...]:
    """The half hours (UTC) in which the interval of a value begins and ends; what it may change in usage."""
    first = half_hour(told.read_at)
    if told.read_at + timedelta(seconds=told.interval_seconds) <= first + _HALF_HOUR:
        return (first,)
    last = half_hour(told.read_at + timedelta(seconds=told.interval_seconds, microseconds=-1))
    return (first, last)


def half_hour(instant: datetime) -> datetime:
    """The half hour (UTC) in which the instant lies, by its start."""
    return instant - (instant - _EPOCH) % _HALF_HOUR
