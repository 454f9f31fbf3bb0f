"""What is odd about a bill before it is one. Pure: no session, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

KINDS = ("high", "low", "zero", "first", "last", "estimated", "changed")
"""high: twice the usual and 50 kWh more. low: half of it and 50 kWh less. zero: no use. first, last: the supply began
or ended in the cycle. estimated: too much of the time is estimated or without a reading. changed: not what was seen."""
MARGIN_KWH = Decimal(50)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is looked at: kWh of the bill and the usual ones, seconds of the supply that are not measured."""

    kwh: Decimal
    usual_kwh: Decimal | None
    is_first: bool
    is_last: bool
    unsure_seconds: int
    seconds: int

    @property
    def unsure_percent(self) -> int:
        """The share of the time that is estimated or missing, in whole per cent, rounded up."""
        return -(-100 * self.unsure_seconds // self.seconds) if self.seconds else 0


def find_exceptions(facts: Facts, hold_percent: int) -> list[str]:
    """The kinds that hold, in the order of KINDS. A share of exactly `hold_percent` is not above it."""
    usual = facts.usual_kwh
    found = {
        "high": usual is not None and facts.kwh > 2 * usual and facts.kwh > usual + MARGIN_KWH,
        "low": usual is not None and 2 * facts.kwh < usual and facts.kwh + MARGIN_KWH < usual,
        "zero": facts.kwh == 0,
        "first": facts.is_first,
        "last": facts.is_last,
        "estimated": 100 * facts.unsure_seconds > hold_percent * facts.seconds,
    }
    return [kind for kind in KINDS if found.get(kind)]
