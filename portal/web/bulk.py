"""Meters for many: a preview first, then the run, and what came of it. All are jobs, so that each has an address."""

from __future__ import annotations

import uuid

from flask import Response, flash, make_response, redirect, render_template, request, stream_with_context, url_for
from flask_babel import gettext as _
from flask_babel import ngettext
from werkzeug.wrappers import Response as AnyResponse

from portal import jobs
from portal.db import session
from portal.errors import NotFound, PortalError
from portal.gates import ADMIN, gate
from portal.jobs import bulk_assign, bulk_csv, bulk_undo, parts, runs
from portal.meters import queries, stats
from portal.web import bulk_words, staff
from portal.web.admin import admin
from portal.web.forms import BulkFileForm, BulkForm, ConfirmForm, put_errors
from portal.web.fragments import page_or_fragment
from portal.web.lists import PAGE, offset_of_request, pager
from portal.web.session import actor, now, pool, zone

ROWS = 50
DEPENDENTS = 200


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
    own = {each.region: each.free for each in stats.by_region() if each.region is not None}
    page = render_template(
        "admin/bulk.html", form=form, waiting=waiting, total=total, refusal=refusal,
        own=own, unallocated=max(0, stats.stats(pool()).free_meters - sum(own.values())),
    )  # fmt: skip
    return make_response(page, status)


@admin.get("/bulk/file")
@gate(ADMIN)
def bulk_file() -> str:
    """The form that takes a file."""
    return render_template("admin/bulk_file.html", form=BulkFileForm(), refusal=None)


@admin.post("/bulk/file")
@gate(ADMIN)
def bulk_file_post() -> AnyResponse:
    """Look at every row of the file, and write nothing: what was found has an address of its own."""
    form, sent = BulkFileForm(), request.files.get("file")
    try:
        looked = bulk_csv.look(sent.read() if sent else b"", (sent and sent.filename) or "", actor=actor(), now=now())
    except PortalError as error:
        session.rollback()
        refusal = put_errors(form, error)
        return make_response(render_template("admin/bulk_file.html", form=form, refusal=refusal), 422)
    session.commit()
    return redirect(url_for("admin.job", job_id=looked.job_id), 303)


@admin.get("/jobs")
@gate(ADMIN)
def job_list() -> str:
    """Bulk runs, previews and undos, newest first; those that do not move are marked."""
    offset = offset_of_request()
    found, total = jobs.list_jobs(runs.KINDS, PAGE, offset)
    rows = [bulk_words.line(job, email, now(), zone()) for job, email in found]
    return render_template("admin/jobs.html", rows=rows, pages=pager(len(found), total, offset))


def _get_job(job_id: uuid.UUID) -> jobs.Job:
    job = jobs.get_job(job_id)
    if job.kind not in runs.KINDS:
        raise NotFound("There is no bulk run with this id.", "JOB_NOT_FOUND")
    return job


@admin.get("/jobs/<uuid:job_id>")
@gate(ADMIN)
def job(job_id: uuid.UUID) -> Response:
    """How far a run is, or what it did; while it runs the page asks again by itself."""
    found, offset = _get_job(job_id), offset_of_request()
    tally = parts.Tally.of(found)
    failed = request.args.get("list") == "left" if "list" in request.args else not tally.success
    rows = parts.page(job_id, failed=failed, limit=ROWS, offset=offset)
    columns = runs.columns_of(found)
    return page_or_fragment(
        "admin/job.html", "admin/_job.html",
        job=found,
        tally=tally,
        words=bulk_words.words_of(found, tally, now()),
        shown=bulk_words.line(found, None, now(), zone()),
        failed=failed,
        rows=[dict(zip(columns, row, strict=True)) for row in rows],
        pages=pager(len(rows), tally.failed if failed else tally.success, offset, ROWS),
        undo=jobs.find_about(job_id, bulk_undo.KIND),
        run=jobs.find_about(job_id, bulk_csv.KIND),
        form=ConfirmForm(),
    )  # fmt: skip


@admin.post("/jobs/<uuid:job_id>/run")
@gate(ADMIN)
def job_run(job_id: uuid.UUID) -> AnyResponse:
    """Do the rows of a file that was looked at."""
    try:
        run = bulk_csv.launch(_get_job(job_id).job_id, actor=actor(), now=now())
    except PortalError as error:
        return _back_to(job_id, error)
    return redirect(url_for("admin.job", job_id=run.job_id), 303)


@admin.post("/jobs/<uuid:job_id>/cancel")
@gate(ADMIN)
def job_cancel(job_id: uuid.UUID) -> AnyResponse:
    """End a run after the chunk that it is at."""
    try:
        runs.stop(_get_job(job_id).job_id, now=now())
    except PortalError as error:
        return _back_to(job_id, error)
    return redirect(url_for("admin.job", job_id=job_id), 303)


def _back_to(job_id: uuid.UUID, error: PortalError) -> AnyResponse:
    session.rollback()
    flash(error.message, "warn")
    return redirect(url_for("admin.job", job_id=job_id), 303)


@admin.get("/jobs/<uuid:job_id>/undo")
@gate(ADMIN)
def job_undo(job_id: uuid.UUID) -> AnyResponse:
    """What an undo means, before it is done."""
    run = _get_job(job_id)
    try:
        count = bulk_undo.check_undoable(run)
    except PortalError as error:
        return _back_to(job_id, error)
    return make_response(render_template("admin/job_undo.html", run=run, count=count, form=ConfirmForm(), refusal=None))


@admin.post("/jobs/<uuid:job_id>/undo")
@gate(ADMIN)
def job_undo_post(job_id: uuid.UUID) -> AnyResponse:
    """Take back all that the run gave, or nothing, with everything that stands in the way."""
    run = _get_job(job_id)
    try:
        undo = bulk_undo.start(job_id, actor=actor(), now=now())
    except PortalError as error:
        session.rollback()
        if not error.fields:
            return _back_to(job_id, error)
        page = render_template(
            "admin/job_undo.html", run=run, count=parts.Tally.of(run).success, form=ConfirmForm(),
            refusal=error, most=DEPENDENTS,
        )  # fmt: skip
        return make_response(page, 409)
    session.commit()
    if undo.has_ended:
        flash(
            ngettext(
                "%(num)s meter is back in stock, and its customer waits again.",
                "%(num)s meters are back in stock, and their customers wait again.",
                undo.done,
            ),
            "good",
        )
    return redirect(url_for("admin.job", job_id=undo.job_id), 303)


@admin.get("/jobs/<uuid:job_id>/rows.csv")
@gate(ADMIN)
def job_csv(job_id: uuid.UUID) -> Response:
    """Every row of the run as a file."""
    found = _get_job(job_id)
    return _file(parts.csv_lines(job_id, runs.columns_of(found)), f"{found.kind.replace('_', '-')}-{job_id}.csv")


@admin.get("/jobs/<uuid:job_id>/corrected.csv")
@gate(ADMIN)
def job_corrected(job_id: uuid.UUID) -> Response:
    """The file as it was sent, with the reason beside each wrong row."""
    found = _get_job(job_id)
    if found.kind != bulk_csv.KIND:
        raise NotFound("This run came from no file.", "JOB_NOT_FOUND")
    return _file(bulk_csv.corrected_lines(found), f"to-correct-{job_id}.csv")


def _file(lines: object, name: str) -> Response:
    response = Response(stream_with_context(lines), mimetype="text/csv")  # type: ignore[call-overload]
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response
