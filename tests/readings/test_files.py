"""Files of readings: every row an instant and a Wh, or a reason with its line."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from portal.errors import Invalid
from portal.readings.files import BadLine, LastYear, Line, find_interval, read_lines
from portal.readings.household import energy_kwh
from tests.readings.feed import IST

LONDON = ZoneInfo("Europe/London")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "house.csv"


def read(file: Path, content: str, zone: ZoneInfo = IST, last_year: LastYear | None = None) -> list[Line | BadLine]:
    file.write_text(content)
    return list(read_lines(file, zone, last_year))


def starts(lines: list[Line | BadLine]) -> list[str]:
    return [f"{line.start:%Y-%m-%d %H:%M}" if isinstance(line, Line) else line.reason for line in lines]


def test_local_time_offsets_and_the_heading(file: Path) -> None:
    lines = read(
        file,
        "start,kWh,other\n2026-11-01 00:00,0.219,x\n2026-11-01T00:30:00+05:30,0.241\n2026-10-31T19:30:00Z,1\n",
    )
    assert lines == [
        Line(2, datetime(2026, 10, 31, 18, 30, tzinfo=UTC), Decimal("0.219")),
        Line(3, datetime(2026, 10, 31, 19, 0, tzinfo=UTC), Decimal("0.241")),
        Line(4, datetime(2026, 10, 31, 19, 30, tzinfo=UTC), Decimal("1.000")),
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_without_a_heading_and_with_blank_lines(file: Path, separator: str) -> None:
    lines = read(file, f"2026-11-01 00:00{separator}1\n\n{separator}\n2026-11-01 00:30{separator}2\n")
    assert [line.number for line in lines] == [1, 4]


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    ("text", "kwh"),
    [("0.2190000000000001", "0.219"), ("0.0005", "0.001"), ("0.00049999", "0.000"), ("1e-1", "0.100"), ("0", "0.000")],
)
def test_float_noise_is_rounded_to_the_wh(file: Path, text: str, kwh: str) -> None:
    [line] = read(file, f"2026-11-01 00:00,{text}\n")
    assert isinstance(line, Line)
    assert str(line.kwh) == kwh


def test_rows_that_cannot_be_taken_say_why(file: Path) -> None:
    bad = ["2026-13-01 00:00,1", "soon,1", "2026-11-01,1", "2026-11-01 00:00", "2026-11-01 00:00,",
           "2026-11-01 00:00,a lot", "2026-11-01 00:00,NaN", "2026-11-01 00:00,-1", "2026-11-01 00:00,1e99",
           "0001-01-01 00:00,1"]  # fmt: skip
    lines = read(file, "start,kwh\n" + "\n".join(bad) + "\n2026-11-01 00:00,1\n")
    assert [type(line) for line in lines] == [BadLine] * len(bad) + [Line]
    assert [line.number for line in lines] == list(range(2, len(bad) + 3))


@pytest.mark.promise(8)
def test_the_hour_that_the_clock_skips_and_the_one_that_comes_twice(file: Path) -> None:
    lines = read(file, "".join(f"2026-03-29 {hour:02}:00,1\n" for hour in range(4)), LONDON)
    assert starts(lines) == [
        "2026-03-29 00:00",
        "2026-03-29 01:00 is skipped by the clock of Europe/London",
        "2026-03-29 01:00",
        "2026-03-29 02:00",
    ]
    lines = read(
        file,
        "".join(f"2026-10-25 {time},1\n" for time in ("00:30", "01:00", "01:30", "01:00", "01:30", "02:00")),
        LONDON,
    )
    assert starts(lines) == [
        f"2026-10-{day}" for day in ("24 23:30", "25 00:00", "25 00:30", "25 01:00", "25 01:30", "25 02:00")
    ]


def test_dates_move_into_the_last_twelve_full_months(file: Path) -> None:
    last = LastYear(date(2026, 11, 23))
    content = (
        "2013-10-31 23:30,1\n2013-11-01 00:00,1\n2012-02-29 00:00,1\n2013-01-01T00:00:00+05:30,1\n2014-01-01 00:00,1\n"
    )
    assert starts(read(file, content, IST, last)) == [
        "2026-10-31 18:00",
        "2025-10-31 18:30",
        "29 February is not among the last twelve months",
        "2025-12-31 18:30",
        "another year's row stands at the same time of the last twelve months",
    ]


def test_a_29_february_among_the_last_twelve_months(file: Path) -> None:
    assert starts(read(file, "2012-02-29 12:00,1\n", IST, LastYear(date(2028, 3, 1)))) == ["2028-02-29 06:30"]


def test_the_interval_is_the_most_common_gap(file: Path) -> None:
    file.write_text(
        "start,kwh\n" + "".join(f"2026-11-01 {hour:02}:{minute},1\n" for hour in (1, 2, 5) for minute in ("00", "30"))
    )
    assert find_interval(file, IST) == 1800
    file.write_text("2026-11-01 00:00,1\n")
    with pytest.raises(Invalid, match="--interval"):
        find_interval(file, IST)


def test_gzip_and_files_that_are_none(tmp_path: Path) -> None:
    whole = gzip.compress(b"2026-11-01 00:00,1\n" * 50)
    packed = tmp_path / "house.csv.gz"
    packed.write_bytes(whole)
    assert len(list(read_lines(packed, IST))) == 50
    for broken in (whole[:-12], b"not gzip", whole[:15] + b"\xff\xff\xff" + whole[18:]):
        packed.write_bytes(broken)
        with pytest.raises(Invalid, match="gzip"):
            list(read_lines(packed, IST))
    plain = tmp_path / "house.csv"
    plain.write_bytes(b"\xff\xfe1,2\n")
    with pytest.raises(Invalid, match="UTF-8"):
        list(read_lines(plain, IST))


def test_a_household_is_the_same_for_the_same_seed_and_the_sum_of_its_parts() -> None:
    start = datetime(2026, 11, 14, 18, 30, tzinfo=UTC)
    whole = energy_kwh(1, 13, start, 86_400, IST)
    parts = [energy_kwh(1, 13, start + timedelta(minutes=30 * each), 1800, IST) for each in range(48)]
    assert whole == sum(parts)
    assert whole == energy_kwh(1, 13, start, 86_400, IST)
    assert whole != energy_kwh(2, 13, start, 86_400, IST)
    homes = [energy_kwh(1, key, start, 86_400, IST) for key in range(1, 60)]
    assert 4 < sum(homes) / len(homes) < 14
    assert min(homes) > Decimal("0.5")
    assert min(parts) > 0
