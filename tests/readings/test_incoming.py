"""Bodies as they come: good ones fast, bad rows alone, and nothing that is not JSON."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.readings.incoming import NotJson, Row, Unreadable, cut, decode_many, decode_one

GOOD = b'{"meterId":"MTR-00000013","timestamp":"2026-11-15T06:30:00+05:30","energyKwh":0.1}'
DEEP = b"[" * 100_000 + b"]" * 100_000


def with_value(text: bytes) -> bytes:
    return GOOD.replace(b"0.1}", text + b"}")


@pytest.mark.promise(7)
@pytest.mark.parametrize("text", [b"0.1", b'"0.1"', b"1e-1", b"0.10"])
def test_numbers_never_become_floats(text: bytes) -> None:
    [fast] = decode_many(b"[" + with_value(text) + b"]")
    [slow, _] = decode_many(b"[" + with_value(text) + b", null]")
    for read in (fast, slow):
        assert isinstance(read, Row)
        assert read.energy_kwh == Decimal("0.1")


@pytest.mark.promise(7)
def test_more_digits_than_a_float_holds() -> None:
    row = decode_one(with_value(b"0.1234567890123456789"))
    assert isinstance(row, Row)
    assert str(row.energy_kwh) == "0.1234567890123456789"


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"null", "UNREADABLE"),
        (b"1", "UNREADABLE"),
        (b'"MTR-00000013"', "UNREADABLE"),
        (b"[]", "UNREADABLE"),
        (b"{}", "BAD_METER_ID"),
        (b'{"meterId": 13}', "BAD_METER_ID"),
        (GOOD.replace(b"2026-11-15T06", b"2026-13-45T06"), "BROKEN_TIMESTAMP"),
        (GOOD.replace(b'"2026-11-15T06:30:00+05:30"', b"1763168400"), "BROKEN_TIMESTAMP"),
        (GOOD.replace(b'"2026-11-15T06:30:00+05:30"', b"null"), "BROKEN_TIMESTAMP"),
        (with_value(b"true"), "BAD_NUMBER"),
        (with_value(b"{}"), "BAD_NUMBER"),
        (with_value(b'"a lot"'), "BAD_NUMBER"),
        (with_value('"١٢"'.encode()), "BAD_NUMBER"),
        (with_value(b'"1_5"'), "BAD_NUMBER"),
        (with_value(b'" 1 "'), "BAD_NUMBER"),
        (with_value(b'""'), "BAD_NUMBER"),
        (with_value(b'"' + b"9" * 65 + b'", "x": null, "seq": 1.5'), "BAD_NUMBER"),
        (with_value(b"1e99999999999999999999"), "UNREADABLE"),
        (with_value(b'1, "seq": 1.5'), "BAD_FIELD"),
        (with_value(b'1, "intervalSeconds": "900"'), "BAD_INTERVAL"),
        (with_value(b'1, "status": 7'), "BAD_FIELD"),
        (with_value(b'1, "metadata": {"a": NaN}'), "BAD_FIELD"),
        (with_value(DEEP), "UNREADABLE"),
        (with_value(b'1, "metadata": ' + DEEP), "UNREADABLE"),
        (DEEP, "UNREADABLE"),
    ],
    ids=range(25),
)
def test_a_bad_row_costs_only_itself(bad: bytes, code: str) -> None:
    rows = decode_many(b"[" + GOOD + b",\n" + bad + b" , " + GOOD + b"]")
    assert isinstance(rows[0], Row)
    assert rows[0] == rows[2]
    assert isinstance(rows[1], Unreadable)
    assert rows[1].code == code
    assert decode_one(bad) == rows[1]


@pytest.mark.parametrize("token", [b"NaN", b"Infinity", b"-Infinity"])
def test_bare_tokens_that_many_programs_write_are_read_as_what_they_say(token: bytes) -> None:
    [row] = decode_many(b"[" + with_value(token) + b"]")
    assert isinstance(row, Row)
    assert row.energy_kwh is not None
    assert not row.energy_kwh.is_finite()


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"[", b"[1,]", b"[,1]", b"[1] x", b"[1]]", b"[1}", b"nope", b"[{]", b"[\xff]", b"[" * 100_000, b"[01]",
     b"[" + GOOD + b",", b'[{"a":"b]', b'["\\"]'],
)  # fmt: skip
def test_what_is_not_json_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(NotJson):
        decode_many(body)


@pytest.mark.parametrize("body", [b"{}", b'"a"', b"1", b"null", GOOD])
def test_json_that_is_no_list(body: bytes) -> None:
    with pytest.raises(TypeError):
        decode_many(body)


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b"\n[\t]\r\n"])
def test_an_empty_list_is_a_list(body: bytes) -> None:
    assert decode_many(body) == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(anything, max_size=6), st.sampled_from([(",", ":"), (" , ", " : ")]))
def test_any_list_is_cut_into_its_elements(elements: list[object], separators: tuple[str, str]) -> None:
    body = json.dumps(elements, separators=separators).encode()
    assert [json.loads(each) for each in cut(body)] == elements


@given(st.binary(max_size=40) | st.text(alphabet='[]{},:"\\ 0eN', max_size=30).map(str.encode))
def test_garbage_is_json_or_refused_never_a_fault(body: bytes) -> None:
    with contextlib.suppress(NotJson, TypeError):
        decode_many(body)
    with contextlib.suppress(NotJson):
        decode_one(body)
