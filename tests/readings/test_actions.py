"""Taking readings in: counted once, corrected, refused or held, and none lost."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, scoped_session

from portal.config import Config
from portal.meters import holding
from portal.periods import Period
from portal.readings import actions, queries
from portal.readings.incoming import Unreadable
from tests.factories import NOW
from tests.readings.feed import IST, QUARTER, counts, daily_of, fetch, readings_of, refresh, row, series, store

pytestmark = pytest.mark.usefixtures("area")
YESTERDAY = NOW - timedelta(days=1)
DAY = Period(YESTERDAY, NOW)


@pytest.mark.promise(4)
def test_sent_again_is_a_duplicate_and_changes_nothing(config: Config) -> None:
    rows = series(YESTERDAY, 40)
    assert counts(store(rows, config)) == (40, 0, [])
    before = readings_of()
    refresh()
    assert counts(store(rows, config)) == (0, 40, [])
    assert counts(store(list(reversed(rows)) + rows, config)) == (0, 80, [])
    assert readings_of() == before
    assert refresh() == 0


@pytest.mark.promise(4)
def test_a_corrected_value_moves_its_totals_and_the_old_one_stays_on_record(config: Config) -> None:
    store(series(YESTERDAY, 8), config, source="key:1")
    refresh()
    assert queries.sum_energy(13, DAY, IST).import_kwh == Decimal("0.036")
    result = store([row(energy_kwh=Decimal("0.5"))], config, NOW + timedelta(hours=1), source="key:2")
    assert counts(result) == (1, 0, [])
    assert queries.sum_energy(13, DAY, IST).import_kwh == Decimal("0.535")
    assert daily_of() == {"2026-11-14": Decimal("0.036")}
    refresh()
    assert daily_of() == {"2026-11-14": Decimal("0.535")}
    assert fetch("SELECT starts_at, import_kwh FROM usage_hourly ORDER BY starts_at LIMIT 1") == [
        (YESTERDAY, Decimal("0.509"))
    ]
    assert queries.sum_energy(13, DAY, IST).import_kwh == Decimal("0.535")
    assert fetch("SELECT value, version, source, received_at, superseded_at FROM reading_versions") == [
        (Decimal("0.001"), 1, "key:1", NOW, NOW + timedelta(hours=1))
    ]
    assert fetch("SELECT value, version, source FROM readings WHERE read_at = :at", at=YESTERDAY) == [
        (Decimal("0.5"), 2, "key:2")
    ]


@pytest.mark.promise(4)
def test_the_old_batch_sent_again_does_not_undo_a_correction(config: Config) -> None:
    first, second = row(energy_kwh=Decimal(1)), row(energy_kwh=Decimal(2))
    for batch, outcome in (([first], (1, 0)), ([second], (1, 0)), ([first], (0, 1)), ([first, second, first], (0, 3))):
        assert counts(store(batch, config))[:2] == outcome
    assert [value for _, _, value, _ in readings_of()] == [2]
    assert fetch("SELECT value FROM reading_versions") == [(1,)]


@pytest.mark.promise(4)
@pytest.mark.parametrize("times", [1, 3])
def test_several_values_for_one_key_in_one_batch(config: Config, times: int) -> None:
    batch = [row(energy_kwh=Decimal(number)) for number in (1, 2, 2, 3, 1)]
    assert counts(store(batch, config)) == (3, 2, [])
    for _ in range(times):
        assert counts(store(batch, config)) == (0, 5, [])
    assert [(value, version) for _, _, value, version in readings_of()] == [(3, 3)]
    assert fetch("SELECT version, value FROM reading_versions ORDER BY version") == [(1, 1), (2, 2)]
    refresh()
    assert daily_of() == {"2026-11-14": Decimal(3)}


@pytest.mark.promise(4)
@pytest.mark.parametrize("shuffle", range(5))
def test_with_seq_any_order_ends_the_same(config: Config, shuffle: int) -> None:
    rows = [
        row(timestamp=YESTERDAY + QUARTER * place, energy_kwh=Decimal(place + seq), seq=seq)
        for place in range(10)
        for seq in range(4)
    ]
    wild = rows * 2
    random.Random(shuffle).shuffle(wild)
    for start in range(0, len(wild), 7):
        store(wild[start : start + 7], config)
    assert [value for _, _, value, _ in readings_of()] == [place + 3 for place in range(10)]


def test_a_correction_of_the_interval_alone_counts(config: Config) -> None:
    store([row(interval_seconds=900)], config)
    assert counts(store([row(interval_seconds=1800)], config)) == (1, 0, [])
    assert queries.sum_energy(13, DAY, IST).covered_seconds == 1800


def test_export_beside_import(config: Config) -> None:
    both = row(export_kwh=Decimal("0.1"))
    assert counts(store([both, both], config)) == (1, 1, [])
    assert counts(store([row(export_kwh=Decimal("0.2"))], config)) == (1, 0, [])
    energy = queries.sum_energy(13, DAY, IST)
    assert (energy.import_kwh, energy.export_kwh, energy.covered_seconds) == (Decimal("0.25"), Decimal("0.2"), 900)


def test_one_register_reading_is_stored_and_makes_no_usage(config: Config) -> None:
    store([row(register_kwh=Decimal("48213.4"))], config)
    assert queries.sum_energy(13, DAY, IST).import_kwh == 0
    refresh()
    assert (daily_of(), queries.sum_energy(13, DAY, IST).import_kwh) == ({}, 0)
    assert queries.find_latest(13, DAY).register_kwh == Decimal("48213.4")


def test_one_bad_row_never_loses_the_good_ones(config: Config) -> None:
    batch = [
        row(timestamp=YESTERDAY),
        Unreadable("UNREADABLE", "A reading is a JSON object."),
        row(meter_id="nonsense"),
        row(energy_kwh=Decimal("NaN")),
        row(timestamp=YESTERDAY + QUARTER),
        row(meter_id="MTR-99999999"),
        row(timestamp=NOW + timedelta(days=400)),
        row(timestamp=YESTERDAY, energy_kwh=Decimal("0.250")),
    ]
    result = store(batch, config)
    assert (result.accepted, result.duplicates) == (2, 1)
    assert [(each.index, each.code) for each in result.rejected] == [
        (1, "UNREADABLE"),
        (2, "BAD_METER_ID"),
        (3, "NOT_FINITE"),
        (5, "QUARANTINED_OUTSIDE_RANGE"),
        (6, "QUARANTINED_FUTURE"),
    ]
    assert len(readings_of()) == 2


def test_a_batch_of_nothing_and_of_nothing_good(config: Config) -> None:
    assert counts(store([], config)) == (0, 0, [])
    assert counts(store([row(meter_id="x")], config)) == (0, 0, ["BAD_METER_ID"])


def test_what_is_held_for_staff_is_held_once(config: Config) -> None:
    batch = [row(meter_id="MTR-99999999"), row(meter_id="MTR-99999999"), row(energy_kwh=Decimal("1e400"))]
    for _ in range(2):
        assert counts(store(batch, config, source="key:7"))[2] == [
            "QUARANTINED_OUTSIDE_RANGE",
            "QUARANTINED_OUTSIDE_RANGE",
            "QUARANTINED_IMPLAUSIBLE",
        ]
    held = fetch("SELECT code, meter_id, source, read_at, payload::json->>'energyKwh' FROM quarantine ORDER BY code")
    assert held == [
        ("QUARANTINED_IMPLAUSIBLE", "MTR-00000013", "key:7", YESTERDAY, "1E+400"),
        ("QUARANTINED_OUTSIDE_RANGE", "MTR-99999999", "key:7", YESTERDAY, "0.25"),
    ]
    assert readings_of() == []


def test_retired_meters_and_time_before_commissioning(config: Config, area: scoped_session[Session]) -> None:
    holding.hear_of([13, 14])
    area.execute(text("UPDATE meters SET status = 'retired' WHERE meter_key = 13"))
    area.execute(text("UPDATE meters SET commissioned_at = :at WHERE meter_key = 14"), {"at": YESTERDAY})
    area.commit()
    result = store(
        [
            row(),
            row(meter_id="MTR-00000014", timestamp=YESTERDAY - timedelta(seconds=1)),
            row(meter_id="MTR-00000014", timestamp=YESTERDAY),
        ],
        config,
    )
    assert counts(result) == (1, 0, ["QUARANTINED_RETIRED", "QUARANTINED_BEFORE_COMMISSIONING"])


def test_a_meter_that_nobody_holds_or_heard_of_is_taken(config: Config) -> None:
    store([row(meter_id="MTR-00004711")], config)
    assert fetch("SELECT meter_key, status FROM meters") == [(4711, "in_stock")]


def test_what_a_reading_tells_beside_is_kept_as_told(config: Config) -> None:
    store([row(voltage=Decimal("230.10"), status="ok", reading_id="abc", seq=-(2**63))], config)
    assert fetch("SELECT extra->>'voltage', extra->>'status', reading_id, seq FROM readings") == [
        ("230.10", "ok", "abc", -(2**63))
    ]


@pytest.mark.promise(4)
def test_readings_older_than_every_partition_are_kept_and_moved_into_their_own(config: Config) -> None:
    old = datetime(2013, 1, 31, 18, 30, tzinfo=UTC)
    period = Period(old - timedelta(days=1), old + timedelta(days=2))
    store(series(old, 96), config)
    assert fetch("SELECT count(*) FROM readings_default") == [(96,)]
    assert queries.sum_energy(13, period, IST).import_kwh == Decimal("4.656")
    assert actions.make_partitions(NOW) >= 2
    assert fetch("SELECT count(*) FROM readings_default") == [(0,)]
    assert fetch("SELECT count(*) FROM readings_p2013_01") == [(22,)]
    assert actions.make_partitions(NOW) == 0
    assert counts(store(series(old, 96), config)) == (0, 96, [])
    assert queries.sum_energy(13, period, IST).import_kwh == Decimal("4.656")


def test_partitions_are_made_ahead(config: Config) -> None:
    actions.make_partitions(datetime(2031, 11, 30, 23, 59, tzinfo=UTC))
    made = fetch("SELECT relname FROM pg_class WHERE relname LIKE 'readings_p203%' AND relkind = 'r' ORDER BY 1")
    assert [name for (name,) in made] == [
        "readings_p2031_11",
        "readings_p2031_12",
        "readings_p2032_01",
        "readings_p2032_02",
    ]


@pytest.mark.promise(10)
def test_a_rollback_leaves_nothing(config: Config, area: scoped_session[Session]) -> None:
    actions.store([row(), row(meter_id="MTR-99999999")], source="test", now=NOW, config=config)
    area.rollback()
    for table in ("readings", "quarantine", "usage_touched", "meters"):
        assert fetch(f"SELECT count(*) FROM {table}") == [(0,)]
