"""People, readings and a bill around the real clock: a browser has no other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from portal.accounts.models import User
from portal.audit import SYSTEM
from portal.billing import actions as billing
from portal.billing import queries
from portal.config import Config
from portal.meters import actions as meters
from portal.periods import local_date, local_month, previous_month
from portal.readings import actions as readings
from portal.readings.incoming import Row
from tests.billing.bills import INDIA, give_readings
from tests.factories import make_holder, make_user


def now() -> datetime:
    """The instant."""
    return datetime.now(UTC)


def last_month() -> tuple[int, int]:
    """(year, month) of the last full month in India."""
    today = local_date(now(), INDIA)
    return previous_month(today.year, today.month)


def start_of_last_month() -> datetime:
    """When it began."""
    return local_month(*last_month(), INDIA).start


def give_history(user: User, config: Config) -> None:
    """Move the start back by a month, give readings with a gap since then, and make last month's bill."""
    begin = start_of_last_month()
    meters.move_start(user.user_id, begin, actor=SYSTEM, now=now())
    meter = user.meter_id
    assert meter is not None
    late = now() - timedelta(minutes=31)
    gap = begin + timedelta(days=8)
    for first, until in ((begin, gap), (gap + timedelta(hours=30), late)):
        give_readings(meter, first, until, config, step=timedelta(hours=1), kwh="0.4")
    billing.generate_month(*last_month(), actor=SYSTEM, now=now())


@dataclass
class World:
    """Who is there: a customer with readings and a bill, one without a meter, and staff."""

    customer: User
    invoice_id: str
    waiting: list[User]
    admin: User
    operator: User


def make_world(config: Config) -> World:
    """All of it, flushed."""
    # One reading is held: a day after tomorrow.
    ahead = Row(meter_id="MTR-00000077", timestamp=now() + timedelta(days=2), energy_kwh=Decimal("0.2"))
    readings.store([ahead], source="key:1", now=now(), config=config)
    asha = make_holder(name="Asha Kulkarni", email="asha@example.com", since=now() - timedelta(minutes=1))
    give_history(asha, config)
    people = (("Rohan Deshmukh", "rohan", "Pune-East"), ("Fatima Shaikh", "fatima", "Mumbai-North"))
    waiting = [
        make_user(name=name, email=f"{first}@example.com", region=region, now=now() - timedelta(days=9))
        for name, first, region in people
    ]
    return World(
        customer=asha,
        invoice_id=str(queries.list_invoices(asha.user_id).invoices[0].invoice_id),
        waiting=waiting,
        admin=make_user(name="Meera Iyer", email="meera@example.com", role="admin"),
        operator=make_user(name="Sanjay More", email="sanjay@example.com", role="operator"),
    )
