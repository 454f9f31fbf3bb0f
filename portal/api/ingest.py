"""Readings in, from head-ends and gateways."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pydantic import Field
from typing_extensions import TypedDict

from portal.accounts import tokens
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import config, key, now
from portal.api.errors import MalformedJson, TooLarge
from portal.api.fields import Body, Instant, Query, Text, Whole
from portal.errors import Invalid
from portal.gates import KEY
from portal.meters.rules import find_meter_key, meter_id
from portal.readings import actions, incoming, rules

api = ApiBlueprint("ingest", tag="Telemetry")

BATCH_BODY = 16 * 1024 * 1024
Number = Decimal | str


class ReadingBody(Body):
    """A reading. Exactly one of `energyKwh`, `registerKwh` and `powerKw`; numbers or decimal strings.

    `timestamp` is the start of the interval, or the instant of a register reading. Of two values for the same meter and
    time the one with the higher `seq` counts, without `seq` the later one. `status` "estimated" marks the value so.
    """

    meter_id: Text = Field(alias="meterId", examples=["MTR-00000013"])
    timestamp: Instant
    interval_seconds: int | None = Field(default=None, alias="intervalSeconds", ge=1, le=rules.MAX_INTERVAL)
    energy_kwh: Number | None = Field(default=None, alias="energyKwh")
    register_kwh: Number | None = Field(default=None, alias="registerKwh")
    power_kw: Number | None = Field(default=None, alias="powerKw")
    export_kwh: Number | None = Field(default=None, alias="exportKwh")
    reading_id: Text | None = Field(default=None, alias="readingId", max_length=rules.MAX_TEXT)
    seq: int | None = None
    voltage: Number | None = None
    current: Number | None = None
    frequency: Number | None = None
    power_factor: Number | None = Field(default=None, alias="powerFactor")
    temperature: Number | None = None
    region: Text | None = Field(default=None, max_length=rules.MAX_TEXT)
    status: Text | None = Field(default=None, max_length=rules.MAX_TEXT)
    metadata: dict[str, Any] | None = None


class StoreQuery(Query):
    """Settings of a call that brings readings."""

    interval_seconds: Whole = Field(
        default=rules.DEFAULT_INTERVAL,
        alias="intervalSeconds",
        ge=1,
        le=rules.MAX_INTERVAL,
        description="The interval of rows that name none, in seconds.",
    )


class RejectedJson(TypedDict):
    """A row that was not taken; `index` counts from 0. Codes that begin with QUARANTINED_: held for staff."""

    index: int
    code: str
    message: str


class StoredAnswer(TypedDict):
    """`data` of a call that brings readings: every row is accepted, a duplicate or rejected."""

    accepted: int
    duplicates: int
    rejected: list[RejectedJson]


def stored_json(result: actions.StoreResult) -> StoredAnswer:
    """What became of the rows."""
    return {
        "accepted": result.accepted,
        "duplicates": result.duplicates,
        "rejected": [{"index": each.index, "code": each.code, "message": each.message} for each in result.rejected],
    }


def _store(rows: list[incoming.Row | incoming.Unreadable], query: StoreQuery) -> Answer:
    tokens.note_use(key(), now())
    result = actions.store(
        _of_the_key(rows),
        source=f"key:{key().key_id}",
        now=now(),
        config=config(),
        default_interval=query.interval_seconds,
    )
    return Answer(
        {**stored_json(result)},
        f"{result.accepted} accepted, {result.duplicates} known already, {len(result.rejected)} rejected.",
    )


def _of_the_key(rows: list[incoming.Row | incoming.Unreadable]) -> list[incoming.Row | incoming.Unreadable]:
    """The rows; those of other meters than the key's one, if it is for one alone, are refused."""
    only = key().meter_key
    if only is None:
        return rows
    refused = incoming.Unreadable("FOREIGN_METER", f"This key is for readings of {meter_id(only)} alone.")
    return [refused if isinstance(row, incoming.Row) and find_meter_key(row.meter_id) != only else row for row in rows]


@api.post(
    "/telemetry",
    gate=KEY,
    scope="ingest",
    body=ReadingBody | Any,
    raw_body=True,
    query=StoreQuery,
    answer=StoredAnswer,
    status=202,
    summary="Bring one reading",
)
def store_reading(body: bytes, query: StoreQuery) -> Answer:
    """A reading that can't be taken stands in `rejected`; the same reading again is a duplicate and changes nothing."""
    try:
        row = incoming.decode_one(body)
    except incoming.NotJson:
        raise _malformed() from None
    return _store([row], query)


@api.post(
    "/telemetry/batch",
    gate=KEY,
    scope="ingest",
    body=list[ReadingBody | Any],
    raw_body=True,
    max_body=BATCH_BODY,
    query=StoreQuery,
    answer=StoredAnswer,
    status=202,
    summary="Bring up to 10,000 readings",
)
def store_readings(body: bytes, query: StoreQuery) -> Answer:
    """A bare JSON array. One bad row never loses the good ones; the same batch again gives the same end state.

    The body may come with `Content-Encoding: gzip`; its 16 MB count as they are sent, and again unpacked.
    """
    try:
        rows = incoming.decode_many(body)
    except incoming.NotJson:
        raise _malformed() from None
    except TypeError:
        raise Invalid.field("body", "Send a JSON array of readings.") from None
    if len(rows) > rules.MAX_ROWS:
        raise TooLarge(f"A batch holds at most {rules.MAX_ROWS} readings; this one has {len(rows)}.")
    return _store(rows, query)


def _malformed() -> MalformedJson:
    return MalformedJson("The body is not JSON to its end; nothing was stored.")
