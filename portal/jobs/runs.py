"""What the faces ask of bulk runs of any kind."""

from __future__ import annotations

import uuid
from datetime import datetime

from portal import jobs
from portal.db import session
from portal.jobs import Job, bulk_assign, bulk_csv, bulk_undo

KINDS = (bulk_assign.KIND, bulk_csv.KIND, bulk_undo.KIND)


def columns_of(job: Job) -> tuple[str, ...]:
    """The columns of the job's rows."""
    return {
        bulk_assign.KIND: bulk_assign.COLUMNS,
        bulk_csv.KIND: bulk_csv.COLUMNS,
        bulk_undo.KIND: bulk_undo.COLUMNS,
    }[job.kind]


def stop(job_id: uuid.UUID, *, now: datetime) -> None:
    """Have a job end after the chunk that it is at; one that nobody is doing ends here and now. It commits.

    Raises NotFound JOB_NOT_FOUND, Conflict JOB_ENDED, JOB_NOT_STOPPABLE.
    """
    jobs.ask_to_stop(job_id, now)
    session.commit()
    jobs.run(job_id)
