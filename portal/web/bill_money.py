"""What a customer does with a bill: take it away as PDF, dispute it, take the dispute back."""

from __future__ import annotations

import uuid

from flask import Response, current_app, flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user
from werkzeug.wrappers import Response as AnyResponse

from portal.billing import queries
from portal.db import session
from portal.errors import PortalError
from portal.gates import CUSTOMER, gate
from portal.payments import disputes
from portal.pdf import Issuer, bill_pdf
from portal.web.bill import month_of
from portal.web.customer import customer
from portal.web.forms import DisputeForm, put_errors
from portal.web.session import actor, now, zone


@customer.get("/bills/<uuid:invoice_id>/bill.pdf")
@gate(CUSTOMER)
def bill_as_pdf(invoice_id: uuid.UUID) -> Response:
    """One's bill on a page to print; a foreign one is as if it did not exist."""
    invoice = queries.get_invoice(invoice_id, current_user.user_id)
    config = current_app.config["PORTAL"]
    issuer = Issuer(config.utility_name, config.utility_address, config.utility_gstin)
    response = Response(bill_pdf(invoice, issuer), mimetype="application/pdf")
    response.headers["Content-Disposition"] = f'inline; filename="{invoice.invoice_number}.pdf"'
    return response


@customer.get("/bills/<uuid:invoice_id>/dispute")
@gate(CUSTOMER)
def dispute(invoice_id: uuid.UUID) -> AnyResponse:
    """The form: what is wrong, with the whole bill or with single lines."""
    return _dispute_page(invoice_id, _form(invoice_id))


@customer.post("/bills/<uuid:invoice_id>/dispute")
@gate(CUSTOMER)
def dispute_post(invoice_id: uuid.UUID) -> AnyResponse:
    """Open the dispute."""
    form = _form(invoice_id)
    lines = [
        int(each) for each in request.form.getlist("line_items") if each.isascii() and each.isdigit() and len(each) < 10
    ]
    try:
        disputes.open_dispute(
            invoice_id, current_user.user_id, form.dispute_reason.data or "", lines or None, actor=actor(), now=now()
        )
    except PortalError as error:
        session.rollback()
        return _dispute_page(invoice_id, form, put_errors(form, error), 422)
    session.commit()
    flash(_("Your dispute is with us. What you dispute is not asked for until we answer."), "good")
    return redirect(url_for("customer.bill", invoice_id=invoice_id), 303)


@customer.post("/bills/<uuid:invoice_id>/dispute/withdraw")
@gate(CUSTOMER)
def dispute_withdraw(invoice_id: uuid.UUID) -> AnyResponse:
    """Take one's open dispute of the bill back."""
    queries.get_invoice(invoice_id, current_user.user_id)
    for each in disputes.list_of_bill(invoice_id):
        if each.status == "open":
            disputes.withdraw(each.dispute_id, current_user.user_id, actor=actor(), now=now())
            session.commit()
            flash(_("The dispute is taken back."), "good")
    return redirect(url_for("customer.bill", invoice_id=invoice_id), 303)


def _form(invoice_id: uuid.UUID) -> DisputeForm:
    queries.get_invoice(invoice_id, current_user.user_id)
    return DisputeForm()


def _dispute_page(invoice_id: uuid.UUID, form: DisputeForm, refusal: str | None = None, status: int = 200) -> Response:
    invoice = queries.get_invoice(invoice_id, current_user.user_id)
    page = render_template(
        "customer/dispute.html",
        form=form,
        refusal=refusal,
        invoice=invoice,
        lines=queries.list_lines(invoice_id),
        chosen=request.form.getlist("line_items"),
        month=month_of(invoice, zone()),
    )
    return make_response(page, status)
