"""What another version of a tariff would make of bills as issued: the same use, other prices. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import msgspec
from sqlalchemy import func, select

from portal.billing.models import Invoice
from portal.db import session
from portal.errors import PortalError
from portal.tariffs.fraction import BillableUse, FuelTable
from portal.tariffs.rules import price
from portal.tariffs.terms import Version

MOST = 1_000
"""Bills that are priced for one look: under a second."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Bills of a cycle as issued and under the version, INR; how many pay more, how many less, how many it can't price.

    `bills` of `of` were looked at. `most_more` is the bill that would rise most.
    """

    cycle_start: date | None
    bills: int
    of: int
    before: Decimal
    after: Decimal
    more: int
    less: int
    unpriced: int
    most_more: Decimal


def what_if(version: Version, fuel: FuelTable) -> WhatIf:
    """The newest cycle's bills of the version's tariff (the first MOST by number), priced under the version."""
    of_tariff = (Invoice.tariff_code == version.tariff, Invoice.status != "cancelled")
    cycle = session.scalar(select(func.max(Invoice.cycle_start)).where(*of_tariff))
    chosen = (*of_tariff, Invoice.cycle_start == cycle)
    total = session.scalar(select(func.count()).select_from(Invoice).where(*chosen)) or 0
    rows = session.execute(
        select(Invoice.total_cost, Invoice.computed_from).where(*chosen).order_by(Invoice.invoice_number).limit(MOST)
    )
    before = after = most = Decimal(0)
    bills = more = less = unpriced = 0
    for cost, stored in rows:
        bills += 1
        try:
            now = price(version, msgspec.convert(stored["use"], BillableUse), fuel).total
        except PortalError:
            unpriced += 1
            continue
        before, after, most = before + cost, after + now, max(most, now - cost)
        more, less = more + (now > cost), less + (now < cost)
    return WhatIf(cycle, bills, total, before, after, more, less, unpriced, most)
