"""Cycles, billable days and what is payable. Pure: no session, no clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from portal.errors import Invalid
from portal.money import round_places, round_to
from portal.periods import Period, local_date, local_midnight, next_month
from portal.tariffs.fraction import BillableUse
from portal.tariffs.rules import PricedBill


@dataclass(frozen=True, slots=True)
class Cycle:
    """A billing cycle: the local days `[first_day, until)`, one or more calendar months."""

    first_day: date
    until: date

    def period(self, zone: ZoneInfo) -> Period:
        """Its instants in the region's zone."""
        return Period(local_midnight(self.first_day, zone), local_midnight(self.until, zone))

    @property
    def days(self) -> int:
        """Its length in days."""
        return (self.until - self.first_day).days


def cycle_of(day: date, months: int = 1) -> Cycle:
    """The cycle that holds the day. Cycles of two months are January-February, March-April and so on."""
    number = day.year * 12 + day.month - 1
    year, month = divmod(number - number % months, 12)
    first_day = until = date(year, month + 1, 1)
    for _ in range(months):
        until = date(*next_month(until.year, until.month), 1)
    return Cycle(first_day, until)


def cycle_ending(year: int, month: int, months: int = 1) -> Cycle | None:
    """The cycle that ends with the month, or None where the month is not the last of one.

    Raises Invalid for a month outside 1..12 or a year outside 2000..2999.
    """
    if not 1 <= month <= 12:
        raise Invalid.field("month", "The month is a number from 1 to 12.")
    if not 2000 <= year <= 2999:
        raise Invalid.field("year", "The year is a number from 2000 to 2999.")
    cycle = cycle_of(date(year, month, 1), months)
    return cycle if cycle.until == date(*next_month(year, month), 1) else None


def billable_days(served: Period, zone: ZoneInfo) -> tuple[date, date]:
    """The local days `[first, until)` whose fixed charge a supply owes.

    The day of a handover belongs to whoever takes over: a supply that ends inside a day does not owe that day, one that
    begins inside it does. A supply of one day only has `until` = `first`.
    """
    if served.end is None:
        raise ValueError("a supply is billed for a closed period")
    return local_date(served.start, zone), local_date(served.end, zone)


def days_to_price(use: BillableUse, served: Period, cycle: Cycle, zone: ZoneInfo) -> BillableUse:
    """The use with its days: at least one, part of a cycle or all of it; no fixed charge where no day is owed."""
    first_day, until = billable_days(served, zone)
    owes_nothing = until <= first_day
    if owes_nothing:
        until = first_day + timedelta(days=1)
    return replace(
        use,
        days=(until - first_day).days,
        first_day=first_day,
        until=until,
        part_period=(first_day, until) != (cycle.first_day, cycle.until),
        without_fixed=owes_nothing,
    )


def settle(total: Decimal, carried_in: Decimal, step: Decimal) -> tuple[Decimal, Decimal]:
    """(rounding, amount due): what was carried is added, the sum rounded to the tariff's step; all INR."""
    due = round_to(total + carried_in, step)
    return due - total - carried_in, due


def hours_of(seconds: int) -> Decimal:
    """Seconds as hours with two decimals."""
    return round_places(Decimal(seconds) / 3600, 2)


def confidence(covered_seconds: int, elapsed_seconds: int) -> str:
    """high, medium or low: at least 95 %, at least 70 %, or less of the elapsed time is measured (CONTRACT.md)."""
    if elapsed_seconds <= 0:
        return "low"
    share = Decimal(covered_seconds) / elapsed_seconds
    if share >= Decimal("0.95"):
        return "high"
    return "medium" if share >= Decimal("0.70") else "low"


def average_rate(bill: PricedBill, kwh: Decimal) -> Decimal:
    """INR per kWh of the whole bill, four decimals; 0 where no energy was used."""
    return round_places(bill.total / kwh, 4) if kwh else Decimal(0)
