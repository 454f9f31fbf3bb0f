"""The price of electricity: one pure function for every tariff. No session, no clock, no utility's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from portal.errors import Invalid
from portal.money import round_energy, round_paisa, round_to, round_whole
from portal.tariffs.charges import pick_schedule, work_out
from portal.tariffs.fraction import BillableUse, FuelTable, month_fraction, scaled_limit
from portal.tariffs.terms import Category, Energy, Version
from portal.tariffs.working import ZERO, Mark


@dataclass(frozen=True, slots=True)
class PricedLine:
    """A line of a bill: INR in `amount`; kWh and INR per kWh where it has them; the local days that it is for."""

    code: str
    description: str
    category: Category
    amount: Decimal
    kwh: Decimal | None = None
    rate: Decimal | None = None
    first_day: date | None = None
    until: date | None = None


@dataclass(frozen=True, slots=True)
class PricedPart:
    """What one tariff version priced: its share of the energy (kWh), its days and its length in months."""

    version: str
    first_day: date | None
    until: date | None
    days: int
    kwh: Decimal
    month_fraction: Decimal


@dataclass(frozen=True, slots=True)
class PricedBill:
    """A bill in INR: `total` is the sum of the rounded lines, `payable` is after the tariff's own rounding.

    `billed_kwh` is what was charged after exports and credit; `credit_carried_kwh` goes to the next bill.
    """

    lines: tuple[PricedLine, ...]
    base_cost: Decimal
    surcharges: Decimal
    tax_amount: Decimal
    discounts: Decimal
    total: Decimal
    payable: Decimal
    parts: tuple[PricedPart, ...]
    marks: tuple[Mark, ...]
    billed_kwh: Decimal
    credit_used_kwh: Decimal
    credit_carried_kwh: Decimal


@dataclass(frozen=True, slots=True)
class VersionDays:
    """A version and the local days `[first_day, until)` of a period on which it is in force."""

    version: Version
    first_day: date
    until: date


def price(version: Version, use: BillableUse, fuel: FuelTable = ()) -> PricedBill:
    """The bill for this use under one version; a fuel value that changes inside divides it. Raises Invalid."""
    if use.first_day is not None and use.until is not None:
        return price_across([VersionDays(version, use.first_day, use.until)], use, fuel)
    return _bill([(version, _net(version, use)[0])], version, use, fuel)


def price_across(versions: Sequence[VersionDays], use: BillableUse, fuel: FuelTable = ()) -> PricedBill:
    """The bill for a use whose days the versions share between them, in order and without a hole.

    Energy is divided as the tariff divides it (`terms.ChangeRule`), each part is priced by its own version, the parts
    are rounded to what is payable once. Raises Invalid for days that no version covers and for a use that cannot be
    priced.
    """
    if use.first_day is None or use.until is None:
        raise Invalid("A period is needed to divide a bill between tariffs.")
    covered = [(part.first_day, part.until) for part in versions]
    edges = [use.first_day, *(until for _, until in covered)]
    if [first for first, _ in covered] != edges[:-1] or edges[-1] != use.until:
        raise Invalid("The tariffs do not cover the period from its first day to its last.")
    first = versions[0].version
    net, _, _ = _net(first, use)
    if first.change == "at_start":
        return _bill([(first, net)], first, use, fuel)
    parts = [piece for part in versions for piece in _at_fuel_changes(part, use, fuel)]
    return _bill(_divide(parts, net), first, use, fuel)


def limits_of(version: Version, use: BillableUse, code: str) -> list[Decimal]:
    """The limits (kWh) that the slabs of an energy charge have for this period, as a bill prints them."""
    charge = next(each for each in version.charges if isinstance(each, Energy) and each.code == code)
    fraction = month_fraction(version, use)
    slabs = pick_schedule(charge, version, use, fraction).slabs
    return [scaled_limit(version, slab.upto, fraction) for slab in slabs if slab.upto is not None]


def _net(version: Version, use: BillableUse) -> tuple[BillableUse, Decimal, Decimal]:
    """The use after exports, the credit used and the credit carried (kWh): import takes export and old credit off."""
    if use.export_kwh is None or not version.net_metering:
        return use, ZERO, use.credit_brought_kwh
    available = use.export_kwh + use.credit_brought_kwh
    used = min(use.kwh, available)
    net = use.kwh - used
    # An hour of the day has no more to be priced than the whole.
    windows = {name: min(kwh, net) for name, kwh in use.window_kwh.items()}
    return replace(use, kwh=net, window_kwh=windows), used, available - used


def _at_fuel_changes(part: VersionDays, use: BillableUse, fuel: FuelTable) -> list[VersionDays]:
    """The part, cut where a published percentage changes that the tariff divides bills by."""
    licensee = use.licensee or part.version.licensee
    series = {
        name
        for charge in part.version.charges
        if charge.code not in use.given and (rule := getattr(charge, "fuel", None)) is not None and rule.split
        for name in rule.series
    }
    cuts = {
        edge
        for value in fuel
        if value.licensee == licensee and value.series in series
        for edge in (value.first_day, value.until)
        if edge is not None and part.first_day < edge < part.until
    }
    edges = [part.first_day, *sorted(cuts), part.until]
    return [VersionDays(part.version, edges[i], edges[i + 1]) for i in range(len(edges) - 1)]


def _divide(parts: list[VersionDays], use: BillableUse) -> list[tuple[Version, BillableUse]]:
    """The use, divided by days; the last part takes what rounding leaves, so that the parts add up to the whole."""
    if len(parts) == 1:
        return [(parts[0].version, use)]
    whole_days = sum((part.until - part.first_day).days for part in parts)
    rest, divided = use.kwh, []
    for number, part in enumerate(parts):
        days = (part.until - part.first_day).days
        share = Decimal(days) / whole_days
        kwh = round_whole(use.kwh * share) if part.version.change == "by_day_whole" else round_energy(use.kwh * share)
        kwh = rest if number == len(parts) - 1 else min(kwh, rest)
        rest -= kwh
        windows = {name: energy * share for name, energy in use.window_kwh.items()}
        its = replace(use, kwh=kwh, days=days, first_day=part.first_day, until=part.until, window_kwh=windows)
        its = replace(its, share=share, cycle_days=use.cycle_days or use.days, whole_kwh=use.kwh)
        divided.append((part.version, its))
    return divided


def _bill(parts: list[tuple[Version, BillableUse]], first: Version, use: BillableUse, fuel: FuelTable) -> PricedBill:
    """The parts priced and put together."""
    lines: list[PricedLine] = []
    marks: dict[Mark, None] = {}
    priced: list[PricedPart] = []
    for version, its in parts:
        if its.kwh < 0 or its.days < 1:
            raise Invalid("A bill needs at least one day and no negative energy.")
        working = work_out(version, its, fuel)
        marks.update(dict.fromkeys(working.marks))
        priced.append(PricedPart(version.version, its.first_day, its.until, its.days, its.kwh, working.fraction))
        lines += [
            PricedLine(line.code, line.label, line.category, line.amount, line.kwh, line.rate, its.first_day, its.until)
            for drafts in working.lines.values()
            for line in drafts
        ]
    _, credit_used, credit_carried = _net(first, use)
    if use.export_kwh and not first.net_metering:
        marks[Mark("EXPORT_NOT_CREDITED", "This tariff does not credit exported energy.")] = None
    total = sum((line.amount for line in lines), ZERO)
    sums = {name: sum((line.amount for line in lines if line.category == name), ZERO) for name in _CATEGORIES}
    return PricedBill(
        lines=tuple(lines),
        base_cost=round_paisa(sums["base"]),
        surcharges=round_paisa(sums["surcharge"]),
        tax_amount=round_paisa(sums["tax"]),
        discounts=round_paisa(-sums["discount"]),
        total=round_paisa(total),
        payable=round_to(total, first.payable_step),
        parts=tuple(priced),
        marks=tuple(marks),
        billed_kwh=sum((part.kwh for part in priced), ZERO),
        credit_used_kwh=credit_used,
        credit_carried_kwh=credit_carried,
    )


_CATEGORIES: tuple[Category, ...] = ("base", "surcharge", "tax", "discount")
