"""What the pages of staff show, worked out from what the areas give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from flask_babel import gettext as _
from flask_babel import ngettext

from portal.accounts import queries as accounts
from portal.meters.models import Assignment
from portal.meters.rules import meter_id
from portal.meters.stats import Stats
from portal.web import formats, words
from portal.web.charts import share
from portal.web.forms import AssignForm, SearchForm
from portal.web.session import zone


@dataclass(frozen=True, slots=True)
class RegionRow:
    """One region: its name, the holders there, and the bar in per cent of the largest."""

    name: str
    number: str
    share: str
    extra: str | None = None
    extra_bad: bool = False


@dataclass(frozen=True, slots=True)
class Numbers:
    """The dashboard's numbers."""

    stats: Stats
    at: str
    percentage: str
    last_assigned: str
    regions: list[RegionRow]
    none_free: bool


def numbers(stats: Stats, now: datetime) -> Numbers:
    """The statistics as the dashboard says them."""
    most = stats.meters_by_region[0][1] if stats.meters_by_region else 0
    return Numbers(
        stats=stats,
        at=f"{formats.weekday(now.astimezone(zone()).date())}, {formats.clock(now, zone())}",
        percentage=f"{stats.assignment_percentage:g}{formats.NBSP}%",
        last_assigned=formats.ago(stats.last_assigned_at, now) if stats.last_assigned_at else _("never yet"),
        regions=[
            RegionRow(name or _("No region"), formats.number(count), share(count, most))
            for name, count in stats.meters_by_region
        ],
        none_free=stats.available_meters <= 0 and stats.users_without_meters > 0,
    )


def region_choices(first: str) -> list[tuple[str, str]]:
    """The regions for a select field, after an entry for none."""
    return [("", first), *((region.name, region.name) for region in accounts.list_regions())]


def assign_form(email: str = "") -> AssignForm:
    """The form that gives a meter, with what was sent, or with this address filled in."""
    form = AssignForm(email=email) if email else AssignForm()
    form.region.choices = region_choices(_("The customer's own"))
    return form


def search_form(args: Mapping[str, str]) -> SearchForm:
    """The search of this address."""
    form = SearchForm(data={"q": args.get("q", "").strip()[:100], "region": args.get("region", "")})
    form.region.choices = region_choices(_("All regions"))
    return form


def waits(since: datetime, now: datetime) -> str:
    """How long somebody waits: less than an hour, 5 hours, 11 days."""
    seconds = (now - since).total_seconds()
    if seconds < 3600:
        return _("under an hour")
    if seconds < 86_400:
        return ngettext("%(num)s hour", "%(num)s hours", int(seconds // 3600))
    return formats.days(int(seconds // 86_400))


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a timeline: what, and when and by whom."""

    what: str
    when: str


def history(assignments: list[Assignment], in_zone: ZoneInfo, *, with_names: bool = True) -> list[Event]:
    """Every meter of a user, newest first: given and taken back, when and how; for staff also by whom."""
    events: list[tuple[datetime, Event]] = []
    for row in assignments:
        number, how = meter_id(row.meter_key), words.HOW_ASSIGNED[row.how]
        given = f"{formats.full_moment(row.assigned_at, in_zone)}, {how}"
        if with_names:
            given = f"{given}, {row.assigned_by}"
        events.append((row.assigned_at, Event(_("%(meter)s assigned", meter=number), given)))
        if row.unassigned_at is not None:
            taken = formats.full_moment(row.unassigned_at, in_zone)
            if with_names:
                taken = f"{taken}, {row.unassigned_by}"
            events.append((row.unassigned_at, Event(_("%(meter)s taken back", meter=number), taken)))
    return [event for _at, event in sorted(events, key=lambda each: each[0], reverse=True)]
