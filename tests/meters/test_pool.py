"""What the pool draws from the range, however METER_FIRST and METER_LAST are moved: every number comes, none twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from portal.audit import CLI
from portal.db import session
from portal.meters import actions, bulk, pool, rehearsal, stats
from tests.factories import NOW, make_pool, make_user


def assign(**range_):
    given = actions.assign(make_user().user_id, make_pool(**range_), how="admin", actor=CLI, now=NOW)
    return int(given.meter_id[4:])


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(pool, "BLOCK", 4)


@pytest.mark.promise(2)
@pytest.mark.usefixtures("area", "small_blocks")
@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param([(21, 30), (1, 30)], id="the start is lowered"),
        pytest.param([(1, 10), (1, 30)], id="the end is raised"),
        pytest.param([(1, 30), (1, 5), (1, 30)], id="the end is lowered and raised again"),
        pytest.param([(1, 6), (21, 30), (1, 30)], id="the start is raised and lowered again"),
        pytest.param([(21, 30), (1, 10), (1, 30)], id="another range altogether"),
        pytest.param([(11, 20), (9, 12), (1, 30)], id="both ends, this way and that"),
    ],
)
def test_every_number_of_the_range_can_be_had_however_it_was_moved(ranges):
    taken = [assign(first=first, last=last) for first, last in ranges for _ in range(2)]
    first, last = ranges[-1]
    left = stats.stats(make_pool(first, last)).available_meters
    taken += [assign(first=first, last=last) for _ in range(left)]
    assert sorted(taken) == list(range(first, last + 1))


@pytest.mark.usefixtures("area", "small_blocks")
def test_a_preview_knows_of_a_start_that_was_lowered():
    assert [assign(first=21, last=25) for _ in range(2)] == [21, 22]
    for _ in range(20):
        make_user()
    session.commit()
    where = make_pool(9, 25)
    foretold = rehearsal.rehearse_all(where, now=NOW)
    done = bulk.assign_all(where, actor=CLI, now=NOW)
    assert [(row.user_id, row.meter_id) for row in foretold.assigned] == [
        (row.user_id, row.meter_id) for row in done.assigned
    ]
    assert (len(done.assigned), len(done.failed)) == (15, 5)
    assert session.scalar(text("SELECT count(*) FROM free_meters")) == 0


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40), st.integers(0, 5)), min_size=1, max_size=6))
def test_what_is_drawn_never_has_a_hole(moves):
    drawn, came = (1, 1), set()
    for first, length, blocks in moves:
        last = first + length
        for _ in range(blocks):
            if (block := pool.next_block(drawn, first, last)) is None:
                assert set(range(first, last + 1)) <= came
                break
            (low, high), drawn = block
            assert first <= low <= high <= last
            came |= set(range(low, high + 1))
            assert set(range(*drawn)) <= came
