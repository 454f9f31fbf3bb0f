"""Pages of readings that are held for staff: the list, and one with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import current_app, flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from portal.db import session
from portal.errors import NotFound, PortalError
from portal.gates import OPERATOR, gate
from portal.money import kwh_str
from portal.readings import quarantine
from portal.readings.models import Quarantined
from portal.web import formats
from portal.web.forms import HeldForm, put_errors
from portal.web.lists import PAGE, offset_of_request, pager
from portal.web.operator import operator
from portal.web.session import actor, now, zone


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A held reading as the pages say it."""

    number: int
    state: str
    meter_id: str
    read_at: str
    told: str
    why: str
    code: str
    source: str
    received_at: str
    decided: str | None
    reason: str | None


@operator.get("/held-readings")
@gate(OPERATOR)
def held_readings() -> str:
    """Those that wait for a decision, or were decided."""
    state = request.args.get("state", "held")
    if state not in quarantine.STATES:
        state = "held"
    offset = offset_of_request()
    page = quarantine.list_held(state, PAGE, offset)
    return render_template(
        "operator/held.html",
        state=state,
        rows=[shown(each) for each in page.rows],
        total=page.total,
        pages=pager(len(page.rows), page.total, offset),
    )


@operator.get("/held-readings/<held_id>")
@gate(OPERATOR)
def held_reading(held_id: str) -> AnyResponse:
    """One, and what to do about it."""
    return _page(quarantine.get_held(_number(held_id)), HeldForm())


@operator.post("/held-readings/<held_id>")
@gate(OPERATOR)
def decide_held_reading(held_id: str) -> AnyResponse:
    """Take it in, or discard it."""
    form, number = HeldForm(), _number(held_id)
    reason, release = form.reason.data or "", request.form.get("decision") == "release"
    try:
        if release:
            quarantine.release(number, reason, actor=actor(), now=now(), config=current_app.config["PORTAL"])
        else:
            quarantine.discard(number, reason, actor=actor(), now=now())
    except NotFound:
        raise
    except PortalError as error:
        session.rollback()
        return _page(quarantine.get_held(number), form, put_errors(form, error) or error.message)
    session.commit()
    flash(_("It is a reading now; usage follows in seconds.") if release else _("It is discarded."), "good")
    return redirect(url_for("operator.held_readings"), 303)


def _page(held: Quarantined, form: HeldForm, refusal: str | None = None) -> AnyResponse:
    status = 422 if refusal or form.errors else 200
    page = render_template("operator/held_reading.html", held=shown(held), form=form, refusal=refusal)
    return make_response(page, status)


def shown(held: Quarantined) -> HeldRow:
    """The row in words; instants in the zone of who reads it."""
    return HeldRow(
        number=held.quarantine_id,
        state=held.state,
        meter_id=held.meter_id,
        read_at=_moment(held.read_at),
        told=_told(held),
        why=held.message.removesuffix(" The row is held for staff."),
        code=held.code,
        source=held.source,
        received_at=_moment(held.received_at),
        decided=_decided(held.decided_by, held.decided_at),
        reason=held.reason,
    )


def _moment(instant: datetime) -> str:
    try:
        return formats.full_moment(instant, zone())
    except OverflowError:
        # The last hours of the year 9999: a clock without a battery tells such things, and no calendar does here.
        return f"{instant:%Y-%m-%d %H:%M} UTC"


def _told(held: Quarantined) -> str:
    row = quarantine.row_of(held)
    for number, words in (
        (row.energy_kwh, _("%(n)s kWh in the interval")),
        (row.register_kwh, _("register at %(n)s kWh")),
        (row.power_kw, _("%(n)s kW on average")),
    ):
        if number is not None:
            # What is beyond all measure is not written out.
            text = kwh_str(number) if abs(number) < 10**12 else f"{number:.3E}"
            return words % {"n": text}
    return "–"


def _decided(by: str | None, at: datetime | None) -> str | None:
    return _("%(who)s, %(when)s", who=by, when=_moment(at)) if at else None


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    raise NotFound("There is no such held reading.", "HELD_READING_NOT_FOUND")
