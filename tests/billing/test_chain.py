"""A proof: made again from what is stored, chained, and checked by a program that knows nothing of the portal."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session, scoped_session

from portal.audit import SYSTEM
from portal.billing import chain, proof, queries, terms
from portal.billing.models import Invoice
from portal.config import Config
from portal.tariffs.queries import Catalogue
from tests.billing.bills import HALF_HOUR, give_readings, india, run
from tests.factories import make_holder

Area = scoped_session[Session]
CHECKER = Path(__file__).parents[2] / "docs" / "verify_bill.py"


def _bills(area: Area) -> list[Invoice]:
    return list(area.scalars(select(Invoice).order_by(Invoice.chain_place)))


def _proof(bill: Invoice) -> dict[str, Any]:
    return chain.write_proof(bill, queries.list_lines(bill.invoice_id))


def _check(folder: Path, *proofs: dict[str, Any]) -> tuple[int, str]:
    """The checker as a customer runs it: another process, nothing but the standard library."""
    files = []
    for number, each in enumerate(proofs):
        files.append(folder / f"{number}.json")
        files[-1].write_text(json.dumps(each))
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(CHECKER), *map(str, files)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.promise(6)
def test_bills_of_a_customer_are_chained_and_their_proofs_hold_without_the_portal(
    area: Area, config: Config, tmp_path: Path
) -> None:
    user = make_holder(since=india(2026, 7, 15))
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 8, 1), india(2026, 11, 1), config, kwh="0.219")
    for month in (8, 9, 10):
        run(2026, month)

    bills = _bills(area)
    assert [bill.chain_place for bill in bills] == [1, 2, 3]
    assert [bill.previous_hash for bill in bills] == [None, bills[0].proof_hash, bills[1].proof_hash]
    area.expire_all()  # what is hashed is what the database gives back
    assert [chain.check(bill, queries.list_lines(bill.invoice_id)) for bill in bills] == [[], [], []]
    code, said = _check(tmp_path, *map(_proof, bills))
    assert code == 0, said
    assert said.count("follows") == 2


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    ("region", "supply"),
    [
        ("Delhi-South", {"options": ["subsidy"], "load_kw": Decimal(3)}),
        ("Bangalore-East", {"entitlements": {"gruha_jyothi": Decimal(90)}}),
        ("Hyderabad-Central", {}),
        ("Mumbai-North", {}),
        ("Chennai-North", {}),
        ("Pune-West", {"options": ["time_of_day", "digital_discount"]}),
    ],
)
@pytest.mark.parametrize("kwh", ["0.077", "0.211"])
def test_every_utilitys_proof_is_understood_by_the_checker(
    area: Area, config: Config, tmp_path: Path, region: str, supply: dict[str, Any], kwh: str
) -> None:
    user = make_holder(since=india(2026, 6, 15), region=region)
    assert user.meter_id
    terms.set_terms(user.user_id, **supply, actor=SYSTEM, now=india(2026, 6, 16))
    give_readings(user.meter_id, india(2026, 7, 1), india(2026, 9, 1), config, kwh=kwh, export_kwh="0.001")
    run(2026, 8, region)

    code, said = _check(tmp_path, _proof(_bills(area)[0]))

    assert code == 0, said


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(amount_due="10.00"),
        lambda document: document["lines"][0].update(amount="1.00"),
        lambda document: document["computed_from"]["meters"][0].update(import_kwh="1.000"),
        lambda document: document["computed_from"]["readings"][0].update(sha256="0" * 64),
        lambda document: document.update(previous_sha256="0" * 64),
    ],
)
def test_a_proof_that_was_changed_anywhere_is_found_out(
    area: Area, config: Config, tmp_path: Path, change: Any
) -> None:
    user = make_holder(since=india(2026, 9, 15))
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 10, 1), india(2026, 11, 1), config)
    run(2026, 10)
    whole = _proof(_bills(area)[0])

    change(whole["document"])

    code, said = _check(tmp_path, whole)
    assert (code, "WRONG" in said) == (1, True)


@pytest.mark.promise(6)
def test_verify_finds_a_bill_that_was_changed_behind_its_triggers(area: Area, config: Config) -> None:
    make_holder(since=india(2026, 7, 15))
    for month in (8, 9, 10):
        run(2026, month)
    area.commit()
    area.execute(text("ALTER TABLE invoices DISABLE TRIGGER invoices_are_final"))
    area.execute(text("UPDATE invoices SET due_date = due_date + 1 WHERE chain_place = 2"))
    area.execute(text("UPDATE invoices SET proof_hash = repeat('0', 64) WHERE chain_place = 1"))
    area.execute(text("ALTER TABLE invoices ENABLE TRIGGER invoices_are_final"))
    area.commit()
    area.expire_all()

    found = [proof.verify(bill, queries.list_lines(bill.invoice_id), Catalogue()).differences for bill in _bills(area)]

    assert [len(each) for each in found] == [1, 2, 0]


@pytest.mark.promise(4)
def test_another_reading_that_comes_to_the_same_sum_is_noticed(area: Area, config: Config) -> None:
    user = make_holder(since=india(2026, 9, 15))
    assert user.meter_id
    start = india(2026, 10, 5)
    give_readings(user.meter_id, start, start + 2 * HALF_HOUR, config, kwh="1")
    run(2026, 10)
    give_readings(user.meter_id, start, start + HALF_HOUR, config, kwh="0.4")
    give_readings(user.meter_id, start + HALF_HOUR, start + 2 * HALF_HOUR, config, kwh="1.6")

    bill = _bills(area)[0]
    verdict = proof.verify(bill, queries.list_lines(bill.invoice_id), Catalogue())

    assert verdict.holds
    assert "other readings that come to the same 2.000 kWh" in verdict.later_readings[0]
