"""Acts on a customer's supply that end something: take the meter back, swap it, move the customer to another region.

Each has a page that says what it does before it is done.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from flask import flash, make_response, redirect, render_template, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel.speaklater import LazyString
from werkzeug.wrappers import Response as AnyResponse

from portal.accounts import queries as accounts
from portal.accounts.models import User
from portal.billing import supply
from portal.db import session
from portal.errors import PortalError
from portal.gates import ADMIN, gate
from portal.meters import queries
from portal.web import staff, words
from portal.web.admin import admin
from portal.web.forms import SupplyForm, put_errors
from portal.web.session import actor, now, pool


@dataclass(frozen=True, slots=True)
class Act:
    """One of the acts: its words, and the fields that it asks for."""

    title: LazyString
    button: LazyString
    effect: LazyString
    fields: tuple[str, ...]
    dangerous: bool = False


ACTS = {
    "unassign": Act(
        _l("Unassign %(meter)s from %(name)s?"),
        _l("Unassign %(meter)s"),
        _l(
            "What was used until then goes on their last bill, and the customer stands on the list of those without a "
            "meter. %(rest)s"
        ),
        ("closing_register", "rolled_over", "to", "at", "reason"),
        dangerous=True,
    ),
    "swap": Act(
        _l("Swap %(meter)s of %(name)s?"),
        _l("Swap %(meter)s"),
        _l("The supply goes on with the new meter, and both stand on the same bill. %(rest)s"),
        ("meter_id", "closing_register", "rolled_over", "opening_register", "to", "at", "reason"),
    ),
    "relocate": Act(
        _l("Move %(name)s to another region?"),
        _l("Move %(name)s"),
        _l(
            "The supply with %(meter)s ends and gets its last bill; a new one begins in the other region. Nothing "
            "happens if no meter is free there. %(rest)s"
        ),
        ("region", "meter_id", "closing_register", "rolled_over", "opening_register", "to", "at", "reason"),
    ),
}

# Which field of the form a refusal belongs to.
_FIELD_OF = {
    "METER_NOT_FOUND": "meter_id",
    "METER_NOT_ASSIGNABLE": "meter_id",
    "METER_ALREADY_ASSIGNED": "meter_id",
    "REGION_MISMATCH": "meter_id",
    "NO_METERS_AVAILABLE": "meter_id",
    "PERIOD_BILLED": "at",
    "USER_HAS_METER": "at",
}


def _form() -> SupplyForm:
    form = SupplyForm()
    form.region.choices = staff.region_choices(_("Choose the region"))
    form.to.choices = [
        ("", _("As usual")),
        *((status, words.METER_STATUS[status][0]) for status in ("in_stock", "quarantine", "faulty", "retired")),
    ]
    return form


def _page(act: str, person: User, form: SupplyForm, refusal: str | None = None, status: int = 200) -> AnyResponse:
    said = ACTS[act]
    about = {"meter": person.meter_id, "name": person.name, "rest": _rest()}
    free = queries.list_free([form.region.data or person.region], pool(), limit=1)
    return make_response(
        render_template(
            "admin/supply.html",
            act=act,
            title=str(said.title) % about,
            button=str(said.button) % about,
            effect=str(said.effect) % about,
            fields=said.fields,
            dangerous=said.dangerous,
            person=person,
            form=form,
            refusal=refusal,
            free=next((numbers[0] for numbers in free.values() if numbers), None),
        ),
        status,
    )


def _rest() -> str:
    days = pool().rest_days
    if not days:
        return _("The old meter can be given to somebody else at once.")
    return _("The old meter rests for %(days)s days before it can be given to somebody else.", days=days)


def _ask(act: str, user_id: uuid.UUID) -> AnyResponse:
    """What the act means, before it is done."""
    person = accounts.get_user(user_id)
    if person.meter_id is None:
        flash(_("%(name)s holds no meter.", name=person.name), "warn")
        return redirect(url_for("operator.user", user_id=user_id), 303)
    return _page(act, person, _form())


def _do(act: str, user_id: uuid.UUID) -> AnyResponse:
    """Do it, or say beside the field why not."""
    person, form = accounts.get_user(user_id), _form()
    zone = accounts.zone_of(person.region)
    try:
        number = (form.meter_id.data or "").strip().upper() or None
        details: dict[str, Any] = {
            "at": form.instant(zone),
            "closing_register": form.kwh("closing_register"),
            "rolled_over": bool(form.rolled_over.data),
            "to": form.to.data or None,
            "reason": (form.reason.data or "").strip()[:500],
            "actor": actor(),
            "now": now(),
        }
        said = _DO[act](person, number, form, details)
        session.commit()
    except PortalError as error:
        session.rollback()
        if error.code == "METER_NOT_ASSIGNED":
            flash(_("%(name)s holds no meter.", name=person.name), "warn")
            return redirect(url_for("operator.user", user_id=user_id), 303)
        field = _FIELD_OF.get(error.code)
        if field in ACTS[act].fields:
            form[field].errors = [error.message]
            return _page(act, accounts.get_user(user_id), form, None, 422)
        return _page(act, accounts.get_user(user_id), form, put_errors(form, error), 422)
    flash(said, "good")
    return redirect(url_for("operator.user", user_id=user_id), 303)


def _unassign(person: User, _number: str | None, _form: SupplyForm, details: dict[str, Any]) -> str:
    freed = supply.unassign(person.user_id, pool(), **details)
    return _("%(meter)s is taken back. %(email)s has no meter now.", meter=freed.meter_id, email=freed.email)


def _swap(person: User, number: str | None, form: SupplyForm, details: dict[str, Any]) -> str:
    opening: Decimal | None = form.kwh("opening_register")
    done = supply.swap(person.user_id, pool(), number, opening_register=opening, **details)
    return _("%(name)s has %(new)s now instead of %(old)s.", name=person.name, new=done.meter_id, old=done.old_meter_id)


def _relocate(person: User, number: str | None, form: SupplyForm, details: dict[str, Any]) -> str:
    opening: Decimal | None = form.kwh("opening_register")
    moved = supply.relocate(person.user_id, form.region.data or "", pool(), number, opening_register=opening, **details)
    return _(
        "%(name)s is in %(region)s now, with %(meter)s.", name=person.name, region=moved.region, meter=moved.meter_id
    )


_DO: dict[str, Callable[[User, str | None, SupplyForm, dict[str, Any]], str]] = {
    "unassign": _unassign,
    "swap": _swap,
    "relocate": _relocate,
}


def _add(act: str) -> None:
    """The two addresses of an act: the page that asks, and the form that does it."""

    @admin.get(f"/users/<uuid:user_id>/{act}", endpoint=act)
    @gate(ADMIN)
    def ask(user_id: uuid.UUID) -> AnyResponse:
        return _ask(act, user_id)

    @admin.post(f"/users/<uuid:user_id>/{act}", endpoint=f"{act}_post")
    @gate(ADMIN)
    def do(user_id: uuid.UUID) -> AnyResponse:
        return _do(act, user_id)


for name in ACTS:
    _add(name)
