"""Cycles, billable days, what is payable and which state follows which."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.billing.rules import (
    Cycle,
    billable_days,
    confidence,
    cycle_ending,
    cycle_of,
    days_to_price,
    hours_of,
    settle,
)
from portal.errors import Invalid
from portal.periods import Period
from portal.tariffs.fraction import BillableUse

INDIA = ZoneInfo("Asia/Kolkata")


def india(*parts: int) -> datetime:
    """An instant by its local time in India."""
    return datetime(*parts, tzinfo=INDIA).astimezone(UTC)


@pytest.mark.parametrize(
    ("day", "months", "first", "until"),
    [
        (date(2026, 11, 1), 1, date(2026, 11, 1), date(2026, 12, 1)),
        (date(2026, 11, 30), 1, date(2026, 11, 1), date(2026, 12, 1)),
        (date(2028, 2, 29), 1, date(2028, 2, 1), date(2028, 3, 1)),
        (date(2026, 12, 31), 1, date(2026, 12, 1), date(2027, 1, 1)),
        (date(2026, 9, 1), 2, date(2026, 9, 1), date(2026, 11, 1)),
        (date(2026, 10, 31), 2, date(2026, 9, 1), date(2026, 11, 1)),
        (date(2026, 12, 31), 2, date(2026, 11, 1), date(2027, 1, 1)),
    ],
)
def test_a_day_belongs_to_one_cycle(day: date, months: int, first: date, until: date) -> None:
    assert cycle_of(day, months) == Cycle(first, until)


def test_a_cycle_of_two_months_ends_with_its_second() -> None:
    assert cycle_ending(2026, 9, 2) is None
    assert cycle_ending(2026, 10, 2) == Cycle(date(2026, 9, 1), date(2026, 11, 1))
    assert cycle_ending(2026, 9) == Cycle(date(2026, 9, 1), date(2026, 10, 1))


@pytest.mark.parametrize(("year", "month"), [(2026, 0), (2026, 13), (1999, 1), (3000, 1)])
def test_a_month_that_does_not_exist_is_refused(year: int, month: int) -> None:
    with pytest.raises(Invalid):
        cycle_ending(year, month)


@pytest.mark.promise(8)
def test_a_cycle_begins_and_ends_at_local_midnight() -> None:
    period = cycle_of(date(2026, 11, 5)).period(INDIA)

    assert period == Period(datetime(2026, 10, 31, 18, 30, tzinfo=UTC), datetime(2026, 11, 30, 18, 30, tzinfo=UTC))


@pytest.mark.promise(3)
@given(hour=st.integers(min_value=0, max_value=23), minute=st.integers(min_value=0, max_value=59))
def test_the_day_of_a_handover_is_owed_by_one_of_the_two(hour: int, minute: int) -> None:
    month = cycle_of(date(2026, 11, 1)).period(INDIA)
    handover = india(2026, 11, 13, hour, minute)
    assert month.end is not None

    before = billable_days(Period(month.start, handover), INDIA)
    after = billable_days(Period(handover, month.end), INDIA)

    assert (before, after) == ((date(2026, 11, 1), date(2026, 11, 13)), (date(2026, 11, 13), date(2026, 12, 1)))


def test_a_supply_of_some_hours_owes_no_fixed_charge_and_is_priced_as_one_day() -> None:
    cycle = cycle_of(date(2026, 11, 1))
    served = Period(india(2026, 11, 13, 8), india(2026, 11, 13, 20))

    use = days_to_price(BillableUse(kwh=Decimal(2), days=1), served, cycle, INDIA)

    assert (use.days, use.part_period, use.without_fixed) == (1, True, True)


@pytest.mark.parametrize(
    ("start", "end", "part"),
    [
        (india(2026, 11, 1), india(2026, 12, 1), False),
        (india(2026, 11, 1, 10), india(2026, 12, 1), False),  # moved in on the first: the whole month is theirs
        (india(2026, 11, 2), india(2026, 12, 1), True),
        (india(2026, 11, 1), india(2026, 11, 30, 23, 59), True),
    ],
)
def test_a_month_is_a_part_when_a_day_of_it_is_missing(start: datetime, end: datetime, part: bool) -> None:
    use = days_to_price(BillableUse(kwh=Decimal(2), days=1), Period(start, end), cycle_of(date(2026, 11, 1)), INDIA)

    assert use.part_period is part


@pytest.mark.promise(7)
@given(st.lists(st.decimals(min_value=0, max_value=20_000, places=2), min_size=1, max_size=24))
def test_what_rounding_takes_now_the_next_bill_gives_back(totals: list[Decimal]) -> None:
    carried, settled = Decimal(0), Decimal(0)
    for total in totals:
        rounding, due = settle(total, carried, Decimal(10))
        assert due == total + carried + rounding
        assert due % 10 == 0
        assert abs(rounding) <= 5
        carried, settled = -rounding, settled + due

    assert settled + carried == sum(totals)


@pytest.mark.parametrize(
    ("covered", "elapsed", "level"),
    [
        (95, 100, "high"),
        (9499, 10000, "medium"),
        (70, 100, "medium"),
        (6999, 10000, "low"),
        (0, 100, "low"),
        (0, 0, "low"),
    ],
)
def test_confidence_is_by_the_share_that_is_measured(covered: int, elapsed: int, level: str) -> None:
    assert confidence(covered, elapsed) == level


def test_hours_have_two_decimals() -> None:
    assert hours_of(1800 + 18) == Decimal("0.51")
