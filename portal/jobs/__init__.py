"""Long work: a job row that people watch, and a queue task that does it in chunks, committing once a chunk.

The queue is procrastinate on the same database: putting a job in the queue is part of the caller's transaction.
Every kind of job is safe to run again from the start: it takes up what is still to do.
"""

from __future__ import annotations

import importlib
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import procrastinate
from flask import Flask
from sqlalchemy import CheckConstraint, ForeignKey, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Mapped, mapped_column

from portal.accounts.models import User
from portal.db import Base, UtcTime, session
from portal.errors import NotFound
from portal.logs import get_logger

QUEUE = "portal"
TASK = "portal.run_job"


class Job(Base):
    """One piece of long work. `done` of `total` moves while it runs; `result` is kept when it ends."""

    __tablename__ = "jobs"
    __table_args__ = (CheckConstraint("status IN ('queued', 'running', 'done', 'failed')", name="status"),)

    job_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    kind: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(10), server_default="queued")
    args: Mapped[dict[str, Any]] = mapped_column(JSONB)
    done: Mapped[int] = mapped_column(server_default="0")
    total: Mapped[int | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(User.user_id))
    created_at: Mapped[UtcTime]
    ended_at: Mapped[UtcTime | None]


Handler = Callable[[Job], dict[str, Any]]
_handlers: dict[str, Handler] = {}


def handles(kind: str) -> Callable[[Handler], Handler]:
    """Register what does a kind of job. It commits once a chunk and gives the result."""

    def add(handler: Handler) -> Handler:
        _handlers[kind] = handler
        return handler

    return add


def begin(kind: str, args: dict[str, Any], *, total: int, created_by: uuid.UUID | None, now: datetime) -> Job:
    """A job outside the queue: for short work that the caller runs at once, so that what it did has an address."""
    job = Job(
        job_id=uuid.uuid4(),
        kind=kind,
        status="queued",
        args=args,
        done=0,
        total=total,
        created_by=created_by,
        created_at=now,
    )
    session.add(job)
    session.flush()
    return job


def start(kind: str, args: dict[str, Any], *, total: int, created_by: uuid.UUID | None, now: datetime) -> Job:
    """A job and its place in the queue, in this transaction."""
    job = begin(kind, args, total=total, created_by=created_by, now=now)
    session.execute(
        text(
            "SELECT procrastinate_defer_jobs_v1(ARRAY["
            "ROW(:queue, :task, 0, :lock, :lock, CAST(:args AS jsonb), NULL)::procrastinate_job_to_defer_v1])"
        ),
        {"queue": QUEUE, "task": TASK, "lock": str(job.job_id), "args": json.dumps({"job_id": str(job.job_id)})},
    )
    return job


def get_job(job_id: uuid.UUID) -> Job:
    """The job. Raises NotFound JOB_NOT_FOUND."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound("There is no job with this id.", "JOB_NOT_FOUND")
    return job


def run(job_id: uuid.UUID) -> None:
    """Do a job to its end, in an app context; one that has ended is left alone. A fault is kept and raised."""
    job = get_job(job_id)
    if job.status in ("done", "failed"):
        return
    job.status = "running"
    session.commit()
    try:
        result = _handlers[job.kind](job)
    except Exception:
        session.rollback()
        job = get_job(job_id)
        job.status, job.ended_at = "failed", datetime.now(UTC)
        job.result = {"error": "The job failed; the log has the cause. What it had done is kept."}
        session.commit()
        get_logger().exception("job_failed", job_id=str(job_id), kind=job.kind)
        raise
    job = get_job(job_id)
    # Another run may have done some of what this one set out to do: it is over all the same.
    job.total = job.done
    job.status, job.result, job.ended_at = "done", result, datetime.now(UTC)
    session.commit()


def progress(job: Job, done: int, total: int) -> None:
    """Note how far the job is; the caller commits with its chunk."""
    job.done, job.total = done, total


def queue_of(app: Flask) -> procrastinate.App:
    """The queue's own app, with the one task that runs our jobs. Opens nothing by itself."""
    url = make_url(app.config["SQLALCHEMY_DATABASE_URI"]).set(drivername="postgresql")
    queue = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=url.render_as_string(hide_password=False), max_size=4)
    )

    @queue.task(name=TASK, queue=QUEUE)
    def run_job(job_id: str) -> None:
        with app.app_context():
            run(uuid.UUID(job_id))

    return queue


def set_up(app: Flask) -> None:
    """Keep the queue with the app, and know every kind of job; nothing is opened."""
    for kind in ("bulk_assign", "billing_run"):
        importlib.import_module(f"{__name__}.{kind}")
    app.extensions["portal_queue"] = queue_of(app)
