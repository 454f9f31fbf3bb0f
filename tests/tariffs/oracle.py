"""Bills by the text of the tariff orders, computed apart from the portal: fractions, and a copy of the published rates.

`published_rates.json` is the collection that the tariff files were made from. Nothing of `portal/` is imported here, so
that a mistake of the engine cannot be in both.
"""

from __future__ import annotations

import json
from calendar import monthrange
from datetime import date, timedelta
from fractions import Fraction as F
from math import floor
from pathlib import Path
from typing import Any

RATES: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("published_rates.json").read_text(), parse_float=F, parse_int=F
)
Bill = dict[str, F]


def half_up(value: F, places: int = 2) -> F:
    """Away from zero at the half."""
    scaled = abs(value) * 10**places
    whole = F(floor(scaled + F(1, 2)), 10**places)
    return whole if value >= 0 else -whole


def slices(kwh: F, limits: list[F | None], rates: list[F]) -> list[tuple[F, F]]:
    """(kWh, rate) for each slab, limits cumulative; the last slab takes all that is left."""
    found, lower = [], F(0)
    for limit, rate in zip(limits, rates, strict=True):
        upper = kwh if limit is None or limit is limits[-1] else min(kwh, limit)
        found.append((max(upper - lower, F(0)), rate))
        lower = max(lower, upper)
    return found


def band(bands: list[dict[str, Any]], key: str, use: F, scale: Any = lambda limit: limit) -> dict[str, Any]:
    return next(each for each in bands if each[key] is None or use <= scale(each[key]))


def _slabs(rows: list[dict[str, Any]], key: str, scale: Any) -> tuple[list[F | None], list[F]]:
    return [None if row[key] is None else scale(row[key]) for row in rows], [row["rate_inr_per_kwh"] for row in rows]


def maharashtra(
    tariff: str,
    kwh: F,
    days: int,
    *,
    fac: list[F],
    phase: int = 1,
    municipal: bool = False,
    part_period: bool = False,
    solar: F | None = None,
    share: F = F(1),
    months: F | None = None,
) -> Bill:
    """M = days / 30 with two decimals; limits × M to whole kWh; energy, wheeling and fuel rounded once together."""
    terms = RATES[tariff]
    m = half_up(F(days, 30))

    def scale(limit: F) -> F:
        return half_up(limit * m, 0)

    limits, rates = _slabs(terms["energy_slabs"], "upto_kwh_per_month", scale)
    fuel = fac * len(rates) if len(fac) == 1 else fac
    energy = sum(
        (
            used * (rate + terms["wheeling_inr_per_kwh"] + fuel[n])
            for n, (used, rate) in enumerate(slices(kwh, limits, rates))
        ),
        F(0),
    )
    fixed = terms["fixed"]
    if "bands" in fixed:
        monthly = band(fixed["bands"], "upto_kwh", kwh, scale)["inr_per_month"]
    else:
        monthly = fixed["single_phase" if phase == 1 else "three_phase"]
        monthly += fixed["municipal_area_extra"] if municipal else 0
    whole = months if months is not None else max(F(1), half_up(F(days, 30), 0))
    bill = {"energy": half_up(energy), "fixed": half_up(monthly * (m if part_period else whole * share))}
    rebate = (terms.get("tod") or {}).get("windows", [{"add_inr_per_kwh": F(0)}])[0]["add_inr_per_kwh"]
    bill["tod"] = half_up(solar * rebate) if solar is not None else F(0)
    bill["duty"] = half_up(sum(bill.values(), F(0)) * terms["duty"]["percent"] / 100)
    return bill


def fraction_of_months(first: date, last: date) -> F:
    """Sum over the days of one by the length of their month; `last` is included."""
    total, day = F(0), first
    while day <= last:
        total += F(1, monthrange(day.year, day.month)[1])
        day += timedelta(days=1)
    return total


def delhi(tariff: str, kwh: F, first: date, last: date, *, load: F, ppac: F, subsidy: bool = False) -> Bill:
    terms = RATES[tariff]
    months = fraction_of_months(first, last)

    def scale(limit: F) -> F:
        return half_up(limit * months, 0)

    limits, rates = _slabs(terms["energy_slabs"], "upto_kwh_per_month", scale)
    energy = sum((half_up(used * rate) for used, rate in slices(kwh, limits, rates)), F(0))
    per = band(terms["fixed"]["bands"], "upto_kw", load)
    fixed = half_up((per["inr_per_month"] if "inr_per_month" in per else per["inr_per_kw"] * load) * months)
    on_energy = half_up(energy * ppac / 100)
    bill = {
        "energy": energy,
        "fixed": fixed,
        "ppac_energy": on_energy,
        "ppac_fixed": half_up((energy + fixed) * ppac / 100) - on_energy,
        "tax": half_up((energy + on_energy + energy * 8 / 100) * 5 / 100),
    }
    for code, surcharge in zip(("surcharge", "pension"), terms["surcharges"], strict=False):
        bill[code] = half_up((energy + fixed) * surcharge["percent"] / 100)
    if subsidy:
        gross = sum(bill.values(), F(0))
        if kwh <= scale(F(200)):
            bill["subsidy"] = -gross
        elif kwh <= scale(F(400)):
            bill["subsidy"] = -half_up(min(gross / 2, 800 * months))
    return bill


def karnataka(tariff: str, kwh: F, days: int, *, load: F, fppca: F, pg: F, entitled: F | None = None) -> Bill:
    terms = RATES[tariff]
    rate = terms["energy_slabs"][0]["rate_inr_per_kwh"]
    if "bands" in terms["fixed"]:
        first, rest = terms["fixed"]["bands"]
        monthly = min(load, first["upto_kw"]) * first["inr_per_kw"]
        monthly += max(load - first["upto_kw"], F(0)) * rest["inr_per_kw"]
    else:
        monthly = load * terms["fixed"]["inr_per_kw"]

    def charges(used: F) -> Bill:
        energy = half_up(used * rate)
        return {
            "energy": energy,
            "fppca": half_up(used * fppca),
            "pg": half_up(used * pg),
            "tax": half_up(energy * 9 / 100),
        }

    fixed = half_up(monthly * F(days, 30))
    bill = {"fixed": fixed, **charges(kwh)}
    if not terms["surcharges"]:
        del bill["pg"]
    if entitled is not None and kwh <= 200 * F(days, 30):
        paid = charges(min(kwh, min(entitled, F(200)) * F(days, 30)))
        bill["gruha_jyothi_fixed"] = -fixed
        bill |= {f"gruha_jyothi_{code}": -amount for code, amount in paid.items() if code in bill}
    return bill


def telangana(tariff: str, kwh: F, days: int, month_days: int, *, load: F, part_period: bool = False) -> Bill:
    """The use, brought to a whole month and to whole kWh, picks the group; its slabs × the month's share price all."""
    terms = RATES[tariff]
    month = F(days, month_days)
    normal = half_up(kwh / month, 0)
    group = band(terms["consumption_groups"], "upto_kwh", normal)
    limits, rates = _slabs(group["energy_slabs"], "upto_kwh_per_month", lambda limit: half_up(limit * month, 0))
    months = month if part_period else max(F(1), half_up(F(days, 30), 0))
    fixed = terms["fixed"]
    if "bands" in fixed:
        monthly = band(fixed["bands"], "upto_kwh", normal)["inr_per_kw"] * load
    else:
        monthly = fixed["inr_per_month"] if "inr_per_month" in fixed else fixed["inr_per_kw"] * load
    bands = terms["customer_charges_by_consumption"]
    customer = band(bands, "upto_kwh", normal)["inr"] if bands else F(0)
    return {
        "energy": sum((half_up(used * rate) for used, rate in slices(kwh, limits, rates)), F(0)),
        "fixed": half_up(monthly * months),
        "customer": half_up((customer or F(0)) * months),
        "duty": half_up(kwh * terms["duty"]["inr_per_kwh"]),
    }


def tamil_nadu(tariff: str, kwh: F, *, share: F = F(1), whole: F | None = None, cycles: int = 1) -> Bill:
    """Slabs of a cycle; `whole` kWh of the cycle pick the schedule; `share` where rates change inside it."""
    terms = RATES[tariff]
    scale = share * cycles
    picked = band(
        terms["payable_schedules"], "upto_total_kwh", whole if whole is not None else kwh, lambda limit: limit * cycles
    )

    def priced(rows: list[dict[str, Any]]) -> F:
        limits, rates = _slabs(rows, "upto_kwh_per_cycle", lambda limit: limit * scale)
        return sum((half_up(used * rate) for used, rate in slices(kwh, limits, rates)), F(0))

    payable = priced(picked["energy_slabs"])
    bill = {"energy": payable, "fixed": half_up(picked["fixed_inr_per_cycle"] * scale)}
    if terms["energy_slabs"]:
        bill["energy"] = priced(terms["energy_slabs"])
        bill["subsidy"] = payable - bill["energy"]
    return bill


def total(bill: Bill) -> F:
    return sum(bill.values(), F(0))


def payable(amount: F, step: int) -> F:
    return half_up(amount / step, 0) * step if step else half_up(amount)
