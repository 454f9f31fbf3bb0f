"""How the lines that are no kWh × rate come about: a part of a month, a percentage of other lines.

Shown only where it gives the amount of the bill to the paisa: what a bill says of itself must hold.
"""

from __future__ import annotations

from decimal import Decimal

from flask_babel import gettext as _

from portal.billing.models import Invoice, InvoiceLine
from portal.money import round_paisa
from portal.tariffs.queries import get_version
from portal.tariffs.terms import Fixed, Percent
from portal.web import formats


def workings_of(invoice: Invoice, lines: list[InvoiceLine]) -> dict[int, str]:
    """The working of each line by its position, where it can be told in a few words."""
    versions = invoice.computed_from["versions"]
    if len(versions) != 1:
        return {}
    charges = {charge.code: charge for charge in get_version(versions[0]["version"]).charges}
    told = {line.position: _percent(line, lines, charges.get(line.code)) for line in lines if line.kwh_consumed is None}
    for line in lines:
        charge = charges.get(line.code)
        if isinstance(charge, Fixed) and not told.get(line.position):
            told[line.position] = _fixed(line, charge)
    return {position: working for position, working in told.items() if working}


def _percent(line: InvoiceLine, lines: list[InvoiceLine], charge: object) -> str:
    if not isinstance(charge, Percent) or charge.percent is None or charge.plus or charge.less or charge.per_line:
        return ""
    base = sum((other.amount for other in lines if other.code in charge.of), Decimal(0))
    if round_paisa(base * charge.percent / 100) != line.amount:
        return ""
    return _("%(percent)s × %(base)s", percent=f"{charge.percent.normalize():f} %", base=formats.money(base))


def _fixed(line: InvoiceLine, charge: Fixed) -> str:
    """A whole month at one of the charge's amounts, what an option adds included."""
    if charge.proration == "fraction":
        return ""
    bands = [band.amount for band in charge.bands] if charge.by in ("use", "flat") else []
    known = {rate for rate in [*charge.phases.values(), *bands] if rate is not None}
    whole = known | {rate + extra for rate in known for extra in charge.extra.values()}
    return _("1 month × %(amount)s", amount=formats.money(line.amount)) if line.amount in whole else ""
