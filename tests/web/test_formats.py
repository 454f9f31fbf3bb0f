"""Numbers and instants as people read them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from portal.accounts.models import ROLES
from portal.billing.models import STATUSES as INVOICE_STATUSES
from portal.meters.models import HOWS, STATUSES
from portal.web import charts, formats, words

INDIA = ZoneInfo("Asia/Kolkata")
NOON = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _context(app: Flask):
    with app.test_request_context():
        yield


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "₹0.00"),
        ("2387", "₹2,387.00"),
        ("123456.7", "₹1,23,456.70"),
        ("28564218", "₹2,85,64,218.00"),
        ("-0.23", "−₹0.23"),
        ("0.125", "₹0.13"),
    ],
)
def test_money_has_indian_groups_two_decimals_and_a_true_minus(amount: str, text: str) -> None:
    assert formats.money(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("99999", "₹99,999"),
        ("100000", "₹1.00\u00a0lakh"),
        ("28564218", "₹2.86\u00a0crore"),
        ("-410000", "−₹4.10\u00a0lakh"),
    ],
)
def test_big_totals_say_lakh_and_crore(amount: str, text: str) -> None:
    assert formats.big_money(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("rate", "text"), [("8.45", "₹8.45"), ("3.960000", "₹3.96"), ("0.0325", "₹0.0325"), ("10", "₹10.00")]
)
def test_a_rate_keeps_the_digits_it_was_published_with(rate: str, text: str) -> None:
    assert formats.rate(Decimal(rate)) == text


def test_energy_has_its_unit_and_the_decimals_of_its_place() -> None:
    assert formats.kwh(Decimal("14596.682")) == "14,596.682\u00a0kWh"
    assert formats.kwh(Decimal("149.26"), 1) == "149.3\u00a0kWh"
    assert formats.kwh(Decimal("0.0005")) == "0.001\u00a0kWh"


@pytest.mark.parametrize(("value", "text"), [("16", "16\u00a0%"), ("97.45", "97.5\u00a0%"), ("0.04", "0\u00a0%")])
def test_percentages_have_one_decimal_at_most(value: str, text: str) -> None:
    assert formats.percent(Decimal(value)) == text


def test_instants_are_said_in_the_zone_and_relative_to_today() -> None:
    assert formats.moment(NOON - timedelta(hours=6), NOON, INDIA) == "Today, 06:00"
    # 00:15 in India is still yesterday in UTC.
    assert formats.moment(datetime(2026, 11, 22, 18, 45, tzinfo=UTC), NOON, INDIA) == "Today, 00:15"
    assert formats.moment(datetime(2026, 11, 22, 18, 15, tzinfo=UTC), NOON, INDIA) == "Yesterday, 23:45"
    assert formats.moment(datetime(2026, 11, 20, 13, 0, tzinfo=UTC), NOON, INDIA) == "20 November 2026, 18:30"


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (date(2026, 11, 1), date(2026, 11, 22), "1–22 November 2026"),
        (date(2026, 10, 28), date(2026, 11, 3), "28 October – 3 November 2026"),
        (date(2026, 12, 28), date(2027, 1, 3), "28 December 2026 – 3 January 2027"),
        (date(2028, 2, 29), date(2028, 2, 29), "29 February 2028"),
    ],
)
def test_spans_of_days_are_said_once(first: date, last: date, text: str) -> None:
    assert formats.span(first, last) == text


def test_a_half_open_period_ends_on_the_day_before_its_end() -> None:
    start, end = datetime(2026, 9, 30, 18, 30, tzinfo=UTC), datetime(2026, 10, 31, 18, 30, tzinfo=UTC)
    assert formats.period(start, end, INDIA) == "1–31 October 2026"


@pytest.mark.parametrize(
    ("left", "text"),
    [(4, "Due in 4 days"), (1, "Due tomorrow"), (0, "Due today"), (-1, "1 day overdue"), (-3, "3 days overdue")],
)
def test_a_due_day_is_said_relative_to_today(left: int, text: str) -> None:
    today = date(2026, 11, 23)
    assert formats.due(today + timedelta(days=left), today) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "just now"), (59, "just now"), (60, "1 minute ago"), (3599, "59 minutes ago"), (3600, "1 hour ago"),
     (86400 * 11, "11 days ago")],
)  # fmt: skip
def test_freshness_is_said_in_the_largest_unit(seconds: int, text: str) -> None:
    assert formats.ago(NOON - timedelta(seconds=seconds), NOON) == text


@pytest.mark.parametrize(
    ("hours", "text"), [("0.37", "22 minutes"), ("1", "1 hour"), ("40.12", "40.1 hours"), ("24", "24 hours")]
)
def test_missing_time_is_said_in_hours_or_minutes(hours: str, text: str) -> None:
    assert formats.hours(Decimal(hours)) == text


def test_every_value_that_the_database_keeps_has_a_word() -> None:
    assert set(words.ROLE) == set(ROLES)
    assert set(words.HOW_ASSIGNED) == set(HOWS)
    assert set(words.METER_STATUS) == set(STATUSES)
    assert set(words.INVOICE_STATUS) == set(INVOICE_STATUSES)
    assert set(words.KIND_OF_BAR) == {
        charts.MEASURED, charts.ESTIMATED, charts.EXPECTED, charts.RUNNING, charts.MISSING, charts.COMPARE
    }  # fmt: skip
