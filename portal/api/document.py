"""The OpenAPI 3.1 document, made from the declared calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flask import Flask, Response
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema
from sqlalchemy.exc import SQLAlchemyError

from portal import gates
from portal.api.blueprint import Call, adapter
from portal.api.errors import DOCUMENT, to_response
from portal.db import session

REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"<([a-z_]+)>")

_SECURITY = {
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "A person's access token, from `POST /api/v1/auth/login`.",
    },
    "ingestKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "A program's key, from `flask keys create --name N --scope ingest`.",
    },
}

_FAILURE = {
    "type": "object",
    "required": ["success", "error"],
    "properties": {
        "success": {"const": False},
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "pattern": "^[A-Z][A-Z0-9_]*$"},
                "message": {"type": "string"},
                "details": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["field", "message"],
                        "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                    },
                },
            },
        },
    },
}

_WHO = {
    gates.PUBLIC: "Open to everybody.",
    gates.CUSTOMER: "For customers.",
    gates.OPERATOR: "For operators and admins.",
    gates.ADMIN: "For admins.",
    gates.SIGNED_IN: "For everybody with an account.",
    gates.KEY: "For programs with an ingestion key.",
}

_MEANING = {
    400: "The request cannot be read",
    401: "Not known: no token, or one that has ended",
    403: "Known, but not allowed",
    404: "There is no such thing, or none that the caller may see",
    409: "The present state of things does not allow it",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "Well-formed, but the content cannot be taken; one detail per field",
    429: "Too many tries in a short time",
    500: "A fault of the portal",
    503: "A part that is needed does not answer",
}


def errors_of(call: Call) -> dict[int, list[str]]:
    """Every status of refusal of the call and its codes: its own, and what follows from its types."""
    codes: dict[int, list[str]] = {}

    def add(status: int, *names: str) -> None:
        codes[status] = [*dict.fromkeys([*codes.get(status, []), *names])]

    if call.gate != gates.PUBLIC:
        add(401, "UNAUTHORIZED", *(() if call.gate == gates.KEY else ("TOKEN_EXPIRED", "TOKEN_REVOKED")))
        add(403, "FORBIDDEN", *(() if call.gate == gates.KEY else ("ACCOUNT_SUSPENDED",)))
    if call.body is not None:
        add(400, "MALFORMED_JSON")
        add(413, "PAYLOAD_TOO_LARGE")
        add(415, "UNSUPPORTED_MEDIA_TYPE")
        add(422, "VALIDATION_ERROR")
    if call.query is not None:
        add(422, "VALIDATION_ERROR")
    if call.limits:
        add(429, "TOO_MANY_REQUESTS")
    if call.method != "GET":
        add(409, "CONFLICT")
    for status, names in call.errors.items():
        add(status, *names)
    add(500, "INTERNAL_ERROR")
    add(503, "UNAVAILABLE")
    return dict(sorted(codes.items()))


def build(calls: Iterable[Call], server: str = "/") -> dict[str, Any]:
    """The document of these calls."""
    listed = list(calls)
    schemas: dict[str, Any] = {"Failure": _FAILURE}
    paths: dict[str, dict[str, Any]] = {}
    for call in listed:
        paths.setdefault(_PARAMETER.sub(r"{\1}", call.path), {})[call.method.lower()] = _operation(call, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "The portal's JSON interface",
            "version": "1",
            "description": "Every answer is an envelope: `success`, `message` and `data`, or `success` and `error`. "
            "Money are decimal strings with two places, energy decimal strings in kWh, times ISO 8601 with offset. "
            "`X-Request-ID` names a request in the log.",
        },
        "servers": [{"url": server}],
        "tags": [{"name": tag} for tag in dict.fromkeys(call.tag for call in listed)],
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": _SECURITY},
    }


def _operation(call: Call, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": call.name,
        "tags": [call.tag],
        "summary": call.summary,
        "description": f"{call.description} {_WHO[call.gate]}".strip(),
        "security": _security(call),
        "responses": _responses(call, schemas),
    }
    parameters = [*_path_parameters(call), *_query_parameters(call, schemas)]
    if parameters:
        operation["parameters"] = parameters
    if call.body is not None:
        operation["requestBody"] = {
            "required": not call.body_optional and _has_required(call.body),
            "content": {"application/json": {"schema": _schema(call.body, "validation", schemas)}},
        }
    if call.successor:
        operation["deprecated"] = True
    return operation


def _has_required(body: Any) -> bool:
    """False for an object whose fields may all be left out: an empty body says the same."""
    if isinstance(body, type) and issubclass(body, BaseModel):
        return any(field.is_required() for field in body.model_fields.values())
    return True


def _security(call: Call) -> list[dict[str, list[str]]]:
    if call.gate == gates.PUBLIC:
        return []
    return [{"ingestKey": []}] if call.gate == gates.KEY else [{"accessToken": []}]


def _path_parameters(call: Call) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(call.path)
    ]


def _query_parameters(call: Call, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    if call.query is None:
        return []
    _, whole = models_json_schema([(call.query, "validation")], ref_template=REF)
    schemas.update({name: _plain(one) for name, one in whole.get("$defs", {}).items() if name != call.query.__name__})
    own = whole["$defs"][call.query.__name__]
    parameters = []
    for name, given in own["properties"].items():
        schema = _without_null(_plain(given))
        about = schema.pop("description", None)
        parameter = {"name": name, "in": "query", "required": name in own.get("required", ()), "schema": schema}
        parameters.append(parameter | ({"description": about} if about else {}))
    return parameters


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query cannot hold null: what may be left out is simply not required."""
    kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(kinds) == 1:
        schema = {name: value for name, value in schema.items() if name != "anyOf"} | kinds[0]
    if schema.get("default", 0) is None:
        del schema["default"]
    return schema


def _responses(call: Call, schemas: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in call.answers.items():
        responses[str(status)] = {
            "description": "Done",
            "content": {kind: _success(kind, answer, schemas) for kind in call.content_types},
        }
    for status, codes in errors_of(call).items():
        response: dict[str, Any] = {
            "description": f"{_MEANING[status]}: {', '.join(f'`{code}`' for code in codes)}",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
        }
        if status == 429:
            response["headers"] = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
        if status == 401:
            response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
        responses[str(status)] = response
    return responses


def _success(kind: str, answer: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    if kind != "application/json":
        return {"schema": {"type": "string"}}
    if answer is str:
        return {"schema": {"type": "object"}}  # a streamed file
    return {
        "schema": {
            "type": "object",
            "required": ["success", "message", "data"],
            "properties": {
                "success": {"const": True},
                "message": {"type": "string"},
                "data": _schema(answer, "serialization", schemas),
                "meta": {"type": "object"},
            },
        }
    }


def _schema(kind: Any, mode: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a type, written out; the named types that it is made of go among the components."""
    source: TypeAdapter[Any] = adapter(kind)
    schema = source.json_schema(ref_template=REF, mode=mode)
    for name, part in schema.pop("$defs", {}).items():
        schemas[name] = _plain(part)
    plain: dict[str, Any] = _plain(schema)
    return plain


def _plain(schema: Any) -> Any:
    """Without the titles that pydantic makes up from the names."""
    if isinstance(schema, dict):
        return {
            name: _plain(value) for name, value in schema.items() if not (name == "title" and isinstance(value, str))
        }
    return [_plain(each) for each in schema] if isinstance(schema, list) else schema


def serve(app: Flask, calls: Iterable[Call], regions: Any) -> None:
    """`GET /openapi.json`, open. The regions are a table, so their names are filled in when somebody asks."""
    fixed = build(calls)

    @app.get(DOCUMENT, endpoint="openapi")
    @gates.gate(gates.PUBLIC)
    def openapi() -> Response:
        try:
            names = regions()
        except SQLAlchemyError:
            # The calls can be read about while the database is away.
            session.rollback()
            names = []
        return to_response(with_regions(fixed, names), 200)


def with_regions(document: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """The document with the names of the regions that there are, where a caller has to choose one."""
    schemas = dict(document["components"]["schemas"])
    if names and "RegionName" in schemas:
        schemas["RegionName"] = {**schemas["RegionName"], "enum": names}
    return {**document, "components": {**document["components"], "schemas": schemas}}
