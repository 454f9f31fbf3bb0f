"""A bill while it is worked out: its lines by charge, what was used for them, and the rounding of groups. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from portal.money import round_paisa
from portal.tariffs import terms
from portal.tariffs.fraction import BillableUse, FuelTable

ZERO = Decimal(0)
HUNDRED = Decimal(100)
PAISA = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that whoever reads the bill must know: FUEL_OWN, FUEL_UNKNOWN, AMOUNT_UNKNOWN, EXPORT_NOT_CREDITED."""

    code: str
    text: str


@dataclass(slots=True)
class Line:
    """A line of a bill before it is closed: `exact` INR, and `amount` once rounded. kWh and rate where it has them."""

    code: str
    label: str
    category: terms.Category
    exact: Decimal
    kwh: Decimal | None = None
    rate: Decimal | None = None
    amount: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of the energy that lies in slab number `index`: above `lower`, up to `upper` kWh of this period."""

    index: int
    lower: Decimal
    upper: Decimal | None
    kwh: Decimal
    rate: Decimal

    @property
    def span(self) -> str:
        """How the slab is named on a bill."""
        if self.upper is None:
            return f"above {plain(self.lower)} kWh" if self.lower else "all kWh"
        return f"{plain(self.lower)}-{plain(self.upper)} kWh"


@dataclass(slots=True)
class Working:
    """One bill being worked out: the lines so far, by charge, and the rates that were used."""

    version: terms.Version
    use: BillableUse
    fuel: FuelTable
    fraction: Decimal
    lines: dict[str, list[Line]] = field(default_factory=dict)
    pieces: dict[str, list[Piece]] = field(default_factory=dict)
    percents: dict[str, Decimal] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)

    def sum_of(self, codes: tuple[str, ...]) -> Decimal:
        """What the (closed) lines of these charges come to."""
        return sum((line.amount for code in codes for line in self.lines.get(code, ())), ZERO)


def plain(number: Decimal) -> str:
    """A number for a label: no exponent, no trailing zeros."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def apportion(lines: list[Line]) -> None:
    """Round the sum of the lines once and share it out: the paise that are left go to the largest remainders."""
    whole = round_paisa(sum((line.exact for line in lines), ZERO))
    for line in lines:
        line.amount = (line.exact // PAISA) * PAISA
        if line.exact < line.amount:  # // truncates towards zero; a remainder must not be negative
            line.amount -= PAISA
    left = int((whole - sum((line.amount for line in lines), ZERO)) / PAISA)
    by_remainder = sorted(range(len(lines)), key=lambda i: (lines[i].amount - lines[i].exact, i))
    for i in by_remainder[:left]:
        lines[i].amount += PAISA
