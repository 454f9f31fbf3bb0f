"""Pages of billing runs: choose, calculate, look, decide, approve, and see them issued. Forms work without a script."""

from __future__ import annotations

import uuid
from datetime import date, timedelta

from flask import Blueprint, Response, current_app, flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import ngettext
from flask_login import current_user
from werkzeug.wrappers import Response as AnyResponse

from portal import jobs
from portal.billing import runs
from portal.billing.run_models import BillingRun
from portal.config import Config
from portal.db import session
from portal.errors import PortalError
from portal.gates import OPERATOR, gate
from portal.jobs import billing_steps
from portal.periods import local_date
from portal.web import billing_words as words
from portal.web.forms import put_errors
from portal.web.fragments import page_or_fragment
from portal.web.lists import offset_of_request, pager
from portal.web.run_form import RunForm
from portal.web.session import actor, now, zone
from portal.web.staff import region_choices

billing = Blueprint("billing", __name__, url_prefix="/admin/billing")
PAGE = 12
MONTHS = 24


def _config() -> Config:
    config: Config = current_app.config["PORTAL"]
    return config


def _form() -> RunForm:
    """The months that are over, the last one first, and the regions."""
    form = RunForm()
    day = local_date(now(), zone()).replace(day=1)
    months: list[date] = []
    for _number in range(MONTHS):
        day = (day - timedelta(days=1)).replace(day=1)
        months.append(day)
    form.month.choices = words.month_choices(months)
    form.region.choices = region_choices(_("All regions"))
    return form


@billing.get("")
@gate(OPERATOR)
def show_runs() -> Response:
    """Every run, newest first, and the form that begins one."""
    return _runs_page(_form())


def _runs_page(form: RunForm, refusal: str | None = None, status: int = 200) -> Response:
    offset = offset_of_request()
    found, total = runs.list_runs(PAGE, offset)
    rows = [(run, runs.totals(run)) for run in found]
    return make_response(
        render_template(
            "billing/runs.html", form=form, refusal=refusal, runs=rows, words=words, zone=zone(),
            pages=pager(len(rows), total, offset, PAGE),
        ),
        status,
    )  # fmt: skip


@billing.post("")
@gate(OPERATOR)
def begin_run() -> AnyResponse:
    """A run for the chosen month and region; it is worked out at once, or in the queue where it is long."""
    form = _form()
    try:
        year, month = form.chosen_month()
        run = runs.open_run(year, month, form.region.data or None, actor=actor(), now=now())
        session.commit()
        billing_steps.begin(run, billing_steps.CALCULATE, created_by=current_user.user_id, now=now())
    except PortalError as error:
        session.rollback()
        return _runs_page(form, put_errors(form, error), 422)
    return redirect(url_for("billing.show_run", run_id=run.run_id), 303)


@billing.get("/<uuid:run_id>")
@gate(OPERATOR)
def show_run(run_id: uuid.UUID) -> Response:
    """One run: its step, totals, and what a person must look at. It asks again by itself while a step is done."""
    run, offset = runs.get_run(run_id), offset_of_request()
    kind = request.args.get("kind") or None
    odd, total = runs.list_odd(run_id, kind, PAGE, offset)
    own = _config().bill_approval_by_other and run.creator_id == current_user.user_id
    return page_or_fragment(
        "billing/run.html", "billing/_run.html", run=run, totals=runs.totals(run), kinds=runs.count_kinds(run_id),
        names=runs.names_of, kind=kind, odd=odd, job=_job_of(run), words=words, zone=zone(), own=own,
        pages=pager(len(odd), total, offset, PAGE),
    )  # fmt: skip


def _job_of(run: BillingRun) -> jobs.Job | None:
    return jobs.get_job(run.job_id) if run.job_id is not None else None


def _back(run_id: uuid.UUID) -> AnyResponse:
    kind = request.form.get("back", "")
    return redirect(url_for("billing.show_run", run_id=run_id, kind=kind if kind in words.EXCEPTION else None), 303)


@billing.post("/<uuid:run_id>/decide")
@gate(OPERATOR)
def decide(run_id: uuid.UUID) -> AnyResponse:
    """Include or hold one bill, or all of a kind that nobody has decided."""
    chosen, connection = request.form.get("decision", ""), request.form.get("connection", "")
    number = int(connection) if connection.isascii() and connection.isdigit() and len(connection) < 19 else None
    kind = request.form.get("kind") or None
    try:
        done = runs.decide(run_id, chosen, connection_id=number, kind=kind, actor=actor())
        session.commit()
        if number is None:
            flash(ngettext("%(num)s bill is decided.", "%(num)s bills are decided.", done), "good")
    except PortalError as error:
        session.rollback()
        flash(error.message, "warn")
    return _back(run_id)


@billing.post("/<uuid:run_id>/approve")
@gate(OPERATOR)
def approve(run_id: uuid.UUID) -> AnyResponse:
    """Issue what is included."""
    try:
        run = runs.approve(run_id, by_other=_config().bill_approval_by_other, actor=actor(), now=now())
        billing_steps.begin(run, billing_steps.ISSUE, created_by=current_user.user_id, now=now())
    except PortalError as error:
        session.rollback()
        flash(error.message, "warn")
    return _back(run_id)


@billing.post("/<uuid:run_id>/again")
@gate(OPERATOR)
def try_again(run_id: uuid.UUID) -> AnyResponse:
    """Those that failed once more, and those that were decided since; nobody gets a second bill."""
    try:
        run = runs.try_again(run_id, actor=actor(), now=now())
        billing_steps.begin(run, billing_steps.ISSUE, created_by=current_user.user_id, now=now())
    except PortalError as error:
        session.rollback()
        flash(error.message, "warn")
    return _back(run_id)


@billing.get("/<uuid:run_id>/cancel")
@gate(OPERATOR)
def cancel(run_id: uuid.UUID) -> str:
    """What giving a run up means, before it is done."""
    run = runs.get_run(run_id)
    return render_template("billing/cancel.html", run=run, words=words)


@billing.post("/<uuid:run_id>/cancel")
@gate(OPERATOR)
def cancel_post(run_id: uuid.UUID) -> AnyResponse:
    """Give the run up."""
    try:
        runs.cancel(run_id, actor=actor(), now=now())
        session.commit()
        flash(_("The run is cancelled. Nothing of it was issued."), "good")
    except PortalError as error:
        session.rollback()
        flash(error.message, "warn")
    return redirect(url_for("billing.show_runs"), 303)
