"""Meters that change hands, entered late: no energy is lost between holders, none is counted twice (promise 3)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import select

from portal.audit import CLI
from portal.billing import corrections, supply
from portal.billing.models import Invoice
from portal.errors import Conflict
from portal.meters import actions, life
from tests.billing.bills import HALF_HOUR, give_readings, india, run
from tests.factories import NOW, make_holder, make_pool, make_user

OCTOBER = (india(2026, 10, 1), india(2026, 11, 1))
WHO = {"actor": CLI, "now": NOW}


def energies(area):
    """User → kWh of their bills."""
    found = {}
    for bill in area.scalars(select(Invoice).where(Invoice.status != "cancelled")):
        found[bill.user_id] = found.get(bill.user_id, Decimal()) + bill.total_consumption_kwh
    return found


@pytest.mark.promise(3)
@pytest.mark.parametrize("at", [india(2026, 10, 10), india(2026, 10, 10, 11, 17), india(2026, 10, 10, 11, 30)])
def test_a_handover_entered_late_leaves_nothing_between_the_holders(area, config, at):
    first = make_holder(since=india(2026, 9, 1))
    meter = first.meter_id
    give_readings(meter, *OCTOBER, config)
    second = make_user()
    supply.unassign(first.user_id, make_pool(), at=at, **WHO)
    actions.assign(second.user_id, make_pool(), meter, how="admin", since=at, **WHO)
    area.commit()
    assert run(2026, 10).success == 2
    kwh = energies(area)
    assert kwh[first.user_id] + kwh[second.user_id] == 372
    halves = -(-(at - OCTOBER[0]) // HALF_HOUR)  # an interval is theirs in whose time it begins
    assert kwh[first.user_id] == halves * Decimal("0.25")


@pytest.mark.promise(3)
def test_a_swap_entered_late_is_one_bill_of_both_meters(area, config):
    user = make_holder(since=india(2026, 9, 1))
    at = india(2026, 10, 20, 11)
    give_readings("MTR-00000001", OCTOBER[0], at, config)
    give_readings("MTR-00000044", at, OCTOBER[1], config, kwh="0.5")
    supply.swap(
        user.user_id,
        make_pool(),
        "MTR-00000044",
        at=at,
        closing_register=Decimal("812.5"),
        opening_register=Decimal(0),
        **WHO,
    )
    area.commit()
    result = run(2026, 10)
    assert (result.success, result.errors) == (1, [])
    after = (OCTOBER[1] - at) // HALF_HOUR * Decimal("0.5")
    assert energies(area) == {user.user_id: after + (at - OCTOBER[0]) // HALF_HOUR * Decimal("0.25")}


@pytest.mark.promise(3)
def test_a_move_to_another_region_is_two_bills_that_add_up(area, config):
    user = make_holder(since=india(2026, 9, 1), region="Pune-West")
    at = india(2026, 10, 16)
    give_readings("MTR-00000001", OCTOBER[0], at, config)
    give_readings("MTR-00000044", at, OCTOBER[1], config)
    supply.relocate(user.user_id, "Mumbai-North", make_pool(), "MTR-00000044", at=at, **WHO)
    area.commit()
    result = run(2026, 10)
    assert (result.success, result.errors) == (2, [])
    bills = area.scalars(select(Invoice).order_by(Invoice.period_start)).all()
    assert [(bill.region, bill.meter_id) for bill in bills] == [
        ("Pune-West", "MTR-00000001"),
        ("Mumbai-North", "MTR-00000044"),
    ]
    assert energies(area) == {user.user_id: 372}


@pytest.mark.promise(3)
def test_energy_of_a_rest_in_quarantine_is_never_the_next_holders(area, config):
    """It may have gone on counting in the home that it came from."""
    pool = make_pool(rest_days=3)
    first, second = make_holder(since=india(2026, 9, 1)), make_user()
    meter = first.meter_id
    give_readings(meter, *OCTOBER, config)
    supply.unassign(first.user_id, pool, at=india(2026, 11, 14), **WHO)
    area.commit()
    life.move_meter(meter, "in_stock", pool, reason="seen on the shelf", **WHO)
    with pytest.raises(Conflict, match="was in quarantine") as refused:
        actions.assign(second.user_id, pool, meter, how="admin", since=india(2026, 11, 14, 12), **WHO)
    assert refused.value.code == "METER_NOT_ASSIGNABLE"
    area.rollback()


@pytest.mark.promise(6)
def test_a_bill_that_was_taken_back_is_not_named_but_the_one_in_its_place(area, config):
    user = make_holder(since=india(2026, 10, 1))
    give_readings(user.meter_id, *OCTOBER, config)
    run(2026, 10)
    give_readings(user.meter_id, india(2026, 10, 20), india(2026, 10, 20, 1), config, kwh="3")
    area.commit()
    old = area.scalars(select(Invoice)).one()
    new = corrections.correct(old.invoice_id, "late reading", **WHO).replacement
    area.commit()
    with pytest.raises(Conflict, match=new.invoice_number) as refused:
        supply.unassign(user.user_id, make_pool(), at=india(2026, 10, 20), **WHO)
    assert old.invoice_number not in refused.value.message
    area.rollback()
