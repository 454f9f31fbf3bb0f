"""Brings the demo's people, their readings and their bills, by the same functions that everybody else uses.

Each step can be taken again: what is there already is left alone, so a start that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

from portal.accounts import actions as accounts
from portal.accounts import passwords, queries
from portal.audit import SYSTEM
from portal.billing import actions as billing
from portal.billing.queries import search_invoices
from portal.config import Config
from portal.db import session
from portal.demo.people import (
    ADMIN_EMAIL,
    ADMIN_PASSWORD,
    CUSTOMER_PASSWORD,
    FAULTY,
    HOUSEHOLD,
    LATE_PAYER,
    OPERATOR_EMAIL,
    PEOPLE,
    STAFF_PASSWORD,
    Person,
)
from portal.meters import life
from portal.meters import queries as meter_queries
from portal.meters.pool import Pool
from portal.meters.rules import meter_id
from portal.payments.actions import Receipt, receive
from portal.periods import Period, local_date, local_midnight, local_month, next_month, previous_month
from portal.readings import actions as readings
from portal.readings import files, household
from portal.readings.files import Line
from portal.readings.incoming import Row
from portal.readings.queries import find_latest
from portal.registration import register

YEAR_OF_READINGS = Path(__file__).parent / "household_halfhour_2013.csv.gz"
HALF_HOUR = 1800
CHUNK = 5_000
SEED = 1  # the simulator's own


def load(config: Config, now: datetime) -> None:
    """Everything, committed step by step. The household's year ends with the last full month, as do the bills."""
    pool = Pool.of(config)
    _staff(now)
    for person in PEOPLE:
        _customer(person, pool, now)
    for number in FAULTY:
        if _in_stock(number, pool):
            life.move_meter(number, "faulty", pool, actor=SYSTEM, now=now)
    session.commit()
    for person in PEOPLE:
        if person.has_meter:
            _readings(person, config, now)
    _bills(config, now)


def list_open_accounts() -> list[str]:
    """The addresses of demo accounts that this database holds and that are not closed."""
    known = (ADMIN_EMAIL, OPERATOR_EMAIL, *(person.email for person in PEOPLE))
    users = [queries.find_user_by_email(email) for email in known]
    return [user.email for user in users if user is not None and user.closed_at is None]


def _staff(now: datetime) -> None:
    for email, name, password, role in (
        (ADMIN_EMAIL, "Administrator", ADMIN_PASSWORD, "admin"),
        (OPERATOR_EMAIL, "Operator", STAFF_PASSWORD, "operator"),
    ):
        if queries.find_user_by_email(email) is None:
            user = accounts.create_user(name, email, None, None, None, role, actor=SYSTEM, now=now)
            # Shorter than a person may choose: they are printed at the start and work on this machine only.
            user.password_hash = passwords.hash_password(password)
            user.email_verified_at = now
    session.commit()


def _customer(person: Person, pool: Pool, now: datetime) -> None:
    if queries.find_user_by_email(person.email) is not None:
        return
    since = _began(person, now)
    details = (person.name, person.email, None, person.region, CUSTOMER_PASSWORD)
    if person.has_meter:
        user = register(*details, pool, actor=SYSTEM, now=since).user
    else:
        user = accounts.create_user(*details, actor=SYSTEM, now=since)
    user.email_verified_at = since
    session.commit()


def _in_stock(number: str, pool: Pool) -> bool:
    meter = meter_queries.get_meter(number, pool)
    return meter is None or meter.status == "in_stock"


def _began(person: Person, now: datetime) -> datetime:
    """When supply began: the household twelve full months ago, the others two, those who wait some days ago."""
    zone = queries.zone_of(person.region)
    if not person.has_meter:
        return now - timedelta(days=2 + PEOPLE.index(person))
    today = local_date(now, zone)
    year, month = today.year, today.month
    for _ in range(12 if person is HOUSEHOLD else 2):
        year, month = previous_month(year, month)
    return local_month(year, month, zone).start


def _readings(person: Person, config: Config, now: datetime) -> None:
    """Half-hours of the person's meter up to now: the household's year from its file, everything else invented."""
    user = queries.get_user_by_email(person.email)
    held = meter_queries.find_open_assignment(user.user_id)
    if held is None:
        return
    zone = queries.zone_of(person.region)
    told = find_latest(held.meter_key, Period(held.assigned_at, now))
    if told.read_at is None and person is HOUSEHOLD:
        # In one transaction: its rows are not in the order of time, so half a year could not be told from a whole one.
        _store(_of_the_file(held.meter_key, now, zone), config, now)
        since = local_midnight(local_date(now, zone).replace(day=1), zone)
    elif told.read_at is None:
        since = held.assigned_at
    else:
        since = told.read_at + timedelta(seconds=told.interval_seconds or HALF_HOUR)
    rows = _invented(held.meter_key, since, now, zone)
    while chunk := list(islice(rows, CHUNK)):
        _store(chunk, config, now)
    readings.refresh_meter(held.meter_key, Period(held.assigned_at, now))
    session.commit()


def _store(rows: list[Row], config: Config, now: datetime) -> None:
    readings.store(rows, source="demo", now=now, config=config)
    session.commit()


def _of_the_file(meter_key: int, now: datetime, zone: ZoneInfo) -> list[Row]:
    """The real year, each date moved into the last twelve full months, as `flask readings import` moves them."""
    lines = files.read_lines(YEAR_OF_READINGS, zone, files.today_of(now, zone))
    return [_row(meter_key, line.start, line.kwh) for line in lines if isinstance(line, Line)]


def _invented(meter_key: int, since: datetime, now: datetime, zone: ZoneInfo) -> Iterator[Row]:
    """Whole half-hours from `since` to now, the same as the simulator would have told."""
    start = since + (-since.timestamp() % HALF_HOUR) * timedelta(seconds=1)
    while start + timedelta(seconds=HALF_HOUR) <= now:
        yield _row(meter_key, start, household.energy_kwh(SEED, meter_key, start, HALF_HOUR, zone))
        start += timedelta(seconds=HALF_HOUR)


def _row(meter_key: int, start: datetime, kwh: Decimal) -> Row:
    return Row(meter_id=meter_id(meter_key), timestamp=start, interval_seconds=HALF_HOUR, energy_kwh=kwh)


def _bills(config: Config, now: datetime) -> None:
    """Bills of the last twelve full months, each made a few days after its month; all but the last ones are paid."""
    today = local_date(now, queries.DEFAULT_ZONE)
    year, month = today.year - 1, today.month
    while (year, month) < (today.year, today.month):
        after = local_month(*next_month(year, month), queries.DEFAULT_ZONE).start
        made = min(after + timedelta(days=2, hours=9), now)
        run = billing.generate_month(year, month, actor=SYSTEM, now=made, due_days=config.bill_due_days)
        if run.success and made + timedelta(days=config.bill_due_days) < now:
            _settle(after.astimezone(queries.DEFAULT_ZONE).date(), made)
        session.commit()
        year, month = next_month(year, month)
    billing.mark_overdue(now)
    session.commit()


def _settle(until: date, made: datetime) -> None:
    """Everybody pays a week later, but for one who lets it lie."""
    for invoice in search_invoices(status="pending", end_date=until - timedelta(days=1), limit=100).invoices:
        if invoice.amount_due > 0 and queries.get_user(invoice.user_id).email != LATE_PAYER:
            receive(invoice.invoice_id, Receipt("upi"), actor=SYSTEM, now=made + timedelta(days=7))
