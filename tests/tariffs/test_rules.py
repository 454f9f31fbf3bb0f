"""The pricing function, beside the known bills: shares, parts, edges, and what must hold for every energy."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.errors import Invalid
from portal.money import round_paisa
from portal.tariffs.fraction import BillableUse, FuelValue, calendar_fraction, find_fuel
from portal.tariffs.published import get_published, published_tariffs
from portal.tariffs.rules import VersionDays, price, price_across
from portal.tariffs.terms import Version, read_version, write_version
from portal.tariffs.working import Line, apportion

VERSIONS = [version for tariff in published_tariffs().values() for version in tariff.versions]
VERSION_IDS = [version.version for version in VERSIONS]
wh = st.integers(min_value=0, max_value=3_000_000).map(lambda n: Decimal(n) / 1000)


def msedcl(name: str = "FY2026_27") -> Version:
    return get_published(f"MSEDCL_LT1B_{name}")[0]


def use(kwh: str | Decimal, days: int = 30, **more: object) -> BillableUse:
    return BillableUse(kwh=Decimal(kwh), days=days, load_kw=Decimal(2), **more)  # type: ignore[arg-type]


@pytest.mark.promise(7)
@pytest.mark.parametrize("version", VERSIONS, ids=VERSION_IDS)
@settings(max_examples=60, deadline=None)
@given(kwh=wh, days=st.integers(min_value=1, max_value=62))
def test_the_rounded_lines_are_the_total_and_the_sums_beside_it(version: Version, kwh: Decimal, days: int) -> None:
    bill = price(version, use(kwh, days))

    assert all(line.amount == round_paisa(line.amount) for line in bill.lines)
    assert sum(line.amount for line in bill.lines) == bill.total
    assert bill.base_cost + bill.surcharges + bill.tax_amount - bill.discounts == bill.total
    assert abs(bill.payable - bill.total) <= version.payable_step / 2


@pytest.mark.parametrize("version", VERSIONS, ids=VERSION_IDS)
@settings(max_examples=60, deadline=None)
@given(kwh=wh, more=wh, days=st.sampled_from([28, 29, 30, 31]))
def test_more_energy_never_costs_less(version: Version, kwh: Decimal, more: Decimal, days: int) -> None:
    assert price(version, use(kwh, days)).total <= price(version, use(kwh + more, days)).total


@settings(max_examples=200)
@given(st.lists(st.decimals(min_value=-500, max_value=5000, places=5), min_size=1, max_size=9))
def test_a_group_is_rounded_once_and_shared_out_without_moving_a_line_by_a_paisa(exact: list[Decimal]) -> None:
    lines = [Line("x", "x", "base", each) for each in exact]

    apportion(lines)

    assert sum(line.amount for line in lines) == round_paisa(sum(exact, Decimal(0)))
    assert all(abs(line.amount - line.exact) < Decimal("0.01") for line in lines)


@settings(max_examples=60, deadline=None)
@given(kwh=wh, days_before=st.integers(min_value=1, max_value=30))
def test_a_change_of_tariff_divides_energy_and_days_without_loss(kwh: Decimal, days_before: int) -> None:
    change = date(2026, 3, 1).replace(day=days_before + 1)
    first, until = date(2026, 3, 1), date(2026, 4, 1)
    parts = [VersionDays(msedcl("FY2025_26_JUL"), first, change), VersionDays(msedcl(), change, until)]

    bill = price_across(parts, use(kwh, 31, first_day=first, until=until))

    assert sum(part.kwh for part in bill.parts) == kwh
    assert [part.days for part in bill.parts] == [days_before, 31 - days_before]
    assert sum(line.amount for line in bill.lines) == bill.total


def test_a_change_at_midnight_of_the_first_day_divides_nothing() -> None:
    first, until = date(2026, 4, 1), date(2026, 5, 1)
    whole = price_across([VersionDays(msedcl(), first, until)], use("350", first_day=first, until=until))

    assert [part.version for part in whole.parts] == ["MSEDCL_LT1B_FY2026_27"]
    assert whole.lines == price(msedcl(), use("350", first_day=first, until=until)).lines


def test_the_fixed_charge_of_a_month_is_shared_by_days_when_the_tariff_changes_inside() -> None:
    first, change, until = date(2026, 3, 22), date(2026, 4, 1), date(2026, 4, 21)
    parts = [VersionDays(msedcl("FY2025_26_JUL"), first, change), VersionDays(msedcl(), change, until)]

    bill = price_across(parts, use("300", 30, first_day=first, until=until))

    assert [line.amount for line in bill.lines if line.code == "fixed"] == [Decimal("43.33"), Decimal("86.67")]
    assert [part.kwh for part in bill.parts] == [Decimal(100), Decimal(200)]


def test_days_that_no_version_covers_are_refused() -> None:
    first, until = date(2026, 3, 1), date(2026, 4, 10)
    with pytest.raises(Invalid, match="do not cover"):
        price_across([VersionDays(msedcl(), date(2026, 4, 1), until)], use("10", 40, first_day=first, until=until))


@pytest.mark.parametrize(
    ("days", "part_period", "fixed"),
    [(28, False, "130.00"), (29, False, "130.00"), (31, False, "130.00"), (15, True, "65.00"), (1, True, "3.90")],
)
def test_a_full_month_owes_the_full_fixed_charge_and_a_part_its_share(days: int, part_period: bool, fixed: str) -> None:
    bill = price(msedcl(), use("10", days, part_period=part_period))

    assert [line.amount for line in bill.lines if line.code == "fixed"] == [Decimal(fixed)]


def test_two_parts_of_a_month_take_the_whole_fixed_charge_between_them() -> None:
    # 12 and 18 days of a month of 30: 0.40 and 0.60 of a month.
    first, second = (price(msedcl(), use("50", days, part_period=True)) for days in (12, 18))

    assert sum(line.amount for bill in (first, second) for line in bill.lines if line.code == "fixed") == Decimal(130)


@pytest.mark.parametrize(
    ("first", "until", "fraction"),
    [
        (date(2026, 2, 1), date(2026, 3, 1), "1"),
        (date(2028, 2, 1), date(2028, 3, 1), "1"),
        (date(2028, 2, 29), date(2028, 3, 1), "0.0345"),
        (date(2022, 6, 25), date(2022, 7, 25), "0.9742"),
        (date(2025, 12, 31), date(2026, 1, 2), "0.0645"),
    ],
)
def test_a_period_in_calendar_months(first: date, until: date, fraction: str) -> None:
    assert round(calendar_fraction(first, until), 4) == Decimal(fraction)


def test_exports_come_off_imports_and_what_is_left_is_carried() -> None:
    bill = price(msedcl(), use("100", export_kwh=Decimal(70), credit_brought_kwh=Decimal(50)))

    assert (bill.billed_kwh, bill.credit_used_kwh, bill.credit_carried_kwh) == (0, 100, 20)


def test_a_subsidy_of_the_household_ends_above_its_limit() -> None:
    version = get_published("BESCOM_LT1_FY2026_27")[0]
    entitled = {"gruha_jyothi": Decimal(80)}

    assert price(version, use("80", entitled_kwh=entitled)).total == 0
    assert price(version, use("200", entitled_kwh=entitled)).discounts > 0
    assert price(version, use("200.001", entitled_kwh=entitled)).discounts == 0
    assert price(version, use("206", 31, entitled_kwh=entitled)).discounts > 0  # 200 × 31/30 = 206.67


def test_a_subsidy_by_bands_pays_all_then_half_up_to_its_cap_then_nothing() -> None:
    version = get_published("DELHI_DOM_2021")[0]
    opted = {"options": frozenset({"subsidy"}), "given": {"ppac_energy": (Decimal(0),), "ppac_fixed": (Decimal(0),)}}

    assert price(version, use("200", **opted)).total == 0
    assert price(version, use("201", **opted)).discounts == round_paisa(price(version, use("201")).total / 2)
    assert price(version, use("400", **opted)).discounts == 800
    assert price(version, use("401", **opted)).discounts == 0
    assert price(version, use("150")).discounts == 0  # not opted in


def test_a_schedule_is_picked_by_the_normalised_month() -> None:
    # Published: 189 kWh in 29 days of a month of 31 is 202 a month: the group above 200, its first limit 187.
    version = get_published("TG_LT1_FY2016_22")[0]
    bill = price(version, use("189", 29, month_days=31))

    assert [(line.kwh, line.rate) for line in bill.lines if line.code == "energy"] == [
        (Decimal(187), Decimal("5.0")),
        (Decimal(2), Decimal("7.2")),
    ]


def test_a_state_subsidy_is_its_own_line() -> None:
    # A printed bill of January 2025: 310.20, paid as 310.
    bill = price(get_published("TN_LT1A_2024_07")[0], use("216", 61))

    assert [(line.code, line.amount) for line in bill.lines] == [
        ("energy", Decimal("1036.80")),
        ("subsidy", Decimal("-726.60")),
    ]
    assert (bill.total, bill.payable) == (Decimal("310.20"), Decimal(310))


def test_a_reading_of_two_cycles_is_twice_the_half() -> None:
    version = get_published("TN_LT1A_2016_05")[0]

    assert price(version, use("1000", 121)).total == 2 * price(version, use("500", 60)).total


def test_a_cycle_of_two_months_across_a_change_is_priced_by_days() -> None:
    first, change, until = date(2022, 8, 11), date(2022, 9, 10), date(2022, 10, 10)
    old, new = get_published("TN_LT1A_2016_05")[0], get_published("TN_LT1A_2022_09")[0]
    both = use("400", 60, first_day=first, until=until)

    bill = price_across([VersionDays(old, first, change), VersionDays(new, change, until)], both)

    half_each = (price(old, both).total + price(new, both).total) / 2
    assert bill.total == round_paisa(half_each)


def test_a_published_percentage_that_changes_inside_divides_whole_kwh_by_days() -> None:
    version = get_published("DELHI_DOM_2021")[0]
    series = "percent_of_fixed_and_energy"
    fuel = [
        FuelValue("BRPL", series, date(2025, 7, 1), date(2026, 6, 10), (Decimal("7.25"),)),
        FuelValue("BRPL", series, date(2026, 6, 10), date(2026, 7, 10), (Decimal("17.94"),)),
        FuelValue("TPDDL", series, date(2026, 6, 10), date(2026, 7, 10), (Decimal("16.0"),)),
    ]
    june = use("100", 30, first_day=date(2026, 6, 1), until=date(2026, 7, 1), licensee="BRPL")

    bill = price(version, june, fuel)

    assert [(part.days, part.kwh) for part in bill.parts] == [(9, Decimal(30)), (21, Decimal(70))]
    assert {line.description.split()[1] for line in bill.lines if line.code == "ppac_energy"} == {"(7.25", "(17.94"}


@settings(max_examples=60, deadline=None)
@given(kwh=wh, cuts=st.sets(st.integers(min_value=2, max_value=30), max_size=3))
def test_whole_kwh_by_days_lose_nothing_however_often_a_percentage_changes(kwh: Decimal, cuts: set[int]) -> None:
    days = [date(2026, 6, day) for day in sorted(cuts)]
    edges = [date(2026, 1, 1), *days, date(2027, 1, 1)]
    fuel = [
        FuelValue("DERC", "percent_of_fixed_and_energy", edges[i], edges[i + 1], (Decimal(i),))
        for i in range(len(edges) - 1)
    ]
    june = use(kwh, 30, first_day=date(2026, 6, 1), until=date(2026, 7, 1))

    bill = price(get_published("DELHI_DOM_2021")[0], june, fuel)

    assert len(bill.parts) == len(cuts) + 1
    assert sum(part.kwh for part in bill.parts) == kwh
    if kwh == kwh.to_integral_value():
        assert all(part.kwh == part.kwh.to_integral_value() for part in bill.parts)


@pytest.mark.parametrize(
    ("day", "value"),
    [(date(2026, 4, 30), None), (date(2026, 5, 1), 1), (date(2026, 5, 31), 1), (date(2026, 6, 1), None)],
)
def test_a_fuel_value_holds_from_its_first_day_to_its_last(day: date, value: int | None) -> None:
    table = [FuelValue("M", "per_kwh", date(2026, 5, 1), date(2026, 6, 1), (Decimal(1),))]
    found = find_fuel(table, "M", ("per_kwh",), day)

    assert (found.values[0] if found else None) == value


@pytest.mark.parametrize("version", VERSIONS, ids=VERSION_IDS)
def test_a_version_survives_its_json(version: Version) -> None:
    assert read_version(write_version(version)) == version


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"month": "fortnight"}, "month"),
        ({"charges": [{"kind": "magic", "code": "x", "label": "x"}]}, "magic"),
        ({"charges": [{"kind": "per_kwh", "code": "x", "label": "x", "rates": ["a"]}]}, "rates"),
        ({"charges": [{"kind": "percent", "code": "x", "label": "x", "percent": "5", "of": ["y"]}]}, "not an earlier"),
        ({"charges": [{"kind": "per_kwh", "code": "x", "label": "x", "rates": ["1"]}] * 2}, "two charges"),
    ],
)
def test_a_version_that_does_not_fit_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        read_version({**write_version(msedcl()), **change})


def test_a_minimum_adds_what_is_missing() -> None:
    document = write_version(msedcl())
    document["charges"] = [
        {
            "kind": "energy",
            "code": "energy",
            "label": "Energy",
            "schedules": [{"slabs": [{"upto": None, "rate": "2"}]}],
        },
        {"kind": "minimum", "code": "minimum", "label": "Minimum", "amount": "50", "of": ["energy"]},
    ]
    version = read_version(document)

    assert [line.amount for line in price(version, use("10")).lines] == [20, 30]
    assert [line.amount for line in price(version, use("40")).lines] == [80]


def test_no_version_that_was_stayed_is_loaded() -> None:
    assert not [name for name in VERSION_IDS if "CASE217" in name]
