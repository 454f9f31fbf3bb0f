"""What must be so at the end of `make soak`: everything that was acknowledged is there, and nothing is half done."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from tests.soak.load import Told

SETTLE_SECONDS = 180

NOTHING = {
    "meters held twice": "SELECT count(*) - count(DISTINCT meter_id) FROM users WHERE meter_id IS NOT NULL",
    "people who hold two": """
        SELECT count(*) - count(DISTINCT user_id) FROM meter_assignments WHERE unassigned_at IS NULL""",
    "half assigned": """
        SELECT count(*) FROM users u FULL JOIN
            (SELECT user_id, 'MTR-' || lpad(meter_key::text, 8, '0') AS held
             FROM meter_assignments WHERE unassigned_at IS NULL) a USING (user_id)
        WHERE u.meter_id IS DISTINCT FROM a.held""",
    "meters whose status is not what is held": """
        SELECT count(*) FROM meters m WHERE (m.status = 'assigned') <> EXISTS (
            SELECT FROM meter_assignments a WHERE a.meter_key = m.meter_key AND a.unassigned_at IS NULL)""",
    "supplies open without a meter": """
        SELECT count(*) FROM connections c WHERE ends_at IS NULL AND NOT EXISTS (
            SELECT FROM meter_assignments a WHERE a.connection_id = c.connection_id AND a.unassigned_at IS NULL)""",
    "overlapping periods of a meter": """
        SELECT count(*) FROM meter_assignments a JOIN meter_assignments b USING (meter_key)
        WHERE a.assignment_id < b.assignment_id
            AND tstzrange(a.assigned_at, a.unassigned_at) && tstzrange(b.assigned_at, b.unassigned_at)""",
    "held meters that can be claimed": """
        SELECT count(*) FROM free_meters JOIN meter_assignments USING (meter_key) WHERE unassigned_at IS NULL""",
    "free meters that are not in stock": """
        SELECT count(*) FROM free_meters JOIN meters USING (meter_key) WHERE status <> 'in_stock'""",
    "numbers that fell out of the pool": """
        SELECT count(*) FROM generate_series(1, (SELECT next_key - 1 FROM pool_source)) AS number
        LEFT JOIN meters m ON m.meter_key = number
        WHERE NOT EXISTS (SELECT FROM free_meters f WHERE f.meter_key = number)
            AND (m.meter_key IS NULL OR m.status = 'in_stock' AND m.region IS NULL)""",
    "assignments without an act": """
        SELECT count(*) FROM meter_assignments a LEFT JOIN audit_log l ON l.audit_id = a.assigned_act
        WHERE l.audit_id IS NULL""",
    "ends without an act": """
        SELECT count(*) FROM meter_assignments a LEFT JOIN audit_log l ON l.audit_id = a.unassigned_act
        WHERE a.unassigned_at IS NOT NULL AND l.audit_id IS NULL""",
    "people twice in the list of a run": """
        SELECT count(*) FROM (SELECT FROM job_parts, jsonb_array_elements(rows) AS row
                              GROUP BY job_id, row->>0 HAVING count(*) > 1) AS twice""",
    "listed by a run, but not given by it": """
        SELECT count(*) FROM job_parts p JOIN jobs j USING (job_id), jsonb_array_elements(p.rows) AS row
        WHERE j.kind = 'bulk_assign' AND NOT (j.args->>'dry_run')::bool AND row->>-1 = '' AND NOT EXISTS (
            SELECT FROM meter_assignments a WHERE a.user_id = (row->>0)::uuid
                AND a.assigned_act = (j.place->>'act')::bigint
                AND a.meter_key = substr(row->>2, 5)::int)""",
    "given by a run, but not listed": """
        SELECT count(*) FROM meter_assignments a JOIN jobs j ON a.assigned_act = (j.place->>'act')::bigint
        WHERE a.how = 'bulk' AND NOT EXISTS (
            SELECT FROM job_parts p, jsonb_array_elements(p.rows) AS row
            WHERE p.job_id = j.job_id AND row->>0 = a.user_id::text)""",
    "runs whose summary does not add up": """
        SELECT count(*) FROM jobs WHERE result ? 'summary'
            AND (result->'summary'->>'success')::int + (result->'summary'->>'failed')::int
                <> (result->'summary'->>'total')::int""",
    "customers that the tallies count otherwise": """
        SELECT abs((SELECT coalesce(sum(n), 0) FROM tallies WHERE what = 'customer')
            - (SELECT count(*) FROM users WHERE role = 'user' AND closed_at IS NULL))""",
    "holders that the tallies count otherwise": """
        SELECT abs((SELECT coalesce(sum(n), 0) FROM tallies WHERE what = 'holder')
            - (SELECT count(*) FROM users WHERE role = 'user' AND closed_at IS NULL AND meter_id IS NOT NULL))""",
    "assigned meters that the tallies count otherwise": """
        SELECT abs((SELECT coalesce(sum(n), 0) FROM tallies WHERE what = 'assigned')
            - (SELECT count(*) FROM meters WHERE status = 'assigned'))""",
    "meters whose usage is not the sum of their readings": """
        SELECT count(*) FROM
            (SELECT meter_key, sum(value) AS kwh FROM readings WHERE meter_key BETWEEN 5000000 AND 5999999 GROUP BY 1) r
            FULL JOIN
            (SELECT meter_key, sum(import_kwh) AS kwh FROM usage_daily
             WHERE meter_key BETWEEN 5000000 AND 5999999 GROUP BY 1) u
            USING (meter_key)
        WHERE r.kwh IS DISTINCT FROM u.kwh""",
}


def check(url: str, told: Told) -> int:
    """Compare what was told with what is there, and print it; gives how many things are wrong."""
    with psycopg.connect(url, autocommit=True) as database:
        unsettled = settle(database)
        faults = {"jobs that did not end": unsettled} if unsettled else {}
        for what, statement in NOTHING.items():
            if found := _number(database, statement):
                faults[what] = found
        faults |= {what: found for what, found in _lost(database, told).items() if found}
    if told.surprises:
        faults["answers that no caller should get"] = len(told.surprises)
        print(*sorted(set(told.surprises))[:20], sep="\n")
    print(f"acknowledged: {told.line()}, {len(told.taken)} taken back, {len(told.runs)} bulk runs")
    print("answers: " + ", ".join(f"{what}: {count}" for what, count in sorted(told.answers.items())))
    for what, count in faults.items():
        print(f"FAULT: {what}: {count}")
    return len(faults)


def settle(database: psycopg.Connection[Any]) -> int:
    """Wait until the worker has done what was left; gives how many jobs did not end."""
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until:
        left = _number(database, "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')")
        if not left and not _number(database, "SELECT count(*) FROM usage_touched"):
            return 0
        time.sleep(1)
    return _number(database, "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')")


def _lost(database: psycopg.Connection[Any], told: Told) -> dict[str, int]:
    there = dict(database.execute("SELECT email, meter_id FROM users WHERE email LIKE 'soak%'").fetchall())
    # A bulk run may have served somebody who was told that no meter could be had.
    changed = [
        email
        for email, (_id, meter) in told.people.items()
        if email not in told.touched and meter is not None and there.get(email) != meter
    ]
    acts = database.execute(
        "SELECT user_id::text, meter_key, unassigned_at IS NOT NULL FROM meter_assignments"
    ).fetchall()
    given = {(user_id, f"MTR-{key:08d}") for user_id, key, _ended in acts}
    ended = {(user_id, f"MTR-{key:08d}") for user_id, key, ended in acts if ended}
    stored = {
        (f"MTR-{key:08d}", at)
        for key, at in database.execute("""
            SELECT meter_key, to_char(read_at AT TIME ZONE 'Asia/Kolkata', 'YYYY-MM-DD"T"HH24:MI:SS') || '+05:30'
            FROM readings WHERE meter_key BETWEEN 5000000 AND 5999999""")
    }
    return {
        "people lost": len(told.people.keys() - there.keys()),
        "people who hold something else than they were told": len(changed),
        "given by an admin and not in the history": len(told.given - given),
        "taken back by an admin and not in the history": len(told.taken - ended),
        "readings lost": len(told.readings - stored),
    }


def _number(database: psycopg.Connection[Any], statement: str) -> int:
    row = database.execute(statement).fetchone()  # type: ignore[arg-type]
    return int(row[0]) if row else 0
