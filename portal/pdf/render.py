"""Facts into a page. Texts go to typst as the strings of a JSON document, so nothing in them can be markup."""

from __future__ import annotations

import io
import json
import re
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROWS = (9, 15, 24)
"""Up to how many rows a page is set at each tightness; what does not fit after all is set closer."""
_one_at_a_time = threading.Lock()


@lru_cache(maxsize=1)
def _compiler() -> Any:
    """typst with the template and our own fonts, once a process; only who prints a bill loads it."""
    import typst

    fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(HERE / "fonts")])
    return typst.Compiler(str(HERE / "bill.typ"), root=str(HERE), font_paths=fonts)


def render(facts: dict[str, Any]) -> bytes:
    """The page as PDF. The same facts give the same bytes: it carries no time of its own."""
    rows = sum(len(facts[name]) for name in ("lines", "readings", "notes"))
    made = b""
    for tight in range(sum(rows > most for most in ROWS), len(ROWS) + 1):
        document = json.dumps({**facts, "tight": tight}, ensure_ascii=False)
        with _one_at_a_time:
            made = _compiler().compile(format="pdf", sys_inputs={"bill": document}, timestamp=0)
        if pages_of(made) == 1:
            break
    return made


def pages_of(pdf: bytes) -> int:
    """How many pages the document says it has."""
    found = re.search(rb"/Type/Pages/Count (\d+)", pdf)
    return int(found.group(1)) if found else 0


def code_of(content: str) -> str:
    """A QR code as SVG."""
    import segno

    drawn = io.BytesIO()
    segno.make(content, error="m").save(drawn, kind="svg", border=0, xmldecl=False, svgns=True)
    return drawn.getvalue().decode()
