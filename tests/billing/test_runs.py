"""A billing run as staff do it: preview, exceptions, decisions, approval, issue, and what goes wrong in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from decimal import Decimal
from textwrap import dedent

import pytest
from flask import Flask
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session, scoped_session

from portal import jobs
from portal.audit import SYSTEM, Actor
from portal.billing import actions, runs
from portal.billing.exceptions import Facts, find_exceptions
from portal.billing.models import Invoice
from portal.billing.run_models import BillingRun, BillingRunItem
from portal.config import Config
from portal.db import session
from portal.errors import Conflict, Invalid
from portal.jobs import billing_steps
from portal.meters import actions as meters
from portal.tariffs.models import RegionTariff
from portal.tariffs.queries import Catalogue
from tests.billing.bills import give_readings, india
from tests.factories import NOW, make_holder, make_pool, make_user

Area = scoped_session[Session]
OCTOBER = (india(2026, 10, 1), india(2026, 11, 1))


def _facts(**changes: object) -> Facts:
    facts = {"kwh": Decimal(200), "usual_kwh": Decimal(200), "is_first": False, "is_last": False}
    return Facts(**{**facts, "unsure_seconds": 0, "seconds": 100, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"kwh": Decimal(400)}, []),
        ({"kwh": Decimal("400.001")}, ["high"]),
        ({"kwh": Decimal(60), "usual_kwh": Decimal(20)}, []),  # three times of little is little
        ({"kwh": Decimal(100)}, []),
        ({"kwh": Decimal("99.999")}, ["low"]),
        ({"kwh": Decimal(0)}, ["low", "zero"]),
        ({"usual_kwh": None, "is_first": True}, ["first"]),
        ({"is_last": True}, ["last"]),
        ({"unsure_seconds": 20}, []),
        ({"unsure_seconds": 21}, ["estimated"]),
    ],
)
def test_what_is_odd(changes: dict[str, object], found: list[str]) -> None:
    assert find_exceptions(_facts(**changes), 20) == found


def _calculated(region: str | None = "Pune-West", actor: Actor = SYSTEM) -> BillingRun:
    run = runs.open_run(2026, 10, region, actor=actor, now=NOW)
    while runs.calculate_chunk(run, Catalogue(), 20, NOW):
        pass
    return run


def _issue(run: BillingRun) -> None:
    while runs.issue_chunk(run, Catalogue(), 20, NOW, 21):
        pass


def _items(area: Area) -> dict[int, BillingRunItem]:
    return {
        item.connection_id: item
        for item in area.scalars(select(BillingRunItem).execution_options(populate_existing=True))
    }


def _holders(config: Config, *kwh: str) -> list[int]:
    """A customer for each of these half-hourly uses, all with 0.25 in September and its bill; their connections."""
    found = []
    for each in kwh:
        user = make_holder(since=india(2026, 8, 15))
        assert user.meter_id
        give_readings(user.meter_id, india(2026, 9, 1), india(2026, 10, 1), config, kwh="0.25")
        give_readings(user.meter_id, *OCTOBER, config, kwh=each)
        connection = session.scalar(
            text("SELECT connection_id FROM connections WHERE user_id = :user"), {"user": user.user_id}
        )
        found.append(connection)
    actions.generate_month(2026, 9, actor=SYSTEM, now=NOW)
    return found


def test_a_run_previews_holds_what_is_odd_and_issues_what_was_approved(area: Area, config: Config) -> None:
    usual, high, zero, low = _holders(config, "0.25", "0.9", "0", "0.05")
    run = _calculated()

    items = _items(area)
    assert run.status == "draft"
    assert {each: items[each].exceptions for each in items} == {
        usual: [], high: ["high"], zero: ["low", "zero"], low: ["low"],
    }  # fmt: skip
    assert (items[high].kwh, items[high].usual_kwh) == (Decimal("0.9") * 48 * 31, 360)
    sums = runs.totals(run)
    assert (sums.bills, sums.included, sums.undecided, sums.held) == (4, 1, 3, 0)
    assert area.scalar(select(func.count()).select_from(Invoice).where(Invoice.cycle_start >= OCTOBER[0].date())) == 0

    runs.decide(run.run_id, "issue", connection_id=high, actor=SYSTEM)
    runs.decide(run.run_id, "hold", connection_id=zero, actor=SYSTEM)
    preview = runs.totals(run).included_amount
    runs.approve(run.run_id, by_other=False, actor=SYSTEM, now=NOW)
    _issue(run)

    assert run.status == "issued"
    bills = area.scalars(select(Invoice).where(Invoice.cycle_start >= OCTOBER[0].date())).all()
    assert {bill.connection_id for bill in bills} == {usual, high}
    assert sum(bill.total_cost for bill in bills) == preview
    items = _items(area)
    assert [items[each].state for each in (usual, high, zero, low)] == ["issued", "issued", "ready", "ready"]

    # What was held is decided later, and only that is issued then.
    assert runs.decide(run.run_id, "issue", kind="low", actor=SYSTEM) == 1  # zero is decided: held
    runs.try_again(run.run_id, actor=SYSTEM, now=NOW)
    _issue(run)
    items = _items(area)
    assert [items[each].state for each in (usual, high, zero, low)] == ["issued", "issued", "ready", "issued"]
    assert len(area.scalars(select(Invoice).where(Invoice.cycle_start >= OCTOBER[0].date())).all()) == 3


def test_first_last_estimated_and_missing_are_told(area: Area, config: Config) -> None:
    first = make_holder(since=india(2026, 10, 10))
    last = make_holder(since=india(2026, 8, 1))
    gaps = make_holder(since=india(2026, 8, 1))
    for user in (first, last, gaps):
        assert user.meter_id
        give_readings(user.meter_id, OCTOBER[0], india(2026, 10, 24, 12), config)
    give_readings(first.meter_id or "", india(2026, 10, 24, 12), OCTOBER[1], config)
    meters.unassign(last.user_id, make_pool(), actor=SYSTEM, now=india(2026, 10, 24))

    _calculated()

    by_user = {item.user_id: item for item in _items(area).values()}
    assert by_user[first.user_id].exceptions == ["first"]
    assert by_user[last.user_id].exceptions == ["last"]
    assert (by_user[gaps.user_id].exceptions, by_user[gaps.user_id].unsure_percent) == (["estimated"], 25)


def test_what_cannot_be_billed_is_told_and_tried_again_alone(area: Area, config: Config) -> None:
    [usual] = _holders(config, "0.25")
    stranger = make_holder(since=india(2026, 8, 1), region="Mumbai-North")
    terms = area.get_one(RegionTariff, ("Mumbai-North", "residential"))
    kept = {name: getattr(terms, name) for name in ("region", "category", "tariff_code", "licensee", "options")}
    area.delete(terms)
    area.flush()
    run = _calculated(region=None)
    refused = next(item for item in _items(area).values() if item.connection_id != usual)
    assert (refused.state, refused.code) == ("refused", "NO_TARIFF")
    runs.approve(run.run_id, by_other=False, actor=SYSTEM, now=NOW)
    _issue(run)
    numbers = area.scalars(select(Invoice.invoice_number).where(Invoice.cycle_start >= OCTOBER[0].date())).all()
    assert len(numbers) == 1

    area.add(RegionTariff(**kept))
    area.flush()
    runs.try_again(run.run_id, actor=SYSTEM, now=NOW)
    _issue(run)

    item = _items(area)[refused.connection_id]
    # It is worked out now for the first time, so a person sees it before it is issued.
    assert (item.state, item.code, item.exceptions) == ("ready", None, ["zero", "estimated"])
    runs.decide(run.run_id, "issue", connection_id=item.connection_id, actor=SYSTEM)
    runs.try_again(run.run_id, actor=SYSTEM, now=NOW)
    _issue(run)
    assert _items(area)[refused.connection_id].state == "issued"
    assert area.scalar(select(Invoice.user_id).where(Invoice.invoice_id == item.invoice_id)) == stranger.user_id
    area.rollback()


def test_a_bill_that_is_not_the_one_that_was_seen_is_held(area: Area, config: Config) -> None:
    [connection] = _holders(config, "0.25")
    run = _calculated()
    runs.approve(run.run_id, by_other=False, actor=SYSTEM, now=NOW)
    meter = _items(area)[connection].meter_id
    assert meter
    give_readings(meter, OCTOBER[0], OCTOBER[0] + timedelta(hours=1), config, kwh="1.25")

    _issue(run)

    item = _items(area)[connection]
    assert (item.state, item.exceptions, item.kwh) == ("ready", ["changed"], 374)
    runs.decide(run.run_id, "issue", kind="changed", actor=SYSTEM)
    runs.try_again(run.run_id, actor=SYSTEM, now=NOW)
    _issue(run)
    assert _items(area)[connection].state == "issued"


def test_whoever_calculated_may_not_approve_where_another_must(area: Area, config: Config) -> None:
    _holders(config, "0.25")
    clerk = make_user(role="operator")
    actor = Actor("user", clerk.email, clerk.user_id)
    run = _calculated(actor=actor)

    with pytest.raises(Conflict, match="somebody else"):
        runs.approve(run.run_id, by_other=True, actor=actor, now=NOW)

    runs.approve(run.run_id, by_other=True, actor=SYSTEM, now=NOW)
    assert run.status == "issuing"


def test_a_run_is_one_at_a_time_and_can_be_given_up_before_it_is_approved(area: Area, config: Config) -> None:
    _holders(config, "0.25")
    run = runs.open_run(2026, 10, "Pune-West", actor=SYSTEM, now=NOW)
    with pytest.raises(Conflict, match="not finished"):
        runs.open_run(2026, 10, "Pune-West", actor=SYSTEM, now=NOW)
    runs.open_run(2026, 10, "Pune-East", actor=SYSTEM, now=NOW)
    with pytest.raises(Conflict):
        runs.approve(run.run_id, by_other=False, actor=SYSTEM, now=NOW)  # not calculated
    with pytest.raises(Conflict):
        runs.open_run(2026, 11, "Pune-West", actor=SYSTEM, now=NOW)  # not over

    runs.cancel(run.run_id, actor=SYSTEM, now=NOW)

    assert runs.calculate_chunk(run, Catalogue(), 20, NOW) == 0
    again = _calculated()
    runs.approve(again.run_id, by_other=False, actor=SYSTEM, now=NOW)
    for refused in (runs.cancel, runs.try_again):
        with pytest.raises(Conflict):
            refused(again.run_id, actor=SYSTEM, now=NOW)
    with pytest.raises(Conflict):
        runs.decide(again.run_id, "hold", kind="high", actor=SYSTEM)
    with pytest.raises(Invalid):
        runs.decide(again.run_id, "perhaps", kind="high", actor=SYSTEM)


@pytest.mark.promise(6)
@pytest.mark.promise(10)
def test_two_issues_and_a_direct_run_at_once_make_one_bill_each_and_numbers_without_gaps(
    app: Flask, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "CHUNK", 3)
    monkeypatch.setattr(actions, "CHUNK", 3)
    with app.app_context():
        for _ in range(10):
            make_holder(since=india(2026, 8, 15))
        run_id = _calculated().run_id
        session.execute(update(BillingRunItem).values(exceptions=[]))
        runs.approve(run_id, by_other=False, actor=SYSTEM, now=NOW)
        session.commit()

    def issue() -> None:
        with app.app_context():
            while runs.issue_chunk(runs.get_run(run_id, lock=True), Catalogue(), 20, NOW, 21):
                session.commit()
            session.commit()

    def direct() -> None:
        with app.app_context():
            actions.generate_month(2026, 10, actor=SYSTEM, now=NOW, on_progress=lambda _: session.commit())
            session.commit()

    threads = [threading.Thread(target=each) for each in (issue, direct, issue)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with app.app_context():
        bills = session.scalars(select(Invoice)).all()
        assert len({bill.connection_id for bill in bills}) == len(bills) == 10
        assert sorted(bill.invoice_number for bill in bills) == [f"INV-202610-{n:07}" for n in range(1, 11)]
        assert session.get_one(BillingRun, run_id).status == "issued"


KILLED = """
    import sys, uuid
    from portal import create_app, jobs
    from portal.billing import runs
    from tests.factories import make_config
    import time
    runs.CHUNK = 2
    real = runs._issue
    def slow(*args):
        time.sleep(0.15)
        real(*args)
    runs._issue = slow
    with create_app(make_config(sys.argv[1])).app_context():
        print("begun", flush=True)
        jobs.run(uuid.UUID(sys.argv[2]))
"""


@pytest.mark.promise(10)
def test_a_run_that_is_killed_in_the_middle_goes_on_and_loses_nothing(app: Flask, config: Config) -> None:
    with app.app_context():
        for _ in range(12):
            make_holder(since=india(2026, 8, 15))
        run = _calculated()
        session.execute(update(BillingRunItem).values(exceptions=[]))
        runs.approve(run.run_id, by_other=False, actor=SYSTEM, now=NOW)
        job = jobs.start(billing_steps.ISSUE, {"run_id": str(run.run_id)}, total=12, created_by=None, now=NOW)
        job_id, run_id = job.job_id, run.run_id
        session.commit()
    program = [sys.executable, "-c", dedent(KILLED), config.database_url, str(job_id)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert process.stdout
    process.stdout.readline()
    made = 0
    for _ in range(200):
        with app.app_context():
            made = session.scalar(select(func.count()).select_from(Invoice)) or 0
        if made >= 4:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert 4 <= made < 12

    for _ in range(100):  # the dead one's lock goes when the server sees that its line broke
        with app.app_context():
            if jobs.run(job_id):
                break
        time.sleep(0.1)

    with app.app_context():
        numbers = session.scalars(select(Invoice.invoice_number).order_by(Invoice.invoice_number)).all()
        assert numbers == [f"INV-202610-{n:07}" for n in range(1, 13)]
        assert session.get_one(BillingRun, run_id).status == "issued"
        assert jobs.get_job(job_id).status == "done"
        assert session.scalar(
            select(func.count()).select_from(BillingRunItem).where(BillingRunItem.invoice_id.is_not(None))
        ) == 12  # fmt: skip
