"""How long a period is in months, and what that makes of slab limits. Pure."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from portal.money import round_places, round_whole
from portal.tariffs.terms import Version

MONTH_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class BillableUse:
    """What is to be priced: energy (kWh) of some local days, and what the tariff asks about the connection.

    `first_day` and `until` are local days, half-open, or None where a case names only a number of days.
    `part_period`: the connection starts or ends inside the cycle. `given` overrides the rate of a charge by its code.
    `window_kwh` is energy by time-of-day window. `entitled_kwh`: monthly entitlement by charge code. `share`,
    `cycle_days` and `whole_kwh` are set on a part of a period that a change of rates divides: its share of the whole,
    and the days and the energy of the whole. `without_fixed`: a connection that ends on the day it began owes no fixed
    charge, because that day's belongs to whoever takes over.
    """

    kwh: Decimal
    days: int
    first_day: date | None = None
    until: date | None = None
    phase: int = 1
    load_kw: Decimal | None = None
    part_period: bool = False
    options: frozenset[str] = frozenset()
    given: Mapping[str, tuple[Decimal, ...]] = field(default_factory=dict)
    window_kwh: Mapping[str, Decimal] = field(default_factory=dict)
    entitled_kwh: Mapping[str, Decimal] = field(default_factory=dict)
    export_kwh: Decimal | None = None
    credit_brought_kwh: Decimal = Decimal(0)
    month_days: int | None = None
    licensee: str | None = None
    share: Decimal = Decimal(1)
    cycle_days: int | None = None
    whole_kwh: Decimal | None = None
    without_fixed: bool = False


@dataclass(frozen=True, slots=True)
class FuelValue:
    """A published fuel adjustment: INR per kWh (one, or one a slab) or per cent, on local days `[first_day, until)`."""

    licensee: str
    series: str
    first_day: date
    until: date | None
    values: tuple[Decimal, ...]


FuelTable = Sequence[FuelValue]


def find_fuel(table: FuelTable, licensee: str, series: tuple[str, ...], day: date) -> FuelValue | None:
    """The value in force on the day. Where two are, the one that began last."""
    found = [
        value
        for value in table
        if value.licensee == licensee
        and value.series in series
        and value.first_day <= day
        and (value.until is None or day < value.until)
    ]
    return max(found, key=lambda value: value.first_day, default=None)


def calendar_fraction(first_day: date, until: date) -> Decimal:
    """Sum over calendar months of days in the period / days of the month: 25 June to 24 July is 6/30 + 24/31."""
    total, day = Decimal(0), first_day
    while day < until:
        length = monthrange(day.year, day.month)[1]
        month_end = day.replace(day=1) + timedelta(days=length)
        total += Decimal((min(until, month_end) - day).days) / length
        day = month_end
    return total


def days_of_month(use: BillableUse) -> int:
    """Days of the calendar month that a period is measured by: given, that of its first day, or 30 (31 for 31)."""
    if use.month_days is not None:
        return use.month_days
    if use.first_day is not None:
        return monthrange(use.first_day.year, use.first_day.month)[1]
    return use.days if use.days == MONTH_DAYS + 1 else MONTH_DAYS


def whole_cycles(version: Version, use: BillableUse) -> Decimal:
    """How many cycles a reading covers, at least one: two at once are priced as twice the half."""
    return max(Decimal(1), round_whole(Decimal(use.cycle_days or use.days) / (MONTH_DAYS * version.cycle_months)))


def month_fraction(version: Version, use: BillableUse) -> Decimal:
    """The period in months, by the tariff's own rule (`terms.MonthRule`)."""
    match version.month:
        case "days30_2dp":
            return round_places(Decimal(use.days) / MONTH_DAYS, 2)
        case "calendar" if use.first_day is not None and use.until is not None:
            return calendar_fraction(use.first_day, use.until)
        case "normalised":
            return Decimal(use.days) / days_of_month(use)
        case "cycle":
            return use.share * whole_cycles(version, use)
    return Decimal(use.days) / MONTH_DAYS


def scaled_limit(version: Version, limit: Decimal, fraction: Decimal) -> Decimal:
    """A limit in kWh a month, for the period: 100, 300, 500 are 103, 309, 515 in 31 days (1.03 months) at MSEDCL."""
    scaled = limit * fraction
    return round_whole(scaled) if version.whole_limits else scaled


def is_within(version: Version, use: BillableUse, limit: Decimal | None, fraction: Decimal) -> bool:
    """Whether the period's energy is within a monthly limit.

    Where the tariff normalises by days, the month's use (kWh × days of the month / days billed, to whole kWh) is
    compared with the limit as published; where it bills by cycles, the whole cycle's energy, also on a part of it;
    else the energy with the limit scaled to the period.
    """
    if limit is None:
        return True
    if version.month == "normalised":
        return round_whole(use.kwh * days_of_month(use) / use.days) <= limit
    if version.month == "cycle":
        whole = use.kwh if use.whole_kwh is None else use.whole_kwh
        return whole <= limit * whole_cycles(version, use)
    return use.kwh <= scaled_limit(version, limit, fraction)


def fixed_factor(proration: str, use: BillableUse, fraction: Decimal) -> Decimal:
    """How many monthly amounts of a fixed charge the period owes.

    "fraction": the month fraction. "cycle": the number of cycles. "month": whole months (28 to 31 days are one),
    shared by days where a change of rates divides the period; × the month fraction on a part period.
    """
    if use.without_fixed:
        return Decimal(0)
    if proration in ("fraction", "cycle") or use.part_period:
        return fraction
    whole_months = round_whole(Decimal(use.cycle_days or use.days) / MONTH_DAYS)
    return max(Decimal(1), whole_months) * use.share
