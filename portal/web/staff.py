"""What the pages of staff show, worked out from what the areas give."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from flask_babel import gettext as _
from flask_babel import ngettext
from markupsafe import Markup, escape

from portal.accounts import queries as accounts
from portal.accounts.models import User
from portal.meters import queries
from portal.meters import stats as meter_stats
from portal.meters.models import Connection
from portal.meters.pool import Pool
from portal.meters.stats import DayCount, Forecast, RegionCounts, Stats
from portal.money import round_places
from portal.web import charts, formats
from portal.web.forms import AssignForm, SearchForm
from portal.web.session import pool as portal_pool
from portal.web.session import zone

FEW = Decimal(2)  # meters a day: an axis of whole meters never ends below it


@dataclass(frozen=True, slots=True)
class RegionRow:
    """One region: its name, the holders there, and the bar in per cent of the largest."""

    name: str
    number: str
    share: str
    extra: str | None = None
    extra_bad: bool = False


@dataclass(frozen=True, slots=True)
class Days:
    """Assignments a day as a chart, the same numbers as a table, and both in a sentence."""

    chart: charts.BarChart
    average: charts.Label | None
    rows: list[tuple[str, str, str]]
    fact: str
    pace: str
    words: dict[str, str]


@dataclass(frozen=True, slots=True)
class Numbers:
    """The dashboard's numbers. `dry` warns before the free meters run out: a fact, and what to do."""

    stats: Stats
    at: str
    percentage: str
    last_assigned: str
    regions: list[RegionRow]
    runs_out: str
    dry: tuple[str, str] | None
    days: Days


def numbers(pool: Pool, now: datetime) -> Numbers:
    """The statistics as the dashboard says them."""
    stats, told = meter_stats.stats(pool), meter_stats.forecast(pool, now)
    return Numbers(
        stats=stats,
        at=f"{formats.weekday(now.astimezone(zone()).date())}, {formats.clock(now, zone())}",
        percentage=f"{stats.assignment_percentage:g}{formats.NBSP}%",
        last_assigned=formats.ago(stats.last_assigned_at, now) if stats.last_assigned_at else _("never yet"),
        regions=_regions(meter_stats.by_region()),
        runs_out=_runs_out(told),
        dry=_dry(told, stats.users_without_meters),
        days=days_chart(meter_stats.assigned_a_day(now)),
    )


def _regions(counts: list[RegionCounts]) -> list[RegionRow]:
    """The regions by their assigned meters, most first; beside them who waits, or what lies in stock only for them."""
    held = sorted((each for each in counts if each.holders or each.waiting), key=lambda each: -each.holders)
    most = held[0].holders if held else 0
    rows = []
    for each in held:
        waiting = ngettext("%(num)s waits", "%(num)s wait", each.waiting) if each.waiting else None
        stock = _("%(count)s in stock", count=formats.number(each.free)) if each.free and each.region else None
        rows.append(
            RegionRow(
                each.region or _("No region"),
                formats.number(each.holders),
                charts.share(each.holders, most),
                extra=", ".join(part for part in (waiting, stock) if part) or None,
            )
        )
    return rows


def _runs_out(told: Forecast) -> str:
    if told.free <= 0:
        return _("none is left")
    if told.runs_out_on is None:
        return _("none was needed lately") if told.a_day <= 0 else _("enough for a century")
    return _("run out about %(day)s", day=formats.day(told.runs_out_on))


def _dry(told: Forecast, waiting: int) -> tuple[str, str] | None:
    """A warning, where free meters are gone or will be within the month."""
    if not told.soon:
        return None
    to_do = _("Raise METER_LAST, or stock meters that came back.")
    if told.free <= 0:
        people = ngettext("%(num)s customer waits.", "%(num)s customers wait.", waiting) + " " if waiting else ""
        return _("No meter is free."), people + to_do
    assert told.runs_out_on is not None
    fact = _("Free meters run out about %(day)s.", day=formats.day(told.runs_out_on))
    pace = _("%(free)s are left, %(pace)s a day were given in the last 30 days.",
             free=formats.number(told.free), pace=formats.number(round_places(Decimal(told.a_day), 1), 1))  # fmt: skip
    return fact, f"{pace} {to_do}"


def days_chart(counts: list[DayCount]) -> Days:
    """Meters given on each of these days; the last is today, not over."""
    bars = [
        charts.Bar(
            Decimal(each.given),
            charts.RUNNING if index == len(counts) - 1 else charts.MEASURED,
            tick=formats.short_day(each.day) if index % 7 == (len(counts) - 1) % 7 else None,
            phone_tick=index % 14 == (len(counts) - 1) % 14,
        )
        for index, each in enumerate(counts)
    ]
    total = sum(each.given for each in counts)
    mean = Decimal(total) / len(counts)
    chart = charts.bar_chart(_("Meters assigned a day, the last %(days)s days", days=len(counts)), bars, "", least=FEW)
    pace = formats.number(round_places(mean, 1), 1 if 0 < mean < 10 else 0)
    return Days(
        chart=chart,
        average=charts.level(chart, bars, mean, FEW) if total else None,
        rows=[
            (formats.short_day(each.day), formats.number(each.given), formats.number(each.taken))
            for each in reversed(counts)
        ],
        fact=_("%(total)s in %(days)s days, %(pace)s a day", total=formats.number(total), days=len(counts), pace=pace),
        pace=pace,
        words={
            "measured": _("Assigned"),
            "running": _("Today, not over"),
            "average": _("Average, %(pace)s", pace=pace),
        },
    )


def region_choices(first: str) -> list[tuple[str, str]]:
    """The regions for a select field, after an entry for none."""
    return [("", first), *((region.name, region.name) for region in accounts.list_regions())]


def assign_form(email: str = "", meter_id: str = "") -> AssignForm:
    """The form that gives a meter, with what was sent, or with this address or meter filled in."""
    form = AssignForm(email=email, meter_id=meter_id) if email or meter_id else AssignForm()
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


def next_free(users: Sequence[User]) -> dict[uuid.UUID, str]:
    """The free meter that each of these would most likely get, if they were served in this order."""
    free = queries.list_free(list(dict.fromkeys(user.region for user in users)), portal_pool(), limit=len(users))
    given: set[str] = set()
    found = {}
    for user in users:
        number = next((each for each in free[user.region] if each not in given), None)
        if number is not None:
            given.add(number)
            found[user.user_id] = number
    return found


@dataclass(frozen=True, slots=True)
class SupplyRow:
    """A customer's supply: where, since when, until when."""

    region: str
    since: str
    until: str


def supply_row(connection: Connection, zone: ZoneInfo) -> SupplyRow:
    """One supply as the user's page says it."""
    until = formats.full_moment(connection.ends_at, zone) if connection.ends_at else _("today")
    return SupplyRow(connection.region or _("No region"), formats.full_moment(connection.starts_at, zone), until)


def mark(text: str, typed: str) -> Markup:
    """The text with the part that was typed marked."""
    at = text.lower().find(typed.lower())
    if at < 0 or not typed:
        return escape(text)
    end = at + len(typed)
    return Markup("{}<mark>{}</mark>{}").format(text[:at], text[at:end], text[end:])
