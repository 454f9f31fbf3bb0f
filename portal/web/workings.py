"""How the lines that are no kWh × rate come about, in words: a part of a month, a percentage of other lines."""

from __future__ import annotations

from flask_babel import gettext as _

from portal.billing import workings
from portal.billing.models import Invoice, InvoiceLine
from portal.web import formats


def workings_of(invoice: Invoice, lines: list[InvoiceLine]) -> dict[int, str]:
    """The working of each line by its position, where it can be told in a few words."""
    return {position: _say(working) for position, working in workings.workings_of(invoice, lines).items()}


def _say(working: workings.Working) -> str:
    if working.percent is None:
        return _("1 month × %(amount)s", amount=formats.money(working.of))
    percent = f"{working.percent.normalize():f} %"
    return _("%(percent)s × %(base)s", percent=percent, base=formats.money(working.of))
