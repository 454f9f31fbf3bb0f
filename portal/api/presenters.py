"""What the answers look like: one function per resource, its keys written out. A new key is a decision.

Times are ISO 8601 with offset, money strings with two places, energy strings in kWh.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NotRequired

from typing_extensions import TypedDict

from portal.api.fields import Uuid
from portal.jobs import Job


def time_str(instant: datetime) -> str:
    """ISO 8601 with offset, in UTC."""
    return instant.isoformat()


class PaginationJson(TypedDict):
    """Where a page stands in its list."""

    total: int
    limit: int
    offset: int
    has_more: bool


def pagination_json(total: int, limit: int, offset: int) -> PaginationJson:
    """The pagination of a list."""
    return {"total": total, "limit": limit, "offset": offset, "has_more": offset + limit < total}


class JobJson(TypedDict):
    """A piece of long work. `result` comes when it has ended."""

    job_id: Uuid
    kind: str
    status: str
    done: int
    total: int | None
    status_url: str
    result: NotRequired[dict[str, Any]]


def job_json(job: Job) -> JobJson:
    """A job and how far it is."""
    shown: JobJson = {
        "job_id": str(job.job_id),
        "kind": job.kind,
        "status": job.status,
        "done": job.done,
        "total": job.total,
        "status_url": f"/api/v1/admin/jobs/{job.job_id}",
    }
    if job.result is not None:
        shown["result"] = job.result
    return shown
