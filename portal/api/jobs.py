"""Long work that a call has put in the queue: how far it is, what came of it, its end before its time, its undo."""

from __future__ import annotations

from flask import Response, stream_with_context
from typing_extensions import TypedDict

from portal import jobs
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import actor, now
from portal.api.fields import Paging
from portal.api.ids import find_uuid
from portal.api.presenters import JobJson, PaginationJson, job_json, pagination_json
from portal.db import session
from portal.errors import NotFound
from portal.gates import ADMIN
from portal.jobs import bulk_undo, parts, runs

api = ApiBlueprint("jobs", tag="Jobs")


class JobAnswer(TypedDict):
    """`data` of a job."""

    job: JobJson


class JobsAnswer(TypedDict):
    """`data` of a page of jobs."""

    jobs: list[JobJson]
    pagination: PaginationJson


def get_job(job_id: str) -> jobs.Job:
    """The job. Raises NotFound JOB_NOT_FOUND, for an id of any shape."""
    found = find_uuid(job_id)
    if found is None:
        raise NotFound("There is no job with this id.", "JOB_NOT_FOUND")
    return jobs.get_job(found)


@api.get("/admin/jobs", gate=ADMIN, query=Paging, answer=JobsAnswer, summary="Bulk runs")
def list_jobs(query: Paging) -> Answer:
    """Bulk runs, previews and undos, newest first, without their results."""
    found, total = jobs.list_jobs(runs.KINDS, query.limit, query.offset)
    return Answer(
        {
            "jobs": [job_json(job, result=False) for job, _email in found],
            "pagination": pagination_json(total, query.limit, query.offset),
        },
        f"{total} jobs.",
    )


@api.get(
    "/admin/jobs/<job_id>", gate=ADMIN, answer=JobAnswer, errors={404: ("JOB_NOT_FOUND",)}, summary="How far a job is"
)
def show_job(job_id: str) -> Answer:
    """`done` of `total` moves while it runs; `result` comes when it has ended."""
    job = get_job(job_id)
    return Answer({"job": job_json(job)}, f"The job is {job.status}.")


@api.post(
    "/admin/jobs/<job_id>/cancel", gate=ADMIN, answer=JobAnswer,
    errors={404: ("JOB_NOT_FOUND",), 409: ("JOB_ENDED", "JOB_NOT_STOPPABLE")}, summary="Stop a job",
)  # fmt: skip
def cancel_job(job_id: str) -> Answer:
    """It ends after the chunk that it is at, as `cancelled`. What it had done stays, and is listed."""
    job = get_job(job_id)
    runs.stop(job.job_id, now=now())
    session.refresh(job)
    return Answer({"job": job_json(job)}, "The job is stopped." if job.has_ended else "The job stops in a moment.")


@api.post(
    "/admin/jobs/<job_id>/undo", gate=ADMIN, answer=JobAnswer, also={202: JobAnswer},
    errors={404: ("JOB_NOT_FOUND",), 409: ("JOB_NOT_UNDOABLE", "JOB_UNDONE", "JOB_HAS_DEPENDENTS")},
    summary="Undo a bulk run",
)  # fmt: skip
def undo_job(job_id: str) -> Answer:
    """Takes back every meter that the run gave, or none: what has readings, a bill or a later act is named.

    Up to 1,000 at once; more are a job, which looks at all of them before it takes back the first.
    """
    undo = bulk_undo.start(get_job(job_id).job_id, actor=actor(), now=now())
    if undo.has_ended:
        return Answer({"job": job_json(undo)}, f"{undo.done} meters are back in stock.")
    return Answer({"job": job_json(undo)}, f"{undo.total} meters. A job takes them back.", status=202)


@api.get(
    "/admin/jobs/<job_id>/csv",
    gate=ADMIN,
    answer=str,
    content_type="text/csv",
    errors={404: ("JOB_NOT_FOUND",)},
    summary="All rows of a bulk run",
)
def job_csv(job_id: str) -> Response:
    """One row for each user, those without a meter with the reason; up to where the job is."""
    job = get_job(job_id)
    if job.kind not in runs.KINDS:
        raise NotFound("This kind of job keeps no rows.", "JOB_NOT_FOUND")
    lines = parts.csv_lines(job.job_id, runs.columns_of(job))
    response = Response(stream_with_context(lines), mimetype="text/csv", headers={"Cache-Control": "no-store"})
    response.headers.set("Content-Disposition", "attachment", filename=f"{job.kind.replace('_', '-')}-{job.job_id}.csv")
    return response
