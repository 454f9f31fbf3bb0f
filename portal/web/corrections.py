"""Bills that would come out otherwise today: the list, the difference, and the decision of a person."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal

from flask import Blueprint, Response, current_app, flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from portal.accounts import queries as accounts
from portal.billing import corrections, queries
from portal.billing.corrections import Comparison
from portal.db import session
from portal.errors import PortalError
from portal.gates import OPERATOR, gate
from portal.tariffs.queries import Catalogue
from portal.web import billing_words as words
from portal.web.lists import offset_of_request, pager
from portal.web.session import actor, now

correcting = Blueprint("correcting", __name__, url_prefix="/admin/corrections")
PAGE = 12


@correcting.get("")
@gate(OPERATOR)
def show_all() -> str:
    """Bills that wait for a decision, longest first."""
    offset = offset_of_request()
    rows, total = corrections.list_open(PAGE, offset)
    return render_template(
        "billing/corrections.html", rows=rows, words=words, pages=pager(len(rows), total, offset, PAGE)
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """A line as issued and as it would be; None where it is not there."""

    description: str
    before: Decimal | None
    after: Decimal | None


def _pairs(found: Comparison) -> list[Pair]:
    """Lines of both, the ones of the bill first, each name once."""
    before = {line.description: line.amount for line in queries.list_lines(found.invoice.invoice_id)}
    after = {line.description: line.amount for line in found.today.bill.lines} if found.today else {}
    return [Pair(name, before.get(name), after.get(name)) for name in dict.fromkeys((*before, *after))]


@correcting.get("/<uuid:invoice_id>")
@gate(OPERATOR)
def show(invoice_id: uuid.UUID) -> Response:
    """The bill beside what it would be now, line by line."""
    return _page(invoice_id)


def _page(invoice_id: uuid.UUID, refusal: str | None = None, status: int = 200) -> Response:
    invoice = queries.get_invoice(invoice_id)
    found: Comparison | None = None
    try:
        found = corrections.compare(invoice, Catalogue()) if invoice.status != "cancelled" else None
    except PortalError as error:
        refusal = refusal or error.message
    session.rollback()  # it was only looked at
    invoice = queries.get_invoice(invoice_id)
    note = corrections.find_credit_note(invoice_id)
    instead = queries.get_invoice(note.replacement_id) if note is not None and note.replacement_id else None
    return make_response(
        render_template(
            "billing/correction.html", invoice=invoice, found=found, pairs=_pairs(found) if found else [],
            person=accounts.get_user(invoice.user_id), credit=note, instead=instead, refusal=refusal, words=words,
            note=request.form.get("note", ""),
        ),
        status,
    )  # fmt: skip


@correcting.post("/<uuid:invoice_id>")
@gate(OPERATOR)
def decide(invoice_id: uuid.UUID) -> AnyResponse:
    """A credit note and a new bill, or the bill stays as it is."""
    note, chosen = request.form.get("note", ""), request.form.get("decision", "")
    try:
        if chosen == "keep":
            corrections.keep(invoice_id, note, actor=actor(), now=now())
            said = _("The bill stays as it is.")
        else:
            made = corrections.correct(
                invoice_id, note, expected=request.form.get("seen") or None, actor=actor(), now=now(),
                due_days=current_app.config["PORTAL"].bill_due_days,
            )  # fmt: skip
            said = _("Credit note %(number)s is made.", number=made.note.credit_note_number)
        session.commit()
    except PortalError as error:
        session.rollback()
        return _page(invoice_id, error.message, 422)
    flash(said, "good")
    return redirect(url_for("correcting.show_all"), 303)
