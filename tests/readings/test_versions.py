"""Which of several values for one key is in force, and what stays on record."""

from __future__ import annotations

import itertools
import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.readings.models import Kind
from portal.readings.rules import Told
from portal.readings.versions import History, Version
from tests.factories import NOW


def told(value: str, seq: int | None = None, reading_id: str | None = None) -> Told:
    return Told(0, 13, Kind.IMPORT, NOW, 900, Decimal(value), 0, seq, reading_id, None)


def outcome(*values: Told) -> tuple[str, list[str]]:
    """What is in force at the end, and what is on record beside."""
    history = History(Version(1, values[0], "test", NOW), [])
    for each in values[1:]:
        history.hear(each, "test", NOW)
    numbers = [each.number for each in [history.current, *history.past]]
    assert len(numbers) == len(set(numbers))
    assert history.added == history.past
    ranks = [-1 if each.told.seq is None else each.told.seq for each in [history.current, *history.past]]
    assert ranks[0] == max(ranks)
    return str(history.current.told.value), sorted(str(each.told.value) for each in history.past)


@pytest.mark.promise(4)
def test_a_correction_replaces_and_is_not_undone_by_a_replay() -> None:
    assert outcome(told("1"), told("2")) == ("2", ["1"])
    assert outcome(told("1"), told("2"), told("1")) == ("2", ["1"])
    assert outcome(told("1"), told("2"), told("1"), told("2"), told("1")) == ("2", ["1"])


@pytest.mark.promise(4)
def test_going_back_on_purpose_needs_a_sign() -> None:
    assert outcome(told("1", seq=1), told("2", seq=2), told("1", seq=3)) == ("1", ["1", "2"])
    assert outcome(told("1"), told("2"), told("1", seq=3)) == ("1", ["1", "2"])
    assert outcome(told("1"), told("2"), told("1", seq=3), told("2"), told("1")) == ("1", ["1", "2"])


@pytest.mark.promise(4)
def test_a_value_without_seq_comes_after_all_that_is_known() -> None:
    assert outcome(told("1", 5), told("2")) == ("2", ["1"])
    assert outcome(told("1", 5), told("2"), told("3", 4), told("1", 5)) == ("2", ["1", "3"])
    assert outcome(told("1", 5), told("2"), told("3", 6)) == ("3", ["1", "2"])


@pytest.mark.promise(4)
def test_with_seq_the_order_of_arrival_does_not_matter() -> None:
    values = [told("1", 1), told("2", 2), told("3", 3), told("2", 4)]
    for order in itertools.permutations(values):
        assert outcome(*order)[0] == "2", order


@pytest.mark.promise(4)
def test_a_duplicate_with_a_higher_seq_holds_off_older_values() -> None:
    assert outcome(told("1", 5), told("1", 9), told("2", 7)) == ("1", ["2"])
    assert outcome(told("2", 7), told("1", 9), told("1", 5))[0] == "1"


@pytest.mark.promise(4)
@settings(max_examples=400)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.none() | st.integers(0, 3)),
        min_size=1,
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
def test_the_same_again_in_any_order_changes_nothing(
    parts: list[tuple[int, int | None]], chance: random.Random
) -> None:
    values = [told(str(value), seq) for value, seq in parts]
    again = values * 2
    chance.shuffle(again)
    assert outcome(*values, *again) == outcome(*values)
