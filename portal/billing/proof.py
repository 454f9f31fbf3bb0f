"""What a bill was computed from, kept with it, and the same sum done again (promise 6)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from portal.billing import chain
from portal.billing.drafting import Draft, MeterUse
from portal.billing.models import Invoice, InvoiceLine
from portal.billing.rules import settle
from portal.money import kwh_str, money_str
from portal.periods import Period
from portal.readings import queries as readings
from portal.readings.digest import digest_readings
from portal.tariffs.fraction import BillableUse, FuelTable, FuelValue
from portal.tariffs.queries import Catalogue
from portal.tariffs.rules import PricedBill, VersionDays, price_across

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a bill says against what comes out now. `differences` are faults; `later_readings` are late data."""

    invoice_number: str
    differences: tuple[str, ...]
    later_readings: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """True if the bill comes out to the paisa from what it was computed from."""
        return not self.differences


def write_proof(draft: Draft, carried_in: Decimal, fuel: FuelTable) -> dict[str, Any]:
    """Everything the figures rest on, as JSON: energy by assignment, tariff versions by day, fuel values, rounding."""
    first = draft.versions[0].version
    licensees = {draft.use.licensee, *(part.version.licensee for part in draft.versions)}
    document: dict[str, Any] = msgspec.to_builtins(
        {
            "format": FORMAT,
            "zone": draft.zone.key,
            "cycle": draft.cycle,
            "meters": draft.meters,
            # Which readings the figures of each meter rest on, in the order of the meters.
            "readings": [digest_readings(meter.meter_key, meter.start, meter.end) for meter in draft.meters],
            "use": draft.use,
            "versions": [
                {"version": part.version.version, "first_day": part.first_day, "until": part.until}
                for part in draft.versions
            ],
            "fuel": [value for value in fuel if value.licensee in licensees and _touches(value, draft.use)],
            "payable_step": first.payable_step,
            "carries": first.carries,
            "carried_in": carried_in,
        }
    )
    return document


def _touches(value: FuelValue, use: BillableUse) -> bool:
    assert use.first_day is not None
    assert use.until is not None
    return value.first_day < use.until and (value.until is None or value.until > use.first_day)


def price_again(invoice: Invoice, catalogue: Catalogue) -> PricedBill:
    """The bill from what is stored with it and the stored tariff versions. Raises Invalid where that cannot be read."""
    stored = invoice.computed_from
    use = msgspec.convert(stored["use"], BillableUse)
    fuel = msgspec.convert(stored["fuel"], list[FuelValue])
    versions = {version.version: version for version in catalogue.versions(invoice.tariff_code)}
    parts = [
        VersionDays(
            versions[part["version"]],
            msgspec.convert(part["first_day"], date),
            msgspec.convert(part["until"], date),
        )
        for part in stored["versions"]
    ]
    return price_across(parts, use, fuel)


def verify(invoice: Invoice, lines: list[InvoiceLine], catalogue: Catalogue) -> Verdict:
    """Compute the bill again from its proof, and look whether its readings still say the same."""
    bill = price_again(invoice, catalogue)
    stored = invoice.computed_from
    rounding, due = settle(bill.total, Decimal(stored["carried_in"]), Decimal(stored["payable_step"]))
    checks = {
        "total": (invoice.total_cost, bill.total),
        "base cost": (invoice.base_cost, bill.base_cost),
        "surcharges": (invoice.surcharges, bill.surcharges),
        "tax": (invoice.tax_amount, bill.tax_amount),
        "discounts": (invoice.discounts, bill.discounts),
        "rounding": (invoice.rounding, rounding),
        "amount due": (invoice.amount_due, due),
    }
    differences = [
        f"{name}: {money_str(said)} on the bill, {money_str(now)} computed"
        for name, (said, now) in checks.items()
        if said != now
    ]
    said_lines = [(line.code, line.description, line.amount) for line in lines]
    if said_lines != [(line.code, line.description, line.amount) for line in bill.lines]:
        differences.append("the lines differ")
    differences += chain.check(invoice, lines)
    return Verdict(invoice.invoice_number, tuple(differences), _later_readings(invoice))


def _later_readings(invoice: Invoice) -> tuple[str, ...]:
    """Meters whose readings sum to something else now than when the bill was made."""
    later = []
    zone = ZoneInfo(invoice.computed_from["zone"])
    digests = invoice.computed_from.get("readings", [])
    for number, stored in enumerate(msgspec.convert(invoice.computed_from["meters"], list[MeterUse])):
        energy = readings.sum_energy(stored.meter_key, Period(stored.start, stored.end), zone)
        if (energy.import_kwh, energy.export_kwh) != (stored.import_kwh, stored.export_kwh):
            later.append(
                f"{stored.meter_id}: {kwh_str(stored.import_kwh)} kWh billed, {kwh_str(energy.import_kwh)} now"
            )
        elif (
            digests and digest_readings(stored.meter_key, stored.start, stored.end).sha256 != digests[number]["sha256"]
        ):
            later.append(f"{stored.meter_id}: other readings that come to the same {kwh_str(stored.import_kwh)} kWh")
    return tuple(later)
