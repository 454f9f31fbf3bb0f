"""The words of a tariff: a version is an ordered list of charges, each with its base, proration, rounding and source.

These are the shapes of `portal/tariffs/data/*.json` and of `tariff_versions.charges`. Amounts are INR, rates INR per
kWh, limits kWh per month (or per cycle where the cycle is longer). Numbers are decimal strings: "3.96".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Literal

import msgspec

from portal.errors import Invalid

Category = Literal["base", "surcharge", "tax", "discount"]
MonthRule = Literal["days30_2dp", "days30", "calendar", "normalised", "cycle"]
"""How long a billing period is in months:
days30_2dp  days / 30, rounded to two decimals as the bill prints it ("1.03 Month(s)");
days30      days / 30, unrounded;
calendar    sum over the calendar months of days in the period / days in that month, unrounded;
normalised  days / days of the calendar month;
cycle       the number of cycles (one), whatever the number of days."""
ChangeRule = Literal["by_day", "by_day_whole", "at_start"]
"""How energy is divided when rates change inside a period: by days, by days to whole kWh, or not at all."""


class _Term(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Slab(_Term, frozen=True, kw_only=True):
    """Energy up to `upto` kWh a month, counted from zero (None: without end), at `rate` INR per kWh."""

    upto: Decimal | None
    rate: Decimal


class Schedule(_Term, frozen=True, kw_only=True):
    """The slabs for everyone whose total of the period is at most `upto` kWh (None: without end)."""

    upto: Decimal | None = None
    slabs: tuple[Slab, ...]


class Band(_Term, frozen=True, kw_only=True):
    """An amount for all up to `upto` (kW or kWh): INR a month, or INR a month and kW. Neither: not published."""

    upto: Decimal | None
    amount: Decimal | None = None
    per_kw: Decimal | None = None


class Window(_Term, frozen=True, kw_only=True):
    """Hours `[from_hour, to_hour)` of the local day, with what they add to each kWh (negative: a rebate)."""

    name: str
    input: str
    from_hour: int
    to_hour: int
    rate: Decimal


class PercentOn(_Term, frozen=True, kw_only=True):
    """The percentage of another charge, taken on the lines of `on` only."""

    percent_of: str
    on: tuple[str, ...]


class SubsidyBand(_Term, frozen=True, kw_only=True):
    """Up to `upto` kWh a month the state pays `percent` of the bill, at most `cap` INR a month."""

    upto: Decimal
    percent: Decimal
    cap: Decimal | None = None


class Fuel(_Term, frozen=True, kw_only=True):
    """A rate published by the month. `split`: a change inside the period divides it, else its last day counts."""

    series: tuple[str, ...]
    split: bool = False


class Charge(_Term, frozen=True, kw_only=True, tag_field="kind"):
    """What all charges have.

    `input` are the words by which a caller may give the rate itself, `options` those of which one must be on for the
    charge to apply at all. Lines of one `group` stand together and are rounded once, as their sum; other lines are
    rounded each.
    """

    code: str
    label: str
    category: Category = "base"
    input: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    group: str | None = None
    source: str = ""


class Energy(Charge, frozen=True, kw_only=True, tag="energy"):
    """Energy in slabs. The total picks a schedule; telescopic slabs each price their part, else one rate prices all.

    `less`: only the difference to the lines of these charges, as one line (a subsidy: payable less gross).
    """

    schedules: tuple[Schedule, ...]
    telescopic: bool = True
    less: tuple[str, ...] = ()


class PerKwh(Charge, frozen=True, kw_only=True, tag="per_kwh"):
    """A rate on every kWh; with `slabs_of`, one rate for each slab of that energy charge."""

    rates: tuple[Decimal, ...] | None
    slabs_of: str | None = None
    fuel: Fuel | None = None


class Fixed(Charge, frozen=True, kw_only=True, tag="fixed"):
    """An amount a month: flat, by phase, by sanctioned load (kW) or by energy used.

    `proration`: "month" is a whole amount a month, and × the month fraction on a part period; "fraction" is always ×
    the month fraction; "cycle" is once a cycle. `extra` adds an amount where an option is on. `telescopic`: each band
    prices its own kW.
    """

    by: Literal["flat", "phase", "load", "use"]
    bands: tuple[Band, ...] = ()
    phases: dict[str, Decimal | None] = {}
    extra: dict[str, Decimal] = {}
    proration: Literal["month", "fraction", "cycle"]
    telescopic: bool = False


class Percent(Charge, frozen=True, kw_only=True, tag="percent"):
    """A percentage of named earlier lines.

    `per_line` makes a line for each of them; `less` takes off the lines of these charges, so that a whole is rounded
    once and shown in two; `cap` is the most that it may be (INR, by its absolute value).
    """

    percent: Decimal | None
    of: tuple[str, ...]
    plus: tuple[PercentOn, ...] = ()
    per_line: bool = False
    less: tuple[str, ...] = ()
    cap: Decimal | None = None
    fuel: Fuel | None = None


class TimeOfDay(Charge, frozen=True, kw_only=True, tag="time_of_day"):
    """An addition or rebate for the energy of some hours, where the meter is billed by them."""

    windows: tuple[Window, ...]


class Entitlement(Charge, frozen=True, kw_only=True, tag="entitlement"):
    """The state pays the named charges on the first kWh of a household (its own entitlement, given by `input`).

    Energy up to the entitlement a month is paid, and the fixed charge; above `limit` kWh a month nothing is.
    """

    of: tuple[str, ...]
    limit: Decimal


class BandedSubsidy(Charge, frozen=True, kw_only=True, tag="banded_subsidy"):
    """The state pays a share of all lines before it, by the energy used; none above the last band (a named cliff)."""

    bands: tuple[SubsidyBand, ...]


class Minimum(Charge, frozen=True, kw_only=True, tag="minimum"):
    """The named lines come to at least `amount` INR a month: what is missing is a line."""

    amount: Decimal
    of: tuple[str, ...]


AnyCharge = Energy | PerKwh | Fixed | Percent | TimeOfDay | Entitlement | BandedSubsidy | Minimum


class Version(_Term, frozen=True, kw_only=True):
    """One dated version of a tariff, valid on the local days `[valid_from, valid_until)`.

    `whole_limits`: slab limits × month fraction are rounded to whole kWh. `payable_step`: what is paid is rounded to it
    (INR); `carries`: the difference goes to the next bill. `net_metering`: exported kWh take off imported ones, the
    rest is carried. `payment` holds rules for later (late payment, prompt discount) as published.
    """

    version: str
    tariff: str
    licensee: str
    valid_from: date
    valid_until: date | None
    month: MonthRule
    whole_limits: bool = True
    change: ChangeRule
    payable_step: Decimal = Decimal("0.01")
    carries: bool = False
    cycle_months: int = 1
    net_metering: bool = False
    illustrative: bool = False
    charges: tuple[AnyCharge, ...]
    payment: dict[str, Any] = {}
    sources: tuple[str, ...] = ()
    confidence: str = ""
    notes: str = ""


def read_version(document: Mapping[str, Any]) -> Version:
    """A version from its JSON. Raises Invalid that names the place which does not fit."""
    try:
        version = msgspec.convert(document, Version)
    except msgspec.ValidationError as error:
        raise Invalid(f"This is no tariff version: {error}", "BAD_TARIFF") from error
    _check(version)
    return version


def write_version(version: Version) -> dict[str, Any]:
    """The version as JSON (decimals and dates as strings); `read_version` gives it back."""
    document: dict[str, Any] = msgspec.to_builtins(version)
    return document


def _check(version: Version) -> None:
    """What the shapes alone cannot say. Raises Invalid BAD_TARIFF."""
    seen: set[str] = set()
    groups: list[str | None] = []
    for charge in version.charges:
        if charge.code in seen:
            raise Invalid(f"{version.version} has two charges called {charge.code}.", "BAD_TARIFF")
        named: tuple[str, ...] = ()
        if isinstance(charge, Energy):
            named = charge.less
            for limits in ([s.upto for s in schedule.slabs] for schedule in charge.schedules):
                known = [limit for limit in limits[:-1] if limit is not None]
                if len(known) != len(limits) - 1 or known != sorted(set(known)):
                    raise Invalid(f"{version.version}: slab limits of {charge.code} must rise.", "BAD_TARIFF")
        elif isinstance(charge, PerKwh):
            named = (charge.slabs_of,) if charge.slabs_of else ()
        elif isinstance(charge, Percent):
            named = (*charge.of, *charge.less, *(code for plus in charge.plus for code in (plus.percent_of, *plus.on)))
        elif isinstance(charge, Entitlement | Minimum):
            named = charge.of
        if missing := set(named) - seen:
            raise Invalid(
                f"{version.version}: {charge.code} names {sorted(missing)}, not an earlier charge.", "BAD_TARIFF"
            )
        seen.add(charge.code)
        if charge.group is not None and charge.group in groups and groups[-1] != charge.group:
            raise Invalid(f"{version.version}: the charges of group {charge.group} must stand together.", "BAD_TARIFF")
        groups.append(charge.group)
