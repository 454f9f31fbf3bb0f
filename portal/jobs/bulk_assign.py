"""Meters for more than a thousand people who wait, a few hundred a transaction; and what that would come to."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from flask import current_app

from portal import jobs
from portal.accounts import queries as accounts
from portal.audit import Actor
from portal.db import session
from portal.jobs import Job, Outcome, handles, parts, progress
from portal.meters import bulk, rehearsal, stats
from portal.meters.pool import Pool

KIND = "bulk_assign"
COLUMNS = ("user_id", "email", "meter_id", "region", "stock", "error")
ASSIGNED = ("user_id", "email", "meter_id", "region")
REFUSED = ("user_id", "email", "error")
AT_ONCE = 1_000
"""How many a run serves before it answers; more are for the queue."""
OWN, UNALLOCATED = "region", "unallocated"
# Nobody waits longer for a run than one chunk: so many seconds, however fast the machine is.
CHUNK_SECONDS = 0.1
LEAST, MOST = 50, 1_000


def arguments(region: str | None, limit: int | None, *, dry_run: bool, actor: Actor) -> dict[str, Any]:
    """What the job row keeps of the call."""
    return {"region": region, "limit": limit, "dry_run": dry_run, "actor": actor.label, "actor_kind": actor.kind}


def actor_of(job: Job) -> Actor:
    """Who asked for the job."""
    return Actor(job.args.get("actor_kind", "user"), job.args["actor"], job.created_by)


def launch(region: str | None, limit: int | None, *, dry_run: bool, actor: Actor, now: datetime) -> Job:
    """Begin a run, or the preview of one: up to AT_ONCE are done when this returns, more go to the queue. It commits.

    Raises Invalid for an unknown region.
    """
    if region is not None:
        accounts.get_region(region)
    waiting = stats.count_waiting(region)
    total = waiting if limit is None else min(waiting, limit)
    args = arguments(region, limit, dry_run=dry_run, actor=actor)
    put = jobs.start if total > AT_ONCE else jobs.begin
    job = put(KIND, args, total=total, created_by=actor.user_id, now=now)
    session.commit()
    if total <= AT_ONCE:
        jobs.run(job.job_id)
    return job


@handles(KIND, stoppable=True)
def bulk_assign(job: Job) -> Outcome:
    """Serve everybody who waits, longest first; after a kill it goes on behind the last chunk that was committed."""
    job_id, pool = job.job_id, Pool.of(current_app.config["PORTAL"])
    if job.args["dry_run"]:
        stopped = _rehearse(job, pool)
    else:
        pace = Pace(bulk.CHUNK)
        stopped = jobs.chunks(job_id, lambda locked: _serve_chunk(locked, pool, pace))
    job = jobs.lock_job(job_id)
    tally = parts.Tally.of(job)
    if not job.args["dry_run"] and tally.act is not None:
        bulk.end_run(
            tally.act, tally.success, tally.failed, job.args["region"], actor=actor_of(job), now=datetime.now(UTC)
        )
    return Outcome(result_of(job, tally, stopped=stopped), stopped)


def result_of(job: Job, tally: parts.Tally, *, stopped: bool) -> dict[str, Any]:
    """What a run came to. `skipped` waited when it began, and had a meter before it came to them."""
    waited = tally.waited if tally.waited is not None else tally.done
    return {
        "summary": tally.summary,
        "dry_run": job.args["dry_run"],
        "skipped": 0 if stopped else max(0, waited - tally.done),
        "regions": tally.by_region,
        "successful_assignments": parts.first(job.job_id, COLUMNS, ASSIGNED, failed=False),
        "failed_assignments": parts.first(job.job_id, COLUMNS, REFUSED, failed=True),
        "csv_url": f"/api/v1/admin/jobs/{job.job_id}/csv",
    }


class Pace:
    """How many to take up next, so that a chunk's transaction lasts about CHUNK_SECONDS."""

    def __init__(self, size: int) -> None:
        self.size = size

    def learn(self, count: int, seconds: float) -> None:
        """Half as many after a slow chunk, half as many again after a quick one."""
        if seconds > CHUNK_SECONDS:
            self.size = max(LEAST, self.size // 2)
        elif count == self.size and seconds < CHUNK_SECONDS / 2:
            self.size = min(MOST, self.size * 3 // 2)


def _serve_chunk(job: Job, pool: Pool, pace: Pace) -> bool:
    """One chunk; False when it was the last. What it did and where to go on are one transaction."""
    began, now, actor = time.monotonic(), datetime.now(UTC), actor_of(job)
    tally = parts.Tally.of(job)
    tally.waited = tally.waited if tally.waited is not None else job.total
    limit = job.args["limit"]
    size = pace.size if limit is None else min(pace.size, limit - tally.done)
    if size <= 0:
        return False
    if tally.act is None:
        # The row that all assignments of the run refer to, in the transaction of the first of them.
        tally.act = bulk.begin_run(job.args["region"], actor=actor, now=now)
    after = tally.after
    chunk = bulk.assign_chunk(
        pool,
        job.args["region"],
        size,
        (datetime.fromisoformat(after[0]), uuid.UUID(after[1])) if after else None,
        act=tally.act,
        actor=actor,
        now=now,
    )
    if chunk.after is not None:
        tally.after = (chunk.after[0].isoformat(), str(chunk.after[1]))
    _keep(job, tally, chunk)
    session.flush()
    pace.learn(size, time.monotonic() - began)
    return chunk.after is not None


def _keep(job: Job, tally: parts.Tally, chunk: bulk.BulkResult) -> None:
    parts.add(job.job_id, tally.parts, rows_of(chunk))
    for assigned in chunk.assigned:
        tally.count(assigned.region, went_well=True)
    for refused in chunk.failed:
        tally.count(refused.region, went_well=False)
    tally.parts += 1
    job.place = tally.to_json()
    progress(job, tally.done, max(job.total or 0, tally.done))


def _rehearse(job: Job, pool: Pool) -> bool:
    """What a run of this moment would do, from one snapshot; a stopped or killed one begins anew. True if stopped."""
    job_id, args = job.job_id, job.args
    parts.clear(job_id)
    tally = parts.Tally()
    walk = rehearsal.rehearse(pool, args["region"], args["limit"], now=datetime.now(UTC))

    def step(locked: Job) -> bool:
        chunk = next(walk, None)
        if chunk is not None:
            _keep(locked, tally, chunk)
        return chunk is not None

    with closing(walk):
        return jobs.chunks(job_id, step)


def rows_of(result: bulk.BulkResult) -> list[list[str | None]]:
    """A row for each user, in COLUMNS."""
    assigned = [
        [
            str(each.user_id),
            each.email,
            each.meter_id,
            each.region,
            OWN if each.user_id in result.own else UNALLOCATED,
            "",
        ]
        for each in result.assigned
    ]
    failed = [[str(each.user_id), each.email, None, each.region, None, each.error] for each in result.failed]
    return [*assigned, *failed]
