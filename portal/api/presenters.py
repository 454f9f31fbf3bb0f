"""What the answers look like: one function per resource, its keys written out. A new key is a decision.

Times are ISO 8601 with offset, money strings with two places, energy strings in kWh.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from portal.accounts.models import User
from portal.accounts.tokens import TokenPair
from portal.api.fields import KwhText, MeterId, Time, Uuid
from portal.errors import PortalError
from portal.jobs import Job
from portal.meters.bulk import BulkResult
from portal.meters.history import Event
from portal.meters.holding import Assigned
from portal.meters.models import Assignment, Meter
from portal.meters.stats import Stats
from portal.money import kwh_str


def time_str(instant: datetime) -> str:
    """ISO 8601 with offset, in UTC."""
    return instant.isoformat()


def _time(instant: datetime | None) -> str | None:
    return time_str(instant) if instant is not None else None


class PaginationJson(TypedDict):
    """Where a page stands in its list."""

    total: int
    limit: int
    offset: int
    has_more: bool


def pagination_json(total: int, limit: int, offset: int) -> PaginationJson:
    """The pagination of a list."""
    return {"total": total, "limit": limit, "offset": offset, "has_more": offset + limit < total}


class UserJson(TypedDict):
    """A user's account."""

    user_id: Uuid
    email: str
    name: str
    phone: str | None
    role: str
    email_verified: bool
    meter_id: MeterId | None
    region: str | None
    status: Literal["open", "suspended", "closed"]


def user_json(user: User) -> UserJson:
    """A user's account."""
    return {
        "user_id": str(user.user_id),
        "email": user.email,
        "name": user.name,
        "phone": user.phone,
        "role": user.role,
        "email_verified": user.email_verified_at is not None,
        "meter_id": user.meter_id,
        "region": user.region,
        "status": "closed" if user.closed_at else "suspended" if user.suspended_at else "open",
    }


class PendingMeterJson(TypedDict):
    """Why a new customer has no meter yet."""

    status: str
    code: str
    message: str


def pending_meter_json(refusal: PortalError) -> PendingMeterJson:
    """Why a new customer has no meter yet."""
    return {"status": "pending", "code": refusal.code, "message": refusal.message}


class TokensJson(TypedDict):
    """A pair of tokens. `expiresIn` is the access token's life in seconds."""

    accessToken: str
    refreshToken: str
    expiresIn: int


def tokens_json(pair: TokenPair) -> TokensJson:
    """A pair of tokens."""
    return {"accessToken": pair.access, "refreshToken": pair.refresh, "expiresIn": pair.expires_in}


class AssignmentJson(TypedDict):
    """A meter that somebody was given. `region` is the user's."""

    user_id: Uuid
    meter_id: MeterId
    region: str | None


def assignment_json(assigned: Assigned) -> AssignmentJson:
    """A meter that somebody was given."""
    return {"user_id": str(assigned.user_id), "meter_id": assigned.meter_id, "region": assigned.region}


class AssignedRowJson(TypedDict):
    """One success of a bulk run."""

    user_id: Uuid
    email: str
    meter_id: MeterId
    region: str | None


class BulkFailureJson(TypedDict):
    """One user whom a bulk run could not serve, and why."""

    user_id: Uuid
    email: str
    error: str


class SummaryJson(TypedDict):
    """How a run went."""

    success: int
    failed: int
    total: int


class BulkJson(TypedDict):
    """A bulk run and whom it served. `skipped` waited when it began, and had a meter from somebody else meanwhile."""

    summary: SummaryJson
    successful_assignments: list[AssignedRowJson]
    failed_assignments: list[BulkFailureJson]
    dry_run: bool
    job_id: NotRequired[Uuid]
    skipped: NotRequired[int]


def bulk_json(job: Job) -> BulkJson:
    """A bulk run that has ended; its job can be looked at, and undone, later."""
    result = job.result or {}
    return {
        "summary": result["summary"],
        "successful_assignments": result["successful_assignments"],
        "failed_assignments": result["failed_assignments"],
        "dry_run": result["dry_run"],
        "job_id": str(job.job_id),
        "skipped": result["skipped"],
    }


def rehearsed_json(result: BulkResult) -> BulkJson:
    """What a bulk run would do."""
    return {
        "summary": {"success": len(result.assigned), "failed": len(result.failed), "total": result.total},
        "successful_assignments": [
            {
                "user_id": str(each.user_id),
                "email": each.email,
                "meter_id": each.meter_id,
                "region": each.region,
            }
            for each in result.assigned
        ],
        "failed_assignments": [
            {"user_id": str(each.user_id), "email": each.email, "error": each.error} for each in result.failed
        ],
        "dry_run": True,
    }


class RegionCountJson(TypedDict):
    """How many meters are held in a region; `region` null: by customers without one."""

    region: str | None
    count: int


class RangeJson(TypedDict):
    """The configured range of meters, both ends included."""

    first: MeterId
    last: MeterId


class StatsJson(TypedDict):
    """Assignment in numbers."""

    total_users: int
    users_with_meters: int
    users_without_meters: int
    assignment_percentage: float
    meters_by_region: list[RegionCountJson]
    available_meters: int
    range: RangeJson
    last_assigned_at: Time | None


def stats_json(stats: Stats) -> StatsJson:
    """Assignment in numbers."""
    return {
        "total_users": stats.total_users,
        "users_with_meters": stats.users_with_meters,
        "users_without_meters": stats.users_without_meters,
        "assignment_percentage": stats.assignment_percentage,
        "meters_by_region": [{"region": region, "count": count} for region, count in stats.meters_by_region],
        "available_meters": stats.available_meters,
        "range": {"first": stats.first, "last": stats.last},
        "last_assigned_at": time_str(stats.last_assigned_at) if stats.last_assigned_at else None,
    }


class MeterJson(TypedDict):
    """A meter. `user_id` is its present holder."""

    meter_id: MeterId
    region: str | None
    status: str
    user_id: Uuid | None
    make: str | None
    model: str | None
    phase: int
    digits: int
    quarantine_until: Time | None
    commissioned_at: Time | None
    last_seen_at: Time | None


def meter_json(meter: Meter, holder: uuid.UUID | None) -> MeterJson:
    """A meter and who holds it."""
    return {
        "meter_id": meter.meter_id,
        "region": meter.region,
        "status": meter.status,
        "user_id": str(holder) if holder else None,
        "make": meter.make,
        "model": meter.model,
        "phase": meter.phase,
        "digits": meter.digits,
        "quarantine_until": _time(meter.quarantine_until),
        "commissioned_at": _time(meter.commissioned_at),
        "last_seen_at": _time(meter.last_seen_at),
    }


class PeriodJson(TypedDict):
    """A time for which somebody held a meter, half-open."""

    user_id: Uuid
    assigned_at: Time
    unassigned_at: Time | None
    how: str
    assigned_by: str
    unassigned_by: str | None
    unassigned_how: str | None
    opening_register: KwhText | None
    closing_register: KwhText | None


def period_json(row: Assignment) -> PeriodJson:
    """A time for which somebody held a meter."""
    return {
        "user_id": str(row.user_id),
        "assigned_at": time_str(row.assigned_at),
        "unassigned_at": _time(row.unassigned_at),
        "how": row.how,
        "assigned_by": row.assigned_by,
        "unassigned_by": row.unassigned_by,
        "unassigned_how": row.unassigned_how,
        "opening_register": _kwh(row.opening_register),
        "closing_register": _kwh(row.closing_register),
    }


class EventJson(TypedDict):
    """One thing that happened to a meter or a supply: what, since when, told when and by whom, how and why."""

    at: Time
    what: str
    meter_id: MeterId
    user_id: Uuid | None
    email: str | None
    how: str | None
    who: str
    why: str
    register_kwh: KwhText | None
    told_at: Time | None
    act: int | None
    becomes: str | None


def event_json(event: Event) -> EventJson:
    """One thing that happened."""
    return {
        "at": time_str(event.at),
        "what": event.what,
        "meter_id": event.meter_id,
        "user_id": str(event.user_id) if event.user_id else None,
        "email": event.email,
        "how": event.how,
        "who": event.who,
        "why": event.why,
        "register_kwh": _kwh(event.register),
        "told_at": _time(event.told_at),
        "act": event.act,
        "becomes": event.becomes,
    }


def _kwh(value: Decimal | None) -> str | None:
    return kwh_str(value) if value is not None else None


class JobJson(TypedDict):
    """A piece of long work. `result` comes when it has ended."""

    job_id: Uuid
    kind: str
    status: str
    done: int
    total: int | None
    status_url: str
    result: NotRequired[dict[str, Any]]


def job_json(job: Job, path: str = "/api/v1/admin/jobs", *, result: bool = True) -> JobJson:
    """A job and how far it is; `path` is where whoever asks may ask again."""
    shown: JobJson = {
        "job_id": str(job.job_id),
        "kind": job.kind,
        "status": job.status,
        "done": job.done,
        "total": job.total,
        "status_url": f"{path}/{job.job_id}",
    }
    if result and job.result is not None:
        shown["result"] = job.result
    return shown
