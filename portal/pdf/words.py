"""Numbers, days and amounts as a printed bill says them. Pure. Amounts are INR, energy is kWh."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel.dates import format_date
from babel.numbers import format_decimal

from portal.money import round_places
from portal.periods import local_date

LOCALE = "en_IN"
MINUS, EN_DASH, ZERO_WIDTH = "\u2212", "\u2013", "\u200b"
_LONG_WORD = re.compile(r"(\S{24})(?=\S)")
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def number(value: Decimal, places: int) -> str:
    """Lakh-crore groups, exactly `places` decimals, a true minus sign."""
    text = format_decimal(round_places(value, places), format="#,##,##0." + "0" * places, locale=LOCALE)
    return text.replace("-", MINUS)


def money(amount: Decimal) -> str:
    """₹1,23,456.70."""
    text = number(amount, 2)
    return MINUS + "₹" + text.removeprefix(MINUS) if text.startswith(MINUS) else "₹" + text


def rate(value: Decimal) -> str:
    """A rate with the digits it was published with, two at least."""
    digits = format(value.normalize(), "f").partition(".")[2]
    return "₹" + number(value, max(2, len(digits))) if value >= 0 else MINUS + "₹" + number(-value, max(2, len(digits)))


def kwh(value: Decimal) -> str:
    """238.412 kWh."""
    return number(value, 3) + "\u00a0kWh"


def day(value: date) -> str:
    """27 November 2026."""
    return format_date(value, "d MMMM y", locale=LOCALE)


def moment(instant: datetime, zone: ZoneInfo) -> str:
    """1 October 2026, 00:00 in the zone."""
    return f"{day(local_date(instant, zone))}, {instant.astimezone(zone):%H:%M}"


def period(start: datetime, end: datetime, zone: ZoneInfo) -> str:
    """The local days of `[start, end)`: 1–31 October 2026."""
    first, last = local_date(start, zone), local_date(end - timedelta(microseconds=1), zone)
    if first == last:
        return day(first)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}{EN_DASH}{day(last)}"
    return f"{day(first)} {EN_DASH} {day(last)}"


def breakable(text: str) -> str:
    """Long words may be broken, so that no name runs into its neighbour."""
    return _LONG_WORD.sub(rf"\1{ZERO_WIDTH}", text)


def in_words(amount: Decimal) -> str:
    """Rupees two thousand three hundred and eighty-seven only; with paise where there are any."""
    rupees, paise = divmod(int(abs(round_places(amount, 2)) * 100), 100)
    text = ("minus " if amount < 0 else "") + _whole(rupees)
    return f"Rupees {text} and {_whole(paise)} paise only." if paise else f"Rupees {text} only."


def _whole(value: int) -> str:
    parts = []
    for size, name in ((10_000_000, "crore"), (100_000, "lakh"), (1_000, "thousand"), (100, "hundred")):
        if value >= size:
            parts.append(f"{_whole(value // size)} {name}")
            value %= size
    if value or not parts:
        small = _ONES[value] if value < 20 else _TENS[value // 10] + (f"-{_ONES[value % 10]}" if value % 10 else "")
        parts.append(f"and {small}" if parts else small)
    return " ".join(parts)
