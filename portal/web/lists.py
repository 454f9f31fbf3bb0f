"""Pages of a list: which rows, and the addresses of the pages before and after."""

from __future__ import annotations

from dataclasses import dataclass

from flask import request, url_for

PAGE = 12


def offset_of_request() -> int:
    """`offset` of the address; 0 for none and for what is no number of rows."""
    text = request.args.get("offset", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


@dataclass(frozen=True, slots=True)
class Pager:
    """Rows `first` to `last` of `total`, or of more than that; the addresses are None at the ends."""

    first: int
    last: int
    total: int
    counted: bool
    earlier: str | None
    later: str | None


def pager(shown: int, total: int, offset: int, limit: int = PAGE, *, counted: bool = True) -> Pager:
    """The pager of this request's list; other words of the address (a search, a region) are kept."""

    def address(start: int) -> str:
        words = {key: value for key, value in request.args.items() if key != "offset" and value}
        values = {**(request.view_args or {}), **words, **({"offset": start} if start else {})}
        return url_for(request.endpoint or "", **values)

    return Pager(
        first=offset + 1 if shown else 0,
        last=offset + shown,
        total=total,
        counted=counted,
        earlier=address(max(0, offset - limit)) if offset else None,
        later=address(offset + limit) if offset + shown < total else None,
    )
