"""What each kind of charge makes of an energy use: lines that are exact until their group is rounded. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from portal.errors import Invalid
from portal.money import round_paisa
from portal.tariffs import terms
from portal.tariffs.fraction import (
    BillableUse,
    FuelTable,
    find_fuel,
    fixed_factor,
    is_within,
    month_fraction,
    scaled_limit,
)
from portal.tariffs.working import HUNDRED, ZERO, Line, Mark, Piece, Working, apportion, plain


def work_out(version: terms.Version, use: BillableUse, fuel: FuelTable, only: tuple[str, ...] | None = None) -> Working:
    """All charges of the version, or only those named, one after the other; each group rounded as it ends.

    Raises Invalid for a use that the tariff cannot price (no sanctioned load, a phase it does not know …).
    """
    working = Working(version, use, fuel, month_fraction(version, use))
    charges = [charge for charge in version.charges if only is None or charge.code in only]
    for number, charge in enumerate(charges):
        applies = not charge.options or use.options.intersection(charge.options)
        working.lines[charge.code] = _lines_of(charge, working) if applies else []
        following = charges[number + 1].group if number + 1 < len(charges) else None
        if charge.group is None:
            for line in working.lines[charge.code]:
                line.amount = round_paisa(line.exact)
        elif charge.group != following:
            members = [each.code for each in charges[: number + 1] if each.group == charge.group]
            apportion([line for code in members for line in working.lines[code]])
    return working


def _lines_of(charge: terms.AnyCharge, working: Working) -> list[Line]:
    match charge:
        case terms.Energy():
            return _energy(charge, working)
        case terms.PerKwh():
            return _per_kwh(charge, working)
        case terms.Fixed():
            return _fixed(charge, working)
        case terms.Percent():
            return _percent(charge, working)
        case terms.TimeOfDay():
            return _time_of_day(charge, working)
        case terms.Entitlement():
            return _entitlement(charge, working)
        case terms.BandedSubsidy():
            return _banded_subsidy(charge, working)
        case terms.Minimum():
            least = charge.amount * fixed_factor("month", working.use, working.fraction)
            missing = least - working.sum_of(charge.of)
            return [Line(charge.code, charge.label, charge.category, missing)] if missing > 0 else []


def _energy(charge: terms.Energy, working: Working) -> list[Line]:
    pieces = _pieces(charge, working)
    working.pieces[charge.code] = pieces
    if charge.less:
        amount = sum((round_paisa(piece.kwh * piece.rate) for piece in pieces), ZERO) - working.sum_of(charge.less)
        return [Line(charge.code, charge.label, charge.category, amount)] if amount else []
    return [
        Line(
            charge.code, f"{charge.label}, {piece.span}", charge.category, piece.kwh * piece.rate, piece.kwh, piece.rate
        )
        for piece in pieces
    ]


def pick_schedule(charge: terms.Energy, version: terms.Version, use: BillableUse, fraction: Decimal) -> terms.Schedule:
    """The schedule that the total of the period falls under."""
    return next((s for s in charge.schedules if is_within(version, use, s.upto, fraction)), charge.schedules[-1])


def _pieces(charge: terms.Energy, working: Working) -> list[Piece]:
    """The energy by slabs. The first slab is always there, so that a bill for no energy has its line too."""
    version, use, fraction = working.version, working.use, working.fraction
    schedule = pick_schedule(charge, version, use, fraction)
    pieces: list[Piece] = []
    lower = ZERO
    for index, slab in enumerate(schedule.slabs):
        upper = None if slab.upto is None else scaled_limit(version, slab.upto, fraction)
        last = upper is None or index == len(schedule.slabs) - 1 or use.kwh <= upper
        inside = use.kwh - lower if last or upper is None else upper - lower
        if charge.telescopic:
            if inside > 0 or index == 0:
                pieces.append(Piece(index, lower, upper, max(inside, ZERO), slab.rate))
        elif last:
            pieces.append(Piece(index, lower, upper, use.kwh, slab.rate))
        if last:
            break
        lower = upper if upper is not None else lower
    return pieces


def _rates(
    charge: terms.PerKwh | terms.Percent, own: tuple[Decimal, ...] | None, working: Working
) -> tuple[Decimal, ...]:
    """The rate of a charge: the given one, else the published, else the tariff's own, else 0; the last two marked."""
    if charge.code in working.use.given:
        return working.use.given[charge.code]
    if charge.fuel is not None:
        licensee = working.use.licensee or working.version.licensee
        if working.use.until is not None:
            day = working.use.until - timedelta(days=1)
            published = find_fuel(working.fuel, licensee, charge.fuel.series, day)
            if published is not None:
                return published.values
        if own is not None:
            text = f"{charge.label}: no value is published for this month; the one of the tariff is used."
            working.marks.append(Mark("FUEL_OWN", text))
        else:
            text = f"{charge.label}: no value is published for this month; it is counted as 0."
            working.marks.append(Mark("FUEL_UNKNOWN", text))
    elif own is None:
        working.marks.append(Mark("AMOUNT_UNKNOWN", f"{charge.label}: the rate is not published; it is counted as 0."))
    return own if own is not None else (ZERO,)


def _per_kwh(charge: terms.PerKwh, working: Working) -> list[Line]:
    rates = _rates(charge, charge.rates, working)
    if len(rates) == 1:
        kwh, rate = working.use.kwh, rates[0]
        return [Line(charge.code, charge.label, charge.category, kwh * rate, kwh, rate)]
    if charge.slabs_of is None or charge.slabs_of not in working.pieces:
        raise Invalid(f"{charge.label} takes one rate, not {len(rates)}.")
    lines = []
    for piece in working.pieces[charge.slabs_of]:
        if piece.index >= len(rates):
            raise Invalid(f"{charge.label} needs a rate for each slab: {len(rates)} are too few.")
        rate = rates[piece.index]
        label = f"{charge.label}, {piece.span}"
        lines.append(Line(charge.code, label, charge.category, piece.kwh * rate, piece.kwh, rate))
    return lines


def _fixed(charge: terms.Fixed, working: Working) -> list[Line]:
    use, unknown = working.use, False
    amount: Decimal | None = ZERO
    if charge.by == "phase":
        if str(use.phase) not in charge.phases:
            raise Invalid(f"{charge.label}: the tariff knows no supply with {use.phase} phases.")
        amount = charge.phases[str(use.phase)]
    elif charge.by == "load":
        amount = _by_load(charge, _load(charge, use))
    else:
        band = next(b for b in charge.bands if is_within(working.version, use, b.upto, working.fraction))
        amount = band.amount if band.per_kw is None else band.per_kw * _load(charge, use)
    if amount is None:
        unknown, amount = True, ZERO
    amount += sum((extra for option, extra in charge.extra.items() if option in use.options), ZERO)
    if unknown:
        text = f"{charge.label}: the amount for this supply is not published; it is counted as 0."
        working.marks.append(Mark("AMOUNT_UNKNOWN", text))
    factor = fixed_factor(charge.proration, use, working.fraction)
    return [Line(charge.code, charge.label, charge.category, amount * factor)]


def _load(charge: terms.Fixed, use: BillableUse) -> Decimal:
    if use.load_kw is None:
        raise Invalid(f"{charge.label} is by the kW: the sanctioned load is needed.")
    return use.load_kw


def _by_load(charge: terms.Fixed, load: Decimal) -> Decimal | None:
    """The monthly amount for a sanctioned load; where bands are per kW, × kW (telescopic: each band its own kW)."""
    total, lower = ZERO, ZERO
    for band in charge.bands:
        inside = band.upto is None or load <= band.upto
        if charge.telescopic and band.per_kw is not None:
            total += band.per_kw * ((load if inside or band.upto is None else band.upto) - lower)
            if inside:
                return total
            lower = band.upto or lower
        elif inside:
            return band.amount if band.per_kw is None else band.per_kw * load
    raise Invalid(f"{charge.label}: the tariff has no band for {plain(load)} kW.")


def _percent(charge: terms.Percent, working: Working) -> list[Line]:
    own = None if charge.percent is None else (charge.percent,)
    percent = _rates(charge, own, working)[0]
    working.percents[charge.code] = percent
    label = f"{charge.label} ({plain(percent)} %)"
    if charge.per_line:
        return [
            Line(charge.code, f"{label} on {line.label}", charge.category, line.amount * percent / HUNDRED)
            for code in charge.of
            for line in working.lines.get(code, ())
        ]
    base = working.sum_of(charge.of)
    for plus in charge.plus:
        base += working.sum_of(plus.on) * working.percents[plus.percent_of] / HUNDRED
    amount = base * percent / HUNDRED
    if charge.less:
        amount = round_paisa(amount) - working.sum_of(charge.less)
    if charge.cap is not None:
        amount = max(-charge.cap, min(charge.cap, amount))
    return [Line(charge.code, label, charge.category, amount)]


def _time_of_day(charge: terms.TimeOfDay, working: Working) -> list[Line]:
    lines = []
    for window in charge.windows:
        kwh = working.use.window_kwh.get(window.name)
        if kwh is not None and window.rate:
            label = f"{charge.label}, {window.from_hour:02}:00-{window.to_hour:02}:00"
            lines.append(Line(charge.code, label, charge.category, kwh * window.rate, kwh, window.rate))
    return lines


def _entitlement(charge: terms.Entitlement, working: Working) -> list[Line]:
    """The named charges, worked out again for the entitled energy, taken off; nothing once use is above the limit."""
    use = working.use
    monthly = use.entitled_kwh.get(charge.code)
    if monthly is None or use.kwh > charge.limit * working.fraction:
        return []
    entitled = min(use.kwh, min(monthly, charge.limit) * working.fraction)
    paid = work_out(working.version, replace(use, kwh=entitled, entitled_kwh={}), working.fuel, only=charge.of)
    return [
        Line(
            f"{charge.code}_{code}", f"{charge.label}: {line.label}", charge.category, -line.amount, line.kwh, line.rate
        )
        for code in charge.of
        for line in paid.lines[code]
        if line.amount
    ]


def _banded_subsidy(charge: terms.BandedSubsidy, working: Working) -> list[Line]:
    bill = working.sum_of(tuple(working.lines))
    for band in charge.bands:
        if is_within(working.version, working.use, band.upto, working.fraction):
            amount = bill * band.percent / HUNDRED
            if band.cap is not None:
                amount = min(amount, band.cap * working.fraction)
            return [Line(charge.code, charge.label, charge.category, -amount)] if amount > 0 else []
    return []
