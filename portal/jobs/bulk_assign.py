"""Meters for more than a thousand people who wait, five hundred a transaction."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from flask import current_app

from portal.audit import Actor
from portal.db import session
from portal.jobs import Job, handles, parts, progress
from portal.meters import bulk
from portal.meters.pool import Pool

KIND = "bulk_assign"
COLUMNS = ("user_id", "email", "meter_id", "region", "error")
ASSIGNED = COLUMNS[:4]
REFUSED = ("user_id", "email", "error")


def arguments(region: str | None, limit: int | None, *, dry_run: bool, actor: Actor) -> dict[str, Any]:
    """What the job row keeps of the call."""
    return {"region": region, "limit": limit, "dry_run": dry_run, "actor": actor.label, "after": None, "act": None}


@handles(KIND)
def bulk_assign(job: Job) -> dict[str, Any]:
    """Serve everybody who waits, longest first; after a kill it goes on behind the last chunk that was committed."""
    config = current_app.config["PORTAL"]
    pool = Pool.of(config)
    actor = Actor("user", job.args["actor"], job.created_by)
    region = job.args["region"]
    if job.args["dry_run"]:
        _rehearse(job, pool, actor)
    else:
        while _serve_chunk(job, pool, actor):
            session.commit()
    totals = parts.totals(job.job_id)
    if not job.args["dry_run"]:
        bulk.end_run(job.args["act"], totals.success, totals.failed, region, actor=actor, now=datetime.now(UTC))
    return {
        "summary": totals.summary,
        "dry_run": job.args["dry_run"],
        "successful_assignments": parts.first(job.job_id, COLUMNS, ASSIGNED, failed=False),
        "failed_assignments": parts.first(job.job_id, COLUMNS, REFUSED, failed=True),
        "csv_url": f"/api/v1/admin/jobs/{job.job_id}/csv",
    }


def _serve_chunk(job: Job, pool: Pool, actor: Actor) -> bool:
    """One chunk; False when it was the last. What it did and where to go on are one transaction."""
    before = parts.totals(job.job_id)
    limit = job.args["limit"]
    size = bulk.CHUNK if limit is None else min(bulk.CHUNK, limit - before.done)
    if size <= 0:
        return False
    after, act = job.args["after"], job.args["act"]
    if act is None:
        act = bulk.begin_run(job.args["region"], actor=actor, now=datetime.now(UTC))
    chunk = bulk.assign_chunk(
        pool,
        job.args["region"],
        size,
        (datetime.fromisoformat(after[0]), uuid.UUID(after[1])) if after else None,
        act=act,
        actor=actor,
        now=datetime.now(UTC),
    )
    parts.add(job.job_id, before.parts, rows_of(chunk))
    after = [chunk.after[0].isoformat(), str(chunk.after[1])] if chunk.after else after
    job.args = {**job.args, "after": after, "act": act}
    done = before.done + chunk.total
    progress(job, done, max(job.total or 0, done))
    session.flush()
    return chunk.after is not None


def _rehearse(job: Job, pool: Pool, actor: Actor) -> None:
    """What a run would do. The meters it shows follow from one another, so it is one transaction, taken back."""
    job_id, limit = job.job_id, job.args["limit"]
    whole = bulk.assign_all(pool, job.args["region"], limit, dry_run=True, actor=actor, now=datetime.now(UTC))
    rows = rows_of(whole)
    for number, start in enumerate(range(0, len(rows), bulk.CHUNK)):
        parts.add(job_id, number, rows[start : start + bulk.CHUNK])
    progress(job, whole.total, whole.total)


def rows_of(result: bulk.BulkResult) -> list[list[str | None]]:
    """A row for each user, in COLUMNS."""
    assigned = [[str(each.user_id), each.email, each.meter_id, each.region, ""] for each in result.assigned]
    return [*assigned, *([str(each.user_id), each.email, None, None, each.error] for each in result.failed)]
