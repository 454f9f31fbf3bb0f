"""`flask meters` about one meter and its holder, as a clerk uses it."""

from __future__ import annotations

import pytest

from portal.meters import queries
from tests.billing.bills import give_readings, india, run
from tests.factories import make_holder, make_user


@pytest.fixture
def flask(app):
    """Run a command; gives (exit code, output)."""

    def run(*words):
        result = app.test_cli_runner().invoke(args=["meters", *words])
        assert "Traceback" not in result.output
        return result.exit_code, result.output

    return run


@pytest.fixture
def asha(act):
    """Somebody of Pune-West who holds MTR-00000001 since 1 September."""
    with act():
        user = make_holder(email="asha@example.com", since=india(2026, 9, 1))
    return user.user_id


def test_assign_dated_back_with_the_opening_register(flask, act):
    with act():
        make_user(email="asha@example.com")
    code, output = flask("assign", "asha@example.com", "--from", "2026-10-01", "--opening", "12.5", "--reason", "paper")
    assert (code, output.strip()) == (0, "asha@example.com → MTR-00000001 (Pune-West) since 2026-10-01 00:00 IST")
    with act():
        [row] = queries.list_assignments(meter_key=1)
        assert (row.assigned_at, str(row.opening_register)) == (india(2026, 10, 1), "12.500000")


def test_unassign_dated_back_to_faulty(flask, act, asha):
    code, output = flask("unassign", "asha@example.com", "--at", "2026-10-01", "--to", "faulty", "--reason", "burnt")
    assert code == 0
    assert output.strip() == "MTR-00000001 was asha@example.com's until 2026-10-01 00:00 IST; it is faulty."
    code, output = flask("history", "MTR-00000001")
    assert [line.split("  ")[1] for line in output.splitlines()] == ["taken back", "assigned"]
    assert "burnt" in output


def test_swap_keeps_the_supply(flask, act, asha):
    words = ("--closing", "1500", "--opening", "0", "--at", "2026-10-15T12:00+05:30", "--to", "quarantine")
    code, output = flask("swap", "asha@example.com", *words)
    assert code == 0
    assert output.splitlines() == [
        "asha@example.com: MTR-00000001 → MTR-00000002 at 2026-10-15 12:00 IST",
        "MTR-00000001: it is in quarantine.",
    ]
    code, output = flask("history", "asha@example.com")
    assert [line.split("  ")[1:3] for line in output.splitlines()] == [
        ["swapped in", "MTR-00000002"],
        ["swapped out", "MTR-00000001"],
        ["assigned", "MTR-00000001"],
    ]
    assert "register 1500 kWh" in output
    with act():
        assert len({row.connection_id for row in queries.list_assignments(user_id=asha)}) == 1


def test_relocate_begins_a_new_supply(flask, act, asha):
    code, output = flask("relocate", "asha@example.com", "Delhi-North", "--reason", "moved house")
    assert code == 0
    assert output.startswith("asha@example.com → MTR-00000002 (Delhi-North) since ")
    assert "MTR-00000001: it is in stock." in output
    with act():
        assert len({row.connection_id for row in queries.list_assignments(user_id=asha)}) == 2


def test_a_status_follows_the_table(flask, act, asha):
    assert flask("status", "MTR-00000009", "retired") == (0, "MTR-00000009: it is retired.\n")
    code, output = flask("status", "MTR-00000009", "in_stock")
    assert (code, output) == (1, "Error: MTR-00000009 is retired; a retired meter never comes back.\n")
    code, output = flask("status", "MTR-00000001", "faulty")
    assert code == 1
    assert "held by somebody" in output


def test_what_is_billed_is_refused_naming_the_bills(flask, act, asha, config):
    with act():
        give_readings("MTR-00000001", india(2026, 9, 1), india(2026, 11, 1), config)
        run(2026, 9)
        run(2026, 10)
    code, output = flask("unassign", "asha@example.com", "--at", "2026-09-20")
    assert code == 1
    assert "INV-202609-0000001, INV-202610-0000001" in output
    code, output = flask("swap", "asha@example.com", "--at", "2026-10-31")
    assert code == 1
    assert "INV-202609" not in output
    assert "INV-202610-0000001" in output
    assert flask("unassign", "asha@example.com", "--at", "2026-11-01")[0] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("unassign", "asha@example.com", "--at", "2099-01-01"), "not in the future"),
        (("unassign", "asha@example.com", "--at", "2026-09-01"), "theirs since"),
        (("unassign", "asha@example.com", "--closing", "lots"), "write 1234.5"),
        (("unassign", "asha@example.com", "--closing", "NaN"), "write 1234.5"),
        (("unassign", "asha@example.com", "--closing=-1"), "shows 6 digits"),
        (("swap", "asha@example.com", "--meter", "MTR-00000001"), "already"),
        (("swap", "asha@example.com", "--meter", "MTR-99999999"), "outside the range"),
        (("relocate", "asha@example.com", "Atlantis"), "Chennai-North"),
        (("relocate", "asha@example.com", "Pune-West"), "swap it"),
        (("history", "MTR-1"), "not a meter number"),
        (("history", "nobody@example.com"), "no user"),
    ],
)
def test_wrong_input_is_told_in_one_line_and_nothing_is_done(flask, act, asha, words, says):
    code, output = flask(*words)
    assert code != 0
    assert says in output
    with act():
        [row] = queries.list_assignments(user_id=asha)
        assert row.unassigned_at is None
