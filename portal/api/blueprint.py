"""A small typed blueprint: a call is declared once, by types, and from that come its gate, its checks and its document.

    api = ApiBlueprint("billing", tag="Billing")

    @api.get("/billing/invoices/<invoice_id>", gate=SIGNED_IN, answer=InvoiceAnswer, summary="One bill")
    def get_invoice(invoice_id: str) -> Answer:
        return Answer({"invoice": invoice_json(...)}, "The bill.")

The view gets its path parameters as plain strings, and `body=` and `query=` where the call declares them. It calls one
function of an area and gives an Answer, or raises a PortalError. It never commits: the call does, once, at its end.
The order is always: path and method, gate, rate limit, query, body, view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from flask import Blueprint, Response, after_this_request, current_app, request
from pydantic import BaseModel, TypeAdapter
from sqlalchemy.exc import DBAPIError

from portal import gates
from portal.api import bodies, caller
from portal.api.errors import is_worth_another_try, to_response
from portal.db import session
from portal.errors import PortalError
from portal.limits import Limit

PREFIX = "/api/v1"
SMALL_BODY = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What a view gives: `data` and `message` of the envelope. `status` where it is not the one the call declares."""

    data: Mapping[str, Any] | None
    message: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, Any] | None = None


Outcome = Answer | Response | PortalError
"""A refusal is raised, and all is undone; or given, where what was noted with it (a counted try) has to stay."""
View = TypeVar("View", bound=Callable[..., Outcome])


@dataclass(frozen=True, slots=True)
class Call:
    """One declared call.

    `gate` is one of portal.gates; `scope` goes with gates.KEY. `body` is a pydantic model; with `raw_body` the view
    gets the bytes (the media type is checked) and `body` is any type, for the document only. `answers` maps each status
    of success to the type of its `data`. `errors` maps a status to the codes that are the call's own; those that follow
    from gate, body and limits are added by the document.
    """

    name: str
    method: str
    path: str
    gate: str
    scope: str | None
    body: Any
    raw_body: bool
    body_optional: bool
    max_body: int
    query: type[BaseModel] | None
    answers: Mapping[int, Any]
    errors: Mapping[int, tuple[str, ...]]
    limits: tuple[Limit, ...]
    summary: str
    description: str
    tag: str
    content_types: tuple[str, ...]
    successor: str | None
    deprecated_since: str | None

    @property
    def status(self) -> int:
        """The first declared status of success."""
        return next(iter(self.answers))


class ApiBlueprint(Blueprint):
    """The calls of one resource, under /api/v1."""

    def __init__(self, name: str, *, tag: str) -> None:
        super().__init__(f"api_{name}", __name__, url_prefix=PREFIX)
        self.tag = tag
        self.calls: list[Call] = []

    def call(
        self,
        method: str,
        path: str,
        *,
        gate: str,
        summary: str,
        answer: Any,
        status: int = 200,
        also: Mapping[int, Any] | None = None,
        scope: str | None = None,
        body: Any = None,
        raw_body: bool = False,
        body_optional: bool = False,
        max_body: int = SMALL_BODY,
        query: type[BaseModel] | None = None,
        errors: Mapping[int, tuple[str, ...]] | None = None,
        limits: tuple[Limit, ...] = (),
        content_type: str | tuple[str, ...] = "application/json",
        successor: str | None = None,
        deprecated_since: str | None = None,
    ) -> Callable[[View], View]:
        """Declare a call. `path` is Flask's, its parameters plain strings: their shape is looked at behind the gate."""

        def declare(view: View) -> View:
            declared = Call(
                name=view.__name__,
                method=method,
                path=PREFIX + path,
                gate=gate,
                scope=scope,
                body=body,
                raw_body=raw_body,
                body_optional=body_optional,
                max_body=max_body,
                query=query,
                answers={status: answer, **(also or {})},
                errors=errors or {},
                limits=limits,
                summary=summary,
                description=" ".join((view.__doc__ or "").split()),
                tag=self.tag,
                content_types=(content_type,) if isinstance(content_type, str) else content_type,
                successor=successor,
                deprecated_since=deprecated_since,
            )
            self.calls.append(declared)

            @gates.gate(gate)
            def answering(**path_values: str) -> Response:
                return answer_call(declared, view, path_values)

            self.add_url_rule(path, endpoint=view.__name__, view_func=answering, methods=[method])
            return view

        return declare

    def get(self, path: str, **declared: Any) -> Callable[[View], View]:  # type: ignore[override]
        """`call` with GET."""
        return self.call("GET", path, **declared)

    def post(self, path: str, **declared: Any) -> Callable[[View], View]:  # type: ignore[override]
        """`call` with POST."""
        return self.call("POST", path, **declared)

    def put(self, path: str, **declared: Any) -> Callable[[View], View]:  # type: ignore[override]
        """`call` with PUT."""
        return self.call("PUT", path, **declared)

    def delete(self, path: str, **declared: Any) -> Callable[[View], View]:  # type: ignore[override]
        """`call` with DELETE."""
        return self.call("DELETE", path, **declared)


def answer_call(declared: Call, view: Callable[..., Outcome], values: Mapping[str, str]) -> Response:
    """Gate, limits, query, body, view, commit. Errors go on to portal.api.errors."""
    if declared.successor is not None:
        _name_successor(declared)
    caller.open_gate(declared.gate, declared.scope)
    for limit in declared.limits:
        limit.spend()
    request.max_content_length = declared.max_body
    arguments: dict[str, Any] = dict(values)
    if declared.query is not None:
        arguments["query"] = bodies.read_query(declared.query)
    if declared.raw_body:
        arguments["body"] = bodies.raw_body(optional=declared.body_optional) or b""
    elif declared.body is not None:
        arguments["body"] = bodies.read_body(declared.body, optional=declared.body_optional)
    answer = _act(view, arguments, writes=declared.method != "GET")
    if isinstance(answer, PortalError):
        raise answer
    return answer if isinstance(answer, Response) else _envelope(declared, answer)


def _name_successor(declared: Call) -> None:
    """Every answer of a call that is on its way out says so (RFC 9745), refusals too."""

    @after_this_request
    def add(response: Response) -> Response:
        response.headers["Deprecation"] = declared.deprecated_since or ""
        response.headers["Link"] = f'<{declared.successor}>; rel="successor-version"'
        return response


def _act(view: Callable[..., Outcome], arguments: Mapping[str, Any], *, writes: bool) -> Outcome:
    """Run the view and commit once.

    When the database ended the transaction for the sake of another one (deadlock, a unique or exclusion constraint that
    two acts reached at once), all of it is undone, so it is done again from the start, once: the second time the view
    sees what the other act did and refuses in words, or simply works.
    """
    try:
        return _run(view, arguments, writes=writes)
    except DBAPIError as error:
        if not writes or not is_worth_another_try(error):
            raise
    session.rollback()
    return _run(view, arguments, writes=writes)


def _run(view: Callable[..., Outcome], arguments: Mapping[str, Any], *, writes: bool) -> Outcome:
    answer = view(**arguments)
    if writes:
        session.commit()
    return answer


@lru_cache(maxsize=256)
def adapter(kind: Any) -> TypeAdapter[Any]:
    """pydantic's view of an answer's type."""
    return TypeAdapter(kind)


def _envelope(declared: Call, answer: Answer) -> Response:
    status = answer.status or declared.status
    if current_app.testing:
        # In tests every answer is held to its declaration; in service the presenters' types have to do.
        adapter(declared.answers[status]).validate_python(answer.data, strict=True)
    content: dict[str, Any] = {"success": True, "message": answer.message, "data": answer.data}
    if answer.meta is not None:
        content["meta"] = answer.meta
    response = to_response(content, status)
    response.headers.update(answer.headers)
    return response
