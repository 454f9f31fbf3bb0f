"""Kinds of fields for bodies, queries and answers: what they take, and what the document says of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from typing_extensions import TypeAliasType

from portal.accounts import queries, rules
from portal.errors import Invalid

# PostgreSQL keeps no NUL in text. The reader of bodies refuses it everywhere; this says so in the document.
NO_NUL = "^[^\\u0000]*$"
Text = Annotated[str, Field(json_schema_extra={"pattern": NO_NUL})]
"""Any characters but NUL."""

_BLANK_OFFSET = re.compile(r"(T[0-9:.]+) ([0-9]{2}:?[0-9]{2})$")


class Body(BaseModel):
    """A JSON object. Types are taken strictly, and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(BaseModel):
    """The query string. Unknown parameters are passed over, as HTTP does."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _whole(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII):
        raise ValueError("give a whole number")
    return value


def _integer(value: object) -> object:
    # JSON knows numbers only: 12.0 and 1.2e1 are the integer 12, as JSON Schema has it too.
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_integer)]
"""A whole number of a body."""
Count = Annotated[int, Field(ge=1, le=100_000_000), BeforeValidator(_integer)]
"""How many, at least one. The bounds stand first: behind a validator they are lost from the document."""
Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number of a query: digits only."""


class Paging(Query):
    """`limit` and `offset` of every list."""

    limit: Whole = Field(default=20, ge=1, le=100, description="How many to give at most.")
    offset: Whole = Field(default=0, ge=0, le=1_000_000_000, description="How many to pass over.")


def _instant(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("give an instant as text, in ISO 8601 with its offset")
    # A `+` that was not escaped arrives as a blank: `?start=2026-11-01T00:00:00+05:30` is meant all the same.
    text = _BLANK_OFFSET.sub(r"\1+\2", value.strip())
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}", text):
        raise ValueError("give an instant in ISO 8601 with its offset, such as 2026-11-01T00:00:00+05:30")
    return text


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("say the offset of the instant too, such as 2026-11-01T00:00:00+05:30")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        # The first and last day that a calendar knows, seen from a zone beyond it.
        return datetime.min.replace(tzinfo=UTC) if value.year == 1 else datetime.max.replace(tzinfo=UTC)


Instant = Annotated[
    datetime,
    Field(strict=False),
    BeforeValidator(_instant),
    AfterValidator(_in_utc),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An instant in ISO 8601 with its offset; comes out in UTC."""


def _day(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value, re.ASCII):
        raise ValueError("give a day as YYYY-MM-DD")
    return value


Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
"""A local day."""


# Answers: presenters make the values; the schemas are for the document and for the tests.
Uuid = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time", "description": "ISO 8601 with offset"})]
LocalDay = Annotated[str, Field(json_schema_extra={"format": "date"})]
MoneyText = Annotated[str, Field(json_schema_extra={"pattern": "^-?[0-9]+\\.[0-9]{2}$", "examples": ["1234.50"]})]
RateText = Annotated[str, Field(json_schema_extra={"pattern": "^-?[0-9]+\\.[0-9]+$", "examples": ["4.7100"]})]
KwhText = Annotated[str, Field(json_schema_extra={"pattern": "^-?[0-9]+\\.[0-9]{3,6}$", "examples": ["0.250"]})]
MeterId = Annotated[str, Field(json_schema_extra={"pattern": "^MTR-[0-9]{8}$", "examples": ["MTR-00000013"]})]


# What callers send. The rules of the area are asked here already, so that one answer names every wrong field.
def asking(check: Callable[[str], object]) -> AfterValidator:
    """Refuse what the area's rule refuses, in its words; what it makes of the value is left to the area."""

    def ask(value: str) -> str:
        try:
            check(value)
        except Invalid as refusal:
            raise ValueError(refusal.message.rstrip(".")) from None
        return value

    return AfterValidator(ask)


_REGION = Field(
    max_length=100,
    description="Give the name of a region; /openapi.json lists them.",
    json_schema_extra={"pattern": NO_NUL, "minLength": 1},
)
RegionName = TypeAliasType("RegionName", Annotated[str, _REGION, asking(queries.get_region)])
"""The name of a region: a table, so the document fills in the names that there are."""
Name = Annotated[
    str,
    Field(
        min_length=2,
        max_length=100,
        # No control characters, and at least two characters between the blanks around it.
        pattern=r"^ *[^\s\u0000-\u001f\u007f][^\u0000-\u001f\u007f]*[^\s\u0000-\u001f\u007f] *$",
        description="Give a name of 2 to 100 characters.",
    ),
]
_PLAIN_EMAIL = r"^[A-Za-z0-9_]{1,30}([.+-][A-Za-z0-9_]{1,10}){0,3}@([a-z0-9]{1,20}\.){1,3}(com|net|org|in|test)$"
Email = Annotated[
    str,
    Field(
        max_length=254,
        description="Give a complete e-mail address, such as name@example.com.",
        # The document promises these; accounts.rules takes others too (blanks around, any script).
        json_schema_extra={"pattern": _PLAIN_EMAIL},
    ),
    asking(rules.check_email),
]
Phone = Annotated[
    str,
    Field(
        max_length=40,
        description="Give the number with its country code, such as +919876543210.",
        json_schema_extra={"pattern": r"^(\+[1-9][0-9]{6,14})?$"},
    ),
    asking(rules.check_phone),
]
# Three different characters or fewer, which accounts.rules finds too easy to guess.
_MONOTONOUS = r"^(.)\1*(?:(.)(?:\1|\2)*(?:(.)(?:\1|\2|\3)*)?)?$"
NewPassword = Annotated[
    str,
    Field(
        min_length=12,
        max_length=128,
        description="12 to 128 characters. Four unrelated words are good.",
        json_schema_extra={"pattern": NO_NUL, "not": {"pattern": _MONOTONOUS}},
    ),
    asking(rules.check_password),
]


def _register(value: object) -> object:
    # As of readings: a plain number, or one as text; what a float made of it is not what was read off.
    text = str(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text, re.ASCII):
        raise ValueError("give the kWh that the register shows, such as 12345.6")
    return Decimal(text)


RegisterKwh = Annotated[
    Decimal,
    BeforeValidator(_register),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 999_999_999},
                {"type": "string", "pattern": "^[0-9]{1,9}(\\.[0-9]{1,6})?$"},
            ],
            "examples": ["12345.6"],
        }
    ),
]
"""What a register shows, kWh: a number, or one as text."""


def _amount(value: object) -> object:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,8}(\.[0-9]{1,2})?", text, re.ASCII) or not Decimal(text):
        raise ValueError("give rupees above 0 as a decimal string, such as 1234.50")
    return Decimal(text)


Amount = Annotated[
    Decimal,
    BeforeValidator(_amount),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 99_999_999},
                {"type": "string", "pattern": "^[1-9][0-9]{0,7}(\\.[0-9]{1,2})?$"},
            ],
            "examples": ["1234.50"],
        }
    ),
]
"""An amount in INR: a decimal string, or whole rupees as a number."""
Otp = Annotated[str, Field(pattern="^[0-9]{6}$", description="The six digits of the mail.")]
Secret = Annotated[str, Field(max_length=256, json_schema_extra={"pattern": NO_NUL})]
"""A password or token that is only compared."""
