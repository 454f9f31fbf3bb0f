"""Promise 8: local days, half-open, stored in UTC."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.periods import Period, days_of, local_date, local_day, local_month, next_month, previous_month

INDIA, LONDON = ZoneInfo("Asia/Kolkata"), ZoneInfo("Europe/London")


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.promise(8)
def test_a_day_in_india_begins_at_half_past_six_in_the_evening_utc():
    assert local_day(date(2026, 11, 1), INDIA) == Period(utc(2026, 10, 31, 18, 30), utc(2026, 11, 1, 18, 30))


@pytest.mark.promise(8)
@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)])
def test_a_day_is_not_taken_for_24_hours(day, hours):
    assert local_day(day, LONDON).seconds == hours * 3600


@pytest.mark.promise(8)
@pytest.mark.parametrize(
    ("instant", "inside"),
    [
        (utc(2026, 10, 31, 18, 29, 59), False),
        (utc(2026, 10, 31, 18, 30), True),
        (utc(2026, 11, 30, 18, 29, 59), True),
        (utc(2026, 11, 30, 18, 30), False),
    ],
)
def test_a_month_holds_its_first_instant_and_not_the_next_months(instant, inside):
    assert local_month(2026, 11, INDIA).contains(instant) is inside


@pytest.mark.parametrize(("year", "days"), [(2024, 29), (2026, 28), (2100, 28)])
def test_february(year, days):
    assert len(days_of(local_month(year, 2, INDIA), INDIA)) == days


def test_months_follow_each_other_over_the_year():
    assert next_month(2026, 12) == (2027, 1)
    assert previous_month(2026, 1) == (2025, 12)


def test_naive_instants_and_empty_periods_are_refused():
    with pytest.raises(ValueError, match="zone"):
        Period(datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="after"):
        Period(utc(2026, 1, 1), utc(2026, 1, 1))


instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda each: each.replace(tzinfo=UTC))


@given(instants, st.sampled_from([INDIA, LONDON, ZoneInfo("Australia/Lord_Howe")]))
def test_every_instant_belongs_to_one_local_day(instant, zone):
    day = local_date(instant, zone)
    assert local_day(day, zone).contains(instant)
    assert not local_day(day + timedelta(days=1), zone).contains(instant)


@given(instants, instants, instants, instants)
def test_what_two_periods_share_is_in_both(a, b, c, d):
    if a == b or c == d:
        return
    one, two = Period(min(a, b), max(a, b)), Period(min(c, d), max(c, d))
    shared = one.intersect(two)
    assert shared == two.intersect(one)
    if shared is None:
        assert one.end <= two.start or two.end <= one.start
    else:
        assert shared.start in (one.start, two.start)
        assert shared.end in (one.end, two.end)
