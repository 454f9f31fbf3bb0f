"""Long work: a job row that people watch, and a queue task that does it in chunks, committing once a chunk.

The queue is procrastinate on the same database: putting a job in the queue is part of the caller's transaction.
Every kind of job can be killed at any moment: it goes on behind the last chunk that was committed.
"""

from __future__ import annotations

import importlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import procrastinate
from flask import Flask
from sqlalchemy import CheckConstraint, ForeignKey, Index, String, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapped, mapped_column

from portal.accounts.models import User
from portal.db import Base, UtcTime, db, session
from portal.errors import Conflict, NotFound
from portal.logs import get_logger

QUEUE = "portal"
TASK = "portal.run_job"
ENDED = ("done", "failed", "cancelled")
# A job that its caller runs by itself is looked at by a worker after this: the caller may have been killed.
NET = timedelta(seconds=60)
LOOK_AGAIN = timedelta(seconds=30)
# Longer without a step than this, a running job is stalled, and a queued one has no worker.
STALLED = timedelta(seconds=90)
PAUSE, LONGEST_PAUSE = 0.5, 5.0


class Job(Base):
    """One piece of long work. `done` of `total` moves while it runs; `result` is kept when it ends.

    `args` is what was asked for, `place` how far it is: what the next chunk needs to go on. `about` is the job that
    this one undoes or carries out.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("status IN ('queued', 'running', 'done', 'failed', 'cancelled')", name="status"),
        Index("ix_jobs_about", "about", postgresql_where=text("about IS NOT NULL")),
        Index("ix_jobs_created_at", "created_at", "job_id"),
    )

    job_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    kind: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(10), server_default="queued")
    args: Mapped[dict[str, Any]] = mapped_column(JSONB)
    place: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"), default=dict)
    done: Mapped[int] = mapped_column(server_default="0")
    total: Mapped[int | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    about: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.job_id"))
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(User.user_id))
    created_at: Mapped[UtcTime]
    started_at: Mapped[UtcTime | None]
    moved_at: Mapped[UtcTime | None]
    stop_asked_at: Mapped[UtcTime | None]
    ended_at: Mapped[UtcTime | None]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ENDED

    def is_stalled(self, now: datetime) -> bool:
        """Whether it should be moving and is not: its process died and no worker has taken it up yet."""
        return not self.has_ended and now - (self.moved_at or self.started_at or self.created_at) > STALLED


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: its result, and whether it was stopped before its end."""

    result: dict[str, Any]
    cancelled: bool = False


Handler = Callable[[Job], Outcome]
_handlers: dict[str, Handler] = {}
_stoppable: set[str] = set()


def handles(kind: str, *, stoppable: bool = False) -> Callable[[Handler], Handler]:
    """Register what does a kind of job. It commits once a chunk and gives how it ended."""

    def add(handler: Handler) -> Handler:
        _handlers[kind] = handler
        if stoppable:
            _stoppable.add(kind)
        return handler

    return add


def record(
    kind: str,
    args: dict[str, Any],
    *,
    total: int,
    created_by: uuid.UUID | None,
    now: datetime,
    about: uuid.UUID | None = None,
) -> Job:
    """A job that is done in this very transaction, so that what it did has an address."""
    return _add(kind, args, total, created_by, now, about)


def begin(
    kind: str,
    args: dict[str, Any],
    *,
    total: int,
    created_by: uuid.UUID | None,
    now: datetime,
    about: uuid.UUID | None = None,
) -> Job:
    """A job that the caller runs at once, so that what it did has an address; a worker takes it up if they die."""
    job = _add(kind, args, total, created_by, now, about)
    _put(job.job_id, now + NET)
    return job


def start(
    kind: str,
    args: dict[str, Any],
    *,
    total: int,
    created_by: uuid.UUID | None,
    now: datetime,
    about: uuid.UUID | None = None,
) -> Job:
    """A job and its place in the queue, in this transaction."""
    job = _add(kind, args, total, created_by, now, about)
    _put(job.job_id, None)
    return job


def _add(
    kind: str, args: dict[str, Any], total: int, created_by: uuid.UUID | None, now: datetime, about: uuid.UUID | None
) -> Job:
    job = Job(
        job_id=uuid.uuid4(), kind=kind, status="queued", args=args, place={}, done=0, total=total,
        created_by=created_by, created_at=now, about=about,
    )  # fmt: skip
    session.add(job)
    session.flush()
    return job


def _put(job_id: uuid.UUID, at: datetime | None) -> None:
    """An entry of the queue that names the job, unless one waits already."""
    session.execute(
        text("""
            SELECT procrastinate_defer_jobs_v1(ARRAY[
                ROW(:queue, :task, 0, :lock, :lock, CAST(:args AS jsonb), :at)::procrastinate_job_to_defer_v1])
            WHERE NOT EXISTS (SELECT FROM procrastinate_jobs WHERE queueing_lock = :lock AND status = 'todo')"""),
        {"queue": QUEUE, "task": TASK, "lock": str(job_id), "args": json.dumps({"job_id": str(job_id)}), "at": at},
    )


def get_job(job_id: uuid.UUID) -> Job:
    """The job. Raises NotFound JOB_NOT_FOUND."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound("There is no job with this id.", "JOB_NOT_FOUND")
    return job


def lock_job(job_id: uuid.UUID) -> Job:
    """The job, locked until the transaction ends and read anew. Raises NotFound JOB_NOT_FOUND."""
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None:
        raise NotFound("There is no job with this id.", "JOB_NOT_FOUND")
    return job


def list_jobs(kinds: tuple[str, ...], limit: int, offset: int) -> tuple[list[tuple[Job, str | None]], int]:
    """(jobs of these kinds with who began each, newest first; how many in all) (ix_jobs_created_at)."""
    total = session.scalar(select(func.count()).where(Job.kind.in_(kinds))) or 0
    rows = session.execute(
        select(Job, User.email)
        .outerjoin(User, User.user_id == Job.created_by)
        .where(Job.kind.in_(kinds))
        .order_by(Job.created_at.desc(), Job.job_id)
        .limit(limit)
        .offset(offset)
    )
    return [(job, email) for job, email in rows], total


def find_about(job_id: uuid.UUID, kind: str) -> Job | None:
    """The newest job of this kind about the given one: its undo, or what carries it out (ix_jobs_about)."""
    return session.scalar(
        select(Job).where(Job.about == job_id, Job.kind == kind).order_by(Job.created_at.desc()).limit(1)
    )


def ask_to_stop(job_id: uuid.UUID, now: datetime) -> Job:
    """Have a job end after the chunk that it is at; one that nobody has begun ends here. What was done stays.

    Raises NotFound JOB_NOT_FOUND, Conflict JOB_ENDED, JOB_NOT_STOPPABLE.
    """
    job = lock_job(job_id)
    if job.has_ended:
        raise Conflict("The job has ended; there is nothing to stop.", "JOB_ENDED")
    if job.kind not in _stoppable:
        raise Conflict("This kind of job cannot be stopped.", "JOB_NOT_STOPPABLE")
    job.stop_asked_at = job.stop_asked_at or now
    session.flush()
    return job


Listener = Callable[[Job], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def run(job_id: uuid.UUID, *, patient: bool = False, on_chunk: Listener | None = None) -> bool:
    """Do a job to its end, in an app context; one that has ended is left alone. A fault is kept and raised.

    False when another process is doing it. `patient`: wait for a database that went away, and go on behind the last
    chunk that was committed. `on_chunk` is told after each commit.
    """
    pause = PAUSE
    while True:
        try:
            with _alone(job_id) as alone:
                if alone:
                    listening = _listener.set(on_chunk)
                    try:
                        _run(job_id)
                    finally:
                        _listener.reset(listening)
                return alone
        except DBAPIError as fault:
            session.remove()
            if not (patient and is_passing(fault)):
                raise
            get_logger().warning("job_waits_for_the_database", job_id=str(job_id))
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def is_passing(fault: DBAPIError) -> bool:
    """Whether the same may work in a moment: the line broke, the server stops, starts or chose us in a deadlock."""
    state = getattr(fault.orig, "sqlstate", None)
    return fault.connection_invalidated or state is None or state[:2] in ("08", "57", "40", "53")


@contextmanager
def _alone(job_id: uuid.UUID) -> Iterator[bool]:
    """Whether nobody else does this job; holds its lock, on a connection of its own, as long as we do it."""
    key = {"key": job_id.int % 2**63}
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        alone = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key))
        try:
            yield alone
        finally:
            try:
                if alone:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
            except DBAPIError:
                connection.invalidate()  # the line is broken, and the lock went with it


def _run(job_id: uuid.UUID) -> None:
    job = lock_job(job_id)
    if job.has_ended:
        session.rollback()
        return
    job.status, job.started_at = "running", job.started_at or datetime.now(UTC)
    job.moved_at = datetime.now(UTC)
    session.commit()
    try:
        outcome = _handlers[job.kind](job)
    except Exception as fault:
        session.rollback()
        if isinstance(fault, DBAPIError) and is_passing(fault):
            raise
        job = lock_job(job_id)
        job.status, job.ended_at = "failed", datetime.now(UTC)
        job.result = {"error": "The job failed; the log has the cause. What it had done is kept."}
        session.commit()
        get_logger().exception("job_failed", job_id=str(job_id), kind=job.kind)
        raise
    job = lock_job(job_id)
    # Another run may have done some of what this one set out to do: it is over all the same.
    job.total = job.done
    job.status = "cancelled" if outcome.cancelled else "done"
    job.result, job.ended_at = outcome.result, datetime.now(UTC)
    session.commit()


def chunks(job_id: uuid.UUID, step: Callable[[Job], bool]) -> bool:
    """Do chunk after chunk until `step` says that none is left; True when the job was asked to stop before.

    Each is one transaction that holds the job's row: what it did and where to go on are one.
    """
    while True:
        job = lock_job(job_id)
        if job.stop_asked_at is not None:
            session.rollback()
            return True
        more = step(job)
        job.moved_at = datetime.now(UTC)
        session.commit()
        if (tell := _listener.get()) is not None:
            tell(job)
        if not more:
            return False


def progress(job: Job, done: int, total: int) -> None:
    """Note how far the job is; the caller commits with its chunk."""
    job.done, job.total, job.moved_at = done, total, datetime.now(UTC)


def queue_of(app: Flask) -> procrastinate.App:
    """The queue's own app, with the one task that runs our jobs. Opens nothing by itself."""
    url = make_url(app.config["SQLALCHEMY_DATABASE_URI"]).set(drivername="postgresql")
    queue = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=url.render_as_string(hide_password=False), max_size=4)
    )

    @queue.task(name=TASK, queue=QUEUE)
    def run_job(job_id: str) -> None:
        with app.app_context():
            if not run(uuid.UUID(job_id), patient=True):
                # Somebody does it now; should they die in the middle, this is looked at again.
                _put(uuid.UUID(job_id), datetime.now(UTC) + LOOK_AGAIN)
                session.commit()

    return queue


def set_up(app: Flask) -> None:
    """Keep the queue with the app, and know every kind of job; nothing is opened."""
    for kind in ("bulk_assign", "bulk_csv", "bulk_undo", "billing_run", "billing_steps"):
        importlib.import_module(f"{__name__}.{kind}")
    app.extensions["portal_queue"] = queue_of(app)
