"""What comes over the wire: one reading or a list of them, as JSON, read without ever passing through a float.

A list is decoded at once by msgspec (10,000 rows in some 15 ms). Where one row spoils that, the list is cut into its
rows and each is read by itself, so that a bad row costs only itself: bare NaN, wrong types, nesting without end.
Only a text that is not JSON at all, to its end, is refused as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, cast

import msgspec

from portal.money import read_decimal

MAX_NUMBER_LENGTH = 64


class Row(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """A reading as a sender tells it: CONTRACT.md, Telemetry. Exactly one of the three energies is given.

    `timestamp` is the start of the interval; for a register the instant of the reading. Fields that are not named here
    are passed over.
    """

    meter_id: str
    timestamp: datetime
    interval_seconds: int | None = None
    energy_kwh: Decimal | None = None
    register_kwh: Decimal | None = None
    power_kw: Decimal | None = None
    export_kwh: Decimal | None = None
    reading_id: str | None = None
    seq: int | None = None
    status: str | None = None
    region: str | None = None
    voltage: Decimal | None = None
    current: Decimal | None = None
    frequency: Decimal | None = None
    power_factor: Decimal | None = None
    temperature: Decimal | None = None
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that is no reading: why, for its sender."""

    code: str
    message: str


class NotJson(ValueError):
    """The text is not JSON to its end."""


_one = msgspec.json.Decoder(Row)
_many = msgspec.json.Decoder(list[Row])
_instant = msgspec.json.Decoder(datetime)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{},]', re.DOTALL)
_BLANK = b" \t\r\n"
_NUMBERS = {
    "energyKwh": "energy_kwh",
    "registerKwh": "register_kwh",
    "powerKw": "power_kw",
    "exportKwh": "export_kwh",
    "voltage": "voltage",
    "current": "current",
    "frequency": "frequency",
    "powerFactor": "power_factor",
    "temperature": "temperature",
}
_TEXTS = {"readingId": "reading_id", "status": "status", "region": "region"}
# A quantity as a string with anything but a plain number in it: msgspec would take "1_5" and the digits of any script.
_ODD_NUMBER = re.compile(rb'"(?:%s)"\s*:\s*"(?![-+0-9.eE]*")' % "|".join(_NUMBERS).encode())
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_WHOLES = {"intervalSeconds": "interval_seconds", "seq": "seq"}


def decode_one(body: bytes) -> Row | Unreadable:
    """The reading of a body that holds one. Raises NotJson."""
    try:
        if not _ODD_NUMBER.search(body):
            return _one.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        pass
    return _decode_slowly(body.strip(_BLANK))


def decode_many(body: bytes) -> list[Row | Unreadable]:
    """The readings of a body that holds a list of them. Raises NotJson; TypeError for JSON that is not a list."""
    try:
        if not _ODD_NUMBER.search(body):
            return cast("list[Row | Unreadable]", _many.decode(body))
    except (msgspec.MsgspecError, RecursionError, ValueError):
        pass
    return [_decode_slowly(row) for row in cut(body)]


def cut(body: bytes) -> list[bytes]:
    """The elements of a JSON list, uncut and unread, however deep they nest. Raises NotJson, TypeError (not a list)."""
    text = body.strip(_BLANK)
    if not text.startswith(b"["):
        if _is_json(text):
            raise TypeError("the body is not a list")
        raise NotJson
    rows: list[bytes] = []
    depth, since, closed = 0, 1, -1
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if closed >= 0:
            raise NotJson
        if mark in (b"[", b"{"):
            depth += 1
        elif mark in (b"]", b"}"):
            depth -= 1
            if depth == 0:
                closed = token.start()
                if mark != b"]":
                    raise NotJson
        elif mark == b"," and depth == 1:
            rows.append(text[since : token.start()].strip(_BLANK))
            since = token.end()
    if closed != len(text) - 1:
        raise NotJson
    last = text[since:closed].strip(_BLANK)
    if rows or last:
        rows.append(last)
    if not all(rows):
        raise NotJson
    return rows


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text.decode())
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _decode_slowly(text: bytes) -> Row | Unreadable:
    """One row, field by field, with a reason where it is no reading. Raises NotJson."""
    try:
        if not _ODD_NUMBER.search(text):
            return _one.decode(text)
    except RecursionError:
        return Unreadable("UNREADABLE", "The reading nests too deeply.")
    except (msgspec.MsgspecError, ValueError):
        pass
    try:
        # Python's reader also takes the bare NaN and Infinity that many programs write.
        told = json.loads(text.decode(), parse_float=Decimal, parse_int=Decimal, parse_constant=Decimal)
    except RecursionError:
        return Unreadable("UNREADABLE", "The reading nests too deeply.")
    except InvalidOperation:
        return Unreadable("UNREADABLE", "A number of the reading is beyond every measure.")
    except ValueError:
        raise NotJson from None
    if not isinstance(told, dict):
        return Unreadable("UNREADABLE", "A reading is a JSON object.")
    try:
        return _row_of(told)
    except _FieldRefusedError as refused:
        return Unreadable(refused.code, refused.message)


class _FieldRefusedError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def _row_of(told: dict[str, Any]) -> Row:
    meter_id = told.get("meterId")
    if not isinstance(meter_id, str):
        raise _FieldRefusedError("BAD_METER_ID", "meterId is missing; meters look like MTR-00000013.")
    values: dict[str, Any] = {"meter_id": meter_id, "timestamp": _read_instant(told.get("timestamp"))}
    for wire, name in _NUMBERS.items():
        values[name] = _read_number(wire, told.get(wire))
    for wire, name in _TEXTS.items():
        text = told.get(wire)
        if text is not None and not isinstance(text, str):
            raise _FieldRefusedError("BAD_FIELD", f"{wire} is not a text.")
        values[name] = text
    for wire, name in _WHOLES.items():
        values[name] = _read_whole(wire, told.get(wire))
    if told.get("metadata") is not None:
        values["metadata"] = _read_metadata(told["metadata"])
    return Row(**values)


def _read_instant(told: Any) -> datetime:
    if isinstance(told, str):
        for read in (lambda text: _instant.decode(json.dumps(text)), datetime.fromisoformat):
            try:
                return read(told)
            except (ValueError, msgspec.MsgspecError):
                continue
    raise _FieldRefusedError(
        "BROKEN_TIMESTAMP", "timestamp is not an instant in ISO 8601 with offset, such as 2026-11-01T00:00:00+05:30."
    )


def _read_number(wire: str, told: Any) -> Decimal | None:
    if told is None or isinstance(told, Decimal):
        return told
    if isinstance(told, str) and len(told) <= MAX_NUMBER_LENGTH:
        try:
            # "NaN" and "-Infinity" are numbers that are refused for what they are.
            return Decimal(told) if _NOT_FINITE.fullmatch(told) else read_decimal(told)
        except ValueError:
            pass
    raise _FieldRefusedError("BAD_NUMBER", f"{wire} is not a number or a decimal string.")


def _read_whole(wire: str, told: Any) -> int | None:
    if told is None:
        return None
    code = "BAD_INTERVAL" if wire == "intervalSeconds" else "BAD_FIELD"
    if isinstance(told, Decimal) and told.is_finite() and abs(told) < 2**63 and told == told.to_integral_value():
        return int(told)
    raise _FieldRefusedError(code, f"{wire} is not a whole number.")


def _read_metadata(told: Any) -> msgspec.Raw:
    try:
        return msgspec.Raw(json.dumps(told, default=_plain).encode())
    except (TypeError, ValueError, RecursionError):
        raise _FieldRefusedError("BAD_FIELD", "metadata is not an object of plain values.") from None


def _plain(value: object) -> object:
    # Only numbers come here; NaN has no JSON, and a float would change the rest.
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    raise TypeError


def encode(row: Row) -> str:
    """The row as JSON text, decimals as strings: what quarantine keeps."""
    return msgspec.json.encode(row).decode()


def as_list(rows: Iterable[Row]) -> bytes:
    """A body for `POST /telemetry/batch`."""
    return msgspec.json.encode(list(rows))
