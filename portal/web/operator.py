"""Pages for all staff: the numbers, who waits for a meter, who the users are. They change nothing."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, render_template, request

from portal.accounts import queries as accounts
from portal.gates import OPERATOR, gate
from portal.meters import history, search
from portal.meters import queries as meters
from portal.periods import local_date
from portal.web import formats, staff
from portal.web.fragments import page_or_fragment
from portal.web.lists import PAGE, offset_of_request, pager
from portal.web.session import now, pool
from portal.web.timeline import timeline

operator = Blueprint("operator", __name__, url_prefix="/admin")


@operator.get("")
@gate(OPERATOR)
def dashboard() -> Response:
    """The numbers of now, and the head of the queue. The numbers refresh themselves."""
    numbers = staff.numbers(pool(), now())
    queue = search.list_without_meter(limit=8)
    return page_or_fragment(
        "operator/dashboard.html",
        "operator/_numbers.html",
        page=numbers,
        queue=queue,
        free=staff.next_free(queue.users),
        now=now(),
        form=staff.assign_form(),
    )


@operator.get("/waiting")
@gate(OPERATOR)
def waiting() -> Response:
    """Customers without a meter, longest wait first; searched while typing where there is a script."""
    form, offset = staff.search_form(request.args), offset_of_request()
    found = search.list_without_meter(form.region.data or None, form.q.data or "", PAGE, offset)
    return page_or_fragment(
        "operator/waiting.html", "operator/_waiting.html",
        form=form, queue=found, free=staff.next_free(found.users), now=now(),
        pages=pager(len(found.users), found.total, offset, counted=found.total_is_exact),
    )  # fmt: skip


@operator.get("/users")
@gate(OPERATOR)
def users() -> Response:
    """All users, newest first, by e-mail, name or meter."""
    form, offset = staff.search_form(request.args), offset_of_request()
    found = search.search_users(form.q.data or "", limit=PAGE, offset=offset)
    return page_or_fragment(
        "operator/users.html",
        "operator/_users.html",
        form=form,
        found=found,
        pages=pager(len(found.users), found.total, offset, counted=found.total_is_exact),
    )


@operator.get("/users/<uuid:user_id>")
@gate(OPERATOR)
def user(user_id: uuid.UUID) -> str:
    """One user: who, which meter, every meter before, and their supplies."""
    person = accounts.get_user(user_id)
    here = accounts.zone_of(person.region)
    return render_template(
        "operator/user.html",
        person=person,
        history=timeline(history.of_user(user_id), here),
        supplies=[staff.supply_row(each, here) for each in meters.list_user_connections(user_id)],
        registered=formats.day(local_date(person.created_at, here)),
    )


@operator.get("/users/options")
@gate(OPERATOR)
def user_options() -> str:
    """Suggestions for the field that takes a customer's e-mail: those who wait for a meter, by e-mail or name."""
    typed = request.args.get("email", "").strip()[:100]
    found = search.list_without_meter(search=typed, limit=8) if typed else None
    return render_template("operator/_options.html", users=found.users if found else [], typed=typed, mark=staff.mark)


@operator.get("/meters/free")
@gate(OPERATOR)
def free_meters() -> str:
    """The next free meters for a region, or for the customer with this address: suggestions for the field."""
    region = request.args.get("region") or None
    if region is None and (person := accounts.find_user_by_email(request.args.get("email", ""))):
        region = person.region
    free = meters.list_free([region], pool())[region]
    return render_template("operator/_free.html", free=free, region=region)
