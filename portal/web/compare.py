"""Why is this month different: only from readings and the calendar, never a guess about the household."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from flask_babel import gettext as _

from portal.accounts.models import User
from portal.periods import Period, local_date, local_month, previous_month
from portal.web import charts, formats
from portal.web.use import days_of_customer, is_whole

ZERO = Decimal(0)
# Two or three days say nothing about a month.
SOON = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One of the two bars of a comparison."""

    name: str
    number: str
    share: str
    kind: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """This month against as much of the month before: only readings and the calendar, no guess about the household."""

    title: str
    difference: str
    days: str
    highest: str
    rows: list[ComparedRow]


def compare(user: User, month: Period, zone: ZoneInfo, now: datetime) -> Comparison | None:
    """This month and as much of the one before; None where either is not whole, or too short to say anything."""
    today = local_date(now, zone)
    before = local_month(*previous_month(today.year, today.month), zone)
    until = min(before.start + (now - month.start), before.end or now)
    if now - month.start < SOON:
        return None
    these = days_of_customer(user.user_id, Period(month.start, now), zone, now)
    those = days_of_customer(user.user_id, Period(before.start, until), zone, now)
    if not (is_whole(these, now - month.start) and is_whole(those, until - before.start)):
        return None
    used, earlier = (sum((day.kwh for day in days), ZERO) for days in (these, those))
    best = max(these, key=lambda day: day.kwh)
    more = used - earlier
    shown = formats.kwh(abs(more), 1)
    spans = [formats.span(days[0].day, days[-1].day) for days in (these, those)]
    most = max(used, earlier)
    return Comparison(
        title=_("Compared with %(month)s", month=formats.month_name(those[0].day)),
        difference=_("%(kwh)s more", kwh=shown) if more > 0 else _("%(kwh)s less", kwh=shown),
        days=spans[1],
        highest=_(
            "The highest day was %(day)s, with %(kwh)s.",
            day=formats.day_of_month(best.day),
            kwh=formats.kwh(best.kwh, 1),
        ),
        rows=[
            ComparedRow(spans[0], formats.kwh(used, 1), charts.share(used, most), charts.MEASURED),
            ComparedRow(spans[1], formats.kwh(earlier, 1), charts.share(earlier, most), charts.COMPARE),
        ],
    )
