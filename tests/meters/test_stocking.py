"""Stock from a file: every row checked before any is written, and the same file again changes nothing."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from portal.audit import CLI, AuditEntry
from portal.db import session
from portal.errors import Invalid
from portal.meters import actions, bulk, life, stock_rows
from portal.meters.models import FreeMeter, Meter
from portal.meters.stocking import RowsRefused, Stocked, stock_file
from tests.factories import NOW, make_holder, make_pool, make_user

POOL = make_pool(1, 1_000)
HEADING = "meter,region,make,model,phase,multiplier,commissioned\n"


def stock(content, pool=POOL):
    return stock_file(content.encode() if isinstance(content, str) else content, pool, actor=CLI, now=NOW)


def refused(content):
    """What is wrong, by line."""
    with pytest.raises(RowsRefused) as error:
        stock(content)
    return {row.line: list(row.errors) for row in error.value.checked.wrong}


def test_a_file_stocks_meters_with_all_that_it_says(area):
    done = stock(HEADING + "MTR-00000007,Pune-East,Secure,Premier 300,3,1.000,2026-11-01\nmtr-00000008,,,,,,\n")
    area.commit()
    assert done == Stocked(new=2, changed=0, unchanged=0)
    meter = area.get(Meter, 7)
    assert (meter.region, meter.make, meter.model, meter.phase) == ("Pune-East", "Secure", "Premier 300", 3)
    assert meter.multiplier == 1
    assert meter.commissioned_at.isoformat() == "2026-10-31T18:30:00+00:00"
    plain = area.get(Meter, 8)
    assert (plain.status, plain.region, plain.make, plain.phase, plain.multiplier) == ("in_stock", None, None, 1, 1)
    [entry] = area.scalars(text("SELECT details FROM audit_log WHERE action = 'meter.stocked_by_file'"))
    assert entry == {"new": 2, "changed": 0, "unchanged": 0}


def test_the_same_file_again_changes_nothing_and_a_corrected_one_only_its_corrections(area):
    lines = HEADING + "MTR-00000007,Pune-East,Secure,,1,1,2026-11-01\nMTR-00000008,Pune-East,Secure,,1,1,\n"
    stock(lines)
    area.commit()
    assert stock(lines) == Stocked(0, 0, 2)
    assert stock(lines.replace("08,Pune-East", "08,Delhi-North")) == Stocked(0, 1, 1)


def test_a_wrong_row_keeps_every_row_from_being_written(area):
    errors = refused(
        HEADING
        + "MTR-00000007,Pune-East,Secure,,1,1,\n"
        + "MTR-00001001,Atlantis,,,2,0,2027-01-01\n"
        + "MTR-7,,,,,,\n"
        + "MTR-00000007,,,,,,\n"
        + "MTR-00000009,\n"
    )
    area.rollback()
    assert errors.keys() == {3, 4, 5, 6}
    assert [message.split(":")[0] for message in errors[3][1:]] == ["region", "phase", "multiplier", "commissioned"]
    assert "outside the range" in errors[3][0]
    assert "is not a meter number" in errors[4][0]
    assert "stands in line 2 already" in errors[5][0]
    assert "2 cells" in errors[6][0]
    assert area.scalars(text("SELECT meter_key FROM meters")).all() == []
    assert area.scalars(text("SELECT audit_id FROM audit_log WHERE action = 'meter.stocked_by_file'")).all() == []


@pytest.mark.parametrize(
    ("cell", "column"),
    [
        ("NaN", "multiplier"),
        ("1e99", "multiplier"),
        ("-1", "multiplier"),
        ("1.0001", "multiplier"),
        ("Infinity", "multiplier"),
        ("10001", "multiplier"),
        ("1_0", "multiplier"),
        ("40", "multiplier"),  # nothing weighs by it yet
        ("1.5", "multiplier"),
        ("27/11/2026", "commissioned"),
        ("1999-12-31", "commissioned"),
        ("2026-11-16", "commissioned"),
        ("10000-01-01", "commissioned"),
        ("x" * 61, "make"),
        ("٣", "phase"),
        ("3", "digits"),
        ("pune-east", "region"),
    ],
)
def test_a_cell_that_cannot_be_is_told_beside_its_row(area, cell, column):
    errors = refused(f"meter,{column}\nMTR-00000007,{cell}\n")
    assert [message.split(":")[0] for message in errors[2]] == [column]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (HEADING.encode(), "no row"),
        (b"number,place\n1,2\n", "must name the columns"),
        (b"meter,colour\nMTR-00000001,red\n", "no column"),
        (b"meter,make,make\nMTR-00000001,a,b\n", "twice"),
        (b"meter,make\nMTR-00000001,\xff\n", "UTF-8"),
        (b"PK\x03\x04\x00\x00", "not a CSV file"),
        (b'meter,make\nMTR-00000001,"open\n', "quotation mark"),
        (b"meter\n" + b"MTR-00000001\n" * (stock_rows.MOST_ROWS + 1), "in parts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_file_of_stock_is_told(area, content, words):
    with pytest.raises(Invalid) as error:
        stock(content)
    [wrong] = error.value.fields
    assert wrong.field == "file"
    assert words in wrong.message


def test_other_separators_marks_and_line_ends_are_read(area):
    content = '\ufeffMeter ID;Region;Make\r\n\r\nMTR-00000007; Pune-East ;"Secure; Ltd"\r\nMTR-00000008;;\'=1+1\r\n'
    assert stock(content) == Stocked(2, 0, 0)
    assert area.get(Meter, 7).make == "Secure; Ltd"
    assert area.get(Meter, 8).make == "=1+1"


def test_a_column_that_is_not_there_changes_nothing(area):
    stock(HEADING + "MTR-00000007,Pune-East,Secure,P,3,1,2026-11-01\n")
    assert stock("meter,model\nMTR-00000007,Q\n") == Stocked(0, 1, 0)
    meter = area.get(Meter, 7)
    assert (meter.region, meter.make, meter.model, meter.phase) == ("Pune-East", "Secure", "Q", 3)


def test_what_bears_on_a_bill_stays_while_somebody_holds_the_meter(area):
    make_holder(meter_id="MTR-00000007", pool=POOL)
    area.commit()
    errors = refused("meter,region,phase,make\nMTR-00000007,Pune-East,3,Secure\n")
    assert errors[2] == ["MTR-00000007 is held by somebody; its region and phase cannot be changed."]
    area.rollback()
    assert stock("meter,region,multiplier,make\nMTR-00000007,Pune-West,1,Secure\n") == Stocked(0, 1, 0)
    assert area.get(Meter, 7).status == "assigned"


def test_nothing_of_a_retired_meter_changes(area):
    stock("meter\nMTR-00000007\n")
    life.move_meter("MTR-00000007", "retired", POOL, actor=CLI, now=NOW)
    area.commit()
    assert refused("meter,make\nMTR-00000007,Secure\n")[2] == ["MTR-00000007 is retired; nothing of it can be changed."]
    area.rollback()
    assert stock("meter,make\nMTR-00000007,\n") == Stocked(0, 0, 1)


def test_stock_of_a_region_goes_to_that_region_alone_and_can_go_back_to_all(area):
    pool = make_pool(1, 1)
    stock("meter,region\nMTR-00000001,Pune-East\n", pool)
    area.commit()
    west, east = make_user(region="Pune-West"), make_user(region="Pune-East")
    area.commit()
    with pytest.raises(Exception, match="No free meter"):
        actions.assign(west.user_id, pool, how="admin", actor=CLI, now=NOW)
    area.rollback()
    stock("meter,region\nMTR-00000001,\n", pool)
    area.commit()
    assert actions.assign(west.user_id, pool, how="admin", actor=CLI, now=NOW).meter_id == "MTR-00000001"
    area.rollback()
    assert actions.assign(east.user_id, pool, how="admin", actor=CLI, now=NOW).meter_id == "MTR-00000001"


def test_a_refused_file_leaves_what_can_be_claimed_as_it_was(area):
    make_holder(pool=POOL)
    area.commit()
    free = area.scalars(text("SELECT count(*) FROM free_meters")).one()
    refused("meter\nMTR-00000500\nMTR-x\n")
    area.rollback()
    assert area.scalars(text("SELECT count(*) FROM free_meters")).one() == free
    assert area.get(FreeMeter, 500) is not None


def test_files_and_registrations_at_once_neither_stop_each_other_nor_give_a_meter_twice(app):
    pool = make_pool(1, 60)
    content = ("meter,make\n" + "".join(f"MTR-{key:08},Secure\n" for key in range(60, 0, -1))).encode()
    with app.app_context():
        users = [make_user(region="Pune-West").user_id for _ in range(40)]
        session.commit()
    faults: list[BaseException] = []

    def work(act):
        try:
            with app.app_context():
                act()
                session.commit()
        except BaseException as fault:  # whatever it is fails the test below
            faults.append(fault)

    acts = [
        *(lambda user=user: actions.assign(user, pool, how="admin", actor=CLI, now=NOW) for user in users),
        *[lambda: stock_file(content, pool, actor=CLI, now=NOW)] * 6,
        *[lambda: bulk.provision("MTR-00000001", "MTR-00000060", None, pool, actor=CLI, now=NOW)] * 6,
    ]
    threads = [threading.Thread(target=work, args=(act,)) for act in acts[::2] + acts[1::2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with app.app_context():
        held = session.scalars(text("SELECT meter_id FROM users WHERE meter_id IS NOT NULL")).all()
        assert len(set(held)) == len(held) == 40
        free = session.scalars(text("SELECT count(*) FROM free_meters")).one()
        assert free == 20
        assert session.query(AuditEntry).filter_by(action="meter.stocked_by_file").count() == 6
