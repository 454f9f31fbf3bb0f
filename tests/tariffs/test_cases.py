"""Every bill of `bill_cases.json`, to the paisa and line by line.

The file is a copy of the collection that the project was given: bills printed by utilities and bills priced by an
independent program; each names its source.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from portal.money import round_places
from portal.tariffs import cases
from portal.tariffs.fraction import BillableUse
from portal.tariffs.published import get_published, published_fuel, published_tariffs
from portal.tariffs.rules import PricedBill, limits_of, price

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("bill_cases.json").read_text())
LOADED = {version.version for tariff in published_tariffs().values() for version in tariff.versions}


def _sum(*codes: str) -> Callable[[PricedBill], Decimal]:
    return lambda bill: sum((line.amount for line in bill.lines if line.code in codes), Decimal(0))


def _each(code: str) -> Callable[[PricedBill], list[Decimal]]:
    return lambda bill: [line.amount for line in bill.lines if line.code == code]


def _units(bill: PricedBill) -> list[Decimal]:
    return [line.kwh for line in bill.lines if line.code == "energy" and line.kwh is not None]


def _not_discount(bill: PricedBill) -> Decimal:
    return bill.total + bill.discounts


FIGURES: dict[str, Callable[[PricedBill], Any]] = {
    "fixed": _sum("fixed"),
    "customer": _sum("customer"),
    "energy_wheeling_fac": _sum("energy", "wheeling", "fac"),
    "energy_wheeling": _sum("energy", "wheeling", "fac"),
    "energy_total": _sum("energy"),
    "derived_energy": _sum("energy"),
    "duty": _sum("duty"),
    "duty_16": _sum("duty"),
    "tod_rebate": _sum("tod"),
    "tax": _sum("tax"),
    "tax_5": _sum("tax"),
    "electricity_tax": _sum("tax"),
    "ppac_energy_total": _sum("ppac_energy"),
    "ppac_fixed": _sum("ppac_fixed"),
    "surcharge_8": _sum("surcharge"),
    "pension_7": _sum("pension"),
    "fppca": _sum("fppca"),
    "pg": _sum("pg"),
    "subsidy_fixed": _sum("gruha_jyothi_fixed"),
    "subsidy_energy": _sum("gruha_jyothi_energy"),
    "subsidy_fppca": _sum("gruha_jyothi_fppca"),
    "subsidy_pg": _sum("gruha_jyothi_pg"),
    "subsidy_tax": _sum("gruha_jyothi_tax"),
    "sub_total_1": _not_discount,
    "sub_total_2": lambda bill: bill.discounts,
    "unrounded": lambda bill: bill.total,
    "units": _units,
    "derived_units": _units,
    "billed_kwh": lambda bill: bill.billed_kwh,
    "credit_used_kwh": lambda bill: bill.credit_used_kwh,
    "credit_carried_kwh": lambda bill: bill.credit_carried_kwh,
}
BY_SHAPE = {
    "energy": (_sum("energy"), _each("energy")),
    "ppac_energy": (_sum("ppac_energy"), _each("ppac_energy")),
}
ELSEWHERE = {"month_fraction", "slab_limits", "days_in_use", "days_in_month", "fractions", "yearend_payout"}
"""Looked at in tests of their own, or (the pay-out of credit at the end of March) always 0.00 in these cases."""


def _bill(case: dict[str, Any]) -> PricedBill:
    version, _ = get_published(case["tariff"])
    return price(version, cases.read_use(version, case["inputs"]), [each.value for each in published_fuel()])


@pytest.mark.promise(7)
@pytest.mark.parametrize("case", [case for case in CASES if case["tariff"] in LOADED], ids=lambda case: case["id"])
def test_a_known_bill_comes_out_to_the_paisa(case: dict[str, Any]) -> None:
    bill = _bill(case)

    if case["expected_total"] is not None:
        assert bill.total == Decimal(case["expected_total"])
    if "expected_payable" in case:
        assert bill.payable == Decimal(case["expected_payable"])
    for name, expected in case["expected_lines"].items():
        if name in ELSEWHERE:
            continue
        figure = BY_SHAPE[name][isinstance(expected, list)] if name in BY_SHAPE else FIGURES[name]
        wanted = [Decimal(str(each)) for each in expected] if isinstance(expected, list) else Decimal(str(expected))
        assert figure(bill) == wanted, name
    if "month_fraction" in case["expected_lines"]:
        printed = case["expected_lines"]["month_fraction"]
        assert round_places(bill.parts[0].month_fraction, len(printed.partition(".")[2])) == Decimal(printed)
    if "slab_limits" in case["expected_lines"]:
        version, _ = get_published(case["tariff"])
        limits = limits_of(version, cases.read_use(version, case["inputs"]), "energy")
        assert [int(limit) for limit in limits] == json.loads(case["expected_lines"]["slab_limits"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_the_command_answers_every_case_and_errs_only_where_the_tariff_is_not_loaded(case: dict[str, Any]) -> None:
    answer = cases.price_case(case)

    assert answer["id"] == case["id"]
    assert ("error" in answer) == (case["tariff"] not in LOADED)
    if "error" not in answer:
        assert sum(Decimal(line["amount"]) for line in answer["lines"]) == Decimal(answer["total"])


def test_a_printed_bill_of_31_days_has_slabs_of_103_and_206_kwh() -> None:
    # P13: MSEDCL, 21 January to 21 February 2020, 221 kWh. Its rates are not loaded; its slab limits are the same.
    version, _ = get_published("MSEDCL_LT1B_FY2020_21")
    use = BillableUse(kwh=Decimal(221), days=31)

    assert limits_of(version, use, "energy")[:2] == [103, 309]
    assert _units(price(version, use)) == [103, 118]


def test_a_value_of_fuel_that_is_not_given_is_the_published_one_then_the_tariffs_own_and_marked() -> None:
    inputs = {"kwh": 350, "days": 31, "phase": 1, "municipal": True}
    given = cases.price_case({"id": 1, "tariff": "MSEDCL_LT1B_FY2026_27", "inputs": {**inputs, "fac": "0"}})
    own = cases.price_case({"id": 2, "tariff": "MSEDCL_LT1B_FY2026_27", "inputs": inputs})
    may = {**inputs, "period_from": "2026-05-01", "period_to": "2026-05-31"}
    published = cases.price_case({"id": 3, "tariff": "MSEDCL_LT1B_FY2026_27", "inputs": may})
    none = cases.price_case({"id": 4, "tariff": "MSEDCL_LT1B_FY2025_26_JUL", "inputs": inputs})

    assert [mark["code"] for mark in own["marks"]] == ["FUEL_OWN"]
    assert published["marks"] == []
    assert published["total"] == own["total"] == "4818.30"
    assert Decimal(given["total"]) < Decimal(own["total"])
    assert [mark["code"] for mark in none["marks"]] == ["FUEL_UNKNOWN"]


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        ({}, "kwh"),
        ({"kwh": -1}, "kwh"),
        ({"kwh": "NaN"}, "kwh"),
        ({"kwh": "1e30"}, "kwh"),
        ({"kwh": "ten"}, "kwh"),
        ({"kwh": True}, "kwh"),
        ({"kwh": 10, "days": 0}, "days"),
        ({"kwh": 10, "days": "30.5"}, "days"),
        ({"kwh": 10, "period_from": "2026-02-30"}, "period_from"),
        ({"kwh": 10, "period_from": "2026-03-02", "period_to": "2026-03-01"}, "period_to"),
        ({"reading_prev": 10, "reading_curr": 9}, "reading_curr"),
        ({"kwh": 10, "phase": 2}, "phase"),
        ({"kwh": 200, "fac": ["0.1"] * 2, "days": 1}, "FAC"),
    ],
)
def test_what_cannot_be_priced_says_why(inputs: dict[str, Any], word: str) -> None:
    answer = cases.price_case({"id": "x", "tariff": "MSEDCL_LT1B_FY2026_27", "inputs": inputs})

    assert set(answer) == {"id", "error"}
    assert word in answer["error"]


def test_unknown_words_are_ignored_and_readings_make_the_energy() -> None:
    inputs = {"reading_prev": 25001, "reading_curr": 25101, "mf": 2, "fac": "0", "colour": "blue"}
    doubled = cases.price_case({"id": 1, "tariff": "MSEDCL_LT1B_FY2026_27", "inputs": inputs})
    said = cases.price_case({"id": 1, "tariff": "MSEDCL_LT1B_FY2026_27", "inputs": {"kwh": 200, "fac": "0"}})

    assert doubled == said
