"""The slabs that priced a bill: boundaries and prices to scale, and one sentence on what was left."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from flask_babel import gettext as _

from portal.billing.models import Invoice
from portal.money import round_whole
from portal.tariffs.charges import pick_schedule
from portal.tariffs.fraction import BillableUse, month_fraction, scaled_limit
from portal.tariffs.queries import Catalogue
from portal.tariffs.terms import Energy
from portal.web import charts, formats

ZERO = Decimal(0)


def slabs_of(invoice: Invoice, catalogue: Catalogue) -> tuple[charts.SlabBar | None, str]:
    """The slab bar, where one version with telescopic slabs priced the whole bill; else the lines tell it alone."""
    stored = invoice.computed_from
    known = {version.version: version for version in catalogue.versions(invoice.tariff_code)}
    if len(stored["versions"]) != 1:
        return None, ""
    version, use = known[stored["versions"][0]["version"]], msgspec.convert(stored["use"], BillableUse)
    charge = next((each for each in version.charges if isinstance(each, Energy)), None)
    if charge is None or not charge.telescopic:
        return None, ""
    fraction = month_fraction(version, use)
    slabs, lower = [], ZERO
    for slab in pick_schedule(charge, version, use, fraction).slabs:
        upper = None if slab.upto is None else scaled_limit(version, slab.upto, fraction)
        slabs.append((lower, upper, slab.rate))
        lower = upper if upper is not None else lower
    if len(slabs) < 2:
        return None, ""
    pin = _("You used %(kwh)s", kwh=formats.kwh(use.kwh))
    drawn = [charts.Slab(low, high, formats.rate(rate)) for low, high, rate in slabs]
    return charts.slab_bar(_slab_sentence(slabs, use.kwh), drawn, use.kwh, pin, "kWh"), _slab_sentence(slabs, use.kwh)


def _slab_sentence(slabs: list[tuple[Decimal, Decimal | None, Decimal]], used: Decimal) -> str:
    """What is left of the slab that the use ended in."""
    number = next(n for n, (_low, high, _rate) in enumerate(slabs) if high is None or used <= high)
    low, high, rate = slabs[number]
    if high is None:
        return _(
            "%(kwh)s lie in the highest slab, at %(rate)s a kWh.",
            kwh=formats.kwh(max(ZERO, used - low)),
            rate=formats.rate(rate),
        )
    left, size = high - used, round_whole(high - low)
    text = _(
        "Slab %(number)s is used to %(used)s of its %(size)s kWh. Another %(left)s would have been at %(rate)s",
        number=number + 1,
        used=formats.number(max(ZERO, used - low), 3),
        size=formats.number(size),
        left=formats.kwh(left),
        rate=formats.rate(rate),
    )
    if number + 1 < len(slabs):
        return _(
            "%(sentence)s; after that each kWh costs %(rate)s.", sentence=text, rate=formats.rate(slabs[number + 1][2])
        )
    return text + "."
