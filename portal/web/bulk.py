"""Meters for all who wait: a preview first, then the run. Both are jobs, so that what they found has an address."""

from __future__ import annotations

import uuid

from flask import Response, make_response, redirect, render_template, stream_with_context, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from portal import jobs
from portal.db import session
from portal.errors import NotFound, PortalError
from portal.gates import ADMIN, gate
from portal.jobs import bulk_assign, parts
from portal.meters import queries
from portal.web import staff
from portal.web.admin import admin
from portal.web.forms import BulkForm, put_errors
from portal.web.fragments import page_or_fragment
from portal.web.session import actor, now


@admin.get("/bulk")
@gate(ADMIN)
def bulk() -> Response:
    """Who waits where, and the form that begins with a preview."""
    return _bulk_page(_bulk_form())


@admin.post("/bulk")
@gate(ADMIN)
def bulk_post() -> AnyResponse:
    """A preview or the run itself. More than a thousand go to the queue, fewer are done before the answer."""
    form = _bulk_form()
    try:
        job_id = bulk_assign.launch(
            form.region.data or None,
            form.chosen_limit(),
            dry_run=form.step.data != "assign",
            actor=actor(),
            now=now(),
        ).job_id
    except PortalError as error:
        session.rollback()
        return _bulk_page(form, put_errors(form, error), 422)
    return redirect(url_for("admin.job", job_id=job_id), 303)


def _bulk_form() -> BulkForm:
    form = BulkForm()
    form.region.choices = staff.region_choices(_("All regions"))
    return form


def _bulk_page(form: BulkForm, refusal: str | None = None, status: int = 200) -> Response:
    waiting = queries.count_waiting_by_region()
    total = sum(count for _region, count in waiting)
    return make_response(
        render_template("admin/bulk.html", form=form, waiting=waiting, total=total, refusal=refusal), status
    )


def _get_job(job_id: uuid.UUID) -> jobs.Job:
    job = jobs.get_job(job_id)
    if job.kind != bulk_assign.KIND:
        raise NotFound("There is no bulk run with this id.", "JOB_NOT_FOUND")
    return job


@admin.get("/jobs/<uuid:job_id>")
@gate(ADMIN)
def job(job_id: uuid.UUID) -> Response:
    """How far a run is, or what it did; while it runs the page asks again by itself."""
    return page_or_fragment("admin/job.html", "admin/_job.html", job=_get_job(job_id))


@admin.get("/jobs/<uuid:job_id>/rows.csv")
@gate(ADMIN)
def job_csv(job_id: uuid.UUID) -> Response:
    """Every row of the run as a file."""
    lines = parts.csv_lines(_get_job(job_id).job_id, bulk_assign.COLUMNS)
    response = Response(stream_with_context(lines), mimetype="text/csv")
    response.headers.set("Content-Disposition", "attachment", filename=f"bulk-assign-{job_id}.csv")
    return response
