"""Reading what a caller sent: JSON to its end, then the types of the call; every refusal names its field."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar

from flask import request
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from portal.api.errors import MalformedJson, TooLarge, WrongMediaType
from portal.errors import FieldError, Invalid

Model = TypeVar("Model", bound=BaseModel)

_WORDS: Mapping[str, str] = {
    "missing": "This field is required.",
    "string_too_short": "Give at least {min_length} characters.",
    "string_too_long": "Give at most {max_length} characters.",
    "string_pattern_mismatch": "This is not of the form that the call's document describes.",
    "greater_than_equal": "Give {ge} or more.",
    "less_than_equal": "Give {le} or less.",
    "string_type": "Give a string.",
    "int_type": "Give a whole number.",
    "int_parsing": "Give a whole number.",
    "int_from_float": "Give a whole number.",
    "bool_type": "Give true or false.",
    "bool_parsing": "Give true or false.",
    "list_type": "Give a list.",
    "dict_type": "Give a JSON object.",
    "model_type": "Give a JSON object.",
    "model_attributes_type": "Give a JSON object.",
}


def raw_body(*, optional: bool) -> bytes | None:
    """The bytes of the body; None for an empty one that is allowed to be empty. Raises WrongMediaType, and as
    `unpack`.

    An empty POST without Content-Type is an empty body, whatever the call needs.
    """
    data = request.get_data(cache=False)
    if not data and (optional or not request.headers.get("Content-Type")):
        return None
    if request.mimetype != "application/json":
        raise WrongMediaType("Send the body as JSON, with the header `Content-Type: application/json`.")
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding == "gzip":
        return unpack(data, request.max_content_length or 0)
    if encoding not in ("", "identity"):
        raise WrongMediaType("Send the body as it is, or with `Content-Encoding: gzip`.")
    return data


def unpack(packed: bytes, limit: int) -> bytes:
    """What was packed by gzip, in one part or several. No more than `limit` bytes are ever unpacked.

    Raises TooLarge beyond that, MalformedJson for what is not gzip to its end.
    """
    plain = bytearray()
    while packed:
        part = zlib.decompressobj(wbits=31)
        try:
            plain += part.decompress(packed, limit + 1 - len(plain))
        except zlib.error:
            raise _not_gzip() from None
        if len(plain) > limit:
            raise TooLarge(f"The body is larger than {limit} bytes when it is unpacked.")
        if not part.eof:
            raise _not_gzip()
        packed = part.unused_data
    return bytes(plain)


def _not_gzip() -> MalformedJson:
    return MalformedJson("The body is not gzip to its end; nothing was stored.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_json(data: bytes) -> Any:
    """The value of a JSON text in UTF-8. Raises MalformedJson: also for NaN, Infinity and nesting beyond reason."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # UnicodeDecodeError and JSONDecodeError are ValueErrors, and so is a number of thousands of digits.
        raise MalformedJson("The body is not well-formed JSON in UTF-8.") from None
    _check_characters(value)
    return value


def _check_characters(value: Any) -> None:
    """Raise Invalid for NUL and for halves of surrogate pairs: no text of a database or a file can hold them."""
    waiting: list[tuple[str, Any]] = [("body", value)]
    wrong: list[FieldError] = []
    while waiting:
        name, each = waiting.pop()
        if isinstance(each, str):
            if "\0" in each or not _has_whole_characters(each):
                wrong.append(FieldError(name, "Characters that no text can hold (NUL, or half a character)."))
        elif isinstance(each, dict):
            for key, inner in each.items():
                label = key if name == "body" else f"{name}.{key}"
                if "\0" in key or not _has_whole_characters(key):
                    wrong.append(FieldError(name, "The name of a field holds characters that no text can hold."))
                else:
                    waiting.append((label, inner))
        elif isinstance(each, list):
            waiting.extend((f"{name}.{index}", inner) for index, inner in enumerate(each))
    if wrong:
        raise Invalid(wrong[0].message, fields=wrong)


def _has_whole_characters(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_body(kind: type[Model], *, optional: bool) -> Model:
    """The body as the call's model. Raises WrongMediaType, MalformedJson, Invalid with one detail per wrong field."""
    data = raw_body(optional=optional)
    return check(kind, {} if data is None else parse_json(data))


def read_query(kind: type[Model]) -> Model:
    """The query string as the call's model. Raises Invalid with one detail per wrong parameter."""
    known = known_names(kind)
    values: dict[str, str] = {}
    wrong: list[FieldError] = []
    for name, given in request.args.lists():
        if name not in known:
            continue
        if len(given) > 1:
            wrong.append(FieldError(name, "Give this parameter once."))
        elif "\0" in given[0]:
            wrong.append(FieldError(name, "A parameter cannot hold the character NUL."))
        values[name] = given[0]
    if wrong:
        raise Invalid(wrong[0].message, fields=wrong)
    return check(kind, values)


def check(kind: type[Model], value: Any) -> Model:
    """`value` as the model. Raises Invalid with one detail per wrong field."""
    if not isinstance(value, dict):
        raise Invalid.field("body", "Send a JSON object.")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise invalid_of(error, known_names(kind), _hints(kind)) from None


def check_any(adapter: TypeAdapter[Any], value: Any) -> Any:
    """`value` as whatever the adapter describes. Raises Invalid."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise invalid_of(error, ()) from None


def known_names(kind: type[BaseModel]) -> tuple[str, ...]:
    """The names of the model's fields as callers write them."""
    return tuple(field.alias or name for name, field in kind.model_fields.items())


def _hints(kind: type[BaseModel]) -> dict[str, str]:
    """What each field wants, in words, where its declaration says so."""
    return {field.alias or name: field.description for name, field in kind.model_fields.items() if field.description}


def invalid_of(error: ValidationError, known: tuple[str, ...], hints: Mapping[str, str] | None = None) -> Invalid:
    """pydantic's findings in our words, one for each field. What was sent is not repeated."""
    fields: dict[str, FieldError] = {}
    for each in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in each["loc"]) or "body"
        fields.setdefault(name, FieldError(name, _words(each, name, known, hints or {})))
    details = tuple(fields.values())
    count = len(details)
    message = details[0].message if count == 1 else f"{count} fields are wrong."
    return Invalid(f"{details[0].field}: {message}" if count == 1 else message, fields=details)


def _words(found: ErrorDetails, name: str, known: tuple[str, ...], hints: Mapping[str, str]) -> str:
    kind = found["type"]
    if name in hints and kind in ("string_pattern_mismatch", "string_too_short", "string_too_long"):
        return hints[name]
    if kind == "extra_forbidden":
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        if near:
            return f"There is no such field. Did you mean `{near[0]}`?"
        return f"There is no such field. Known: {', '.join(known)}." if known else "This call takes no fields."
    if kind == "value_error":
        sentence = found["msg"].removeprefix("Value error, ")
        return sentence[:1].upper() + sentence[1:] + "."
    words = _WORDS.get(kind)
    return words.format(**found.get("ctx", {})) if words else found["msg"] + "."
