"""Bills to price, as `flask tariffs price --cases` reads them: the words of a case → a use → `rules.price`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from portal.errors import Invalid, PortalError
from portal.money import kwh_str, money_str, read_decimal
from portal.tariffs.fraction import BillableUse, FuelTable, days_of_month
from portal.tariffs.published import get_published, published_fuel
from portal.tariffs.rules import PricedBill, VersionDays, price, price_across
from portal.tariffs.terms import Entitlement, TimeOfDay, Version
from portal.tariffs.working import plain

MAX_DAYS = 1000
_LICENSEE_WORDS = ("licensee", "utility", "discom", "distribution_company")


def price_case(case: object) -> dict[str, Any]:
    """`{id, total, payable, lines, …}` for `{id, tariff, inputs}`, or `{id, error}` where it cannot be priced."""
    if not isinstance(case, Mapping):
        return {"id": None, "error": "A case is an object with id, tariff and inputs."}
    case_id = case.get("id")
    try:
        return {"id": case_id, **_answer(_price(case))}
    except PortalError as error:
        return {"id": case_id, "error": error.message}
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # What nobody thought of must not cost the other cases theirs.
        return {"id": case_id, "error": f"The inputs cannot be priced ({type(error).__name__})."}


def _price(case: Mapping[str, Any]) -> PricedBill:
    name, inputs = case.get("tariff"), case.get("inputs", {})
    if not isinstance(name, str):
        raise Invalid("A case names its tariff.")
    if not isinstance(inputs, Mapping):
        raise Invalid("The inputs of a case are an object.")
    version, tariff = get_published(name)
    use = read_use(version, inputs)
    fuel: FuelTable = [each.value for each in published_fuel()]
    parts = _parts(version, tariff.versions, use)
    return price_across(parts, use, fuel) if len(parts) > 1 else price(version, use, fuel)


def _parts(named: Version, versions: tuple[Version, ...], use: BillableUse) -> list[VersionDays]:
    """The versions that share the period; only the named one where the others leave a hole, or have no part in it."""
    if use.first_day is None or use.until is None:
        return []
    parts = []
    for version in versions:
        first_day = max(use.first_day, version.valid_from)
        until = min(use.until, version.valid_until or use.until)
        if first_day < until:
            parts.append(VersionDays(version, first_day, until))
    days = sum((part.until - part.first_day).days for part in parts)
    return parts if days == (use.until - use.first_day).days and any(part.version is named for part in parts) else []


def read_use(version: Version, inputs: Mapping[str, Any]) -> BillableUse:
    """The use that the inputs of a case describe; unknown words are ignored. Raises Invalid naming the word."""
    first_day, until = _day(inputs, "period_from"), _day(inputs, "period_to")
    if until is not None:
        if until == date.max:
            raise Invalid("period_to must be a day like 2026-04-30.")
        until += timedelta(days=1)  # the cases count the last day in
    if first_day is not None and until is not None and until <= first_day:
        raise Invalid("period_to lies before period_from.")
    days = _number(inputs, "days")
    if days is None:
        days = Decimal((until - first_day).days) if first_day and until else Decimal(30 * version.cycle_months)
    if days != days.to_integral_value() or not 1 <= days <= MAX_DAYS:
        raise Invalid(f"days must be a whole number from 1 to {MAX_DAYS}.")
    month_days = _number(inputs, "month_days") or _number(inputs, "days_in_month")
    options = frozenset(
        word for word, value in inputs.items() if value is True or str(value).lower() in ("true", "yes")
    )
    licensee = next((str(inputs[word]) for word in _LICENSEE_WORDS if inputs.get(word)), None)
    kwh = _energy(inputs)
    use = BillableUse(
        kwh=kwh,
        days=int(days),
        first_day=first_day if until is not None else None,
        until=until if first_day is not None else None,
        phase=_phase(inputs),
        load_kw=_number(inputs, "sanctioned_load_kw"),
        part_period="part_period" in options,
        options=options,
        given=_given(version, inputs),
        window_kwh=_windows(version, inputs, kwh),
        entitled_kwh=_entitled(version, inputs),
        export_kwh=_number(inputs, "export_kwh"),
        credit_brought_kwh=_number(inputs, "credit_brought_kwh") or Decimal(0),
        month_days=int(month_days) if month_days else None,
        licensee=licensee,
    )
    if version.month == "normalised" and days_of_month(use) < 1:
        raise Invalid("month_days must be at least 1.")
    return use


def _phase(inputs: Mapping[str, Any]) -> int:
    """1 or 3, said as a number or as single and three."""
    words = {"single": 1, "single_phase": 1, "three": 3, "three_phase": 3}
    value = inputs.get("phase", 1)
    phase = words.get(value) if isinstance(value, str) else None
    if phase is None:
        number = _decimal(value, "phase")
        if number not in (1, 3):
            raise Invalid("phase must be 1 or 3.")
        phase = int(number)
    return phase


def _energy(inputs: Mapping[str, Any]) -> Decimal:
    """kWh: said as such, as import, or as two readings of the register × the meter's factor."""
    for word in ("kwh", "import_kwh"):
        if (kwh := _number(inputs, word)) is not None:
            return kwh
    before, after = _number(inputs, "reading_prev"), _number(inputs, "reading_curr")
    if before is None or after is None:
        raise Invalid("A case needs kwh, import_kwh, or reading_prev and reading_curr.")
    if after < before:
        raise Invalid("reading_curr lies below reading_prev.")
    factor = _number(inputs, "mf")
    return (after - before) * (Decimal(1) if factor is None else factor)


def _given(version: Version, inputs: Mapping[str, Any]) -> dict[str, tuple[Decimal, ...]]:
    """Rates that the case gives itself, by charge: one number, or one for each slab."""
    given = {}
    for charge in version.charges:
        if isinstance(charge, Entitlement):
            continue
        for word in charge.input:
            value = inputs.get(word)
            if isinstance(value, list) and value:
                given[charge.code] = tuple(_decimal(each, word, signed=True) for each in value)
            elif value is not None and not isinstance(value, list):
                given[charge.code] = (_decimal(value, word, signed=True),)
    return given


def _windows(version: Version, inputs: Mapping[str, Any], kwh_of_all: Decimal) -> dict[str, Decimal]:
    windows = [window for charge in version.charges if isinstance(charge, TimeOfDay) for window in charge.windows]
    found = {window.name: _number(inputs, window.input) for window in windows}
    known = {name: kwh for name, kwh in found.items() if kwh is not None}
    if sum(known.values(), Decimal(0)) > kwh_of_all:
        raise Invalid("The hours of the day have more energy than the whole.")
    return known


def _entitled(version: Version, inputs: Mapping[str, Any]) -> dict[str, Decimal]:
    found = {
        charge.code: _number(inputs, word)
        for charge in version.charges
        if isinstance(charge, Entitlement)
        for word in charge.input
    }
    return {code: kwh for code, kwh in found.items() if kwh is not None}


def _number(inputs: Mapping[str, Any], word: str) -> Decimal | None:
    value = inputs.get(word)
    return None if value is None else _decimal(value, word)


def _decimal(value: object, word: str, *, signed: bool = False) -> Decimal:
    """A number or decimal string. Raises Invalid for anything else, not finite, absurd or (unless signed) negative."""
    try:
        if isinstance(value, bool):
            raise Invalid(f"{word} must be a number.")
        number = read_decimal(str(value))
    except ValueError:
        raise Invalid(f"{word} must be a number.") from None
    if not number.is_finite() or abs(number) >= Decimal("1e12") or (number < 0 and not signed):
        raise Invalid(f"{word} must be a number that is finite and not negative.")
    return number


def _day(inputs: Mapping[str, Any], word: str) -> date | None:
    value = inputs.get(word)
    if value is None:
        return None
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise Invalid(f"{word} must be a day like 2026-04-01.") from None


def _answer(bill: PricedBill) -> dict[str, Any]:
    return {
        "total": money_str(bill.total),
        "payable": money_str(bill.payable),
        "lines": [
            {
                "code": line.code,
                "description": line.description,
                "kwh": None if line.kwh is None else kwh_str(line.kwh),
                "rate": None if line.rate is None else plain(line.rate),
                "amount": money_str(line.amount),
            }
            for line in bill.lines
        ],
        "base_cost": money_str(bill.base_cost),
        "surcharges": money_str(bill.surcharges),
        "tax_amount": money_str(bill.tax_amount),
        "discounts": money_str(bill.discounts),
        "billed_kwh": kwh_str(bill.billed_kwh),
        "credit_used_kwh": kwh_str(bill.credit_used_kwh),
        "credit_carried_kwh": kwh_str(bill.credit_carried_kwh),
        "parts": [
            {
                "tariff": part.version,
                "days": part.days,
                "kwh": kwh_str(part.kwh),
                "month_fraction": format(part.month_fraction, "f"),
            }
            for part in bill.parts
        ],
        "marks": [{"code": mark.code, "text": mark.text} for mark in bill.marks],
    }
