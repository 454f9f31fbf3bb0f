"""Assignments from a file: every row looked at before any is written, nothing done twice."""

from __future__ import annotations

import csv
import io
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from portal import jobs
from portal.audit import CLI
from portal.db import session
from portal.errors import Conflict, Invalid
from portal.jobs import bulk_csv, bulk_undo, parts
from portal.meters import actions, bulk, bulk_rows, life
from portal.meters.pool import Pool
from tests.factories import NOW, make_holder, make_pool, make_user

pytestmark = pytest.mark.usefixtures("area")


def sheet(*lines, heading="user,meter,region,date"):
    return ("\n".join([heading, *lines]) + "\n").encode()


def look(content):
    job = bulk_csv.look(content, "list.csv", actor=CLI, now=datetime.now(UTC))
    session.commit()
    return job


def errors_of(job):
    return {int(row["line"]): row["error"] for row in job.result["failed_assignments"]}


def run(job):
    done = bulk_csv.launch(job.job_id, actor=CLI, now=datetime.now(UTC))
    session.expire_all()
    return jobs.get_job(done.job_id)


def held():
    found = session.execute(text("SELECT email, meter_id, region FROM users WHERE meter_id IS NOT NULL ORDER BY email"))
    return [tuple(row) for row in found]


def test_a_file_gives_named_meters_and_free_ones_with_regions_and_dates():
    a, b, c = (make_user(email=f"{name}@example.com", region="Pune-West") for name in "abc")
    session.commit()
    looked = look(
        sheet(f"{a.email},MTR-00000050,,2026-02-01", f" {b.user_id} ,mtr-00000051,Delhi-North,", "C@Example.com")
    )
    assert looked.result["summary"] == {"success": 3, "failed": 0, "total": 3}
    assert held() == []
    done = run(looked)
    assert done.result["summary"] == {"success": 3, "failed": 0, "total": 3}
    assert held() == [
        ("a@example.com", "MTR-00000050", "Pune-West"),
        ("b@example.com", "MTR-00000051", "Delhi-North"),
        (c.email, "MTR-00000001", "Pune-West"),
    ]
    [(since, how, act)] = session.execute(
        text("SELECT assigned_at, how, assigned_act FROM meter_assignments WHERE meter_key = 50")
    )
    assert (since, how) == (datetime(2026, 1, 31, 18, 30, tzinfo=UTC), "csv")
    assert session.scalars(text("SELECT DISTINCT assigned_act FROM meter_assignments")).all() == [act]


def test_every_wrong_row_is_told_beside_it_and_nothing_is_written():
    pool = make_pool()
    good = make_user(email="good@example.com", region="Pune-West")
    make_holder(email="holder@example.com", meter_id="MTR-00000009", region="Pune-West")
    make_user(email="staff@example.com", role="operator")
    make_user(email="closed@example.com").closed_at = NOW
    life.move_meter("MTR-00000030", "faulty", pool, actor=CLI, now=NOW)
    bulk.provision("MTR-00000031", "MTR-00000031", "Delhi-North", pool, actor=CLI, now=NOW)
    before = make_holder(email="before@example.com", meter_id="MTR-00000040", since=NOW - timedelta(days=9))
    actions.unassign(before.user_id, pool, actor=CLI, now=NOW)
    people = [make_user(email=f"p{number}@example.com", region="Pune-West").email for number in range(14)]
    session.commit()
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date()
    lines = {
        2: (f"{good.email},MTR-00000060,,", None),
        3: ("nobody@example.com,,,", "no such customer"),
        4: ("not-an-id,,,", "neither an e-mail address nor an id"),
        5: ("staff@example.com,,,", "only customers"),
        6: ("closed@example.com,,,", "only customers"),
        7: ("holder@example.com,MTR-00000061,,", "holds MTR-00000009 already"),
        8: (f"{people[0]},MTR-00000009,,", "held by somebody else"),
        9: (f"{people[1]},MTR-00000030,,", "faulty"),
        10: (f"{people[2]},MTR-00000031,,", "stocked for Delhi-North"),
        11: (f"{people[3]},MTR-99999999,,", "outside the range"),
        12: (f"{people[4]},13,,", "not a meter number"),
        13: (f"{people[5]},,Atlantis,", "Chennai-North"),
        14: (f"{people[6]},,,{tomorrow}", "in the future"),
        15: (f"{people[7]},,,31-01-2026", "2026-01-31"),
        16: (f"{people[8]},,,1999-01-01", "after 2000"),
        17: (f'{people[9]},"=HYPERLINK(""x"")",,', "formula"),
        18: (f"{people[10]},,,,extra", "5 cells"),
        19: (f"{people[11]},MTR-00000060,,", "line 2"),
        20: (f"{good.email},,,", "line 2"),
        21: (f"{good.user_id},,,", "line 2"),
        22: (f"{people[12]},MTR-00000040,,2026-11-10", "taken until"),
        23: ("before@example.com,MTR-00000062,,2026-11-10", "held a meter until"),
        24: (",MTR-00000063,,", "give the e-mail"),
        25: ("holder@example.com,MTR-00000009,,", None),
    }
    # Lines 7 and 25 are the same holder: the second of them is what is told.
    looked = look(sheet(*(line for line, _ in lines.values())))
    told = errors_of(looked)
    for number, (_line, says) in lines.items():
        if number == 25:
            assert "line 7" in told[number]
        elif says is None:
            assert number not in told
        else:
            assert says in told[number], (number, told.get(number))
    assert held() == [("holder@example.com", "MTR-00000009", "Pune-West")]
    with pytest.raises(Conflict) as refusal:
        run(looked)
    assert refusal.value.code == "ROWS_REFUSED"
    session.rollback()
    rows = list(csv.DictReader(io.StringIO("".join(bulk_csv.corrected_lines(looked)))))
    assert [row["error"] != "" for row in rows] == [number in told for number in lines]
    assert rows[15]["meter"] == '\'=HYPERLINK("x")'  # a spreadsheet must not run it


def test_the_corrected_file_taken_again_doubles_nothing():
    users = [make_user(email=f"u{number}@example.com") for number in range(4)]
    session.commit()
    first = [f"{users[0].email},MTR-00000070,,2026-02-01", f"{users[1].email},,,"]
    run(look(sheet(*first)))
    state = held()
    again = look(sheet(*first))
    assert (again.result["summary"]["failed"], again.result["already"]) == (0, 2)
    assert run(again).result["already"] == 2
    assert held() == state
    more = run(look(sheet(*first, f"{users[2].email},,,", heading="user,meter,region,date")))
    assert (more.result["already"], len(held())) == (2, 3)
    with_errors = look(sheet(f"{users[3].email},,,,what was wrong", heading="user,meter,region,date,error"))
    assert with_errors.result["summary"]["failed"] == 0
    assert session.scalar(text("SELECT count(*) FROM meter_assignments")) == 3


def test_another_day_or_region_than_what_is_held_is_told_not_passed_over():
    make_holder(email="holder@example.com", meter_id="MTR-00000009", region="Pune-West")
    session.commit()
    assert "since 2026-11-15" in errors_of(look(sheet("holder@example.com,MTR-00000009,,2026-02-01")))[2]
    assert "in Pune-West" in errors_of(look(sheet("holder@example.com,MTR-00000009,Delhi-North,")))[2]


def test_asking_twice_is_one_run():
    make_user(email="a@example.com")
    session.commit()
    looked = look(sheet("a@example.com,,,"))
    assert run(looked).job_id == run(looked).job_id


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfuser;meter\r\na@example.com;MTR-00000007\r\n",
        b"sep=;\r\nUser;Meter;;\r\na@example.com;MTR-00000007;;\r\n",
        b"E-mail\tMeter id\na@example.com\tMTR-00000007\n",
        b'"user","meter"\n\n"a@example.com","MTR-00000007"\n\n',
    ],
)
def test_what_spreadsheets_write_is_read(content):
    make_user(email="a@example.com", region=None)
    session.commit()
    run(look(content))
    assert held() == [("a@example.com", "MTR-00000007", None)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"user\n", "no row under it"),
        (b"name,meter\nx,y\n", "user"),
        (b"user,colour\na@example.com,red\n", "colour"),
        (b"user,user\na,b\n", "twice"),
        ("user\nä@example.com\n".encode("latin-1"), "UTF-8"),
        ("user\na@example.com\n".encode("utf-16"), "UTF-8"),
        (b'user\n"a@example.com\n', "quotation mark"),
        (b"PK\x03\x04\x00\x00", "CSV"),
    ],
)
def test_what_is_no_such_file_is_told_in_one_line(content, says):
    with pytest.raises(Invalid) as refusal:
        look(content)
    assert [each.field for each in refusal.value.fields] == ["file"]
    assert says in refusal.value.message


def test_too_many_rows_are_refused(monkeypatch):
    monkeypatch.setattr(bulk_rows, "MOST_ROWS", 2)
    with pytest.raises(Invalid, match="more than 2 rows"):
        look(sheet("a@example.com", "b@example.com", "c@example.com"))


def test_rows_without_a_meter_are_refused_when_the_stock_is_not_enough(app, monkeypatch):
    from dataclasses import replace

    monkeypatch.setitem(app.config, "PORTAL", replace(app.config["PORTAL"], meter_last=3))
    people = [make_user(region="Pune-West").email for _ in range(4)]
    session.commit()
    looked = look(sheet(f"{people[3]},MTR-00000002", *people[:3], heading="user,meter"))
    assert "No free meter" in errors_of(looked)[5]
    assert set(errors_of(looked)) == {5}


def test_a_row_that_was_overtaken_is_left_with_the_reason_and_its_meter_stays_free():
    people = [make_user(email=f"p{number}@example.com", region="Pune-West") for number in range(3)]
    session.commit()
    looked = look(sheet(f"{people[0].email},MTR-00000070", f"{people[1].email},MTR-00000071", heading="user,meter"))
    actions.assign(people[1].user_id, make_pool(), "MTR-00000072", how="admin", actor=CLI, now=datetime.now(UTC))
    actions.assign(people[2].user_id, make_pool(), "MTR-00000070", how="admin", actor=CLI, now=datetime.now(UTC))
    session.commit()
    done = run(looked)
    assert done.result["summary"] == {"success": 0, "failed": 2, "total": 2}
    assert "held by somebody else" in errors_of(done)[2]
    assert "holds MTR-00000072" in errors_of(done)[3]
    late = make_user(region="Pune-West")
    actions.assign(late.user_id, make_pool(), "MTR-00000071", how="admin", actor=CLI, now=datetime.now(UTC))
    session.commit()


@pytest.mark.promise(10)
def test_a_killed_run_of_a_file_goes_on_and_can_be_undone(monkeypatch):
    from portal.jobs import bulk_assign

    monkeypatch.setattr(bulk_assign, "LEAST", 2)
    monkeypatch.setattr(bulk_csv.bulk_csv, "CHUNK", 2)
    people = [make_user(region="Pune-West").email for _ in range(7)]
    make_holder(email="holder@example.com", meter_id="MTR-00000009")
    session.commit()
    looked = look(sheet(*people, "holder@example.com", heading="user"))
    job = bulk_csv.launch(looked.job_id, actor=CLI, now=datetime.now(UTC), here=False)

    def killed(job):
        if job.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.run(job.job_id, on_chunk=killed)
    session.rollback()
    jobs.run(job.job_id)
    session.expire_all()
    result = jobs.get_job(job.job_id).result
    assert (result["summary"]["total"], result["already"]) == (8, 1)
    assert len(held()) == 8
    lines = [row[5] for number in range(20) for row in parts.rows_of_part(job.job_id, number)]
    assert sorted(lines, key=int) == [str(number) for number in range(2, 10)]
    undo = bulk_undo.start(job.job_id, actor=CLI, now=datetime.now(UTC))
    session.commit()
    assert undo.result["summary"]["success"] == 7
    assert [row[0] for row in held()] == ["holder@example.com"]


def test_a_meter_that_goes_between_the_look_and_the_lock_is_told_and_the_others_are_given(app, monkeypatch):
    people = [make_user(email=f"p{number}@example.com", region="Pune-West") for number in range(3)]
    session.commit()
    looked = look(sheet(f"{people[0].email},MTR-00000070", f"{people[1].email},MTR-00000071", heading="user,meter"))
    real, calls = Pool.hold_source, []

    def overtaken(pool):
        if not calls:
            calls.append(1)
            thread = threading.Thread(target=somebody_takes_it)
            thread.start()
            thread.join()
        return real(pool)

    def somebody_takes_it():
        with app.app_context():
            actions.assign(
                people[2].user_id, make_pool(), "MTR-00000070", how="admin", actor=CLI, now=datetime.now(UTC)
            )
            session.commit()

    monkeypatch.setattr(Pool, "hold_source", overtaken)
    done = run(looked)
    assert done.result["summary"] == {"success": 1, "failed": 1, "total": 2}
    assert "held by somebody else" in errors_of(done)[2]
    assert [row[:2] for row in held()] == [("p1@example.com", "MTR-00000071"), ("p2@example.com", "MTR-00000070")]
