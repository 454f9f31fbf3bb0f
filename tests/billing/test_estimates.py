"""The running cycle: what was used, what it will come to, and how sure that is."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, scoped_session

from portal.billing import estimates
from portal.billing.models import Invoice
from portal.config import Config
from portal.errors import NotFound
from portal.tariffs.models import RegionTariff
from tests.billing.bills import give_readings, india, run
from tests.factories import make_holder, make_user

Area = scoped_session[Session]
NOW = india(2026, 11, 16)


def test_what_is_measured_is_carried_on_to_the_end_of_the_cycle(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 1))
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 11, 1), NOW, config)
    give_readings(user.meter_id, india(2026, 10, 31), india(2026, 11, 1), config, kwh="50")  # the cycle before

    its = estimates.estimate(user, NOW)

    assert (its.period_start, its.period_end) == (india(2026, 11, 1), india(2026, 12, 1))
    assert (its.days_elapsed, its.total_days) == (16, 30)
    assert (its.consumption_to_date_kwh, its.projected_consumption_kwh) == (180, 360)
    assert its.estimated_base_cost + its.estimated_tax == its.estimated_total
    assert its.avg_tariff_rate == round(its.estimated_total / 360, 4)
    assert 0 < its.cost_to_date < its.estimated_total
    assert (its.confidence_level, its.missing_hours) == ("high", 0)
    assert not its.illustrative


@pytest.mark.promise(5)
@pytest.mark.parametrize(("measured_days", "level"), [(15, "high"), (11, "medium"), (10, "low"), (0, "low")])
def test_an_estimate_says_how_much_of_the_time_is_measured(
    area: Area, config: Config, measured_days: int, level: str
) -> None:
    user = make_holder(since=india(2026, 9, 1))
    assert user.meter_id
    start = india(2026, 11, 1)
    give_readings(user.meter_id, start, start + timedelta(days=measured_days), config)

    its = estimates.estimate(user, NOW)

    assert its.confidence_level == level
    assert its.missing_hours == 24 * (15 - measured_days)
    # A gap is carried by the mean of what was measured, not counted as nothing; without a reading nothing is known.
    assert its.projected_consumption_kwh == (360 if measured_days else 0)


def test_the_estimate_of_a_month_is_its_bill_when_it_goes_on_like_this(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 1))
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 10, 1), india(2026, 11, 1), config)

    its = estimates.estimate(user, india(2026, 10, 20))
    run(2026, 10, now=NOW)

    assert area.scalars(select(Invoice)).one().total_cost == its.estimated_total


def test_a_supply_that_began_inside_the_cycle_is_priced_for_its_days(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 11, 11, 9))
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 11, 11, 9), NOW, config)

    its = estimates.estimate(user, NOW)

    assert (its.period_start, its.total_days, its.days_elapsed) == (india(2026, 11, 11, 9), 20, 6)
    assert its.consumption_to_date_kwh == Decimal("0.25") * 2 * 111


def test_a_cycle_of_two_months(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 1), region="Chennai-North")
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 11, 1), NOW, config)

    cycle = estimates.current_cycle(user, NOW)

    assert (cycle.cycle_start, cycle.cycle_end) == (india(2026, 11, 1), india(2027, 1, 1))
    assert cycle.days_remaining == 46


def test_the_current_cycle_knows_the_bill_before_it(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 1))
    run(2026, 9, now=NOW)
    run(2026, 10, now=NOW)

    cycle = estimates.current_cycle(user, NOW)

    assert cycle.days_remaining == 15
    assert cycle.current_month_invoice is None
    assert cycle.last_invoice is not None
    assert cycle.last_invoice.period_start == india(2026, 10, 1)
    assert cycle.estimated_cost == cycle.estimate.estimated_total


def test_without_a_meter_there_is_no_cycle(area: Area) -> None:
    user = make_user()

    with pytest.raises(NotFound) as refusal:
        estimates.estimate(user, NOW)
    assert refusal.value.code == "METER_NOT_ASSIGNED"
    cycle, reason = estimates.find_current_cycle(user, NOW)
    assert cycle is None
    assert reason is not None


def test_in_the_first_moments_of_a_supply_there_is_an_estimate(area: Area) -> None:
    user = make_holder(since=NOW)

    its = estimates.estimate(user, NOW + timedelta(seconds=1))

    assert (its.consumption_to_date_kwh, its.confidence_level) == (0, "low")


def test_an_illustrative_tariff_is_said(area: Area) -> None:
    area.get_one(RegionTariff, ("Pune-West", "residential")).tariff_code = "ILLUSTRATIVE_LT_DOM"

    assert estimates.estimate(make_holder(since=india(2026, 9, 1)), NOW).illustrative


def test_an_estimate_writes_nothing(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 1))
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 11, 1), NOW, config)
    area.flush()

    estimates.current_cycle(user, NOW)

    assert not area.new
    assert not area.dirty
    assert area.scalar(select(func.count()).select_from(Invoice)) == 0
