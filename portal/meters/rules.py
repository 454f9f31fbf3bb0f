"""Numbers of meters: `MTR-` and eight digits."""

from __future__ import annotations

import re

from portal.errors import NotFound

_METER_ID = re.compile(r"MTR-([0-9]{8})")


def meter_id(meter_key: int) -> str:
    """13 → MTR-00000013."""
    return f"MTR-{meter_key:08d}"


def find_meter_key(text: str) -> int | None:
    """MTR-00000013 → 13; None for anything else, also for number 0."""
    match = _METER_ID.fullmatch(text)
    return (int(match[1]) or None) if match else None


def meter_key(text: str) -> int:
    """MTR-00000013 → 13. Raises NotFound METER_NOT_FOUND for what is no meter number."""
    key = find_meter_key(text)
    if key is None:
        raise NotFound(f"{text!r} is not a meter number; they look like MTR-00000013.", "METER_NOT_FOUND")
    return key


def key_in_range(text: str, first: int, last: int) -> int:
    """The key of a meter of the range. Raises NotFound METER_NOT_FOUND."""
    key = meter_key(text)
    if not first <= key <= last:
        raise NotFound(
            f"{text} is outside the range of this utility, {meter_id(first)} to {meter_id(last)}.", "METER_NOT_FOUND"
        )
    return key
