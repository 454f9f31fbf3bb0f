"""The page after registration: the meter, or why there is none yet, and what happens next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from flask_babel import gettext as _

from portal.accounts.models import User
from portal.meters.models import Assignment
from portal.periods import local_date, local_month
from portal.web import formats


@dataclass(frozen=True, slots=True)
class WelcomePage:
    """What the page says. Without a meter, `pending_fact` and `pending_next` say why and what next."""

    title: str
    subtitle: str
    meter_id: str | None
    assigned: str
    pairs: list[tuple[str, str]]
    steps: list[tuple[str, str]]
    pending_fact: str = ""
    pending_next: str = ""


def first_bill(since: datetime, zone: ZoneInfo) -> tuple[date, str]:
    """(1 December, "23–30 November 2026"): about when the first bill comes, and which days it is for."""
    start = local_date(since, zone)
    month_end = local_month(start.year, start.month, zone).end
    assert month_end is not None
    last = local_date(month_end - timedelta(microseconds=1), zone)
    return last + timedelta(days=1), formats.span(start, last)


def welcome_page(user: User, open_row: Assignment | None, zone: ZoneInfo) -> WelcomePage:
    """The page for a customer who has just registered, or comes back to it."""
    first_name = user.name.split()[0]
    region = (_("Region"), user.region or _("No region yet"))
    if open_row is None or user.meter_id is None:
        return WelcomePage(
            title=_("Welcome, %(name)s. Your account is open.", name=first_name),
            subtitle=_("You can log in as %(email)s.", email=user.email),
            meter_id=None,
            assigned="",
            pairs=[region, (_("Meter"), _("None yet"))],
            steps=[
                (_("Now"), _("You stand on the list of those who wait; staff see it, longest wait first.")),
                (_("As soon as a meter is free"), _("It is assigned to you, and its number shows on your home page.")),
                (_("From then on"), _("Readings come in, and you pay for what you use from that moment.")),
            ],
            pending_fact=_("No meter is free for you just now."),
            pending_next=_("Your registration is complete all the same, and you need not do anything."),
        )
    first_day, bill_for = first_bill(open_row.assigned_at, zone)
    bill_on = formats.short_day(first_day)
    opening = formats.kwh(open_row.opening_register) if open_row.opening_register is not None else None
    return WelcomePage(
        title=_("Welcome, %(name)s. Your meter is assigned.", name=first_name),
        subtitle=_("You can log in as %(email)s.", email=user.email),
        meter_id=user.meter_id,
        assigned=_("Assigned %(when)s", when=formats.full_moment(open_row.assigned_at, zone)),
        pairs=[
            region,
            *([(_("Opening reading"), opening)] if opening else []),
            (_("Yours from"), formats.full_moment(open_row.assigned_at, zone)),
            (_("First bill"), _("about %(day)s, for %(days)s", day=bill_on, days=bill_for)),
        ],
        steps=[
            (_("Now"), _("Readings begin to show on your home page as soon as the meter sends them.")),
            (_("Each day"), _("You see the day before in kWh, and what the month costs so far.")),
            (_("About %(day)s", day=bill_on), _("Your first bill comes, with every line to check.")),
        ],
    )
