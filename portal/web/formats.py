"""Numbers, instants and days as people read them. Pure, but for the words, which go through gettext.

Amounts are INR, energy is kWh, instants are aware; every instant is shown in the zone it is given.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel.dates import format_date, get_timezone_name
from babel.numbers import format_decimal
from flask_babel import gettext as _
from flask_babel import ngettext

from portal.money import round_places, round_whole
from portal.periods import local_date

LOCALE = "en_IN"
NBSP = "\u00a0"
MINUS = "\u2212"
EN_DASH = "\u2013"
LAKH = Decimal(100_000)
CRORE = Decimal(10_000_000)

# The pattern is given because Babel groups some Indian locales the western way.
_GROUPS = "#,##,##0"


def number(value: Decimal | int, places: int = 0) -> str:
    """Lakh-crore groups, exactly `places` decimals (half up), a true minus sign: 2856421.8 → 28,56,421.80."""
    pattern = _GROUPS + ("." + "0" * places if places else "")
    text = format_decimal(round_places(Decimal(value), places), format=pattern, locale=LOCALE)
    return text.replace("-", MINUS)


def _rupee(text: str) -> str:
    """₹ before the digits and after the sign."""
    return MINUS + "₹" + text.removeprefix(MINUS) if text.startswith(MINUS) else "₹" + text


def money(amount: Decimal) -> str:
    """₹1,23,456.70: bills."""
    return _rupee(number(amount, 2))


def rupees(amount: Decimal) -> str:
    """₹1,23,457: estimates."""
    return _rupee(number(amount))


def big_money(amount: Decimal) -> str:
    """₹2.86 crore, ₹4.10 lakh, or whole rupees below a lakh: staff totals, with the exact amount under it."""
    if abs(amount) >= CRORE:
        return _rupee(number(amount / CRORE, 2)) + NBSP + _("crore")
    if abs(amount) >= LAKH:
        return _rupee(number(amount / LAKH, 2)) + NBSP + _("lakh")
    return rupees(amount)


def rate(value: Decimal) -> str:
    """A rate in INR with the digits it was published with, two at least: ₹8.45, ₹0.0325."""
    digits = format(value.normalize(), "f").partition(".")[2]
    return _rupee(number(value, max(2, len(digits))))


def percent(value: Decimal) -> str:
    """16 %, 97.5 %: no decimals that say nothing, one at most."""
    rounded = round_places(value, 1)
    return number(rounded, 0 if rounded == round_whole(rounded) else 1) + NBSP + "%"


def kwh(value: Decimal, places: int = 3) -> str:
    """Energy with its unit: three decimals on bills and readings, one for 'so far', none for an expectation."""
    return number(value, places) + NBSP + "kWh"


def day(value: date) -> str:
    """27 November 2026."""
    return format_date(value, "d MMMM y", locale=LOCALE)


def short_day(value: date) -> str:
    """27 Nov."""
    return format_date(value, "d MMM", locale=LOCALE)


def day_of_month(value: date) -> str:
    """27 November."""
    return format_date(value, "d MMMM", locale=LOCALE)


def weekday(value: date) -> str:
    """Friday 27 November 2026."""
    return format_date(value, "EEEE d MMMM y", locale=LOCALE)


def month(value: date) -> str:
    """November 2026."""
    return format_date(value, "MMMM y", locale=LOCALE)


def month_name(value: date) -> str:
    """November."""
    return format_date(value, "MMMM", locale=LOCALE)


def short_month(value: date) -> str:
    """Nov 2026."""
    return format_date(value, "MMM y", locale=LOCALE)


def month_short(value: date) -> str:
    """Nov."""
    return format_date(value, "MMM", locale=LOCALE)


def clock(instant: datetime, zone: ZoneInfo) -> str:
    """06:00 in the zone."""
    return instant.astimezone(zone).strftime("%H:%M")


def full_moment(instant: datetime, zone: ZoneInfo) -> str:
    """23 November 2026, 11:42."""
    return f"{day(local_date(instant, zone))}, {clock(instant, zone)}"


def moment(instant: datetime, now: datetime, zone: ZoneInfo) -> str:
    """Today, 06:00; Yesterday, 18:30; 20 November 2026, 18:30."""
    gone = (local_date(now, zone) - local_date(instant, zone)).days
    if gone == 0:
        return _("Today, %(time)s", time=clock(instant, zone))
    if gone == 1:
        return _("Yesterday, %(time)s", time=clock(instant, zone))
    return full_moment(instant, zone)


def span(first: date, last: date) -> str:
    """1–22 November 2026; 28 October – 3 November 2026: both days included."""
    if first == last:
        return day(first)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}{EN_DASH}{day(last)}"
    if first.year == last.year:
        return f"{format_date(first, 'd MMMM', locale=LOCALE)} {EN_DASH} {day(last)}"
    return f"{day(first)} {EN_DASH} {day(last)}"


def period(start: datetime, end: datetime, zone: ZoneInfo) -> str:
    """The local days of `[start, end)` in words."""
    return span(local_date(start, zone), local_date(end - timedelta(microseconds=1), zone))


def ago(instant: datetime, now: datetime) -> str:
    """How long since: just now, 5 minutes ago, 3 hours ago, 11 days ago."""
    seconds = max(0, int((now - instant).total_seconds()))
    if seconds < 60:
        return _("just now")
    if seconds < 3600:
        return ngettext("%(num)s minute ago", "%(num)s minutes ago", seconds // 60)
    if seconds < 86_400:
        return ngettext("%(num)s hour ago", "%(num)s hours ago", seconds // 3600)
    return ngettext("%(num)s day ago", "%(num)s days ago", seconds // 86_400)


def days(count: int) -> str:
    """1 day, 11 days."""
    return ngettext("%(num)s day", "%(num)s days", count)


def hours(count: Decimal) -> str:
    """22 minutes, 1 hour, 5.5 hours."""
    if 0 < count < 1:
        return ngettext("%(num)s minute", "%(num)s minutes", max(1, int(round_whole(count * 60))))
    rounded = round_places(count, 1)
    text = number(rounded, 0 if rounded == round_whole(rounded) else 1)
    return _("1 hour") if text == "1" else _("%(count)s hours", count=text)


def minutes(seconds: int) -> str:
    """15 minutes; seconds where it is less than one."""
    if seconds < 60:
        return ngettext("%(num)s second", "%(num)s seconds", seconds)
    return _("minute") if seconds == 60 else ngettext("%(num)s minute", "%(num)s minutes", seconds // 60)


def due(due_on: date, today: date) -> str:
    """Due in 4 days, Due tomorrow, Due today, 3 days overdue."""
    left = (due_on - today).days
    if left < 0:
        return ngettext("%(num)s day overdue", "%(num)s days overdue", -left)
    if left == 0:
        return _("Due today")
    if left == 1:
        return _("Due tomorrow")
    return ngettext("Due in %(num)s day", "Due in %(num)s days", left)


def zone_words(zone: ZoneInfo) -> str:
    """The name of the zone's time: Indian Standard Time."""
    if zone.key in ("Asia/Kolkata", "Asia/Calcutta"):
        return _("Indian Standard Time")
    return get_timezone_name(zone, locale=LOCALE)
