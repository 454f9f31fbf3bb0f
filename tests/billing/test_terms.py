"""What a tariff asks about a supply, in a real run: hours of the day, subsidies, load, two months, solar panels."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, scoped_session

from portal.audit import SYSTEM
from portal.billing import queries, terms
from portal.billing.models import Invoice
from portal.config import Config
from portal.errors import Invalid
from portal.tariffs.cases import price_case
from tests.billing.bills import HALF_HOUR, give_readings, india, run
from tests.factories import make_holder

Area = scoped_session[Session]
OCTOBER = (india(2026, 10, 1), india(2026, 11, 1))


def _lines_of_case(tariff: str, inputs: dict[str, Any]) -> tuple[str, str, list[tuple[str, str]]]:
    answer = price_case({"id": 1, "tariff": tariff, "inputs": inputs})
    return answer["total"], answer["payable"], [(line["code"], line["amount"]) for line in answer["lines"]]


def _lines_of_bill(bill: Invoice) -> tuple[str, str, list[tuple[str, str]]]:
    lines = queries.list_lines(bill.invoice_id)
    return str(bill.total_cost), str(bill.amount_due), [(line.code, str(line.amount)) for line in lines]


@pytest.mark.parametrize(
    ("region", "tariff", "inputs", "supply"),
    [
        ("Pune-West", "MSEDCL_LT1B_FY2026_27", {"municipal": True, "phase": 3}, {"phase": 3}),
        ("Pune-East", "MSEDCL_LT1B_FY2026_27", {"municipal": True, "digital_discount": True},
         {"options": ["digital_discount"]}),
        ("Mumbai-North", "AEML_LT1B_FY2026_27", {}, {}),
        ("Mumbai-South", "BEST_LT1B_FY2026_27", {}, {}),
        ("Delhi-North", "DELHI_DOM_2021", {"sanctioned_load_kw": 3, "licensee": "TPDDL"}, {"load_kw": Decimal(3)}),
        ("Delhi-South", "DELHI_DOM_2021", {"sanctioned_load_kw": 5, "licensee": "BRPL", "subsidy": True},
         {"load_kw": Decimal(5), "options": ["subsidy"]}),
        ("Bangalore-East", "BESCOM_LT1_FY2026_27", {"sanctioned_load_kw": 2, "gruha_jyothi_entitlement": 90},
         {"entitlements": {"gruha_jyothi": Decimal(90)}}),
        ("Hyderabad-Central", "TG_LT1_FY2024_27", {"sanctioned_load_kw": 2, "gruha_jyothi": True},
         {"options": ["gruha_jyothi"]}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kwh", ["0", "0.125", "0.3"])
def test_a_run_prices_stored_usage_as_the_command_prices_the_same_use(
    area: Area, config: Config, region: str, tariff: str, inputs: dict[str, Any], supply: dict[str, Any], kwh: str
) -> None:
    user = make_holder(since=india(2026, 9, 15), region=region)
    assert user.meter_id
    terms.set_terms(user.user_id, **supply, actor=SYSTEM, now=india(2026, 9, 16))
    give_readings(user.meter_id, *OCTOBER, config, kwh=kwh)

    assert run(2026, 10, region).success == 1

    bill = area.scalars(select(Invoice)).one()
    used = Decimal(kwh) * 48 * 31
    days = {"period_from": "2026-10-01", "period_to": "2026-10-31"}
    assert bill.total_consumption_kwh == used
    assert _lines_of_bill(bill) == _lines_of_case(tariff, {"kwh": str(used), **days, **inputs})


def _give_by_hours(meter: str, start: datetime, end: datetime, config: Config) -> Decimal:
    """0.1 kWh a half hour, 0.4 from 9 to 17 o'clock; how much those hours had."""
    solar, at = Decimal(0), start
    while at < end:
        give_readings(meter, at, at + timedelta(hours=9), config, kwh="0.1")
        solar += Decimal("0.4") * give_readings(
            meter, at + timedelta(hours=9), at + timedelta(hours=17), config, kwh="0.4"
        )
        give_readings(meter, at + timedelta(hours=17), at + timedelta(days=1), config, kwh="0.1")
        at += timedelta(days=1)
    return solar


@pytest.mark.promise(8)
def test_hours_of_the_day_come_from_the_stored_intervals(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 15))
    assert user.meter_id
    terms.set_terms(user.user_id, options=["time_of_day"], actor=SYSTEM, now=india(2026, 9, 16))
    solar = _give_by_hours(user.meter_id, *OCTOBER, config)

    run(2026, 10)

    bill = area.scalars(select(Invoice)).one()
    tod = next(line for line in queries.list_lines(bill.invoice_id) if line.code == "tod")
    assert (tod.kwh_consumed, tod.amount) == (solar, round(solar * Decimal("-0.8"), 2))
    inputs = {"kwh": str(bill.total_consumption_kwh), "solar_hours_kwh": str(solar), "municipal": True}
    days = {"period_from": "2026-10-01", "period_to": "2026-10-31"}
    assert _lines_of_bill(bill) == _lines_of_case("MSEDCL_LT1B_FY2026_27", {**inputs, **days})


def test_a_supply_without_the_option_has_no_line_for_hours(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 15))
    assert user.meter_id
    give_readings(user.meter_id, *OCTOBER, config)

    run(2026, 10)

    assert "tod" not in [line.code for line in queries.list_lines(area.scalars(select(Invoice)).one().invoice_id)]


@pytest.mark.parametrize("kwh", ["0.05", "0.171", "0.2"])
def test_two_months_of_chennai_are_one_bill_as_the_command_prices_it(area: Area, config: Config, kwh: str) -> None:
    user = make_holder(since=india(2026, 6, 15), region="Chennai-North")
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 7, 1), india(2026, 9, 1), config, kwh=kwh)

    assert (run(2026, 7, "Chennai-North").not_due, run(2026, 8, "Chennai-North").success) == (1, 1)

    bill = area.scalars(select(Invoice)).one()
    used = Decimal(kwh) * 48 * 62
    assert (bill.cycle_start.month, bill.total_consumption_kwh) == (7, used)
    days = {"period_from": "2026-07-01", "period_to": "2026-08-31"}
    assert _lines_of_bill(bill) == _lines_of_case("TN_LT1A_2026_05", {"kwh": str(used), **days})


def test_what_solar_panels_give_is_credited_and_carried_from_month_to_month(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 7, 15))
    assert user.meter_id
    credit, months = Decimal(0), ((8, "0.05", "0.2"), (9, "0.1", "0.05"), (10, "0.3", "0.02"))
    for month, taken, given in months:
        start, end = india(2026, month, 1), india(2026, month + 1, 1)
        count = give_readings(user.meter_id, start, end, config, kwh=taken, export_kwh=given)
        run(2026, month)
        imported, exported = Decimal(taken) * count, Decimal(given) * count
        bill = area.scalars(select(Invoice).order_by(Invoice.cycle_start.desc()).limit(1)).one()
        used = min(imported, exported + credit)
        inputs = {"import_kwh": str(imported), "export_kwh": str(exported), "credit_brought_kwh": str(credit)}
        days = {"period_from": f"2026-{month:02}-01", "period_to": f"2026-{month:02}-{(end - start) // timedelta(1)}"}
        total, _, lines = _lines_of_case("MSEDCL_LT1B_FY2026_27", {**inputs, **days, "municipal": True})
        assert (_lines_of_bill(bill)[0], _lines_of_bill(bill)[2]) == (total, lines)
        credit += exported - used
        assert bill.credit_carried_kwh == credit
        assert bill.export_kwh == exported
        said = next(mark["text"] for mark in bill.marks if mark["code"] == "NET_METERED")
        assert f"{used.normalize():f}" in said
    assert credit == 0


def test_export_alone_makes_a_bill_of_the_fixed_charge(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 15))
    assert user.meter_id
    count = give_readings(user.meter_id, *OCTOBER, config, kwh="0", export_kwh="0.1")

    run(2026, 10)

    bill = area.scalars(select(Invoice)).one()
    assert (bill.total_cost, bill.credit_carried_kwh) == (Decimal("162.40"), count * Decimal("0.1"))


def test_hours_are_netted_in_their_own_hours(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 15))
    assert user.meter_id
    terms.set_terms(user.user_id, options=["time_of_day"], actor=SYSTEM, now=india(2026, 9, 16))
    noon = india(2026, 10, 5, 12)
    give_readings(user.meter_id, noon, noon + HALF_HOUR, config, kwh="5", export_kwh="2")
    give_readings(user.meter_id, noon + 12 * HALF_HOUR, noon + 13 * HALF_HOUR, config, kwh="4", export_kwh="1")

    run(2026, 10)

    bill = area.scalars(select(Invoice)).one()
    assert [line.kwh_consumed for line in queries.list_lines(bill.invoice_id) if line.code == "tod"] == [3]


@pytest.mark.parametrize(
    "wrong",
    [
        {"options": ["free_for_all"]}, {"entitlements": {"energy": Decimal(1)}}, {"phase": 2}, {"load_kw": Decimal(0)},
    ],
)  # fmt: skip
def test_a_word_that_the_tariff_does_not_know_is_refused(area: Area, wrong: dict[str, Any]) -> None:
    user = make_holder(since=india(2026, 9, 15))
    with pytest.raises(Invalid):
        terms.set_terms(user.user_id, **wrong, actor=SYSTEM, now=india(2026, 9, 16))
