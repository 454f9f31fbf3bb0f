"""Bulk runs in the terminal: rows as they come, or how far a long run is, and an orderly end on Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from portal import jobs
from portal.accounts import queries as accounts
from portal.audit import CLI
from portal.cli._common import now, pool
from portal.db import session
from portal.errors import Conflict, PortalError
from portal.jobs import Job, bulk_assign, bulk_csv, parts
from portal.meters import rehearsal, stats

ROWS = 1_000
"""So many rows are written one by one; of a longer run, how far it is."""
INTERRUPTED = 130
WRONG_SHOWN = 20


def assign_all(region: str | None, *, dry_run: bool) -> None:
    """`flask meters assign-all`."""
    if region:
        accounts.get_region(region)
    found = stats.count_waiting(region)
    print(
        f"Found {found} {'customer' if found == 1 else 'customers'} without a meter{f' in {region}' if region else ''}."
    )
    if dry_run:
        _rehearse(region, found)
        return
    args = bulk_assign.arguments(region, None, dry_run=False, actor=CLI)
    job = jobs.begin(bulk_assign.KIND, args, total=found, created_by=None, now=now())
    session.commit()
    _finish(run_here(job.job_id, found))


def assign_csv(path: Path, *, dry_run: bool) -> None:
    """`flask meters assign-csv`: looks at every row, and does them only when none is wrong."""
    looked = bulk_csv.look(path.read_bytes(), path.name, actor=CLI, now=now())
    result = looked.result or {}
    session.commit()
    wrong, right, already = result["summary"]["failed"], result["summary"]["success"], result["already"]
    for row in result["failed_assignments"][:WRONG_SHOWN]:
        print(f"line {row['line']}: {row['error']}")
    if wrong:
        target = path.with_name(f"{path.stem}.errors.csv")
        with target.open("w", newline="", encoding="utf-8-sig") as out:
            out.writelines(bulk_csv.corrected_lines(looked))
        raise PortalError(
            f"{wrong} of {wrong + right} rows cannot be done, and nothing was. {target} has the reason beside each: "
            "correct it and run this again."
        )
    print(f"{right} rows: {right - already} to assign, {already} done already.")
    if dry_run or right == already:
        return
    run = bulk_csv.launch(looked.job_id, actor=CLI, now=now(), here=False)
    done = run_here(run.job_id, right - already, rows=False)
    summary = (done.result or {})["summary"]
    for row in (done.result or {})["failed_assignments"]:
        print(f"line {row['line']}: {row['error']}")
    print(f"Total: {summary['success'] - done.result['already']} assigned, {summary['failed']} not.")  # type: ignore[index]
    if done.status == "cancelled":
        print("Stopped. What was done stays; run it again for the others.")
        click.get_current_context().exit(INTERRUPTED)
    if summary["failed"]:
        click.get_current_context().exit(1)


def _rehearse(region: str | None, found: int) -> None:
    said, success, failed = Progress(found), 0, 0
    for chunk in rehearsal.rehearse(pool(), region, now=now()):
        success, failed = success + len(chunk.assigned), failed + len(chunk.failed)
        said.tell(success + failed, bulk_assign.rows_of(chunk))
    said.end()
    print(f"Total: {success} would be assigned, {failed} would be left without, {success + failed} in all.")


def run_here(job_id: uuid.UUID, total: int, *, rows: bool = True) -> Job:
    """Do a job in this process and say how far it is. Ctrl-C ends it after the chunk that it is at."""
    said, told = Progress(total), 0
    with _interruptible() as interrupted:

        def on_chunk(job: Job) -> None:
            nonlocal told
            tally = parts.Tally.of(job)
            new = [row for number in range(told, tally.parts) for row in parts.rows_of_part(job_id, number)]
            told = tally.parts
            session.rollback()
            said.tell(job.done, new if said.rows and rows else [])
            if interrupted and not job.stop_asked_at:
                said.end()
                print("Stopping after this chunk …", flush=True)
                jobs.ask_to_stop(job_id, now())
                session.commit()

        if not jobs.run(job_id, on_chunk=on_chunk):
            raise Conflict("A worker has taken up this run; look at its page.")
    said.end()
    session.expire_all()
    return jobs.get_job(job_id)


def _finish(job: Job) -> None:
    summary = (job.result or {})["summary"]
    print(f"Total: {summary['success']} assigned, {summary['failed']} left without, {summary['total']} in all.")
    if job.result and job.result["skipped"]:
        print(f"{job.result['skipped']} had a meter from somebody else meanwhile.")
    if job.status == "cancelled":
        print("Stopped. What was done stays; run it again for the others.")
        click.get_current_context().exit(INTERRUPTED)


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """A list that is not empty any more after the first Ctrl-C; the second one ends the program as usual."""
    seen: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


class Progress:
    """Rows one by one up to ROWS; else one line that moves on a terminal, and a line a second elsewhere."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.rows = total <= ROWS and not (sys.stdout.isatty() and total > 40)
        self._began, self._said, self._open = time.monotonic(), 0.0, False

    def tell(self, done: int, rows: list[list[str | None]]) -> None:
        """How far it is; `rows` are the new ones in the columns of a bulk run."""
        if self.rows:
            for row in rows:
                _user_id, email, meter_id, region, *_more, error = row
                print(f"{email}: {error}" if error else f"{email} → {meter_id} ({region or 'no region'})")
            return
        if time.monotonic() - self._said < (0.2 if sys.stdout.isatty() else 1.0) and done < self.total:
            return
        self._said = time.monotonic()
        if sys.stdout.isatty():
            sys.stdout.write(f"\r{self.line(done)}\x1b[K")
            self._open = True
        else:
            sys.stdout.write(self.line(done) + "\n")
        sys.stdout.flush()

    def line(self, done: int) -> str:
        """12,000 of 1,000,000 (1 %), about 2 min left."""
        text = f"{done:,} of {max(self.total, done):,} ({100 * done // max(self.total, done, 1)} %)"
        seconds = (time.monotonic() - self._began) / max(done, 1) * (self.total - done)
        if done and seconds >= 1:
            text += f", about {seconds:.0f} s left" if seconds < 100 else f", about {seconds / 60:.0f} min left"
        return text

    def end(self) -> None:
        """Leave the line that moved."""
        if self._open:
            sys.stdout.write("\n")
            self._open = False
