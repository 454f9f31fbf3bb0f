"""Bulk runs as jobs: stopped, killed, resumed, undone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from portal import jobs
from portal.audit import CLI, SYSTEM
from portal.db import db, session
from portal.errors import Conflict
from portal.jobs import bulk_assign, bulk_undo, parts, runs
from portal.meters import actions, bulk, history
from portal.meters import stats as meter_stats
from tests.factories import NOW, make_pool, make_user
from tests.readings.feed import row, store


def now():
    return datetime.now(UTC)


def fetch(statement, **values):
    return [tuple(found) for found in session.execute(text(statement), values)]


def crowd(count, region="Pune-West"):
    """So many who wait."""
    for _ in range(count):
        make_user(region=region)
    session.commit()


@pytest.fixture
def begin(app, monkeypatch):
    """A run that is in nobody's hands yet, in chunks of two."""
    monkeypatch.setattr(bulk_assign, "LEAST", 2)
    monkeypatch.setattr(bulk_assign, "MOST", 2)
    monkeypatch.setattr(bulk, "CHUNK", 2)

    def put(*, region=None, limit=None, dry_run=False):
        args = bulk_assign.arguments(region, limit, dry_run=dry_run, actor=SYSTEM)
        waiting = meter_stats.count_waiting(region)
        job = jobs.begin(bulk_assign.KIND, args, total=waiting, created_by=None, now=now())
        session.commit()
        return job.job_id

    return put


def rows_of(job_id):
    tally = parts.Tally.of(jobs.get_job(job_id))
    return [row for number in range(tally.parts) for row in parts.rows_of_part(job_id, number)]


def stop_after(count):
    seen = []

    def listen(job):
        seen.append(1)
        if len(seen) == count:
            jobs.ask_to_stop(job.job_id, now())
            session.commit()

    return listen


def test_a_stopped_run_keeps_and_lists_what_it_did(area, begin):
    crowd(7)
    job_id = begin()
    jobs.run(job_id, on_chunk=stop_after(2))
    job = jobs.get_job(job_id)
    assert (job.status, job.done, job.total) == ("cancelled", 4, 4)
    assert job.result["summary"] == {"success": 4, "failed": 0, "total": 4}
    assert len(rows_of(job_id)) == 4
    assert meter_stats.count_waiting() == 3
    assert fetch("SELECT details->>'success' FROM audit_log WHERE action = 'meter.bulk_assigned'") == [("4",)]
    with pytest.raises(Conflict) as refusal:
        runs.stop(job_id, now=now())
    assert refusal.value.code == "JOB_ENDED"


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_run_that_nobody_has_begun_ends_when_it_is_stopped(area, begin, dry_run):
    crowd(3)
    job_id = begin(dry_run=dry_run)
    runs.stop(job_id, now=now())
    assert jobs.get_job(job_id).status == "cancelled"
    assert meter_stats.count_waiting() == 3
    jobs.run(job_id)
    assert meter_stats.count_waiting() == 3


def test_a_run_is_done_by_one_process_at_a_time(area, begin):
    crowd(3)
    job_id = begin()
    with jobs._alone(job_id) as alone:
        assert alone
        assert jobs.run(job_id) is False
        assert jobs.get_job(job_id).status == "queued"
    assert jobs.run(job_id) is True
    assert jobs.get_job(job_id).status == "done"


@pytest.mark.promise(10)
@pytest.mark.parametrize("killed_in", [1, 2, 3])
def test_a_killed_run_goes_on_behind_its_last_chunk(area, begin, monkeypatch, killed_in):
    crowd(7)
    job_id, real, calls = begin(), bulk.assign_chunk, []

    def killed(*args, **kwargs):
        calls.append(1)
        result = real(*args, **kwargs)
        if len(calls) == killed_in:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(bulk, "assign_chunk", killed)
    with pytest.raises(KeyboardInterrupt):
        jobs.run(job_id)
    session.rollback()
    assert jobs.get_job(job_id).done == 2 * (killed_in - 1)
    jobs.run(job_id)
    listed = Counter(row[0] for row in rows_of(job_id))
    assert set(listed.values()) == {1}
    assert len(listed) == 7
    assert jobs.get_job(job_id).result["summary"] == {"success": 7, "failed": 0, "total": 7}
    assert len(fetch("SELECT DISTINCT assigned_act FROM meter_assignments")) == 1


def test_a_database_that_goes_away_in_the_middle_is_waited_for(area, begin, monkeypatch):
    crowd(5)
    job_id, real, calls = begin(), bulk.assign_chunk, []
    monkeypatch.setattr(jobs, "PAUSE", 0.01)

    def cut(*args, **kwargs):
        result = real(*args, **kwargs)
        calls.append(1)
        if len(calls) == 2:
            with db.engine.connect() as other:
                other.execute(
                    text("""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                            WHERE datname = current_database() AND pid <> pg_backend_pid()""")
                )
        return result

    monkeypatch.setattr(bulk, "assign_chunk", cut)
    assert jobs.run(job_id, patient=True)
    assert jobs.get_job(job_id).result["summary"] == {"success": 5, "failed": 0, "total": 5}
    assert Counter(row[0] for row in rows_of(job_id)).most_common(1)[0][1] == 1


def test_who_was_served_by_somebody_else_meanwhile_is_in_no_list_and_is_told(area, begin):
    crowd(5)
    job_id = begin()
    late = fetch("SELECT user_id FROM users ORDER BY created_at DESC LIMIT 1")[0][0]

    def meanwhile(job):
        if job.done == 2:
            actions.assign(late, make_pool(), how="admin", actor=CLI, now=now())
            session.commit()

    jobs.run(job_id, on_chunk=meanwhile)
    result = jobs.get_job(job_id).result
    assert (result["summary"], result["skipped"]) == ({"success": 4, "failed": 0, "total": 4}, 1)
    assert str(late) not in [row[0] for row in rows_of(job_id)]


def test_the_result_counts_each_region(area, begin, app, monkeypatch):
    monkeypatch.setitem(app.config, "PORTAL", replace(app.config["PORTAL"], meter_last=3))
    crowd(3, "Pune-West")
    crowd(1, None)
    job_id = begin()
    jobs.run(job_id)
    assert jobs.get_job(job_id).result["regions"] == [
        {"region": "Pune-West", "success": 3, "failed": 0},
        {"region": None, "success": 0, "failed": 1},
    ]


# --- undo ---


def a_reading_comes(meter_id, config):
    later = now() + timedelta(hours=1)
    assert store([row(meter_id=meter_id, timestamp=now())], config, now=later).accepted == 1


def served(begin, count=5, region="Pune-West"):
    crowd(count, region)
    job_id = begin()
    jobs.run(job_id)
    session.expire_all()
    return job_id


def stock():
    return fetch("SELECT meter_key, region, status FROM meters ORDER BY meter_key")


@pytest.fixture(params=["at once", "as a job"])
def undo(request, monkeypatch):
    """Undo a run, in one transaction or as a job of the queue."""
    if request.param == "as a job":
        monkeypatch.setattr(bulk_undo, "AT_ONCE", 0)

    def act(job_id):
        job = bulk_undo.start(job_id, actor=CLI, now=now())
        session.commit()
        if not job.has_ended:
            jobs.run(job.job_id)
        session.expire_all()
        return jobs.get_job(job.job_id)

    return act


def test_an_undone_run_leaves_everything_as_it_was_and_both_acts_on_record(area, begin, undo, app, monkeypatch):
    # Whatever rest the utility asks of meters that come back: these never left the stock.
    monkeypatch.setitem(app.config, "PORTAL", replace(app.config["PORTAL"], quarantine_days=30))
    bulk.provision("MTR-00000002", "MTR-00000003", "Pune-West", make_pool(), actor=CLI, now=NOW)
    run = served(begin)
    first = rows_of(run)
    assert undo(run).result["summary"] == {"success": 5, "failed": 0, "total": 5}
    assert meter_stats.count_waiting() == 5
    assert stock() == [(key, "Pune-West" if key in (2, 3) else None, "in_stock") for key in range(1, 6)]
    assert fetch("SELECT count(*) FROM connections WHERE ends_at IS NULL") == [(0,)]
    act, undone = fetch("SELECT DISTINCT assigned_act, unassigned_act FROM meter_assignments")[0]
    actions_of = dict(fetch("SELECT audit_id, action FROM audit_log"))
    assert (actions_of[act], actions_of[undone]) == ("meter.bulk_started", "meter.bulk_undone")
    assert [event.what for event in history.of_meter(1)][:2] == ["taken_back", "assigned"]
    again = begin()
    jobs.run(again)
    assert [row[:5] for row in rows_of(again)] == [row[:5] for row in first]


def test_while_something_rests_on_one_nothing_is_undone_and_each_is_named(area, begin, undo, config):
    run = served(begin)
    meters = [row[2] for row in rows_of(run)]
    a_reading_comes(meters[0], config)
    holder = fetch("SELECT user_id FROM users WHERE meter_id = :meter", meter=meters[3])[0][0]
    actions.unassign(holder, make_pool(), actor=CLI, now=now())
    session.commit()
    try:
        job = undo(run)
        reasons = {each["meter_id"]: each["error"] for each in job.result["failed"]}
        assert job.result["refused"] is True
        assert job.result["summary"]["success"] == 0
    except Conflict as refusal:
        session.rollback()
        reasons = {each.field: each.message for each in refusal.fields if refusal.code == "JOB_HAS_DEPENDENTS"}
    assert set(reasons) == {meters[0], meters[3]}
    assert "Readings" in reasons[meters[0]]
    assert "taken back" in reasons[meters[3]]
    assert fetch("SELECT count(*) FROM users WHERE meter_id IS NOT NULL") == [(4,)]


def test_a_bill_stands_in_the_way(area, begin, undo):
    run = served(begin, 2)
    assert "rests on it" in _refusals_with_bill(run, undo)


def _refusals_with_bill(run, undo):
    # The reasons are asked of the invoices alone, so a row of theirs is enough; triggers of bills are not at stake.
    session.execute(text("SET session_replication_role = replica"))
    connection = fetch("SELECT connection_id, user_id FROM connections LIMIT 1")[0]
    columns = fetch("""
        SELECT column_name, data_type FROM information_schema.columns
        WHERE table_name = 'invoices' AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'""")
    given = {"connection_id": connection[0], "user_id": connection[1], "status": "pending", "invoice_number": "B-1"}
    kinds = {
        "uuid": "00000000-0000-0000-0000-000000000001", "date": "2026-11-01", "jsonb": "{}",
        "timestamp with time zone": "2026-11-01",
    }  # fmt: skip
    values = {name: given.get(name, kinds.get(kind, "0")) for name, kind in columns}
    if "period_end" in values:
        values["period_end"] = "2026-12-01"
    session.execute(
        text(f"INSERT INTO invoices ({', '.join(values)}) VALUES ({', '.join(':' + name for name in values)})"), values
    )
    session.execute(text("SET session_replication_role = origin"))
    session.commit()
    try:
        return undo(run).result["failed"][0]["error"]
    except Conflict as refusal:
        session.rollback()
        return refusal.fields[0].message


def test_a_run_is_undone_once_and_only_a_run_that_gave_meters(area, begin, undo):
    run = served(begin, 2)
    undone = undo(run)
    with pytest.raises(Conflict) as refusal:
        undo(run)
    assert refusal.value.code == "JOB_UNDONE"
    session.rollback()
    crowd(1)
    preview = begin(dry_run=True)
    jobs.run(preview)
    running = begin()
    for other in (undone.job_id, preview, running):
        with pytest.raises(Conflict) as refusal:
            undo(other)
        assert refusal.value.code == "JOB_NOT_UNDOABLE"
        session.rollback()


def test_what_comes_to_rest_on_one_after_the_look_leaves_that_one(area, begin, monkeypatch, config):
    monkeypatch.setattr(bulk_undo, "AT_ONCE", 0)
    run = served(begin, 5)
    last = rows_of(run)[-1][2]
    job = bulk_undo.start(run, actor=CLI, now=now())
    session.commit()

    def reading_comes(job):
        if parts.Tally.of(job).success == 2:
            a_reading_comes(last, config)

    jobs.run(job.job_id, on_chunk=reading_comes)
    result = jobs.get_job(job.job_id).result
    assert result["summary"] == {"success": 4, "failed": 1, "total": 5}
    assert [each["meter_id"] for each in result["failed"]] == [last]
    assert fetch("SELECT meter_id FROM users WHERE meter_id IS NOT NULL") == [(last,)]


@pytest.mark.promise(10)
def test_a_killed_undo_goes_on(area, begin, monkeypatch):
    monkeypatch.setattr(bulk_undo, "AT_ONCE", 0)
    run = served(begin, 5)
    job = bulk_undo.start(run, actor=CLI, now=now())
    session.commit()

    def killed(job):
        if parts.Tally.of(job).success == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.run(job.job_id, on_chunk=killed)
    session.rollback()
    jobs.run(job.job_id)
    assert jobs.get_job(job.job_id).result["summary"] == {"success": 5, "failed": 0, "total": 5}
    assert meter_stats.count_waiting() == 5
