"""A run does what its preview said, whatever the sizes of its chunks, and the preview keeps nobody waiting."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from portal.audit import CLI
from portal.db import db, session
from portal.meters import actions, bulk, life, rehearsal
from tests.conftest import empty_database
from tests.factories import NOW, make_holder, make_pool, make_user

REGIONS = ("Pune-West", "Delhi-North", None)


def world(pool):
    """Stock of a region, a pool with holes, a meter that came back, one that turned faulty in the pool."""
    bulk.provision("MTR-00000003", "MTR-00000004", "Pune-West", pool, actor=CLI, now=NOW)
    bulk.provision("MTR-00000009", "MTR-00000009", "Delhi-North", pool, actor=CLI, now=NOW)
    first = make_holder(region=None, pool=pool)
    make_holder(region="Delhi-North", pool=pool)
    actions.unassign(first.user_id, pool, actor=CLI, now=NOW)
    life.move_meter("MTR-00000005", "faulty", pool, actor=CLI, now=NOW)
    first.closed_at = NOW


def pairs(result):
    return [(row.email, row.meter_id) for row in result.assigned], [(row.email, row.error) for row in result.failed]


def run_in_chunks(pool, size, region=None, limit=None):
    whole, after = bulk.BulkResult(), None
    act = bulk.begin_run(region, actor=CLI, now=NOW)
    while limit is None or whole.total < limit:
        take = size if limit is None else min(size, limit - whole.total)
        chunk = bulk.assign_chunk(pool, region, take, after, act=act, actor=CLI, now=NOW)
        whole.assigned += chunk.assigned
        whole.failed += chunk.failed
        whole.own |= chunk.own
        after = chunk.after
        session.commit()
        if after is None:
            break
    return whole


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    people=st.lists(st.tuples(st.sampled_from(REGIONS), st.booleans()), max_size=14),
    last=st.integers(10, 22),
    size=st.integers(1, 6),
    region=st.sampled_from(("Pune-West", None)),
    limit=st.one_of(st.none(), st.integers(1, 8)),
    cap=st.one_of(st.none(), st.integers(0, 6)),
)
def test_a_run_does_what_its_preview_said_in_chunks_of_any_size(app, people, last, size, region, limit, cap):
    with app.app_context():
        empty_database(app)
        pool = make_pool(last=last)
        world(pool)
        for where, verified in people:
            make_user(region=where).email_verified_at = NOW if verified else None
        session.commit()
        pool.unverified_cap = cap
        shown = rehearsal.rehearse_all(pool, region, limit, now=NOW)
        done = run_in_chunks(pool, size, region, limit)
        assert pairs(done) == pairs(shown)
        assert done.own == shown.own
        session.remove()


def test_a_preview_waits_for_nobody_and_locks_nobody(app):
    with app.app_context():
        make_holder()
        people = [make_user().user_id for _ in range(3)]
        session.commit()
        with db.engine.connect() as other:
            other.execute(text("SET lock_timeout = '1s'"))
            other.execute(text("SELECT FROM users FOR UPDATE"))
            other.execute(text("SELECT FROM pool_source FOR UPDATE"))
            other.execute(text("SELECT FROM free_meters FOR UPDATE"))
            assert len(rehearsal.rehearse_all(make_pool(), now=NOW).assigned) == 3
            other.rollback()
            # In the middle of a walk everything can be locked by others.
            walk = rehearsal.rehearse(make_pool(), now=NOW, size=1)
            next(walk)
            other.execute(text("SET lock_timeout = '1s'"))
            other.execute(text("SELECT FROM users FOR UPDATE"))
            other.execute(text("DELETE FROM free_meters"))
            assert [row.user_id for chunk in walk for row in chunk.assigned] == people[1:]
            other.rollback()


def test_a_preview_is_of_one_moment(app):
    with app.app_context():
        people = [make_user().email for _ in range(3)]
        session.commit()
        walk = rehearsal.rehearse(make_pool(), now=NOW, size=1)
        seen = [row.email for row in next(walk).assigned]
        make_user()
        run_in_chunks(make_pool(), 10)
        seen += [row.email for chunk in walk for row in chunk.assigned]
        assert seen == people


@pytest.mark.usefixtures("area")
def test_stock_of_a_region_is_claimed_once_though_it_still_looks_like_stock():
    pool = make_pool(last=2)
    bulk.provision("MTR-00000001", "MTR-00000002", "Pune-West", pool, actor=CLI, now=NOW)
    assert pool.claim_own("Pune-West", 5) == [1, 2]
    assert pool.claim_own("Pune-West", 5, [1, 2]) == []
    session.rollback()


@pytest.mark.usefixtures("area")
def test_every_assignment_of_a_run_refers_to_its_one_row_of_the_log():
    for _ in range(5):
        make_user()
    run_in_chunks(make_pool(), 2)
    acts = session.scalars(text("SELECT DISTINCT assigned_act FROM meter_assignments")).all()
    assert len(acts) == 1
    what = session.execute(text("SELECT audit_id, action FROM audit_log WHERE action LIKE 'meter.bulk%'")).all()
    assert [tuple(row) for row in what] == [(acts[0], "meter.bulk_started")]
