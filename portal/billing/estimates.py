"""The bill that is coming: what was used so far, and what the cycle comes to if it goes on like this. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select

from portal.accounts.models import User
from portal.billing import drafting, rules
from portal.billing.models import Invoice
from portal.billing.queries import find_last_invoice, sum_earlier
from portal.billing.rules import Cycle
from portal.db import session
from portal.errors import PortalError
from portal.meters import queries as meters
from portal.meters.models import Connection
from portal.money import round_energy
from portal.periods import Period, local_date
from portal.tariffs.queries import Catalogue


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cycle that runs now. Energy in kWh, money in INR, `[period_start, period_end)` in UTC.

    `consumption_to_date_kwh` is measured; `projected_consumption_kwh` carries the mean of the measured time to the end
    of the cycle, and the `estimated_` figures are its price: base cost (with surcharges, less discounts) + tax = total.
    `cost_to_date` is the price of what was measured so far, for the days so far. `confidence_level` is high, medium or
    low by the share of the elapsed time that is measured. `missing_hours` of the elapsed time have no reading.
    """

    period_start: datetime
    period_end: datetime
    days_elapsed: int
    total_days: int
    consumption_to_date_kwh: Decimal
    projected_consumption_kwh: Decimal
    avg_tariff_rate: Decimal
    estimated_base_cost: Decimal
    estimated_tax: Decimal
    estimated_total: Decimal
    cost_to_date: Decimal
    currency: str
    confidence_level: str
    missing_hours: Decimal
    tariff_code: str
    illustrative: bool
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CurrentCycle:
    """The cycle that runs now, for a home page: its instants, what it will come to, and the bill before it.

    `current_month_invoice` is a bill of this very cycle (made when a supply ended inside it), else None;
    `last_invoice` is the newest bill of the customer, or None.
    """

    cycle_start: datetime
    cycle_end: datetime
    days_remaining: int
    estimated_consumption_kwh: Decimal
    estimated_cost: Decimal
    current_month_invoice: Invoice | None
    last_invoice: Invoice | None
    estimate: Estimate


def estimate(user: User, now: datetime) -> Estimate:
    """What the customer's running cycle will come to.

    Raises NotFound METER_NOT_ASSIGNED without a meter, NO_TARIFF where no tariff is in force.
    """
    connection = _open_connection(user)
    catalogue = Catalogue()
    terms, cycle = _cycle_now(connection, catalogue, now)
    served = drafting.served_in(connection, cycle, terms.zone)
    if served is None or served.end is None or served.start >= now:
        raise meters.no_meter()
    elapsed = Period(served.start, min(now, served.end))
    measured = drafting.measure(drafting.parts_of(connection, elapsed), terms.zone)
    used = sum((each.import_kwh for each in measured), Decimal(0))
    exported = sum((each.export_kwh for each in measured), Decimal(0))
    covered = sum(each.covered_seconds for each in measured)
    # One reading can reach past `now`; more time than has gone by is never measured.
    grown = Decimal(served.seconds) / max(1, min(covered, elapsed.seconds)) if covered else Decimal(0)
    credit = sum_earlier(connection.connection_id, cycle.first_day).credit_kwh
    projected = drafting.price_draft(
        connection,
        cycle,
        terms,
        catalogue,
        served,
        measured,
        round_energy(used * grown),
        round_energy(exported * grown),
        credit_brought_kwh=credit,
    )
    bill = projected.bill
    so_far = drafting.price_draft(
        connection, cycle, terms, catalogue, elapsed, measured, used, exported, credit_brought_kwh=credit
    ).bill
    today = local_date(now, terms.zone)
    return Estimate(
        period_start=served.start,
        period_end=served.end,
        days_elapsed=(today - local_date(served.start, terms.zone)).days + 1,
        total_days=projected.use.days,
        consumption_to_date_kwh=used,
        projected_consumption_kwh=projected.use.kwh,
        avg_tariff_rate=rules.average_rate(bill, projected.use.kwh),
        estimated_base_cost=bill.base_cost + bill.surcharges - bill.discounts,
        estimated_tax=bill.tax_amount,
        estimated_total=bill.total,
        cost_to_date=so_far.total,
        currency="INR",
        confidence_level=rules.confidence(covered - sum(each.estimated_seconds for each in measured), elapsed.seconds),
        missing_hours=rules.hours_of(max(0, elapsed.seconds - covered)),
        tariff_code=terms.region.tariff_code,
        illustrative=any(part.version.illustrative for part in projected.versions),
        marks=tuple(mark.text for mark in bill.marks),
    )


def current_cycle(user: User, now: datetime) -> CurrentCycle:
    """The customer's running cycle. Raises as `estimate`."""
    connection = _open_connection(user)
    terms, cycle = _cycle_now(connection, Catalogue(), now)
    its = estimate(user, now)
    period = cycle.period(terms.zone)
    assert period.end is not None
    invoice = session.scalar(
        select(Invoice).where(
            Invoice.user_id == user.user_id,
            Invoice.connection_id == connection.connection_id,
            Invoice.cycle_start == cycle.first_day,
            Invoice.status != "cancelled",
        )
    )
    return CurrentCycle(
        cycle_start=period.start,
        cycle_end=period.end,
        days_remaining=(cycle.until - local_date(now, terms.zone)).days,
        estimated_consumption_kwh=its.projected_consumption_kwh,
        estimated_cost=its.estimated_total,
        current_month_invoice=invoice,
        last_invoice=find_last_invoice(user.user_id),
        estimate=its,
    )


def find_current_cycle(user: User, now: datetime) -> tuple[CurrentCycle | None, PortalError | None]:
    """As `current_cycle`, for a page that must stand without it: the cycle, or why there is none."""
    try:
        return current_cycle(user, now), None
    except PortalError as refusal:
        return None, refusal


def _open_connection(user: User) -> Connection:
    assignment = meters.find_open_assignment(user.user_id)
    connection = session.get(Connection, assignment.connection_id) if assignment else None
    if connection is None:
        raise meters.no_meter()
    return connection


def _cycle_now(connection: Connection, catalogue: Catalogue, now: datetime) -> tuple[drafting.Terms, Cycle]:
    today = drafting.local_day_of(connection, now)
    terms = drafting.terms_of(connection, catalogue, today)
    return terms, rules.cycle_of(today, terms.cycle_months)
