"""The stock: every meter that has a row, by state, region and number; as a file; and more of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Response, flash, make_response, redirect, request, stream_with_context, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as AnyResponse
from wtforms import Form, SearchField, SelectField, StringField

from portal.accounts import queries as accounts
from portal.db import session
from portal.errors import FieldError, Invalid, PortalError
from portal.gates import ADMIN, OPERATOR, gate
from portal.meters import bulk, rules, stock_rows, stocking
from portal.meters import stock as area
from portal.meters.models import STATUSES, Meter
from portal.meters.stock import Held, Sought
from portal.periods import local_date
from portal.web import formats, staff, words
from portal.web.admin import admin
from portal.web.forms import put_errors
from portal.web.fragments import page_or_fragment
from portal.web.lists import PAGE, offset_of_request, pager
from portal.web.operator import operator
from portal.web.session import actor, now, pool

NONE = "-"  # the region of meters that have none
AT_ONCE = 100_000


class StockForm(Form):
    """Which meters to list. It changes nothing, so it carries no token and works as a link."""

    number = SearchField(_l("Number"))
    status = SelectField(_l("State"), validate_choice=False)
    place = SelectField(_l("Region"), validate_choice=False)


class ProvisionForm(FlaskForm):
    """Numbers to stock."""

    count = StringField(_l("How many"))
    first = StringField(_l("From number"))
    region = SelectField(_l("Region"), validate_choice=False)
    phase = SelectField(_l("Phases"), validate_choice=False)

    def chosen_count(self) -> int:
        """How many. Raises Invalid."""
        text = (self.count.data or "").strip()
        if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= AT_ONCE or len(text) > 9:
            most = formats.number(AT_ONCE)
            raise Invalid.field("count", _("Give a whole number from 1 to %(most)s.", most=most))
        return int(text)


@dataclass(frozen=True, slots=True)
class Row:
    """A meter of the list in words."""

    held: Held
    state: str
    tone: str
    rests: str | None
    kind: str


@operator.get("/stock")
@gate(OPERATOR)
def stock() -> Response:
    """Meters by number, and the form that stocks more."""
    return _page(_provision_form())


def _page(provision: ProvisionForm, refusal: str | None = None, status: int = 200) -> Response:
    form, offset = _form(), offset_of_request()
    sought = _sought(form)
    found = area.list_meters(sought, PAGE, offset) if sought else area.MeterPage([], 0)
    zones = {name: accounts.zone_of(name) for name in {each.meter.region for each in found.meters}}
    free = pool()
    return page_or_fragment(
        "operator/stock.html", "operator/_stock.html", status=status,
        form=form, rows=[_row(each, zones[each.meter.region]) for each in found.meters], total=found.total,
        filtered=bool(form.number.data or form.status.data or form.place.data),
        whole=sought.low if sought and sought.low == sought.high else None, free=free, meter_id=rules.meter_id,
        untouched=area.count_untouched(free.first, free.last), provision=provision, refusal=refusal,
        pages=pager(len(found.meters), found.total, offset),
    )  # fmt: skip


def _row(each: Held, here: ZoneInfo) -> Row:
    meter = each.meter
    state, tone = words.METER_STATUS[meter.status]
    made = " ".join(name for name in (meter.make, meter.model) if name)
    phases = _("three phases") if meter.phase == 3 else _("single phase")
    return Row(each, str(state), tone, _rests(meter, here), f"{made}, {phases}" if made else phases.capitalize())


def _rests(meter: Meter, here: ZoneInfo) -> str | None:
    if meter.status != "quarantine":
        return None
    if meter.quarantine_until is None:
        return _("until staff release it")
    return _("until %(day)s", day=formats.day(local_date(meter.quarantine_until, here)))


def _form() -> StockForm:
    args = request.args
    form = StockForm(
        data={
            "number": args.get("number", "").strip()[:30],
            "status": args.get("status", "") if args.get("status") in STATUSES else "",
            "place": args.get("place", ""),
        }
    )
    form.status.choices = [("", _("All states")), *((each, words.METER_STATUS[each][0]) for each in STATUSES)]
    form.place.choices = [*staff.region_choices(_("All regions")), (NONE, _("No region yet"))]
    return form


def _sought(form: StockForm) -> Sought | None:
    """What the filters mean; None, and the reason beside the field, for what is no number."""
    place, low, high = form.place.data or "", 1, area.HIGHEST
    if form.number.data:
        try:
            low, high = area.numbers_of(form.number.data)
        except Invalid as error:
            form.number.errors = [error.fields[0].message]
            return None
    return Sought(form.status.data or None, None if place in ("", NONE) else place, place == NONE, max(low, 1), high)


@operator.get("/stock.csv")
@gate(OPERATOR)
def stock_csv() -> Response:
    """The same meters as a file, all of them, in the columns that the portal takes back."""
    sought = _sought(_form())
    lines = _lines(sought) if sought else iter(())
    response = Response(stream_with_context(lines), mimetype="text/csv")
    response.headers.set("Content-Disposition", "attachment", filename="stock.csv")
    return response


def _lines(sought: Sought) -> Iterator[str]:
    zones = stocking.zones()
    yield stock_rows.write([[*stock_rows.COLUMNS, *stock_rows.PASSED_OVER]])
    for rows in area.iterate_lines(sought):
        # However slowly the file is fetched, no transaction stays open meanwhile.
        session.rollback()
        yield stock_rows.write([_cells(row, zones[row.region]) for row in rows])


def _cells(row: area.Line, here: ZoneInfo) -> list[str | None]:
    return [
        row.meter_id,
        row.region,
        row.make,
        row.model,
        str(row.phase),
        f"{row.multiplier:f}",
        str(row.digits),
        _day(row.commissioned_at, here),
        row.status,
        _day(row.quarantine_until, here),
        row.email,
    ]


def _day(instant: datetime | None, here: ZoneInfo) -> str | None:
    return local_date(instant, here).isoformat() if instant else None


@admin.post("/stock")
@gate(ADMIN)
def provision() -> AnyResponse:
    """Stock so many numbers, from the one that is named or after the highest one known."""
    form = _provision_form()
    try:
        first, last, done = _provision(form)
        session.commit()
    except PortalError as error:
        session.rollback()
        if error.code == "METER_NOT_FOUND":
            error = Invalid(error.message, fields=[FieldError("first" if form.first.data else "count", error.message)])
        return make_response(_page(form, put_errors(form, error), 422))
    span = _("%(first)s to %(last)s", first=first, last=last) if first != last else first
    text = _("%(span)s: %(count)s stocked.", span=span, count=formats.number(done.stocked))
    if done.left_alone:
        left = formats.number(done.left_alone)
        text = f"{text} {_('%(count)s left alone, because they are not in stock.', count=left)}"
    flash(text, "good" if done.stocked else "warn")
    return redirect(url_for("operator.stock", place=form.region.data or NONE), 303)


def _provision(form: ProvisionForm) -> tuple[str, str, bulk.Stocked]:
    count, region, phase = form.chosen_count(), form.region.data or None, 3 if form.phase.data == "3" else 1
    named = (form.first.data or "").strip().upper()
    if not named:
        return bulk.provision_next(count, region, pool(), phase=phase, actor=actor(), now=now())
    last = rules.meter_id(rules.meter_key(named) + count - 1)
    return named, last, bulk.provision(named, last, region, pool(), phase=phase, actor=actor(), now=now())


def _provision_form() -> ProvisionForm:
    form = ProvisionForm()
    form.region.choices = staff.region_choices(_("Any region"))
    form.phase.choices = [("1", _("Single phase")), ("3", _("Three phases"))]
    return form
