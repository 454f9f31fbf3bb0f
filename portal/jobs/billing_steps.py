"""The long steps of a billing run that staff look at: working it out, and issuing it. A hundred a transaction."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from flask import current_app

from portal import jobs
from portal.billing import runs
from portal.billing.run_models import BillingRun
from portal.config import Config
from portal.db import session
from portal.jobs import Job, Outcome, handles
from portal.tariffs.queries import Catalogue

CALCULATE, ISSUE = "billing_calculate", "billing_issue"
AT_ONCE = 200
"""Bills that are worked out or issued before the page answers; more go to the queue."""


def begin(run: BillingRun, kind: str, *, created_by: uuid.UUID | None, now: datetime) -> None:
    """Do a step of a run: at once where it is short, in the queue where it is long. It commits."""
    sums = runs.totals(run)
    total = sums.waiting if kind == CALCULATE else sums.included
    put = jobs.start if total > AT_ONCE else jobs.begin
    job = put(kind, {"run_id": str(run.run_id)}, total=total, created_by=created_by, now=now)
    run.job_id = job.job_id
    session.commit()
    if total <= AT_ONCE:
        jobs.run(job.job_id)


@handles(CALCULATE)
def calculate(job: Job) -> Outcome:
    """Work out what waits. After a kill it goes on with the rest; a run that was cancelled meanwhile ends it."""
    config, catalogue = _config(), Catalogue()

    def step(run: BillingRun) -> int:
        return runs.calculate_chunk(run, catalogue, config.bill_hold_percent, datetime.now(UTC))

    return _all(job, step)


@handles(ISSUE)
def issue(job: Job) -> Outcome:
    """Issue what was approved. After a kill it goes on with the rest."""
    config, catalogue = _config(), Catalogue()

    def step(run: BillingRun) -> int:
        return runs.issue_chunk(run, catalogue, config.bill_hold_percent, datetime.now(UTC), config.bill_due_days)

    return _all(job, step)


def _all(job: Job, step: Any) -> Outcome:
    run_id = uuid.UUID(job.args["run_id"])

    def chunk(this: Job) -> bool:
        taken: int = step(runs.get_run(run_id, lock=True))
        jobs.progress(this, this.done + taken, max(this.total or 0, this.done + taken))
        return taken > 0

    jobs.chunks(job.job_id, chunk)
    sums = runs.totals(runs.get_run(run_id))
    return Outcome({"run_id": str(run_id), "issued": sums.issued, "refused": sums.refused, "ready": sums.ready})


def _config() -> Config:
    config: Config = current_app.config["PORTAL"]
    return config
