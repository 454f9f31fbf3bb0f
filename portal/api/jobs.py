"""Long work that a call has put in the queue: how far it is, and what came of it."""

from __future__ import annotations

import uuid

from typing_extensions import TypedDict

from portal import jobs
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.presenters import JobJson, job_json
from portal.errors import NotFound
from portal.gates import ADMIN

api = ApiBlueprint("jobs", tag="Jobs")


class JobAnswer(TypedDict):
    """`data` of a job."""

    job: JobJson


def find_uuid(text: str) -> uuid.UUID | None:
    """The id, or None for what is none. Only the usual 36 characters: an id has one spelling."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


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
