"""`flask worker`: long work from the queue, and usage recomputed within seconds of its readings.

It may run as often as one likes: jobs are taken by one worker each, meters recomputed by one at a time. Killed at any
moment it loses nothing: what it had not committed is still queued, and a job of a dead worker is taken up by the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from datetime import UTC, datetime

import click
import procrastinate
from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from portal import jobs
from portal.audit import SYSTEM
from portal.billing import actions as billing
from portal.billing import corrections
from portal.cli._common import DatabaseCommand
from portal.db import session
from portal.logs import get_logger
from portal.meters import life, search, stats
from portal.meters.pool import Pool
from portal.payments.actions import use_credit
from portal.readings import actions, unheard

CHUNK = 2_000
PAUSE = 1.0
LONGEST_PAUSE = 30.0
PARTITIONS_EVERY = 24 * 3600.0
PARTITIONS_AGAIN = 60.0
BILLS_EVERY = 600.0
METERS_EVERY = 5.0
HEARD_CHUNKS = 10
STALLED_EVERY = 30.0
# How long a job may go on after a signal. One that needs longer is left to the next worker.
GRACE = 20.0


@click.command("worker", cls=DatabaseCommand, help="Do long work from the queue and keep usage up to date.")
def group() -> None:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    stop = threading.Event()
    refresher = threading.Thread(target=keep_usage, args=(app, stop), name="usage")
    refresher.start()
    try:
        asyncio.run(_serve(app, stop))
    finally:
        stop.set()
        refresher.join(GRACE)


def keep_usage(app: Flask, stop: threading.Event) -> None:
    """Recompute touched usage every second, and do what falls due now and then, until `stop`.

    A fault is logged and tried again.
    """
    pause, partitions_due, bills_due, meters_due = 0.0, 0.0, 0.0, 0.0
    heard: unheard.Place | None = None
    while not stop.wait(pause):
        try:
            with app.app_context():
                if time.monotonic() >= partitions_due:
                    partitions_due = time.monotonic() + _make_partitions()
                if time.monotonic() >= bills_due:
                    bills_due = time.monotonic() + BILLS_EVERY
                    let_bills_fall_due()
                if time.monotonic() >= meters_due:
                    meters_due = time.monotonic() + METERS_EVERY
                    keep_meters(Pool.of(app.config["PORTAL"]))
                    heard = mark_heard(heard)
                while not stop.is_set() and refresh_chunk():
                    pass
            pause = PAUSE
        except Exception:
            # Whatever it was: usage stays as it is, its notes stay, and the log says why.
            get_logger().exception("usage_not_refreshed")
            pause = min(max(pause, PAUSE) * 2, LONGEST_PAUSE)


def refresh_chunk() -> int:
    """One chunk in its own transaction, and the bills that it concerns; gives how many notes it settled."""
    touched: list[tuple[int, datetime]] = []
    settled = actions.refresh_usage(CHUNK, touched)
    # In the same transaction: a bill that late readings belong to is flagged, or the notes are still there (promise 6).
    corrections.review_touched(touched, datetime.now(UTC))
    session.commit()
    return settled


def let_bills_fall_due() -> int:
    """Credit on account pays what it can; then bills whose day is over become overdue; gives how many of those."""
    now = datetime.now(UTC)
    use_credit(actor=SYSTEM, now=now)
    moved = billing.mark_overdue(now)
    session.commit()
    return moved


def keep_meters(pool: Pool) -> None:
    """Release meters whose quarantine is over, make the tallies few, and let new words be found quickest."""
    now = datetime.now(UTC)
    while life.release_rested(pool, now=now):
        session.commit()
    stats.fold(now)
    session.commit()
    search.flush_words()
    session.commit()


def mark_heard(after: unheard.Place | None) -> unheard.Place | None:
    """Mark meters that were heard of, a few chunks on from `after`, as long as there are any; gives where to go on."""
    for _chunk in range(HEARD_CHUNKS):
        marked, after = unheard.note_heard(datetime.now(UTC), after)
        session.commit()
        if not marked or after is None:
            break
    return after


def _make_partitions() -> float:
    """Make the partitions that are due; gives the seconds until the next look."""
    try:
        actions.make_partitions(datetime.now(UTC))
        session.commit()
    except SQLAlchemyError as fault:
        session.rollback()
        get_logger().warning("partitions_not_made", fault=type(fault).__name__)
        return PARTITIONS_AGAIN
    return PARTITIONS_EVERY


async def _serve(app: Flask, stop: threading.Event) -> None:
    """Work until a signal. When the database is away, wait for it."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    pause = PAUSE
    while not stopped.is_set():
        work = asyncio.create_task(_work(jobs.queue_of(app)))
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if stopped.is_set():
            stop.set()
            work.cancel()
            _, running = await asyncio.wait({work}, timeout=GRACE)
            if running:
                # A thread cannot be ended from outside. The job stays marked as this worker's, whose heartbeat ends
                # here, so the next worker takes it up from what it had committed.
                get_logger().warning("job_left_to_the_next_worker")
                os._exit(0)
            return
        get_logger().error("queue_lost", exc_info=work.exception())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def _work(queue: procrastinate.App) -> None:
    async with queue.open_async():
        reviver = asyncio.create_task(_revive(queue))
        try:
            await queue.run_worker_async(queues=[jobs.QUEUE], install_signal_handlers=False)
        finally:
            reviver.cancel()


async def _revive(queue: procrastinate.App) -> None:
    """Put jobs of dead workers back into the queue, now and every half minute."""
    while True:
        try:
            for job in await queue.job_manager.get_stalled_jobs(queue=jobs.QUEUE):
                get_logger().warning("job_revived", queue_id=job.id)
                await queue.job_manager.retry_job(job)
        except procrastinate.exceptions.ProcrastinateException:
            get_logger().exception("stalled_jobs_not_read")
        await asyncio.sleep(STALLED_EVERY)
