"""The start of a supply, where bills rest on it, and energy that is not known."""

from __future__ import annotations

from decimal import Decimal

import pytest

from portal.audit import CLI
from portal.billing import supply
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


def test_a_meter_that_tells_only_registers_is_held_back(area, config):
    user = make_holder(since=india(2026, 9, 1))
    rows = [
        Row(meter_id=user.meter_id, timestamp=at, register_kwh=Decimal(total))
        for at, total in ((india(2026, 10, 1), 1200), (india(2026, 11, 1), 1500))
    ]
    readings.store(rows, source="test", now=NOW, config=config)
    result = run(2026, 10)
    assert [error.code for error in result.errors] == ["ONLY_REGISTERS"]
    assert result.success == 0
    area.commit()
