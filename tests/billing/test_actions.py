"""Runs: who is billed for what, once, whole and for good."""

from __future__ import annotations

import random
import threading
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from flask import Flask
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session

from portal.audit import SYSTEM
from portal.billing import actions, proof, queries
from portal.billing.models import Invoice, InvoiceLine
from portal.config import Config
from portal.errors import Conflict, Invalid
from portal.meters import actions as meters
from portal.meters.models import Connection
from portal.tariffs.models import RegionTariff
from portal.tariffs.queries import Catalogue
from tests.billing.bills import give_readings, india, run
from tests.factories import NOW, make_holder, make_pool, make_user

Area = scoped_session[Session]
OCTOBER = (india(2026, 10, 1), india(2026, 11, 1))


def only_bill(area: Area) -> Invoice:
    """The one bill there is."""
    return area.scalars(select(Invoice)).one()


def test_a_month_of_readings_becomes_a_bill_whose_lines_are_its_total(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 15))
    assert user.meter_id
    give_readings(user.meter_id, *OCTOBER, config)
    # Noise that must not be counted: the half hours just outside, and somebody else's meter.
    give_readings(user.meter_id, india(2026, 9, 30, 23, 30), india(2026, 10, 1), config, kwh="100")
    give_readings(user.meter_id, india(2026, 11, 1), india(2026, 11, 1, 0, 30), config, kwh="100")
    give_readings(9_000_000, *OCTOBER, config)

    result = run(2026, 10)

    assert (result.success, result.failed, result.errors) == (1, 0, [])
    bill = only_bill(area)
    lines = queries.list_lines(bill.invoice_id)
    assert bill.total_consumption_kwh == Decimal("0.25") * 48 * 31 == 372
    assert (bill.user_id, bill.meter_id, bill.region) == (user.user_id, user.meter_id, "Pune-West")
    assert (bill.period_start, bill.period_end) == OCTOBER
    # 31 days: 1.03 months, limits 103 and 309; FAC of the tariff; fixed 130 + 10 municipal; duty 16 %.
    energy = 103 * Decimal("5.91") + 206 * Decimal("13.05") + 63 * Decimal("17.48")
    assert sum(line.amount for line in lines if line.code in ("energy", "wheeling", "fac")) == energy
    assert [line.amount for line in lines if line.code == "fixed"] == [140]
    assert bill.tax_amount == round((energy + 140) * Decimal("0.16"), 2)
    assert sum(line.amount for line in lines) == bill.total_cost
    assert [line.kwh_consumed for line in lines if line.code == "energy"] == [103, 206, 63]
    assert bill.amount_due == 10 * round(bill.total_cost / 10)
    assert bill.missing_hours == 0
    assert bill.due_date == date(2026, 12, 6)
    assert [mark["code"] for mark in bill.marks] == ["FUEL_OWN"]


def test_a_run_prices_as_the_command_does(area: Area, config: Config) -> None:
    from portal.tariffs.cases import price_case

    user = make_holder(since=india(2026, 9, 15))
    assert user.meter_id
    give_readings(user.meter_id, *OCTOBER, config, kwh="0.219")
    run(2026, 10)

    bill = only_bill(area)
    inputs = {
        "kwh": str(bill.total_consumption_kwh),
        "period_from": "2026-10-01",
        "period_to": "2026-10-31",
        "municipal": True,
    }
    answer = price_case({"id": 1, "tariff": "MSEDCL_LT1B_FY2026_27", "inputs": inputs})
    assert answer["total"] == str(bill.total_cost)
    assert answer["payable"] == str(bill.amount_due)
    assert [line["amount"] for line in answer["lines"]] == [
        str(line.amount) for line in queries.list_lines(bill.invoice_id)
    ]


@pytest.mark.promise(3)
@pytest.mark.parametrize("handover", [india(2026, 10, 13), india(2026, 10, 13, 14, 30), india(2026, 10, 13, 14, 37)])
def test_the_parts_of_a_month_with_a_handover_add_up_to_the_meter(
    area: Area, config: Config, handover: datetime
) -> None:
    first = make_holder(meter_id="MTR-00000777", since=india(2026, 9, 1))
    meters.unassign(first.user_id, make_pool(), actor=SYSTEM, now=handover)
    second = make_holder(meter_id="MTR-00000777", since=handover)
    count = give_readings("MTR-00000777", *OCTOBER, config)

    result = run(2026, 10)

    bills = {bill.user_id: bill for bill in area.scalars(select(Invoice))}
    assert (result.success, result.failed) == (2, 0)
    assert sum(bill.total_consumption_kwh for bill in bills.values()) == Decimal("0.25") * count
    before, after = bills[first.user_id], bills[second.user_id]
    assert before.period_end == after.period_start == handover
    # An interval belongs to whoever held the meter when it began; the day's fixed charge to whoever takes over.
    begun = -(-(handover - OCTOBER[0]) // timedelta(minutes=30))
    assert before.total_consumption_kwh == Decimal("0.25") * begun
    fixed = [
        line.amount for bill in (before, after) for line in queries.list_lines(bill.invoice_id) if line.code == "fixed"
    ]
    assert fixed == [Decimal("56.00"), Decimal("88.20")]  # 12 days: 0.40 months of 140; 19 days: 0.63


@pytest.mark.promise(3)
def test_a_swap_of_meters_stays_on_one_bill(area: Area, config: Config) -> None:
    user = make_holder(meter_id="MTR-00000010", since=india(2026, 9, 1))
    swap = india(2026, 10, 20, 11)
    area.execute(
        text("""
            UPDATE meter_assignments SET unassigned_at = :at, unassigned_by = 'test' WHERE user_id = :user;"""),
        {"at": swap, "user": user.user_id},
    )
    area.execute(text("UPDATE meters SET status = 'in_stock' WHERE meter_key = 10"))
    area.execute(text("INSERT INTO meters (meter_key, meter_id, status) VALUES (11, 'MTR-00000011', 'assigned')"))
    area.execute(
        text("""
            INSERT INTO meter_assignments (connection_id, user_id, meter_key, assigned_at, how, assigned_by)
            SELECT connection_id, user_id, 11, :at, 'swap', 'test' FROM connections WHERE user_id = :user"""),
        {"at": swap, "user": user.user_id},
    )
    area.execute(text("UPDATE users SET meter_id = 'MTR-00000011' WHERE user_id = :user"), {"user": user.user_id})
    for meter in ("MTR-00000010", "MTR-00000011"):
        give_readings(meter, *OCTOBER, config)

    assert run(2026, 10).success == 1

    bill = only_bill(area)
    assert bill.total_consumption_kwh == 372
    assert bill.meter_id == "MTR-00000011"
    assert [meter["meter_key"] for meter in bill.computed_from["meters"]] == [10, 11]


@pytest.mark.promise(8)
@pytest.mark.parametrize(
    ("start", "counted"),
    [
        (india(2026, 9, 30, 23, 59), False),
        (india(2026, 10, 1), True),
        (india(2026, 10, 31, 23, 59), True),
        (india(2026, 11, 1), False),
    ],
)
def test_an_interval_belongs_to_the_cycle_in_which_it_begins(
    area: Area, config: Config, start: datetime, counted: bool
) -> None:
    user = make_holder(since=india(2026, 8, 1))
    assert user.meter_id
    give_readings(user.meter_id, start, start + timedelta(minutes=1), config, kwh="7", step=timedelta(minutes=1))

    run(2026, 10)

    assert only_bill(area).total_consumption_kwh == (7 if counted else 0)


@pytest.mark.promise(8)
def test_a_change_of_rates_at_midnight_prices_each_month_by_its_own(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 1, 1))
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 3, 1), india(2026, 5, 1), config, kwh="0.1")

    run(2026, 3)
    run(2026, 4)

    march, april = area.scalars(select(Invoice).order_by(Invoice.cycle_start))
    assert [part["version"] for part in march.computed_from["versions"]] == ["MSEDCL_LT1B_FY2025_26_JUL"]
    assert [part["version"] for part in april.computed_from["versions"]] == ["MSEDCL_LT1B_FY2026_27"]


def test_a_change_of_tariff_inside_the_cycle_divides_the_bill(area: Area, config: Config) -> None:
    area.get_one(RegionTariff, ("Pune-West", "residential")).tariff_code = "TN_LT1A"
    user = make_holder(since=india(2026, 4, 1))
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 5, 1), india(2026, 7, 1), config)

    assert run(2026, 5).not_due == 1  # its cycles are March-April, May-June
    assert run(2026, 6).success == 1

    bill = only_bill(area)
    assert (bill.cycle_start, bill.total_consumption_kwh) == (date(2026, 5, 1), Decimal("0.25") * 48 * 61)
    assert [part["version"] for part in bill.computed_from["versions"]] == ["TN_LT1A_2025_07", "TN_LT1A_2026_05"]
    ends = {line.period_end for line in queries.list_lines(bill.invoice_id)}
    assert ends == {india(2026, 5, 10), india(2026, 7, 1)}


@pytest.mark.promise(5)
def test_hours_without_a_reading_are_said_on_the_bill_and_not_guessed(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 1))
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 10, 1), india(2026, 10, 30, 12), config)

    run(2026, 10)

    bill = only_bill(area)
    assert bill.missing_hours == 36
    assert bill.total_consumption_kwh == Decimal("0.25") * 48 * Decimal("29.5")
    marks = {mark["code"]: mark["text"] for mark in bill.marks}
    assert "36.00 hours" in marks["READINGS_MISSING"]


@pytest.mark.promise(5)
def test_a_customer_without_a_reading_is_billed_the_fixed_charge_and_told_so(area: Area) -> None:
    make_holder(since=india(2026, 9, 1))

    assert run(2026, 10).success == 1

    bill = only_bill(area)
    assert (bill.total_consumption_kwh, bill.missing_hours) == (0, 31 * 24)
    assert (bill.total_cost, bill.amount_due) == (Decimal("162.40"), Decimal("160.00"))


@pytest.mark.promise(6)
def test_a_second_run_makes_no_second_bill(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 1))
    assert user.meter_id
    run(2026, 10)
    give_readings(user.meter_id, *OCTOBER, config)  # late data change nothing that was issued

    again = run(2026, 10)

    assert (again.success, again.failed, again.existing) == (0, 0, 1)
    assert only_bill(area).total_consumption_kwh == 0


@pytest.mark.promise(6)
@pytest.mark.promise(10)
def test_two_runs_at_once_make_one_bill_each_and_numbers_without_gaps(app: Flask) -> None:
    with app.app_context() as _:
        from portal.db import session

        for _ in range(12):
            make_holder(since=india(2026, 9, 1))
        session.commit()
        session.remove()
    results: list[actions.RunResult] = []
    barrier = threading.Barrier(3)

    def work() -> None:
        from portal.db import session

        with app.app_context():
            barrier.wait()
            results.append(
                actions.generate_month(2026, 10, actor=SYSTEM, now=NOW, on_progress=lambda _: session.commit())
            )
            session.commit()
            session.remove()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    with app.app_context():
        from portal.db import session

        numbers = sorted(session.scalars(select(Invoice.invoice_number)))
        assert numbers == [f"INV-202610-{number:07}" for number in range(1, 13)]
        assert sum(result.success for result in results) == 12
        assert [result.failed for result in results] == [0, 0, 0]


@pytest.mark.promise(10)
def test_one_that_cannot_be_billed_is_listed_and_leaves_no_gap(area: Area) -> None:
    make_holder(since=india(2026, 9, 1))
    lost = make_holder(since=india(2026, 9, 1))
    connection = area.scalars(select(Connection).where(Connection.user_id == lost.user_id)).one()
    connection.tariff_category = "lighthouse"
    make_holder(since=india(2026, 9, 1))
    area.flush()

    result = run(2026, 10)

    assert (result.success, result.failed) == (2, 1)
    assert [(each.user_id, each.code) for each in result.errors] == [(lost.user_id, "NO_TARIFF")]
    numbers = sorted(area.scalars(select(Invoice.invoice_number)))
    assert numbers == ["INV-202610-0000001", "INV-202610-0000002"]
    connection.tariff_category = "residential"
    area.flush()
    assert run(2026, 10).success == 1  # what failed is taken up again, nothing else


def test_a_supply_whose_amount_the_tariff_does_not_know_is_held_back(area: Area) -> None:
    user = make_holder(since=india(2026, 1, 1))
    area.scalars(select(Connection).where(Connection.user_id == user.user_id)).one().phase = 3
    area.flush()

    march, april = run(2026, 3), run(2026, 4)

    assert [error.code for error in march.errors] == ["AMOUNT_UNKNOWN"]
    assert april.success == 1


@pytest.mark.parametrize(
    ("now", "over"),
    [
        (india(2026, 10, 31, 23, 59), False),
        (india(2026, 11, 1) - timedelta(microseconds=1), False),
        (india(2026, 11, 1), True),
    ],
)
def test_a_month_is_billed_when_it_is_over_and_not_before(area: Area, now: datetime, over: bool) -> None:
    make_holder(since=india(2026, 9, 1))
    if over:
        assert run(2026, 10, now=now).success == 1
    else:
        with pytest.raises(Conflict, match="October 2026 is not over") as refusal:
            run(2026, 10, now=now)
        assert refusal.value.code == "MONTH_NOT_OVER"


def test_a_region_is_billed_alone_and_an_unknown_one_refused(area: Area) -> None:
    make_holder(since=india(2026, 9, 1))
    make_holder(since=india(2026, 9, 1), region="Delhi-South")

    assert run(2026, 10, "Delhi-South").success == 1
    assert only_bill(area).region == "Delhi-South"
    with pytest.raises(Invalid, match="Atlantis"):
        run(2026, 10, "Atlantis")


@pytest.mark.parametrize(
    "region",
    [
        "Mumbai-North",
        "Mumbai-South",
        "Delhi-North",
        "Delhi-South",
        "Bangalore-East",
        "Bangalore-West",
        "Pune-East",
        "Pune-West",
        "Hyderabad-Central",
        "Chennai-North",
    ],
)
def test_every_region_can_be_billed(area: Area, config: Config, region: str) -> None:
    user = make_holder(since=india(2026, 8, 20), region=region)
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 9, 1), india(2026, 11, 1), config)

    result = run(2026, 10)

    bill = only_bill(area)
    assert (result.success, result.errors) == (1, [])
    assert bill.total_cost > 1000
    assert not bill.illustrative
    verdict = proof.verify(bill, queries.list_lines(bill.invoice_id), Catalogue())
    assert (verdict.differences, verdict.later_readings) == ((), ())


def test_an_illustrative_tariff_is_said_on_the_bill(area: Area) -> None:
    area.get_one(RegionTariff, ("Pune-West", "residential")).tariff_code = "ILLUSTRATIVE_LT_DOM"
    make_holder(since=india(2026, 9, 1))

    run(2026, 10)

    assert only_bill(area).illustrative
    assert "ILLUSTRATIVE" in [mark["code"] for mark in only_bill(area).marks]


@pytest.mark.promise(7)
def test_what_rounding_leaves_is_carried_to_the_next_bill(area: Area) -> None:
    make_holder(since=india(2026, 6, 1))

    for month in (6, 7, 8, 9, 10):
        run(2026, month)

    bills = list(area.scalars(select(Invoice).order_by(Invoice.cycle_start)))
    assert [bill.total_cost for bill in bills] == [Decimal("162.40")] * 5
    assert [bill.carried_in for bill in bills] == [Decimal(each) for each in ("0", "2.40", "4.80", "-2.80", "-0.40")]
    assert [bill.amount_due for bill in bills] == [160, 160, 170, 160, 160]


def test_exported_energy_comes_off_and_what_is_left_is_carried(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 8, 1))
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 9, 1), india(2026, 10, 1), config, kwh="0.1", export_kwh="0.15")
    give_readings(user.meter_id, *OCTOBER, config, kwh="0.1")

    run(2026, 9)
    run(2026, 10)

    september, october = area.scalars(select(Invoice).order_by(Invoice.cycle_start))
    assert (september.total_consumption_kwh, september.export_kwh) == (144, 216)
    assert september.credit_carried_kwh == 72
    assert september.total_cost == Decimal("162.40")
    billed = sum(line.kwh_consumed or 0 for line in queries.list_lines(october.invoice_id) if line.code == "energy")
    assert billed == Decimal("148.8") - 72


def test_a_leap_day_is_a_day_of_its_month(area: Area, config: Config) -> None:
    area.get_one(RegionTariff, ("Pune-West", "residential")).tariff_code = "ILLUSTRATIVE_LT_DOM"
    user = make_holder(since=india(2024, 2, 29))
    assert user.meter_id
    give_readings(user.meter_id, india(2024, 2, 28), india(2024, 3, 2), config)

    run(2024, 2)

    bill = only_bill(area)
    assert (bill.period_start, bill.period_end) == (india(2024, 2, 29), india(2024, 3, 1))
    assert bill.total_consumption_kwh == 12
    fixed = next(line for line in queries.list_lines(bill.invoice_id) if line.code == "fixed")
    assert fixed.amount == round(Decimal(60) / 29, 2)


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    "change",
    [
        {"total_cost": Decimal(1)},
        {"amount_due": Decimal(1)},
        {"invoice_number": "X"},
        {"computed_from": {}},
        {"due_date": date(2030, 1, 1)},
        {"total_consumption_kwh": Decimal(1), "status": "cancelled"},
    ],
)
def test_an_issued_bill_cannot_be_changed(area: Area, change: dict[str, object]) -> None:
    make_holder(since=india(2026, 9, 1))
    run(2026, 10)
    area.commit()

    with pytest.raises(IntegrityError, match="is issued"):
        area.execute(update(Invoice).values(**change))


@pytest.mark.promise(6)
def test_an_issued_bill_cannot_be_removed_nor_its_lines_changed_removed_or_added(area: Area) -> None:
    make_holder(since=india(2026, 9, 1))
    run(2026, 10)
    area.commit()
    bill = only_bill(area)
    line = queries.list_lines(bill.invoice_id)[0]
    more = {
        name: getattr(line, name)
        for name in ("invoice_id", "code", "category", "description", "period_start", "period_end")
    }

    for act in (
        delete(Invoice),
        update(InvoiceLine).values(amount=0),
        delete(InvoiceLine),
        InvoiceLine.__table__.insert().values(**more, position=99, amount=0),
    ):
        with pytest.raises(IntegrityError, match="issued"), area.begin_nested():
            area.execute(act)


@pytest.mark.promise(6)
def test_a_bill_whose_lines_are_not_its_total_never_comes_to_be(area: Area) -> None:
    make_holder(since=india(2026, 9, 1))
    run(2026, 10)
    values = {column.name: getattr(only_bill(area), column.name) for column in Invoice.__table__.columns}
    area.rollback()

    user = make_holder(since=india(2026, 9, 1))
    connection = area.scalars(select(Connection)).one()
    values |= {"connection_id": connection.connection_id, "user_id": user.user_id}
    area.execute(Invoice.__table__.insert().values(**values))
    with pytest.raises(IntegrityError, match="lines"):
        area.commit()


@pytest.mark.parametrize(
    ("now", "status"),
    [(india(2026, 12, 6, 23, 59), "pending"), (india(2026, 12, 7), "overdue")],
)
def test_a_bill_is_overdue_when_its_due_day_is_over(area: Area, now: datetime, status: str) -> None:
    make_holder(since=india(2026, 9, 1))
    run(2026, 10)

    actions.mark_overdue(now)

    area.expire_all()
    assert only_bill(area).status == status


@pytest.mark.promise(6)
def test_a_bill_comes_out_the_same_from_what_it_was_computed_from(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 1))
    assert user.meter_id
    give_readings(user.meter_id, *OCTOBER, config, kwh="0.219")
    run(2026, 10)
    area.commit()
    bill = only_bill(area)
    lines = queries.list_lines(bill.invoice_id)

    assert proof.verify(bill, lines, Catalogue()).holds
    give_readings(user.meter_id, india(2026, 10, 5), india(2026, 10, 6), config, kwh="0.5")
    late = proof.verify(bill, lines, Catalogue())
    assert late.holds
    assert len(late.later_readings) == 1

    area.expunge(bill)
    bill.total_cost += 1
    assert not proof.verify(bill, lines, Catalogue()).holds


def test_every_chunk_is_told_so_that_the_caller_can_commit(area: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "CHUNK", 2)
    for _ in range(5):
        make_holder(since=india(2026, 9, 1))
    seen: list[tuple[int, int, int]] = []

    actions.generate_month(
        2026, 10, actor=SYSTEM, now=NOW, on_progress=lambda p: seen.append((p.done, p.total, p.result.success))
    )

    assert seen == [(2, 5, 2), (4, 5, 4), (5, 5, 5)]


def test_nobody_without_supply_is_billed(area: Area) -> None:
    make_user()
    make_holder(since=india(2026, 11, 1))
    gone = make_holder(since=india(2026, 8, 1))
    meters.unassign(gone.user_id, make_pool(), actor=SYSTEM, now=india(2026, 10, 1))

    result = run(2026, 10)

    assert (result.success, result.failed, result.not_due) == (0, 0, 1)
    assert area.scalar(select(func.count()).select_from(Invoice)) == 0


@pytest.mark.promise(3)
@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_history_every_interval_is_billed_to_one_holder_or_to_nobody(
    area: Area, config: Config, seed: int
) -> None:
    # Handovers at odd minutes, times without a holder, one meter throughout: parts and unheld time are the whole.
    dice = random.Random(seed)
    at = india(2026, 9, 28) + timedelta(minutes=dice.randrange(3000))
    periods = []
    while at < OCTOBER[1]:
        user = make_holder(meter_id="MTR-00000777", since=at)
        until = at + timedelta(minutes=dice.randrange(1, 20_000))
        if until < NOW:
            meters.unassign(user.user_id, make_pool(), actor=SYSTEM, now=until)
        periods.append((at, until))
        at = until + timedelta(minutes=dice.choice([0, 0, dice.randrange(4000)]))
        if until >= NOW:
            break
    give_readings("MTR-00000777", india(2026, 9, 25), india(2026, 11, 3), config)

    run(2026, 9)
    result = run(2026, 10)

    assert result.errors == []
    starts = [OCTOBER[0] + n * timedelta(minutes=30) for n in range(31 * 48)]
    held = [start for start in starts if any(since <= start < until for since, until in periods)]
    october = select(Invoice.total_consumption_kwh).where(Invoice.cycle_start == date(2026, 10, 1))
    assert sum(area.scalars(october)) == Decimal("0.25") * len(held)
