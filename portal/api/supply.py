"""The life of meters and supplies, for admins: swap, relocation, status, and the history with who, how and why."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from typing_extensions import TypedDict

from portal.accounts import queries as accounts
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import actor, now, pool
from portal.api.fields import Body, Instant, MeterId, Paging, RegionName, RegisterKwh, Text, Time, Uuid
from portal.api.ids import get_user_id
from portal.api.presenters import (
    AssignmentJson,
    EventJson,
    MeterJson,
    PaginationJson,
    assignment_json,
    event_json,
    meter_json,
    pagination_json,
    time_str,
)
from portal.billing import supply
from portal.gates import ADMIN
from portal.meters import history, life, rules
from portal.meters.history import Event

api = ApiBlueprint("supply", tag="Meters")

Returned = Literal["in_stock", "quarantine", "faulty", "retired"]
REASON = Field(default="", max_length=500, description="Why, for the history.")
TO = Field(default=None, description="What becomes of the meter that comes back; by the utility's rule without it.")
AT = Field(default=None, description="Since when it counts, where that is not now. Not in the future.")

_GIVEN = ("METER_NOT_ASSIGNABLE", "METER_ALREADY_ASSIGNED", "REGION_MISMATCH", "NO_METERS_AVAILABLE")
SWAP_ERRORS = {
    404: ("USER_NOT_FOUND", "METER_NOT_FOUND", "METER_NOT_ASSIGNED"),
    409: (
        *_GIVEN,
        "USER_HAS_METER",
        "PERIOD_BILLED",
        "INSTANT_NOT_POSSIBLE",
        "REGISTER_NOT_POSSIBLE",
        "REGION_UNCHANGED",
    ),
}


class SwapBody(Body):
    """Whose meter is changed. Without `meterId`: the next free one of the region."""

    user_id: Text = Field(alias="userId")
    meter_id: Text | None = Field(default=None, alias="meterId")
    closing_register: RegisterKwh | None = Field(default=None, alias="closingRegister")
    opening_register: RegisterKwh | None = Field(default=None, alias="openingRegister")
    rolled_over: bool = Field(default=False, alias="rolledOver")
    to: Returned | None = TO
    at: Instant | None = AT
    reason: Text = REASON


class RelocateBody(SwapBody):
    """Who moves where: the old supply ends, a new one begins in `region`."""

    region: RegionName


class StatusBody(Body):
    """What becomes of a meter that nobody holds."""

    status: Returned
    reason: Text = REASON


class SwapAnswer(TypedDict):
    """`data` of a swap."""

    user_id: Uuid
    old_meter_id: MeterId
    meter_id: MeterId
    region: str | None
    at: Time


class MeterAnswer(TypedDict):
    """`data` of one meter."""

    meter: MeterJson


class EventsAnswer(TypedDict):
    """`data` of a history, newest first."""

    events: list[EventJson]
    pagination: PaginationJson


@api.post(
    "/admin/meters/swap", gate=ADMIN, body=SwapBody, answer=SwapAnswer, errors=SWAP_ERRORS,
    summary="Change a customer's meter",
)  # fmt: skip
def swap_meter(body: SwapBody) -> Answer:
    """The old meter out with its closing register, the new one in with its opening register, on the same bill."""
    done = supply.swap(
        get_user_id(body.user_id),
        pool(),
        body.meter_id,
        at=body.at,
        closing_register=body.closing_register,
        opening_register=body.opening_register,
        rolled_over=body.rolled_over,
        to=body.to,
        reason=body.reason,
        actor=actor(),
        now=now(),
    )
    data: SwapAnswer = {
        "user_id": str(done.user_id),
        "old_meter_id": done.old_meter_id,
        "meter_id": done.meter_id,
        "region": done.region,
        "at": time_str(done.at),
    }
    return Answer(data, f"{done.email} has {done.meter_id} now instead of {done.old_meter_id}.")


@api.post(
    "/admin/meters/relocate", gate=ADMIN, body=RelocateBody, answer=AssignmentJson, errors=SWAP_ERRORS,
    summary="Move a customer to another region",
)  # fmt: skip
def relocate_customer(body: RelocateBody) -> Answer:
    """The old meter stays where it is; nothing happens when the new region has none."""
    moved = supply.relocate(
        get_user_id(body.user_id),
        body.region,
        pool(),
        body.meter_id,
        at=body.at,
        closing_register=body.closing_register,
        opening_register=body.opening_register,
        rolled_over=body.rolled_over,
        to=body.to,
        reason=body.reason,
        actor=actor(),
        now=now(),
    )
    return Answer(assignment_json(moved), f"{moved.email} is in {moved.region} now, with {moved.meter_id}.")


@api.put(
    "/admin/meters/<meter_id>/status", gate=ADMIN, body=StatusBody, answer=MeterAnswer,
    errors={
        404: ("METER_NOT_FOUND",),
        409: ("METER_ALREADY_ASSIGNED", "METER_STATUS_UNCHANGED", "METER_RETIRED", "METER_MOVE_REFUSED"),
    },
    summary="Change a meter's status",
)  # fmt: skip
def put_status(meter_id: str, body: StatusBody) -> Answer:
    """Of a meter that nobody holds: release it from quarantine, mark it faulty or repaired, retire it for good."""
    meter = life.move_meter(meter_id, body.status, pool(), reason=body.reason, actor=actor(), now=now())
    return Answer({"meter": meter_json(meter, None)}, f"{meter_id} is {rules.STATUS_WORDS[meter.status]} now.")


@api.get(
    "/admin/meters/<meter_id>/events", gate=ADMIN, query=Paging, answer=EventsAnswer,
    errors={404: ("METER_NOT_FOUND",)}, summary="All that happened to a meter",
)  # fmt: skip
def meter_events(meter_id: str, query: Paging) -> Answer:
    """Newest first: given, taken back, swapped, moved in its life; by whom, how and why."""
    return _page(history.of_meter(rules.key_in_range(meter_id, pool().first, pool().last)), query, meter_id)


@api.get(
    "/admin/users/<user_id>/events", gate=ADMIN, query=Paging, answer=EventsAnswer,
    errors={404: ("USER_NOT_FOUND",)}, summary="All that happened to a customer's meters",
)  # fmt: skip
def user_events(user_id: str, query: Paging) -> Answer:
    """Newest first, as for a meter."""
    user = accounts.get_user(get_user_id(user_id))
    return _page(history.of_user(user.user_id), query, user.email)


def _page(events: list[Event], query: Paging, whose: str) -> Answer:
    shown = events[query.offset : query.offset + query.limit]
    data = {
        "events": [event_json(each) for each in shown],
        "pagination": pagination_json(len(events), query.limit, query.offset),
    }
    return Answer(data, f"{len(events)} events of {whose}.")
