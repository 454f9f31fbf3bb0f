"""How the lines that are no kWh × rate come about: a part of a month, a percentage of other lines.

Told only where it gives the amount of the bill to the paisa: what a bill says of itself must hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from portal.billing.models import Invoice, InvoiceLine
from portal.money import round_paisa
from portal.tariffs.queries import get_version
from portal.tariffs.terms import Fixed, Percent


@dataclass(frozen=True, slots=True)
class Working:
    """`percent` of `of` INR, or (without it) one month at `of` INR. `lines` are the positions that `of` sums."""

    of: Decimal
    percent: Decimal | None = None
    lines: tuple[int, ...] = ()


def workings_of(invoice: Invoice, lines: list[InvoiceLine]) -> dict[int, Working]:
    """The working of each line by its position, where it can be told in a few words."""
    versions = invoice.computed_from["versions"]
    if len(versions) != 1:
        return {}
    charges = {charge.code: charge for charge in get_version(versions[0]["version"]).charges}
    told = {}
    for line in lines:
        charge = charges.get(line.code)
        working = _percent(line, lines, charge) if line.kwh_consumed is None else None
        if working is None and isinstance(charge, Fixed):
            working = _fixed(line, charge)
        if working is not None:
            told[line.position] = working
    return told


def _percent(line: InvoiceLine, lines: list[InvoiceLine], charge: object) -> Working | None:
    if not isinstance(charge, Percent) or charge.percent is None or charge.plus or charge.less or charge.per_line:
        return None
    under = [other for other in lines if other.code in charge.of]
    base = sum((other.amount for other in under), Decimal(0))
    if round_paisa(base * charge.percent / 100) != line.amount:
        return None
    return Working(base, charge.percent, tuple(other.position for other in under))


def _fixed(line: InvoiceLine, charge: Fixed) -> Working | None:
    """A whole month at one of the charge's amounts, what an option adds included."""
    if charge.proration == "fraction":
        return None
    bands = [band.amount for band in charge.bands] if charge.by in ("use", "flat") else []
    known = {rate for rate in [*charge.phases.values(), *bands] if rate is not None}
    whole = known | {rate + extra for rate in known for extra in charge.extra.values()}
    return Working(line.amount) if line.amount in whole else None
