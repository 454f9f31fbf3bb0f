"""`flask billing`: runs and checks from the command line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session, scoped_session

from portal.billing.models import Invoice
from portal.cli import worker
from portal.meters.models import Connection
from tests.billing.bills import india, run
from tests.factories import make_holder

Act = Callable[[], AbstractContextManager[scoped_session[Session]]]


def test_generate_makes_the_bills_once_and_verify_checks_them(app: Flask, act: Act) -> None:
    with act():
        make_holder(since=india(2026, 8, 1))
        make_holder(since=india(2026, 8, 1), region="Delhi-South")
    runner = app.test_cli_runner()
    month = ["--year", "2026", "--month", "9"]

    one = runner.invoke(args=["billing", "generate", *month, "--region", "Delhi-South"])
    rest = runner.invoke(args=["billing", "generate", *month])
    again = runner.invoke(args=["billing", "generate", *month])

    assert one.output == "2026-09 in Delhi-South: 1 bill made, 0 failed.\n"
    assert rest.output == "2026-09: 1 bill made, 0 failed, 1 had theirs already.\n"
    assert again.output == "2026-09: 0 bills made, 0 failed, 2 had theirs already.\n"
    assert [one.exit_code, rest.exit_code, again.exit_code] == [0, 0, 0]
    checked = runner.invoke(args=["billing", "verify"])
    assert "2 bills: 2 come out to the paisa, 0 do not, 0 have readings that came later." in checked.output
    with act() as session:
        number = session.scalars(select(Invoice.invoice_number).limit(1)).one()
    assert "1 bill: 1 come out" in runner.invoke(args=["billing", "verify", number]).output


def test_a_failure_is_listed_and_told_by_the_exit_code(app: Flask, act: Act) -> None:
    with act() as session:
        make_holder(since=india(2026, 8, 1))
        session.scalars(select(Connection)).one().tariff_category = "lighthouse"

    result = app.test_cli_runner().invoke(args=["billing", "generate", "--year", "2026", "--month", "9"])

    assert result.exit_code == 1
    assert "NO_TARIFF: No lighthouse tariff is set for Pune-West." in result.output
    assert "0 bills made, 1 failed" in result.output


def test_what_cannot_be_billed_is_one_clear_line(app: Flask) -> None:
    runner = app.test_cli_runner()
    for args, words in (
        (["generate", "--year", "2999", "--month", "1"], "January 2999 is not over yet"),
        (["generate", "--year", "2026", "--month", "13"], "from 1 to 12"),
        (["generate", "--year", "2026", "--month", "1", "--region", "Atlantis"], "no region 'Atlantis'"),
        (["verify", "INV-1"], "no bill with the number INV-1"),
    ):
        result = runner.invoke(args=["billing", *args])
        assert result.exit_code == 1, args
        assert words in result.output
        assert "Traceback" not in result.output


def test_overdue_counts_what_it_moves(app: Flask) -> None:
    assert app.test_cli_runner().invoke(args=["billing", "overdue"]).output == "0 bills became overdue.\n"


def test_the_worker_lets_bills_fall_due(app: Flask, act: Act) -> None:
    with act():
        make_holder(since=india(2025, 8, 1))
        run(2025, 9, now=india(2025, 10, 1))

    with act():
        assert worker.let_bills_fall_due() == 1
    with act() as session:
        assert session.scalars(select(Invoice.status)).one() == "overdue"
