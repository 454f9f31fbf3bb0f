"""One meter: its state, its holder, its readings, its life, and what staff do with it while nobody holds it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from flask import flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from portal.accounts import queries as accounts
from portal.accounts.models import User
from portal.db import session
from portal.errors import PortalError
from portal.gates import ADMIN, OPERATOR, gate
from portal.meters import history, life, queries, rules
from portal.meters.models import Meter
from portal.periods import Period, days_of, local_date, local_midnight
from portal.readings import queries as readings
from portal.web import formats, words
from portal.web.admin import admin
from portal.web.forms import MeterForm, put_errors
from portal.web.meter import last_readings
from portal.web.operator import operator
from portal.web.session import actor, now, pool
from portal.web.timeline import timeline
from portal.web.use import Day, UseChart, average_note, daily_chart

DAYS = 7


def _rest_left(meter: Meter) -> str:
    """How long a meter in quarantine still rests; empty for others."""
    if meter.status != "quarantine":
        return ""
    if meter.quarantine_until is None:
        return _("until it is released")
    left = meter.quarantine_until - now()
    return (
        _("until released within minutes")
        if left <= timedelta(0)
        else _("%(days)s left", days=formats.days(left.days + 1))
    )


@dataclass(frozen=True, slots=True)
class MeterPage:
    """All that the page of a meter says. `meter` is None for a number that was never stocked, given or heard of."""

    meter_id: str
    status: str
    meter: Meter | None
    holder: User | None
    since: str
    rest: str
    readings: list[tuple[str, str]]
    use: UseChart | None
    use_fact: str


@operator.get("/meters/<meter_id>")
@gate(OPERATOR)
def meter(meter_id: str) -> str:
    """One meter: state, holder, last readings, and everything that happened to it."""
    row = queries.get_meter(meter_id, pool())
    key = rules.meter_key(meter_id)
    here = accounts.zone_of(row.region if row else None)
    events = history.of_meter(key)
    return render_template(
        "operator/meter.html",
        page=_meter_page(meter_id, key, row, here, now()),
        history=timeline(events, here, of_meter=True),
        status_words=words.METER_STATUS,
        moves=sorted(rules.MOVES[row.status if row else "in_stock"] - {"assigned"}),
        move_words=words.METER_MOVE,
    )


def _meter_page(meter_id: str, key: int, row: Meter | None, here: ZoneInfo, at: datetime) -> MeterPage:
    holder = queries.find_holder(key)
    held = queries.find_open_assignment(holder.user_id) if holder else None
    latest = readings.find_latest(key, Period(at - timedelta(days=400), at + timedelta(days=1)))
    use = _use(key, here, at) if latest.read_at else None
    return MeterPage(
        meter_id=meter_id,
        status=row.status if row else "in_stock",
        meter=row,
        holder=holder,
        since=formats.full_moment(held.assigned_at, here) if held else "",
        rest=_rest_left(row) if row else "",
        readings=last_readings(latest, at, here),
        use=use,
        use_fact=average_note(use, DAYS) if use else "",
    )


def _use(key: int, here: ZoneInfo, at: datetime) -> UseChart:
    """The energy of the last days, whoever held the meter."""
    today = local_date(at, here)
    first = today - timedelta(days=DAYS - 1)
    week = Period(local_midnight(first, here), local_midnight(today + timedelta(days=1), here))
    days = {each: Day(each) for each in days_of(week, here)}
    for used in readings.list_daily(key, Period(week.start, at), here):
        day = days[used.day]
        day.kwh, day.estimated = used.import_kwh, used.estimated_kwh
        day.covered, day.expected = used.covered_seconds, used.expected_seconds
    return daily_chart(_("Energy of the last %(days)s days", days=DAYS), list(days.values()), today)


@admin.get("/meters/<meter_id>/status")
@gate(ADMIN)
def status(meter_id: str) -> AnyResponse:
    """What changing the state means, before it is done."""
    return _status_page(meter_id, _meter_form(meter_id, request.args.get("to", "")))


@admin.post("/meters/<meter_id>/status")
@gate(ADMIN)
def status_post(meter_id: str) -> AnyResponse:
    """Change the state of a meter that nobody holds."""
    form = _meter_form(meter_id)
    try:
        moved = life.move_meter(
            meter_id,
            form.status.data or "",
            pool(),
            reason=(form.reason.data or "").strip()[:500],
            actor=actor(),
            now=now(),
        )
        session.commit()
    except PortalError as error:
        session.rollback()
        return _status_page(meter_id, form, put_errors(form, error), 422)
    state = words.METER_STATUS[moved.status][0]
    flash(_("%(meter)s: %(state)s.", meter=meter_id, state=state), "good")
    return redirect(url_for("operator.meter", meter_id=meter_id), 303)


def _meter_form(meter_id: str, to: str = "") -> MeterForm:
    row = queries.get_meter(meter_id, pool())
    form = MeterForm(status=to) if to else MeterForm()
    allowed = sorted(rules.MOVES[row.status if row else "in_stock"] - {"assigned"})
    form.status.choices = [(each, words.METER_MOVE[each][0]) for each in allowed]
    return form


def _status_page(meter_id: str, form: MeterForm, refusal: str | None = None, status: int = 200) -> AnyResponse:
    row = queries.get_meter(meter_id, pool())
    return make_response(
        render_template(
            "admin/status.html",
            meter_id=meter_id,
            form=form,
            refusal=refusal,
            status=row.status if row else "in_stock",
            status_words=words.METER_STATUS,
            effects={each: effect for each, (_label, effect) in words.METER_MOVE.items()},
        ),
        status,
    )
