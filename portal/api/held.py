"""Readings that are held for staff: see, release, discard."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.bodies import parse_json
from portal.api.caller import actor, config, now
from portal.api.fields import Body, Paging, Time
from portal.api.presenters import PaginationJson, pagination_json, time_str
from portal.errors import NotFound
from portal.gates import OPERATOR
from portal.readings import quarantine
from portal.readings.models import Quarantined

api = ApiBlueprint("held", tag="Telemetry")


class HeldQuery(Paging):
    """Which of them."""

    state: Literal["held", "released", "discarded"] = "held"


class DecisionBody(Body):
    """Why; it stands in the audit trail."""

    reason: Annotated[
        str,
        Field(
            min_length=quarantine.MIN_REASON,
            max_length=quarantine.MAX_REASON,
            pattern=r"^[^\s\u0000-\u001f\u007f][^\u0000-\u001f\u007f]{1,298}[^\s\u0000-\u001f\u007f]$",
            description="Give the reason in 3 to 300 characters, on one line.",
        ),
    ]


class HeldJson(TypedDict):
    """A held row: `reading` is what its sender told, `code` and `message` say why it is held."""

    id: str
    state: str
    code: str
    message: str
    meter_id: str
    timestamp: Time
    reading: dict[str, Any]
    source: str
    received_at: Time
    decided_at: Time | None
    decided_by: str | None
    reason: str | None


class HeldAnswer(TypedDict):
    """`data` with one held row."""

    held_reading: HeldJson


class HeldListAnswer(TypedDict):
    """`data` of a page of held rows."""

    held_readings: list[HeldJson]
    pagination: PaginationJson


def held_json(held: Quarantined) -> HeldJson:
    """A held row."""
    return {
        "id": str(held.quarantine_id),
        "state": held.state,
        "code": held.code,
        "message": held.message,
        "meter_id": held.meter_id,
        "timestamp": time_str(held.read_at),
        "reading": parse_json(held.payload.encode()),
        "source": held.source,
        "received_at": time_str(held.received_at),
        "decided_at": time_str(held.decided_at) if held.decided_at else None,
        "decided_by": held.decided_by,
        "reason": held.reason,
    }


@api.get(
    "/telemetry/quarantine", gate=OPERATOR, query=HeldQuery, answer=HeldListAnswer, summary="Readings held for staff"
)
def list_held(query: HeldQuery) -> Answer:
    """Newest first: readings that came with a code that begins with QUARANTINED_."""
    page = quarantine.list_held(query.state, query.limit, query.offset)
    data = {
        "held_readings": [held_json(each) for each in page.rows],
        "pagination": pagination_json(page.total, query.limit, query.offset),
    }
    return Answer(data, f"{page.total} readings.")


@api.post(
    "/telemetry/quarantine/<held_id>/release",
    gate=OPERATOR,
    body=DecisionBody,
    answer=HeldAnswer,
    errors={404: ("HELD_READING_NOT_FOUND",), 409: ("ALREADY_RELEASED", "STILL_HELD")},
    summary="Take a held reading in",
)
def release(held_id: str, body: DecisionBody) -> Answer:
    """It becomes a reading, once, and usage follows; also what was discarded before."""
    held = quarantine.release(get_held_id(held_id), body.reason, actor=actor(), now=now(), config=config())
    return Answer({"held_reading": held_json(held)}, "It is a reading now.")


@api.post(
    "/telemetry/quarantine/<held_id>/discard",
    gate=OPERATOR,
    body=DecisionBody,
    answer=HeldAnswer,
    errors={404: ("HELD_READING_NOT_FOUND",), 409: ("ALREADY_RELEASED", "ALREADY_DISCARDED")},
    summary="Discard a held reading",
)
def discard(held_id: str, body: DecisionBody) -> Answer:
    """It stays on record, and is no reading."""
    held = quarantine.discard(get_held_id(held_id), body.reason, actor=actor(), now=now())
    return Answer({"held_reading": held_json(held)}, "It is discarded.")


def get_held_id(text: str) -> int:
    """The number of a held row. Raises NotFound HELD_READING_NOT_FOUND for another shape."""
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    raise NotFound("There is no such held reading.", "HELD_READING_NOT_FOUND")
