"""Who holds which meter, for admins: assign, unassign, in bulk, statistics, and the legacy call."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from portal.accounts import queries as accounts
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import actor, now, pool
from portal.api.errors import BadRequest
from portal.api.fields import Body, Count, Instant, MeterId, Paging, Query, RegionName, RegisterKwh, Text, Uuid
from portal.api.ids import get_user_id
from portal.api.jobs import JobAnswer
from portal.api.presenters import (
    AssignedRowJson,
    AssignmentJson,
    BulkFailureJson,
    MeterJson,
    PaginationJson,
    PeriodJson,
    StatsJson,
    SummaryJson,
    assignment_json,
    bulk_json,
    job_json,
    meter_json,
    pagination_json,
    period_json,
    rehearsed_json,
    stats_json,
)
from portal.billing import supply
from portal.errors import Conflict
from portal.gates import ADMIN
from portal.jobs import bulk_assign
from portal.jobs.bulk_assign import AT_ONCE
from portal.meters import actions, queries, rehearsal, rules, stats, stock
from portal.meters.holding import Assigned

api = ApiBlueprint("meters", tag="Meters")

LEGACY_SINCE = "@1764547200"
"""When the legacy call was deprecated (RFC 9745): 2025-12-01T00:00:00Z."""

ASSIGN_ERRORS = {
    404: ("USER_NOT_FOUND", "METER_NOT_FOUND"),
    409: (
        "USER_HAS_METER",
        "METER_NOT_ASSIGNABLE",
        "METER_ALREADY_ASSIGNED",
        "REGION_MISMATCH",
        "NO_METERS_AVAILABLE",
        "USER_NOT_CUSTOMER",
        "INSTANT_NOT_POSSIBLE",
        "REGISTER_NOT_POSSIBLE",
    ),
}


class AssignBody(Body):
    """Who gets a meter. Without `meterId`: the next free one. `region` becomes the user's."""

    user_id: Text = Field(alias="userId")
    meter_id: Text | None = Field(default=None, alias="meterId")
    region: RegionName | None = None
    since: Instant | None = Field(default=None, description="Since when it is theirs, where that is not now.")
    opening_register: RegisterKwh | None = Field(default=None, alias="openingRegister")
    reason: Text = Field(default="", max_length=500, description="Why, for the history.")


class UnassignQuery(Query):
    """How a meter comes back."""

    at: Instant | None = Field(default=None, description="Until when it was theirs, where that is not now.")
    closing_register: RegisterKwh | None = Field(default=None, alias="closingRegister")
    rolled_over: bool = Field(default=False, alias="rolledOver")
    to: Literal["in_stock", "quarantine", "faulty", "retired"] | None = Field(
        default=None, description="What becomes of it; by the utility's rule without it."
    )
    reason: Text = Field(default="", max_length=500, description="Why, for the history.")


class LegacyAssignBody(Body):
    """Who gets which meter."""

    user_id: Text = Field(alias="userId")
    meter_id: Text = Field(alias="meterId")


class BulkBody(Body):
    """Whom to serve: all who wait, those of a region, the first `limit` of them; or only to show what would be done."""

    region: RegionName | None = None
    limit: Count | None = None
    dry_run: bool = Field(default=False, alias="dryRun")


class MeterQuery(Paging):
    """Which meters to list."""

    status: Literal["in_stock", "assigned", "quarantine", "faulty", "retired"] | None = None
    region: RegionName | None = None


class FreedAnswer(TypedDict):
    """`data` of a meter that was taken back."""

    user_id: Uuid
    meter_id: MeterId


class BulkAnswer(TypedDict):
    """`data` of a bulk run."""

    summary: SummaryJson
    successful_assignments: list[AssignedRowJson]
    failed_assignments: list[BulkFailureJson]
    dry_run: NotRequired[bool]
    job_id: NotRequired[Uuid]
    skipped: NotRequired[int]


class StatsAnswer(TypedDict):
    """`data` of the statistics."""

    stats: StatsJson


class MetersAnswer(TypedDict):
    """`data` of a page of meters."""

    meters: list[MeterJson]
    pagination: PaginationJson


class HistoryAnswer(TypedDict):
    """`data` of a meter's history: who held it when, oldest first."""

    meter_id: MeterId
    assignments: list[PeriodJson]
    pagination: PaginationJson


def _assign(user_id: str, meter_id: str | None, region: str | None, how: str, **details: Any) -> Assigned:
    return actions.assign(get_user_id(user_id), pool(), meter_id, region, how=how, actor=actor(), now=now(), **details)


@api.post(
    "/admin/meters/assign", gate=ADMIN, body=AssignBody, answer=AssignmentJson, errors=ASSIGN_ERRORS,
    summary="Give a customer a meter",
)  # fmt: skip
def assign_meter(body: AssignBody) -> Answer:
    """The named meter, or the next free one of the user's region. The refusals stand in the order that they apply."""
    assigned = _assign(
        body.user_id,
        body.meter_id,
        body.region,
        "admin",
        since=body.since,
        opening_register=body.opening_register,
        reason=body.reason,
    )
    return Answer(assignment_json(assigned), f"{assigned.email} has {assigned.meter_id} now.")


@api.delete(
    "/admin/meters/unassign/<user_id>", gate=ADMIN, query=UnassignQuery, answer=FreedAnswer,
    errors={
        404: ("USER_NOT_FOUND", "METER_NOT_ASSIGNED"),
        409: ("PERIOD_BILLED", "INSTANT_NOT_POSSIBLE", "REGISTER_NOT_POSSIBLE"),
    },
    summary="Take a customer's meter back",
)  # fmt: skip
def unassign_meter(user_id: str, query: UnassignQuery) -> Answer:
    """It can be given to somebody else at once, or when its quarantine is over where the utility has one."""
    freed = supply.unassign(
        get_user_id(user_id),
        pool(),
        at=query.at,
        closing_register=query.closing_register,
        rolled_over=query.rolled_over,
        to=query.to,
        reason=query.reason,
        actor=actor(),
        now=now(),
    )
    return Answer(
        {"user_id": str(freed.user_id), "meter_id": freed.meter_id},
        f"{freed.email} does not hold {freed.meter_id} any more.",
    )


@api.post(
    "/admin/assign-meter", gate=ADMIN, body=LegacyAssignBody, answer=None,
    errors={400: ("METER_ALREADY_ASSIGNED",), 404: ("USER_NOT_FOUND", "METER_NOT_FOUND")},
    successor="/api/v1/admin/meters/assign", deprecated_since=LEGACY_SINCE, summary="Give a customer a meter (legacy)",
)  # fmt: skip
def assign_meter_legacy(body: LegacyAssignBody) -> Answer:
    """As `/admin/meters/assign`, but every state that does not allow it is 400 METER_ALREADY_ASSIGNED."""
    try:
        assigned = _assign(body.user_id, body.meter_id, None, "legacy")
    except Conflict as refusal:
        raise BadRequest(refusal.message, "METER_ALREADY_ASSIGNED") from None
    return Answer(None, f"{assigned.email} has {assigned.meter_id} now.")


@api.post(
    "/admin/meters/bulk-assign", gate=ADMIN, body=BulkBody, body_optional=True, answer=BulkAnswer,
    also={202: JobAnswer}, summary="Give a meter to all who wait",
)  # fmt: skip
def bulk_assign_meters(body: BulkBody) -> Answer:
    """Longest wait first. Up to 1,000 at once; more are a job, which answers with the same summary."""
    if body.dry_run and stats.count_waiting(body.region) <= AT_ONCE:
        shown = rehearsal.rehearse_all(pool(), body.region, body.limit, now=now())
        message = f"{len(shown.assigned)} of {shown.total} customers would have a meter now."
        return Answer(rehearsed_json(shown), message)
    job = bulk_assign.launch(body.region, body.limit, dry_run=body.dry_run, actor=actor(), now=now())
    if job.result is None:
        return Answer({"job": job_json(job)}, f"{job.total} customers wait. A job serves them.", status=202)
    return Answer(bulk_json(job), f"{job.result['summary']['success']} of {job.done} customers have a meter now.")


@api.get("/admin/meters/stats", gate=ADMIN, answer=StatsAnswer, summary="Assignment in numbers")
def meter_stats() -> Answer:
    """Only customers whose account is open count; staff hold no meters."""
    return Answer({"stats": stats_json(stats.stats(pool()))}, "Meters and who holds them.")


@api.get("/admin/meters", gate=ADMIN, query=MeterQuery, answer=MetersAnswer, summary="Meters")
def list_meters(query: MeterQuery) -> Answer:
    """Meters that were stocked, assigned or heard of, by number; other numbers of the range have no row yet."""
    if query.region is not None:
        accounts.get_region(query.region)
    page = stock.list_meters(stock.Sought(query.status, query.region), query.limit, query.offset)
    return Answer(
        {
            "meters": [meter_json(each.meter, each.user_id) for each in page.meters],
            "pagination": pagination_json(page.total, query.limit, query.offset),
        },
        f"{page.total} meters.",
    )


@api.get(
    "/admin/meters/<meter_id>/history", gate=ADMIN, query=Paging, answer=HistoryAnswer,
    errors={404: ("METER_NOT_FOUND",)}, summary="Who held a meter",
)  # fmt: skip
def meter_history(meter_id: str, query: Paging) -> Answer:
    """Oldest first; the period is half-open, and `unassigned_at` null means until now."""
    key = rules.key_in_range(meter_id, pool().first, pool().last)
    held = queries.list_assignments(meter_key=key)
    return Answer(
        {
            "meter_id": meter_id,
            "assignments": [period_json(each) for each in held[query.offset : query.offset + query.limit]],
            "pagination": pagination_json(len(held), query.limit, query.offset),
        },
        f"{meter_id} was given {len(held)} times.",
    )
