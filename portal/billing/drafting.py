"""A bill before it is one: what was measured while the meter was theirs, priced by the tariff in force. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from portal.accounts import queries as accounts
from portal.billing import rules
from portal.billing.rules import Cycle
from portal.errors import Invalid
from portal.meters import queries as meters
from portal.meters.models import Assignment, Connection
from portal.meters.rules import meter_id
from portal.money import round_energy
from portal.periods import Period, local_date
from portal.readings import queries as readings
from portal.readings.hours import sum_by_hour
from portal.tariffs.fraction import BillableUse
from portal.tariffs.models import RegionTariff
from portal.tariffs.queries import Catalogue
from portal.tariffs.rules import PricedBill, VersionDays, price_across
from portal.tariffs.terms import TimeOfDay

BY_HOURS = "time_of_day"
"""The option of a connection that is billed by the hours of the day, where its tariff has prices for them."""


@dataclass(frozen=True, slots=True)
class MeterUse:
    """What one meter measured while it was assigned, within the period of a bill: kWh, and seconds that are covered."""

    assignment_id: int
    meter_key: int
    start: datetime
    end: datetime
    import_kwh: Decimal
    export_kwh: Decimal
    estimated_kwh: Decimal
    covered_seconds: int
    overlap_seconds: int = 0
    estimated_seconds: int = 0

    @property
    def meter_id(self) -> str:
        """The meter's number as people write it."""
        return meter_id(self.meter_key)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the tariff of a connection says before a bill is priced."""

    region: RegionTariff
    zone: ZoneInfo
    cycle_months: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A bill that is worked out and not issued."""

    connection: Connection
    cycle: Cycle
    served: Period
    zone: ZoneInfo
    meters: tuple[MeterUse, ...]
    use: BillableUse
    versions: tuple[VersionDays, ...]
    bill: PricedBill

    @property
    def missing_seconds(self) -> int:
        """Time of the period for which no reading came."""
        return max(0, self.served.seconds - sum(meter.covered_seconds for meter in self.meters))


def terms_of(connection: Connection, catalogue: Catalogue, day: date) -> Terms:
    """The tariff of a connection and the length of its cycles on a local day. Raises NotFound NO_TARIFF."""
    region = catalogue.region(connection.region, connection.tariff_category)
    zone = accounts.zone_of(connection.region)
    known = catalogue.versions(region.tariff_code)
    version = next((each for each in reversed(known) if each.valid_from <= day), known[0] if known else None)
    return Terms(region, zone, version.cycle_months if version else 1)


def local_day_of(connection: Connection, instant: datetime) -> date:
    """The local day of an instant where the connection stands."""
    return local_date(instant, accounts.zone_of(connection.region))


def served_in(connection: Connection, cycle: Cycle, zone: ZoneInfo) -> Period | None:
    """The part of the cycle for which the connection had supply."""
    return cycle.period(zone).intersect(meters.period_of(connection))


def parts_of(connection: Connection, period: Period) -> list[tuple[Assignment, Period]]:
    """The connection's assignments with the part of the (closed) period for which each held, oldest first."""
    assignments = meters.list_assignments(connection_id=connection.connection_id)
    parts = [(each, period.intersect(meters.period_of(each))) for each in assignments]
    return [(each, part) for each, part in parts if part is not None]


def measure(parts: list[tuple[Assignment, Period]], zone: ZoneInfo) -> tuple[MeterUse, ...]:
    """What each meter of a connection measured while it was theirs (promise 3)."""
    uses = []
    for assignment, part in parts:
        assert part.end is not None
        energy = readings.sum_energy(assignment.meter_key, part, zone)
        uses.append(
            MeterUse(
                assignment_id=assignment.assignment_id,
                meter_key=assignment.meter_key,
                start=part.start,
                end=part.end,
                import_kwh=energy.import_kwh,
                export_kwh=energy.export_kwh,
                estimated_kwh=energy.estimated_kwh,
                # The last interval may reach past the end; no more time is measured than there was.
                covered_seconds=min(energy.covered_seconds, part.seconds),
                overlap_seconds=energy.overlap_seconds,
                estimated_seconds=energy.estimated_seconds,
            )
        )
    return tuple(uses)


def draft(
    connection: Connection,
    cycle: Cycle,
    terms: Terms,
    catalogue: Catalogue,
    served: Period,
    parts: list[tuple[Assignment, Period]],
    *,
    credit_brought_kwh: Decimal = Decimal(0),
) -> Draft:
    """The bill of a connection for the part of a cycle with supply and its assignments, from what is stored now.

    Raises NotFound NO_TARIFF, Invalid NO_METER, and AMOUNT_UNKNOWN where the tariff does not say what this supply owes:
    a bill is never guessed.
    """
    measured = measure(parts, terms.zone)
    if not measured:
        raise Invalid("No meter was assigned to this connection in the cycle.", "NO_METER")
    imported = sum((each.import_kwh for each in measured), Decimal(0))
    exported = sum((each.export_kwh for each in measured), Decimal(0))
    return price_draft(
        connection, cycle, terms, catalogue, served, measured, imported, exported, credit_brought_kwh=credit_brought_kwh
    )


def price_draft(
    connection: Connection,
    cycle: Cycle,
    terms: Terms,
    catalogue: Catalogue,
    served: Period,
    measured: tuple[MeterUse, ...],
    imported: Decimal,
    exported: Decimal,
    *,
    credit_brought_kwh: Decimal = Decimal(0),
) -> Draft:
    """A draft for energy that is already known (kWh): measured, or projected for an estimate. Raises as `draft`."""
    energy = BillableUse(
        kwh=imported,
        days=1,
        phase=connection.phase,
        load_kw=connection.sanctioned_load_kw,
        options=frozenset((*terms.region.options, *connection.options)),
        entitled_kwh={code: Decimal(kwh) for code, kwh in connection.entitlements.items()},
        export_kwh=exported if exported or credit_brought_kwh else None,
        credit_brought_kwh=credit_brought_kwh,
        licensee=terms.region.licensee,
    )
    use = rules.days_to_price(energy, served, cycle, terms.zone)
    assert use.first_day is not None
    assert use.until is not None
    versions = catalogue.in_force(terms.region.tariff_code, use.first_day, use.until)
    if BY_HOURS in use.options:
        use = replace(use, window_kwh=_windows(versions, measured, terms.zone, imported))
    bill = price_across(versions, use, catalogue.fuel)
    for mark in bill.marks:
        if mark.code == "AMOUNT_UNKNOWN":
            raise Invalid(f"{mark.text} The bill is held back.", "AMOUNT_UNKNOWN")
    return Draft(connection, cycle, served, terms.zone, measured, use, tuple(versions), bill)


def _windows(
    versions: Sequence[VersionDays], measured: tuple[MeterUse, ...], zone: ZoneInfo, imported: Decimal
) -> dict[str, Decimal]:
    """Energy of the hours that a version prices apart: what was taken in them less what was given in the same ones.

    Where more is priced than was measured (an estimate of the whole cycle), the hours grow with it.
    """
    windows = {
        window.name: window
        for part in versions
        for charge in part.version.charges
        if isinstance(charge, TimeOfDay)
        for window in charge.windows
    }
    if not windows:
        return {}
    found = [sum_by_hour(each.meter_key, Period(each.start, each.end), zone) for each in measured]
    total = sum((each.import_kwh for each in measured), Decimal(0))
    grown = imported / total if total else Decimal(1)
    return {
        name: round_energy(
            grown
            * sum(
                max(sum((each.imported[hour] - each.exported[hour] for each in found), Decimal(0)), Decimal(0))
                for hour in range(window.from_hour, window.to_hour)
            )
        )
        for name, window in windows.items()
    }
