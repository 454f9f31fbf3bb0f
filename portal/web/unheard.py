"""Assignments whose meter was never heard of: who has one, since when, and where most of them are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import Response, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from wtforms import Form, SelectField

from portal.accounts import queries as accounts
from portal.gates import OPERATOR, gate
from portal.periods import local_date
from portal.readings import unheard as areas
from portal.readings.unheard import Place, Unheard
from portal.web import formats, staff
from portal.web.charts import share
from portal.web.fragments import page_or_fragment
from portal.web.lists import PAGE
from portal.web.operator import operator
from portal.web.session import now
from portal.web.staff import RegionRow

# For how long at least: a meter that was given a minute ago is not missed yet.
AGES = {"": 0, "1": 1, "7": 7, "30": 30}


class UnheardForm(Form):
    """A region, and since when at least. It changes nothing and works as a link."""

    region = SelectField(_l("Region"), validate_choice=False)
    days = SelectField(_l("Silent"), validate_choice=False)


@dataclass(frozen=True, slots=True)
class Row:
    """An assignment in words."""

    unheard: Unheard
    silent: str
    since: str


@operator.get("/unheard")
@gate(OPERATOR)
def unheard() -> Response:
    """Longest silent first. The list goes on behind the last one shown, so it is quick on its thousandth page too."""
    form, at, after = _form(), now(), _place(request.args.get("after", ""))
    until = at - timedelta(days=AGES[form.days.data or ""])
    found = areas.list_unheard(until, form.region.data or None, PAGE, after)
    zones = {name: accounts.zone_of(name) for name in {each.region for each in found.rows}}
    counts = areas.count_unheard(until)
    most = counts.regions[0][1] if counts.regions else 0
    return page_or_fragment(
        "operator/unheard.html", "operator/_unheard.html",
        form=form, counts=counts, first=after is None, looked_at=areas.LOOKED_AT,
        rows=[
            Row(each, staff.waits(each.assigned_at, at), formats.day(local_date(each.assigned_at, zones[each.region])))
            for each in found.rows
        ],
        regions=[RegionRow(name or _("No region"), formats.number(count), share(count, most))
                 for name, count in counts.regions],
        later=_address(form, found.after) if found.after else None, start=_address(form, None),
    )  # fmt: skip


def _form() -> UnheardForm:
    days = request.args.get("days", "")
    form = UnheardForm(data={"region": request.args.get("region", ""), "days": days if days in AGES else ""})
    form.region.choices = staff.region_choices(_("All regions"))
    form.days.choices = [
        ("", _("Any time")),
        ("1", _("Over a day")),
        ("7", _("Over 7 days")),
        ("30", _("Over 30 days")),
    ]
    return form


def _address(form: UnheardForm, place: Place | None) -> str:
    after = f"{place[0]:%Y%m%dT%H%M%S.%f}-{place[1]}" if place else None
    return url_for("operator.unheard", region=form.region.data or None, days=form.days.data or None, after=after)


def _place(told: str) -> Place | None:
    """Where the list goes on; the beginning for what no page of ours said."""
    instant, _dash, number = told.partition("-")
    try:
        place = datetime.strptime(instant, "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
    except ValueError:
        return None
    return (place, int(number)) if number.isascii() and number.isdigit() and len(number) < 19 else None
