"""Thousands of bills by the portal's engine, and by an oracle written from the orders' text alone."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from fractions import Fraction as F
from typing import Any

import pytest

from portal.tariffs.cases import price_case
from portal.tariffs.published import published_tariffs
from tests.tariffs import oracle

ROUNDS = 400
LOADED = {version.version for tariff in published_tariffs().values() for version in tariff.versions}
MAHARASHTRA = ("MSEDCL", "AEML", "BEST", "TPCD")


def _tariffs(*prefixes: str) -> list[str]:
    return sorted(name for name in oracle.RATES if name.startswith(prefixes))


def _limits(tariff: str) -> list[F]:
    """Every figure in kWh that the tariff names: where a bill may change its rule."""
    terms, found = oracle.RATES[tariff], {F(200), F(400)}

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.update(
                v for k, v in value.items() if k.startswith("upto_kwh") or k == "upto_total_kwh" if v is not None
            )
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(terms)
    return sorted(found)


def _kwh(dice: random.Random, tariff: str, scale: F) -> F:
    """At a limit of the period, a Wh beside it, or anywhere."""
    kind = dice.randrange(4)
    if kind == 0:
        return F(dice.randrange(2_000_000), 1000)
    if kind == 1:
        return F(dice.choice((0, 1, 2, 49, 50, 51)))
    limit = oracle.half_up(dice.choice(_limits(tariff)) * scale, dice.choice((0, 3)))
    return max(limit + F(dice.choice((-1000, -1, 0, 0, 1, 1000)), 1000), F(0))


def _days(dice: random.Random) -> int:
    return dice.choice((28, 29, 30, 31, dice.randrange(1, 63)))


def _text(value: F) -> str:
    return f"{float(value):.3f}"


def _compare(tariff: str, inputs: dict[str, Any], expected: oracle.Bill, step: int) -> None:
    answer = price_case({"id": 1, "tariff": tariff, "inputs": inputs})
    assert "error" not in answer, (tariff, inputs, answer)
    sums: dict[str, F] = defaultdict(F)
    for line in answer["lines"]:
        code = "energy" if tariff.startswith(MAHARASHTRA) and line["code"] in ("wheeling", "fac") else line["code"]
        sums[code] += F(line["amount"])
    assert {code: amount for code, amount in sums.items() if amount} == {
        code: amount for code, amount in expected.items() if amount
    }, (tariff, inputs)
    whole = oracle.total(expected)
    assert F(answer["total"]) == whole, (tariff, inputs)
    assert F(answer["payable"]) == oracle.payable(whole, step), (tariff, inputs)


def test_the_oracle_knows_every_tariff_that_is_loaded() -> None:
    assert set(oracle.RATES) == {name for name in LOADED if not name.startswith("ILLUSTRATIVE")}


@pytest.mark.promise(7)
@pytest.mark.parametrize("tariff", _tariffs(*MAHARASHTRA))
def test_maharashtra(tariff: str) -> None:
    dice = random.Random(tariff)
    terms = oracle.RATES[tariff]
    for _ in range(ROUNDS):
        days = _days(dice)
        kwh = _kwh(dice, tariff, oracle.half_up(F(days, 30)))
        fac = [F(dice.randrange(-40, 130), 100) for _ in range(dice.choice((1, 4)))]
        known = [1, 3] if terms["fixed"].get("three_phase") else [1]
        choices: dict[str, Any] = {"phase": dice.choice(known), "part_period": dice.random() < 0.3}
        choices["municipal"] = "municipal_area_extra" in terms["fixed"] and dice.random() < 0.5
        inputs = {
            "kwh": _text(kwh),
            "days": days,
            "fac": [str(float(each)) for each in fac],
            "noise": {"x": 1},
            **choices,
        }
        if len(fac) == 1:
            inputs["fac"] = float(fac[0])
        if terms.get("tod") and dice.random() < 0.4:
            choices["solar"] = kwh * F(dice.randrange(101), 100)
            choices["solar"] = F(int(choices["solar"] * 1000), 1000)
            inputs["solar_hours_kwh"] = _text(choices["solar"])
        _compare(tariff, inputs, oracle.maharashtra(tariff, kwh, days, fac=fac, **choices), 10)


@pytest.mark.promise(7)
@pytest.mark.parametrize("tariff", _tariffs("DELHI"))
def test_delhi(tariff: str) -> None:
    dice = random.Random(tariff)
    start = date(2014, 8, 1) if "2014" in tariff else date(2021, 10, 1)
    for _ in range(ROUNDS):
        first = start + timedelta(days=dice.randrange(1000))
        last = first + timedelta(days=_days(dice) - 1)
        kwh = _kwh(dice, tariff, oracle.fraction_of_months(first, last))
        load, ppac = F(dice.choice((1, 2, 2.5, 3, 5, 5.5, 15, 16, 25, 40))), F(dice.randrange(4000), 100)
        subsidy = "2021" in tariff and dice.random() < 0.3
        inputs = {
            "kwh": _text(kwh),
            "period_from": first.isoformat(),
            "period_to": last.isoformat(),
            "sanctioned_load_kw": float(load),
            "ppac_percent": f"{float(ppac):.2f}",
            "subsidy": subsidy,
            "part_period": dice.random() < 0.5,
        }
        _compare(tariff, inputs, oracle.delhi(tariff, kwh, first, last, load=load, ppac=ppac, subsidy=subsidy), 0)


@pytest.mark.promise(7)
@pytest.mark.parametrize("tariff", _tariffs("BESCOM"))
def test_karnataka(tariff: str) -> None:
    dice = random.Random(tariff)
    for _ in range(ROUNDS):
        days = _days(dice)
        kwh = _kwh(dice, tariff, F(days, 30))
        load = F(dice.choice((1, 2, 3.5, 7, 50, 51.5)))
        fuel = {"fppca": F(dice.randrange(-50, 250), 100), "pg": F(dice.randrange(60), 100)}
        entitled = F(dice.randrange(230_000), 1000) if dice.random() < 0.5 else None
        inputs: dict[str, Any] = {"kwh": _text(kwh), "days": days, "sanctioned_load_kw": float(load)}
        inputs |= {word: f"{float(value):.2f}" for word, value in fuel.items()}
        if entitled is not None:
            inputs["gruha_jyothi_entitlement"] = _text(entitled)
        _compare(tariff, inputs, oracle.karnataka(tariff, kwh, days, load=load, entitled=entitled, **fuel), 1)


@pytest.mark.promise(7)
@pytest.mark.parametrize("tariff", _tariffs("TG_"))
def test_telangana(tariff: str) -> None:
    dice = random.Random(tariff)
    for _ in range(ROUNDS):
        days = _days(dice)
        month_days = dice.choice((30, 31))
        kwh = _kwh(dice, tariff, F(days, month_days))
        load, part_period = F(dice.choice((1, 2, 3.5, 10))), dice.random() < 0.3
        inputs = {"kwh": _text(kwh), "days": days, "month_days": month_days, "sanctioned_load_kw": float(load)}
        inputs["part_period"] = part_period
        expected = oracle.telangana(tariff, kwh, days, month_days, load=load, part_period=part_period)
        _compare(tariff, inputs, expected, 1)


@pytest.mark.promise(7)
@pytest.mark.parametrize("tariff", _tariffs("TN_"))
def test_tamil_nadu(tariff: str) -> None:
    dice = random.Random(tariff)
    for _ in range(ROUNDS):
        kwh = _kwh(dice, tariff, F(1))
        inputs: dict[str, Any] = {"kwh": _text(kwh)}
        if dice.random() < 0.5:
            inputs["days"] = dice.choice((1, 30, 59, 60, 61, 62, 75))
        _compare(tariff, inputs, oracle.tamil_nadu(tariff, kwh), 1)


CHANGES: list[tuple[str, str, date]] = [
    ("MSEDCL_LT1B_FY2024_25", "MSEDCL_LT1B_FY2025_26_JUL", date(2025, 7, 1)),
    ("MSEDCL_LT1B_FY2025_26_JUL", "MSEDCL_LT1B_FY2026_27", date(2026, 4, 1)),
    ("AEML_LT1B_FY2025_26", "AEML_LT1B_FY2026_27", date(2026, 4, 1)),
    ("TN_LT1A_2016_05", "TN_LT1A_2022_09", date(2022, 9, 10)),
    ("TN_LT1A_2025_07", "TN_LT1A_2026_05", date(2026, 5, 10)),
]


@pytest.mark.promise(7)
@pytest.mark.promise(8)
@pytest.mark.parametrize(("old", "new", "change"), CHANGES)
def test_a_change_of_rates_inside_the_period_divides_its_energy_by_days(old: str, new: str, change: date) -> None:
    dice = random.Random(new)
    by_cycle = old.startswith("TN_")
    for _ in range(ROUNDS):
        days = dice.choice((59, 60, 61, 62)) if by_cycle else dice.choice((28, 29, 30, 31))
        before = dice.randrange(1, days)
        first = change - timedelta(days=before)
        scale = F(1) if by_cycle else oracle.half_up(F(days, 30))
        kwh = oracle.half_up(_kwh(dice, new, scale), 3)
        shares = (F(before, days), F(days - before, days))
        if (kwh * before * 10**6) % days:  # a part is stored with six decimals: take one that is exact
            kwh = F(days * dice.randrange(40_000), 1000)
        parts: list[oracle.Bill] = []
        for name, share, length in zip((old, new), shares, (before, days - before), strict=True):
            if by_cycle:
                parts.append(oracle.tamil_nadu(name, kwh * share, share=share, whole=kwh))
            else:
                fac = [F(35, 100)]
                parts.append(oracle.maharashtra(name, kwh * share, length, fac=fac, share=share, months=F(1)))
        expected: dict[str, F] = defaultdict(F)
        for part in parts:
            for code, amount in part.items():
                expected[code] += amount
        inputs = {
            "kwh": _text(kwh),
            "period_from": first.isoformat(),
            "period_to": (first + timedelta(days=days - 1)).isoformat(),
            "fac": "0.35",
        }
        for named in (old, new):
            _compare(named, inputs, expected, 1 if by_cycle else 10)


@pytest.mark.parametrize("before", range(1, 60))
def test_the_cycles_total_picks_the_schedule_also_where_a_change_divides_it(before: int) -> None:
    first = date(2022, 9, 10) - timedelta(days=before)
    period = {"period_from": first.isoformat(), "period_to": (first + timedelta(days=59)).isoformat()}

    def total(kwh: str) -> F:
        return F(price_case({"id": 1, "tariff": "TN_LT1A_2022_09", "inputs": {"kwh": kwh, **period}})["total"])

    assert total("100") == 0  # the free hundred of both schedules, whatever the thirds of a day come to
    assert total("500") < total("500.001") - 50  # and the step above 500


@pytest.mark.parametrize(
    ("tariff", "inputs", "value"),
    [
        # Published for that month, by that licensee, the tariff's own, none.
        ("MSEDCL_LT1B_FY2026_27", {"period_from": "2026-05-01", "period_to": "2026-05-31"}, F("0.35")),
        ("DELHI_DOM_2021", {"period_from": "2026-05-01", "period_to": "2026-05-31", "utility": "TPDDL"}, F("10.47")),
        ("DELHI_DOM_2021", {"period_from": "2026-05-01", "period_to": "2026-05-31", "utility": "BRPL"}, F("7.25")),
        ("BESCOM_LT1_FY2026_27", {"days": 30}, F("0.38")),
        ("BEST_LT1B_FY2026_27", {"days": 30}, F(0)),
    ],
)
def test_a_fuel_value_that_is_not_given_is_the_published_one_else_the_tariffs_own_else_0_and_marked(
    tariff: str, inputs: dict[str, Any], value: F
) -> None:
    whole = {"kwh": 50, "sanctioned_load_kw": 1, **inputs}
    fuel: Callable[[str], bool] = ("fac", "ppac_energy", "fppca").__contains__
    answer = price_case({"id": 1, "tariff": tariff, "inputs": whole})

    lines = [line for line in answer["lines"] if fuel(line["code"])]
    said = sum(F(line["amount"]) for line in lines)
    base = F(150) if "DELHI" in tariff else F(50)
    assert said == oracle.half_up(base * value / (100 if "DELHI" in tariff else 1))
    marks = {mark["code"] for mark in answer["marks"]}
    assert ("FUEL_OWN" in marks) == ("days" in inputs and value > 0)
    assert ("FUEL_UNKNOWN" in marks) == (value == 0)
