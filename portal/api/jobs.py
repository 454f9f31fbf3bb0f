"""Long work that a call has put in the queue: how far it is, and what came of it."""

from __future__ import annotations

from flask import Response, stream_with_context
from typing_extensions import TypedDict

from portal import jobs
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.ids import find_uuid
from portal.api.presenters import JobJson, job_json
from portal.errors import NotFound
from portal.gates import ADMIN
from portal.jobs import bulk_assign, parts

api = ApiBlueprint("jobs", tag="Jobs")


class JobAnswer(TypedDict):
    """`data` of a job."""

    job: JobJson


def get_job(job_id: str) -> jobs.Job:
    """The job. Raises NotFound JOB_NOT_FOUND, for an id of any shape."""
    found = find_uuid(job_id)
    if found is None:
        raise NotFound("There is no job with this id.", "JOB_NOT_FOUND")
    return jobs.get_job(found)


@api.get(
    "/admin/jobs/<job_id>", gate=ADMIN, answer=JobAnswer, errors={404: ("JOB_NOT_FOUND",)}, summary="How far a job is"
)
def show_job(job_id: str) -> Answer:
    """`done` of `total` moves while it runs; `result` comes when it has ended."""
    job = get_job(job_id)
    return Answer({"job": job_json(job)}, f"The job is {job.status}.")


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
    if job.kind != bulk_assign.KIND:
        raise NotFound("This kind of job keeps no rows.", "JOB_NOT_FOUND")
    lines = parts.csv_lines(job.job_id, bulk_assign.COLUMNS)
    response = Response(stream_with_context(lines), mimetype="text/csv", headers={"Cache-Control": "no-store"})
    response.headers.set("Content-Disposition", "attachment", filename=f"bulk-assign-{job.job_id}.csv")
    return response
