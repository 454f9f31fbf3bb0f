"""Pages of a customer. Every query carries their own id; nobody else's meter or bill can be asked for."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, render_template, request
from flask_babel import gettext as _
from flask_login import current_user

from portal.billing import queries as billing
from portal.gates import CUSTOMER, gate
from portal.meters import history
from portal.meters import queries as meters
from portal.tariffs.queries import get_tariff
from portal.web.bill import bill_page, bill_row
from portal.web.fragments import page_or_fragment
from portal.web.home import home_page, no_bill
from portal.web.lists import PAGE, offset_of_request, pager
from portal.web.meter import meter_card
from portal.web.session import now, zone
from portal.web.timeline import timeline
from portal.web.usage import read_day, usage_page
from portal.web.use import today_of
from portal.web.welcome import welcome_page

customer = Blueprint("customer", __name__)


@customer.get("/welcome")
@gate(CUSTOMER)
def welcome() -> str:
    """Where registration leads: the meter, or why there is none yet."""
    open_row = meters.find_open_assignment(current_user.user_id)
    return render_template("customer/welcome.html", page=welcome_page(current_user.user, open_row, zone()))


@customer.get("/home")
@gate(CUSTOMER)
def home() -> Response:
    """This month so far, what is due, and whether the meter is alive; it refreshes itself."""
    page = home_page(current_user.user, zone(), now())
    return page_or_fragment("customer/home.html", "customer/_home.html", page=page)


@customer.get("/usage")
@gate(CUSTOMER)
def usage() -> str:
    """Use of a day, a month or a year."""
    at = now()
    on = read_day(request.args.get("on"), today_of(at, zone()))
    page = usage_page(current_user.user_id, request.args.get("view", ""), on, zone(), at)
    return render_template("customer/usage.html", page=page)


@customer.get("/bills")
@gate(CUSTOMER)
def bills() -> str:
    """All bills, newest first."""
    here, at = zone(), now()
    found = billing.list_invoices(current_user.user_id, limit=PAGE, offset=offset_of_request())
    rows = [bill_row(each, here, today_of(at, here)) for each in found.invoices]
    why = no_bill(meters.find_open_assignment(current_user.user_id), here, at)
    pages = pager(len(rows), found.total, offset_of_request())
    return render_template("customer/bills.html", bills=rows, pages=pages, no_bill=why)


@customer.get("/bills/<uuid:invoice_id>")
@gate(CUSTOMER)
def bill(invoice_id: uuid.UUID) -> str:
    """One bill with its lines; a foreign one is as if it did not exist."""
    invoice = billing.get_invoice(invoice_id, current_user.user_id)
    page = bill_page(invoice, billing.list_lines(invoice_id), get_tariff(invoice.tariff_code).name, now())
    return render_template("customer/bill.html", page=page)


@customer.get("/meter")
@gate(CUSTOMER)
def meter() -> str:
    """The meter held now, and every one before."""
    open_row = meters.find_open_assignment(current_user.user_id)
    card = meter_card(current_user.user, open_row, zone(), now())
    past = timeline(history.of_user(current_user.user_id), zone(), for_staff=False)
    subtitle = _("Your meter, its readings, and every one that was yours before.")
    return render_template("customer/meter.html", meter=card, history=past, subtitle=subtitle)
