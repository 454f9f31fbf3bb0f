"""The bills of a month for more than a thousand connections, a hundred a transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import current_app

from portal.audit import SYSTEM, Actor
from portal.billing import actions
from portal.billing.actions import RunResult
from portal.db import session
from portal.jobs import Job, Outcome, handles, progress
from portal.payments.actions import use_credit

KIND = "billing_run"
ERRORS_SHOWN = 1_000


def arguments(year: int, month: int, region: str | None, *, actor: Actor) -> dict[str, Any]:
    """What the job row keeps of the call. `made` counts the bills of earlier starts of the same job."""
    return {"year": year, "month": month, "region": region, "actor": actor.label, "made": 0}


@handles(KIND)
def billing_run(job: Job) -> Outcome:
    """Bill everybody who is due. After a kill it goes on: those who have their bill get no second one."""
    args = job.args
    made_before = args["made"]

    def keep(run: actions.Progress) -> None:
        job.args = {**args, "made": made_before + run.result.success}
        progress(job, made_before + run.done, made_before + run.total)
        session.commit()

    result = actions.generate_month(
        args["year"],
        args["month"],
        args["region"],
        actor=Actor("user", args["actor"], job.created_by),
        now=datetime.now(UTC),
        due_days=current_app.config["PORTAL"].bill_due_days,
        on_progress=keep,
    )
    use_credit(actor=SYSTEM, now=datetime.now(UTC))
    session.commit()
    return Outcome(run_json(args["year"], args["month"], args["region"], result, made_before=made_before))


def run_json(year: int, month: int, region: str | None, result: RunResult, *, made_before: int = 0) -> dict[str, Any]:
    """A run as the contract writes it, for the job and for the call alike; the first thousand errors stand in it."""
    success = made_before + result.success
    shown: dict[str, Any] = {
        "year": year,
        "month": month,
        "region": region,
        "summary": {"success": success, "failed": result.failed, "total": success + result.failed},
        "existing": result.existing - made_before,
    }
    if result.errors:
        shown["errors"] = [
            {
                "connection_id": each.connection_id,
                "user_id": str(each.user_id) if each.user_id else None,
                "code": each.code,
                "error": each.error,
            }
            for each in result.errors[:ERRORS_SHOWN]
        ]
    return shown
