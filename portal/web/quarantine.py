"""Meters that came back and rest: how long still, and letting them go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from flask import Response, flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import ngettext
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as AnyResponse
from wtforms import StringField

from portal.accounts import queries as accounts
from portal.db import session
from portal.errors import Conflict, PortalError
from portal.gates import ADMIN, OPERATOR, gate
from portal.meters import life, resting, rules
from portal.meters.resting import Resting
from portal.periods import local_date
from portal.web import formats, staff
from portal.web.admin import admin
from portal.web.forms import ConfirmForm
from portal.web.fragments import page_or_fragment
from portal.web.lists import PAGE, offset_of_request, pager
from portal.web.operator import operator
from portal.web.session import actor, now, pool, zone

AT_ONCE = 1_000
LONGEST_REASON = 300


class ReleaseForm(FlaskForm):
    """Why a meter is let go before its time."""

    reason = StringField(_l("Reason"))


@dataclass(frozen=True, slots=True)
class Row:
    """A meter in quarantine in words. `over`: its time is up."""

    resting: Resting
    left: str
    until: str | None
    over: bool
    came_back: str | None


@operator.get("/quarantine")
@gate(OPERATOR)
def quarantine() -> Response:
    """Who rests how long still, those whose time is up first."""
    form, offset, at = staff.search_form(request.args), offset_of_request(), now()
    region = form.region.data or None
    found, total = resting.list_resting(region, PAGE, offset)
    zones = {name: accounts.zone_of(name) for name in {each.region for each in found}}
    return page_or_fragment(
        "operator/quarantine.html", "operator/_quarantine.html",
        form=form, rows=[_row(each, at, zones[each.region]) for each in found], total=total,
        over=resting.count_over(at), at_once=AT_ONCE, confirm=ConfirmForm(), rest_days=pool().rest_days,
        pages=pager(len(found), total, offset),
    )  # fmt: skip


def _row(each: Resting, at: datetime, here: ZoneInfo) -> Row:
    until = formats.day(local_date(each.until, here)) if each.until else None
    came_back = formats.day(local_date(each.came_back_at, here)) if each.came_back_at else None
    return Row(each, _left(each.until, at), until, each.until is not None and each.until <= at, came_back)


def _left(until: datetime | None, at: datetime) -> str:
    """Time is up, 5 hours left, 12 days left; or that only staff end it."""
    if until is None:
        return _("Until staff release it")
    left = until - at
    if left <= timedelta(0):
        return _("Time is up")
    if left < timedelta(days=1):
        return ngettext("%(num)s hour left", "%(num)s hours left", max(1, int(left.total_seconds() // 3600)))
    return ngettext("%(num)s day left", "%(num)s days left", left.days)


@admin.post("/quarantine/release")
@gate(ADMIN)
def release_rested() -> AnyResponse:
    """Let all go whose time is up."""
    released = life.release_rested(pool(), now=now(), actor=actor(), limit=AT_ONCE)
    session.commit()
    if released:
        done = ngettext("%(num)s meter is in stock again.", "%(num)s meters are in stock again.", released)
        flash(done, "good")
    else:
        flash(_("No meter's time in quarantine is up."), "warn")
    return redirect(url_for("operator.quarantine"), 303)


@admin.get("/quarantine/<meter_id>/release")
@gate(ADMIN)
def release(meter_id: str) -> AnyResponse:
    """What letting it go before its time means, before it is done."""
    try:
        resting.get_resting(meter_id, pool())
    except Conflict as refusal:
        return _gone(refusal)
    return _release_page(meter_id, ReleaseForm())


@admin.post("/quarantine/<meter_id>/release")
@gate(ADMIN)
def release_post(meter_id: str) -> AnyResponse:
    """Let one meter go."""
    form = ReleaseForm()
    reason = (form.reason.data or "").strip()
    if len(reason) > LONGEST_REASON:
        form.reason.errors = [_("At most %(count)s characters.", count=LONGEST_REASON)]
        return _release_page(meter_id, form, 422)
    try:
        resting.release(meter_id, pool(), reason=reason, actor=actor(), now=now())
        session.commit()
    except Conflict as refusal:
        session.rollback()
        return _gone(refusal)
    flash(_("%(meter)s is in stock again.", meter=meter_id), "good")
    return redirect(url_for("operator.quarantine"), 303)


def _gone(refusal: PortalError) -> AnyResponse:
    flash(refusal.message, "warn")
    return redirect(url_for("operator.quarantine"), 303)


def _release_page(meter_id: str, form: ReleaseForm, status: int = 200) -> AnyResponse:
    meter = resting.get_resting(meter_id, pool())
    here, at = accounts.zone_of(meter.region) if meter.region else zone(), now()
    return make_response(
        render_template(
            "admin/release.html",
            meter=meter,
            form=form,
            left=_left(meter.quarantine_until, at),
            until=formats.full_moment(meter.quarantine_until, here) if meter.quarantine_until else None,
            over=meter.quarantine_until is not None and meter.quarantine_until <= at,
            status_words=rules.STATUS_WORDS,
        ),
        status,
    )
