"""Is the meter alive? Its number, the last reading and how fresh it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from flask_babel import gettext as _

from portal.accounts.models import User
from portal.meters import queries as meters
from portal.meters.models import Assignment
from portal.meters.rules import meter_id
from portal.readings import queries as readings
from portal.readings.queries import Latest
from portal.web import formats

# Meters send every 15 to 30 minutes; a few missed ones are no news, a day without is.
LATE_AFTER = timedelta(hours=3)
SILENT_AFTER = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class MeterCard:
    """The meter in a few lines; without one, what is so and why."""

    meter_id: str | None
    state: str
    tone: str
    pairs: list[tuple[str, str]] = field(default_factory=list)
    foot: str = ""
    none_title: str = ""
    none_text: str = ""


def meter_card(user: User, open_row: Assignment | None, zone: ZoneInfo, now: datetime) -> MeterCard:
    """The card of the meter that the customer holds now, or of their waiting for one."""
    if open_row is None:
        return _waiting(user)
    number = meter_id(open_row.meter_key)
    region = (_("Region"), user.region or _("No region"))
    latest = readings.find_latest(open_row.meter_key, meters.period_of(open_row))
    if latest.seen_at is None:
        since = formats.moment(open_row.assigned_at, now, zone)
        return MeterCard(
            meter_id=number,
            state=_("No readings yet"),
            tone="quiet",
            pairs=[(_("Yours since"), since), region],
            foot=_("Your use shows here by itself, within a minute of the first reading."),
        )
    read_at = _last_instant(latest, now)
    state, tone, foot = _alive(read_at, now, zone)
    pairs = [
        *_values(latest),
        (_("Read at"), f"{formats.moment(read_at, now, zone)} ({formats.ago(read_at, now)})"),
        region,
    ]
    return MeterCard(meter_id=number, state=state, tone=tone, pairs=pairs, foot=foot)


def last_readings(latest: Latest, now: datetime, zone: ZoneInfo) -> list[tuple[str, str]]:
    """What a meter told last, and when, for staff; nothing for one that never told anything."""
    if latest.seen_at is None:
        return []
    read_at = _last_instant(latest, now)
    came = [(_("Came in"), formats.moment(latest.received_at, now, zone))] if latest.received_at else []
    return [
        *_values(latest),
        (_("Read at"), f"{formats.moment(read_at, now, zone)} ({formats.ago(read_at, now)})"),
        *came,
    ]


def _last_instant(latest: Latest, now: datetime) -> datetime:
    """Until when the meter has told something: the end of its last interval, or its last register reading."""
    ends = [latest.register_at] if latest.register_at else []
    if latest.read_at is not None:
        ends.append(latest.read_at + timedelta(seconds=latest.interval_seconds or 0))
    return min(max(ends), now)


def _values(latest: Latest) -> list[tuple[str, str]]:
    """The register, and the last interval with its length."""
    values = []
    if latest.register_kwh is not None:
        values.append((_("Register"), formats.kwh(latest.register_kwh)))
    if latest.energy_kwh is not None:
        length = formats.minutes(latest.interval_seconds or 0)
        values.append((_("Last %(length)s", length=length), formats.kwh(latest.energy_kwh)))
    return values


def _alive(read_at: datetime, now: datetime, zone: ZoneInfo) -> tuple[str, str, str]:
    """(state, tone, sentence) by the age of the last reading."""
    if now - read_at < LATE_AFTER:
        return _("Reporting"), "good", _("New readings show here by themselves.")
    if now - read_at < SILENT_AFTER:
        text = _("The last readings are late. They often come together, after a gap in the network.")
        return _("Late"), "warn", text
    silent = _("Silent since %(day)s", day=formats.short_day(read_at.astimezone(zone).date()))
    return silent, "bad", _("Your power is not affected. Hours without readings are shown as such, never guessed.")


def _waiting(user: User) -> MeterCard:
    where = user.region or _("your region")
    return MeterCard(
        meter_id=None,
        state=_("Waiting"),
        tone="warn",
        none_title=_("No meter yet"),
        none_text=_(
            "You stand on the list of those who wait in %(region)s; staff see it, longest wait first. "
            "Its number shows here as soon as one is assigned to you.",
            region=where,
        ),
    )
