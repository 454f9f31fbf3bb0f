"""The start of a supply, where bills rest on it, and energy that is not known."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import select

from portal.audit import CLI
from portal.billing import supply
from portal.billing.models import Invoice
from portal.errors import Conflict
from portal.readings import actions as readings
from portal.readings.incoming import Row
from tests.billing.bills import give_readings, india, run
from tests.factories import NOW, make_holder


@pytest.mark.promise(3)
def test_a_start_moves_back_until_the_supply_is_billed(area, config):
    user = make_holder(since=india(2026, 10, 20))
    moved = supply.move_start(user.user_id, india(2026, 10, 15), actor=CLI, now=NOW)
    assert moved.since == india(2026, 10, 15)
    give_readings(user.meter_id, india(2026, 10, 1), india(2026, 11, 1), config)
    run(2026, 10)
    with pytest.raises(Conflict, match="INV-202610-0000001") as refused:
        supply.move_start(user.user_id, india(2026, 10, 1), actor=CLI, now=NOW)
    assert refused.value.code == "PERIOD_BILLED"
    area.commit()


def registers(user, config, *told):
    rows = [Row(meter_id=user.meter_id, timestamp=at, register_kwh=Decimal(kwh)) for at, kwh in told]
    readings.store(rows, source="test", now=NOW, config=config)


@pytest.mark.promise(5)
def test_a_meter_that_tells_only_its_register_is_billed_by_it_and_the_bill_says_so(area, config):
    user = make_holder(since=india(2026, 9, 1))
    registers(user, config, (india(2026, 10, 1), 1200), (india(2026, 11, 1), 1500))
    run(2026, 10)
    bill = area.scalars(select(Invoice)).one()
    assert (bill.total_consumption_kwh, bill.estimated_kwh, bill.missing_hours) == (300, 300, 0)
    assert "300.000 kWh of the energy are estimated." in [mark["text"] for mark in bill.marks]
    area.commit()


@pytest.mark.parametrize("told", [((india(2026, 10, 1), 1200),), ((india(2026, 10, 1), 1200), (india(2026, 11, 1), 7))])
def test_a_register_that_tells_no_energy_is_held_back(area, config, told):
    user = make_holder(since=india(2026, 9, 1))
    registers(user, config, *told)
    result = run(2026, 10)
    assert [error.code for error in result.errors] == ["ONLY_REGISTERS"]
    assert result.success == 0
    area.commit()
