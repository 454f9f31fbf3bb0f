"""A real household year through to its twelve bills: what the meter measured is what is billed."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from importlib.resources import files

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, scoped_session

from portal.billing import proof, queries
from portal.billing.models import Invoice
from portal.config import Config
from portal.meters.rules import meter_key
from portal.money import round_wh
from portal.readings import actions as readings
from portal.readings.incoming import Row
from portal.tariffs.queries import Catalogue
from tests.billing.bills import INDIA, india, run
from tests.factories import NOW, make_holder

FILE = files("portal").joinpath("demo").joinpath("household_halfhour_2013.csv.gz")


@pytest.mark.promise(3)
@pytest.mark.promise(7)
def test_twelve_bills_of_a_real_year_hold_the_energy_of_the_file(area: scoped_session[Session], config: Config) -> None:
    user = make_holder(since=india(2025, 11, 1))
    assert user.meter_id
    by_month: dict[int, Decimal] = defaultdict(Decimal)
    rows = []
    with FILE.open("rb") as packed, gzip.open(packed, "rt", newline="") as lines:
        for line in csv.DictReader(lines):
            told = datetime.fromisoformat(line["start"])
            kwh = round_wh(Decimal(line["kwh"]))
            start = told.replace(year=2025 if told.month >= 11 else 2026, tzinfo=INDIA)
            by_month[told.month] += kwh
            rows.append(Row(meter_id=user.meter_id, timestamp=start, interval_seconds=1800, energy_kwh=kwh))
    for begin in range(0, len(rows), 5000):
        stored = readings.store(rows[begin : begin + 5000], source="test", now=NOW, config=config)
        assert stored.accepted == len(rows[begin : begin + 5000])
        area.commit()

    for year, month in [(2025, 11), (2025, 12), *((2026, month) for month in range(1, 11))]:
        assert run(year, month).success == 1

    bills = list(area.scalars(select(Invoice).order_by(Invoice.cycle_start)))
    assert len(rows) == 17_520
    assert {bill.cycle_start.month: bill.total_consumption_kwh for bill in bills} == by_month
    assert sum(bill.total_consumption_kwh for bill in bills) == sum(by_month.values())
    assert all(bill.missing_hours == 0 for bill in bills)
    assert by_month[1] == Decimal("359.872")
    assert meter_key(user.meter_id) == bills[0].computed_from["meters"][0]["meter_key"]
    for bill in bills:
        verdict = proof.verify(bill, queries.list_lines(bill.invoice_id), Catalogue())
        assert (verdict.differences, verdict.later_readings) == ((), ())
