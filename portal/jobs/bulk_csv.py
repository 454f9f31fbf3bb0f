"""Assignments from a file, as two jobs: a look at every row, which keeps what was sent, and the run that does it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

from flask import current_app

from portal import jobs
from portal.audit import Actor
from portal.db import session
from portal.errors import Conflict
from portal.jobs import Job, Outcome, bulk_assign, handles, parts, progress
from portal.jobs.bulk_assign import AT_ONCE, OWN, UNALLOCATED
from portal.meters import bulk, bulk_csv, stock_rows
from portal.meters.bulk_csv import Done
from portal.meters.bulk_rows import AskedRow
from portal.meters.pool import Pool

KIND = "bulk_csv"
COLUMNS = ("user_id", "email", "meter_id", "region", "stock", "line", "since", "outcome", "asked", "error")
SHOWN = ("line", "user_id", "email", "meter_id", "region", "outcome", "error")
ASSIGNED, ALREADY, ASSIGN = "assigned", "already", "assign"


def look(content: bytes, name: str, *, actor: Actor, now: datetime) -> Job:
    """Look at every row of a file, in this transaction; the job keeps the rows and what is wrong with each.

    Raises Invalid on the field `file` for what is no such file.
    """
    pool = Pool.of(current_app.config["PORTAL"])
    sheet, rows = bulk_csv.read_and_check(content, pool, now=now)
    args = {
        "dry_run": True,
        "file": name[:100],
        "sha256": hashlib.sha256(content).hexdigest(),
        "names": list(sheet.names),
        "region": None,
        "limit": None,
        "actor": actor.label,
        "actor_kind": actor.kind,
    }
    job = jobs.record(KIND, args, total=len(rows), created_by=actor.user_id, now=now)
    tally = parts.Tally()
    for start in range(0, len(rows), bulk_csv.CHUNK):
        _keep(job, tally, rows[start : start + bulk_csv.CHUNK], ASSIGN)
    job.status, job.started_at, job.ended_at = "done", now, now
    job.result = _result(job, tally)
    session.flush()
    return job


def launch(looked_id: uuid.UUID, *, actor: Actor, now: datetime, here: bool = True) -> Job:
    """Do what was looked at: up to AT_ONCE rows are done when this returns, more go to the queue. It commits.

    Not `here`: the caller runs it. Asked twice it gives the run that there is. Raises NotFound JOB_NOT_FOUND, Conflict
    ROWS_REFUSED while a row is wrong.
    """
    looked = jobs.lock_job(looked_id)
    if looked.kind != KIND or not looked.args["dry_run"]:
        raise Conflict("This is no file that was looked at.", "JOB_NOT_FOUND")
    if parts.Tally.of(looked).failed:
        raise Conflict("Some rows cannot be done. Correct them and send the file again.", "ROWS_REFUSED")
    if (run := jobs.find_about(looked_id, KIND)) is not None:
        session.rollback()
        return run
    args = looked.args | {"dry_run": False, "actor": actor.label, "actor_kind": actor.kind}
    total = looked.done
    put = jobs.start if here and total > AT_ONCE else jobs.begin
    run = put(KIND, args, total=total, created_by=actor.user_id, now=now, about=looked_id)
    session.commit()
    if here and total <= AT_ONCE:
        jobs.run(run.job_id)
    return run


@handles(KIND, stoppable=True)
def run_file(job: Job) -> Outcome:
    """Do the rows of the file, a chunk at a time; after a kill it goes on behind the last that was committed."""
    job_id, pool = job.job_id, Pool.of(current_app.config["PORTAL"])
    looked_id = job.about or job_id
    pace = bulk_assign.Pace(bulk_csv.CHUNK)
    stopped = jobs.chunks(job_id, lambda locked: _do_chunk(locked, looked_id, pool, pace))
    job = jobs.lock_job(job_id)
    tally = parts.Tally.of(job)
    if tally.act is not None:
        actor, now = bulk_assign.actor_of(job), datetime.now(UTC)
        bulk.end_run(tally.act, tally.success, tally.failed, None, actor=actor, now=now)
    return Outcome(_result(job, tally), stopped)


def _do_chunk(job: Job, looked_id: uuid.UUID, pool: Pool, pace: bulk_assign.Pace) -> bool:
    """Some rows: `after` keeps the part of the look and the place in it where the next chunk begins."""
    began, now, actor = time.monotonic(), datetime.now(UTC), bulk_assign.actor_of(job)
    tally = parts.Tally.of(job)
    part, place = (int(tally.after[0]), int(tally.after[1])) if tally.after else (0, 0)
    asked = parts.rows_of_part(looked_id, part)
    rows = [_asked(row) for row in asked[place : place + pace.size]]
    if not rows:
        return False
    if tally.act is None:
        tally.act = bulk.begin_run(None, actor=actor, now=now, how="csv")
    done = bulk_csv.assign_rows(rows, pool, act=tally.act, actor=actor, now=now)
    place += len(rows)
    tally.after = (str(part), str(place)) if place < len(asked) else (str(part + 1), "0")
    _keep(job, tally, done, ASSIGNED)
    pace.learn(len(rows), time.monotonic() - began)
    return True


def _keep(job: Job, tally: parts.Tally, rows: list[Done], outcome: str) -> None:
    parts.add(job.job_id, tally.parts, [_row(each, outcome) for each in rows])
    tally.parts += 1
    for each in rows:
        tally.count(each.region, went_well=not each.error)
        tally.turn += each.already
    job.place = tally.to_json()
    progress(job, tally.done, max(job.total or 0, tally.done))
    session.flush()


def _row(each: Done, outcome: str) -> list[str | None]:
    """In COLUMNS. `asked` is the row of the file as it was sent, and what it was read as."""
    row = each.row
    asked = {
        "cells": row.cells,
        "user": row.user,
        "user_id": str(row.user_id) if row.user_id else None,
        "key": row.meter_key,
        "region": row.region,
        "day": row.day.isoformat() if row.day else None,
    }
    gives = not (each.already or each.error)
    return [
        str(each.user_id) if each.user_id else None,
        each.email or row.user[:254],
        each.meter_id,
        each.region,
        (UNALLOCATED if each.unallocated else OWN) if gives else None,
        str(row.line),
        each.since.isoformat() if each.since else None,
        None if each.error else outcome if gives else ALREADY,
        json.dumps(asked, ensure_ascii=False),
        each.error,
    ]


def _asked(row: list[str | None]) -> AskedRow:
    """The row of the file as it was read when it was looked at."""
    asked = json.loads(row[8] or "{}")
    return AskedRow(
        line=int(row[5] or 0),
        cells=tuple(asked["cells"]),
        user=asked["user"],
        user_id=uuid.UUID(asked["user_id"]) if asked["user_id"] else None,
        meter_key=asked["key"],
        region=asked["region"],
        day=date.fromisoformat(asked["day"]) if asked["day"] else None,
    )


def _result(job: Job, tally: parts.Tally) -> dict[str, Any]:
    """`already` of those that went well held just that before: nothing is done twice."""
    return {
        "summary": tally.summary,
        "already": tally.turn,
        "dry_run": job.args["dry_run"],
        "skipped": 0,
        "regions": tally.by_region,
        "successful_assignments": parts.first(job.job_id, COLUMNS, SHOWN, failed=False),
        "failed_assignments": parts.first(job.job_id, COLUMNS, SHOWN, failed=True),
        "csv_url": f"/api/v1/admin/jobs/{job.job_id}/csv",
    }


def corrected_lines(job: Job) -> Iterator[str]:
    """The file as it was sent, with the reason beside every row that cannot be done: to correct and send again."""
    names = [name for name in job.args["names"] if name != "error"]
    yield _csv([*names, "error"])
    places = [place for place, name in enumerate(job.args["names"]) if name != "error"]
    for number in range(parts.Tally.of(job).parts):
        for row in parts.rows_of_part(job.job_id, number):
            cells = json.loads(row[8] or "{}")["cells"]
            given = [cells[place] if place < len(cells) else "" for place in places]
            yield _csv([*given, row[-1] or ""])


def _csv(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([stock_rows.cell(cell) for cell in cells])
    return out.getvalue()
