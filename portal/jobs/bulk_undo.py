"""Undo of a whole bulk run: first look at every one that it served, then take back all, or none."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import current_app

from portal import jobs
from portal.audit import Actor
from portal.billing.undo import list_dependents
from portal.db import session
from portal.errors import Conflict, FieldError
from portal.jobs import Job, Outcome, bulk_assign, handles, parts, progress
from portal.meters import undo
from portal.meters.pool import Pool
from portal.meters.rules import meter_key
from portal.meters.undo import Given

KIND = "bulk_undo"
COLUMNS = bulk_assign.COLUMNS
UNDOABLE = ("bulk_assign", "bulk_csv")
AT_ONCE = 1_000
CHECK, TAKE_BACK = 0, 1
Row = list[str | None]


def check_undoable(run: Job) -> int:
    """How many meters the run gave. Raises Conflict JOB_NOT_UNDOABLE, JOB_UNDONE.

    `run` is locked by callers who go on to undo it.
    """
    if run.kind not in UNDOABLE or run.args.get("dry_run"):
        raise Conflict("Only a run that gave meters can be undone.", "JOB_NOT_UNDOABLE")
    if not run.has_ended:
        raise Conflict("The run has not ended. Stop it first.", "JOB_NOT_UNDOABLE")
    earlier = jobs.find_about(run.job_id, KIND)
    if earlier is not None and (not earlier.has_ended or earlier.done):
        raise Conflict("The run is undone already, or that is under way.", "JOB_UNDONE")
    tally = parts.Tally.of(run)
    given = tally.success - tally.turn  # of a file, `turn` counts who held their meter before
    if not given:
        raise Conflict("The run gave nobody a meter; there is nothing to undo.", "JOB_NOT_UNDOABLE")
    return given


def start(run_id: uuid.UUID, *, actor: Actor, now: datetime) -> Job:
    """Undo a run: up to AT_ONCE here, all in this transaction or not at all; more as a job that the queue takes.

    Raises NotFound JOB_NOT_FOUND, Conflict JOB_NOT_UNDOABLE, JOB_UNDONE; Conflict JOB_HAS_DEPENDENTS with a field for
    every one that has something resting on it.
    """
    run = jobs.lock_job(run_id)
    count = check_undoable(run)
    args = {"actor": actor.label, "actor_kind": actor.kind, "region": run.args.get("region")}
    put = jobs.start if count > AT_ONCE else jobs.record
    job = put(KIND, args, total=count, created_by=actor.user_id, now=now, about=run_id)
    if count <= AT_ONCE:
        _undo_at_once(job, run, now)
    return job


def _undo_at_once(job: Job, run: Job, now: datetime) -> None:
    pool, actor = Pool.of(current_app.config["PORTAL"]), bulk_assign.actor_of(job)
    act = _act_of(run)
    rows = _given_rows(run, range(parts.Tally.of(run).parts))
    reasons = _lock_and_look(rows, pool, act)
    if reasons:
        fields = [FieldError(str(row[2]), f"{row[1]}: {reasons[_user(row)]}") for row in rows if _user(row) in reasons]
        raise Conflict(
            f"Nothing is undone: {len(reasons)} of {len(rows)} have something that rests on them.",
            "JOB_HAS_DEPENDENTS",
            fields,
        )
    tally = parts.Tally()
    tally.act = undo.begin_undo(act, job.args["region"], actor=actor, now=now)
    _take_back(job, tally, rows, {}, pool, act, now)
    _end(job, tally, now)
    job.status, job.started_at, job.ended_at = "done", now, now
    job.result = _result(job, tally, refused=False)
    session.flush()


@handles(KIND)
def bulk_undo(job: Job) -> Outcome:
    """Look at all, a chunk at a time; when nothing rests on any of them, take them back, a chunk at a time.

    Something that comes to rest on one after the look (a reading of this minute) leaves that one, with the reason.
    """
    job_id, pool = job.job_id, Pool.of(current_app.config["PORTAL"])
    run = jobs.get_job(job.about or job_id)
    act, last = _act_of(run), parts.Tally.of(run).parts
    jobs.chunks(job_id, _in_turn(CHECK, last, lambda locked, tally: _look(locked, tally, run, act)))
    tally = parts.Tally.of(jobs.get_job(job_id))
    refused = tally.turn == CHECK and tally.failed > 0
    if not refused:
        jobs.chunks(job_id, _in_turn(TAKE_BACK, last, lambda locked, tally: _undo_chunk(locked, tally, run, act, pool)))
    job = jobs.lock_job(job_id)
    tally = parts.Tally.of(job)
    _end(job, tally, datetime.now(UTC))
    return Outcome(_result(job, tally, refused=refused))


def _in_turn(turn: int, last: int, act: Callable[[Job, parts.Tally], None]) -> Callable[[Job], bool]:
    """One chunk of the run per step; `after` keeps the number of the next one. A turn that is over does nothing."""

    def step(job: Job) -> bool:
        tally = parts.Tally.of(job)
        if tally.turn > turn:
            return False
        if tally.turn < turn:
            tally.turn, tally.after = turn, None
        number = int(tally.after[0]) if tally.after else 0
        if number >= last:
            job.place = tally.to_json()
            return False
        tally.after = (str(number + 1), "")
        act(job, tally)
        job.place = tally.to_json()
        return number + 1 < last

    return step


def _look(job: Job, tally: parts.Tally, run: Job, act: int) -> None:
    number = int(tally.after[0]) - 1 if tally.after else 0
    rows = _given_rows(run, range(number, number + 1))
    reasons = list_dependents([_given(row) for row in rows], act)
    _keep_refused(job, tally, [row for row in rows if _user(row) in reasons], reasons)
    job.moved_at = datetime.now(UTC)


def _undo_chunk(job: Job, tally: parts.Tally, run: Job, act: int, pool: Pool) -> None:
    number, now = (int(tally.after[0]) - 1 if tally.after else 0), datetime.now(UTC)
    rows = _given_rows(run, range(number, number + 1))
    if tally.act is None:
        tally.act = undo.begin_undo(act, job.args["region"], actor=bulk_assign.actor_of(job), now=now)
    reasons = _lock_and_look(rows, pool, act)
    _keep_refused(job, tally, [row for row in rows if _user(row) in reasons], reasons)
    _take_back(job, tally, rows, reasons, pool, act, now)


def _lock_and_look(rows: list[Row], pool: Pool, act: int) -> dict[uuid.UUID, str]:
    given = [_given(row) for row in rows]
    undo.lock_for_undo(given, pool)
    return list_dependents(given, act)


def _take_back(
    job: Job, tally: parts.Tally, rows: list[Row], but_for: dict[uuid.UUID, str], pool: Pool, act: int, now: datetime
) -> None:
    rows = [row for row in rows if _user(row) not in but_for]
    given = [_given(row) for row in rows]
    taken = undo.take_back(given, pool, act=act, undo=tally.act or 0, actor=bulk_assign.actor_of(job), now=now)
    if len(taken) != len(given):
        raise RuntimeError("an assignment that was locked and looked at is not there any more")
    _keep(job, tally, rows)
    progress(job, tally.success, max(job.total or 0, tally.success))


def _keep(job: Job, tally: parts.Tally, rows: list[Row]) -> None:
    if rows:
        parts.add(job.job_id, tally.parts, rows)
        tally.parts += 1
    for row in rows:
        tally.count(row[3], went_well=not row[-1])


def _keep_refused(job: Job, tally: parts.Tally, rows: list[Row], reasons: dict[uuid.UUID, str]) -> None:
    _keep(job, tally, [[*row[:-1], reasons[_user(row)]] for row in rows])


def _end(job: Job, tally: parts.Tally, now: datetime) -> None:
    if tally.act is not None:
        actor = bulk_assign.actor_of(job)
        undo.end_undo(tally.act, tally.success, tally.failed, job.args["region"], actor=actor, now=now)
    job.place = tally.to_json()


def _result(job: Job, tally: parts.Tally, *, refused: bool) -> dict[str, Any]:
    return {
        "summary": tally.summary,
        "refused": refused,
        "run": str(job.about),
        "regions": tally.by_region,
        "undone": parts.first(job.job_id, COLUMNS, bulk_assign.ASSIGNED, failed=False),
        "failed": parts.first(job.job_id, COLUMNS, ("user_id", "email", "meter_id", "error"), failed=True),
        "csv_url": f"/api/v1/admin/jobs/{job.job_id}/csv",
    }


def _act_of(run: Job) -> int:
    act = parts.Tally.of(run).act
    if act is None:
        raise Conflict("The run gave nobody a meter; there is nothing to undo.", "JOB_NOT_UNDOABLE")
    return act


def _given_rows(run: Job, numbers: range) -> list[Row]:
    """Those whom the run served in these chunks, in COLUMNS."""
    # The first columns are those of every kind; a row of a file that gave nothing names no stock.
    found = [row for number in numbers for row in parts.rows_of_part(run.job_id, number)]
    return [[*row[:5], ""] for row in found if row[4] and not row[-1]]


def _user(row: Row) -> uuid.UUID:
    return uuid.UUID(row[0])


def _given(row: Row) -> Given:
    return Given(_user(row), meter_key(row[2] or ""), row[4] == bulk_assign.UNALLOCATED)
