"""Taking readings in. Callers commit.

What is acknowledged was stored in the transaction that the caller commits before it answers (promise 10). A row that
cannot be taken costs only itself. Which of several values is in force: see the docstring of `versions`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text

from portal.config import Config
from portal.db import session
from portal.meters import holding
from portal.readings import incoming, rules, staging
from portal.readings.incoming import Row, Unreadable
from portal.readings.models import Kind
from portal.readings.partitions import make_partitions
from portal.readings.rules import Key, Refused, Told
from portal.readings.usage import refresh_meter, refresh_usage
from portal.readings.versions import History

__all__ = ["Rejected", "StoreResult", "make_partitions", "refresh_meter", "refresh_usage", "store"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was not taken: its place in the batch from 0, a code for programs, a sentence for people."""

    index: int
    code: str
    message: str


@dataclass(slots=True)
class StoreResult:
    """What became of a batch: every row is one of the three. A corrected value counts as accepted."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[Rejected] = field(default_factory=list)


# Meters whose readings need a closer look.
_WATCHED = text("""
    SELECT meter_key, status, commissioned_at FROM meters
    WHERE meter_key = ANY (:keys) AND (status = 'retired' OR commissioned_at IS NOT NULL)""")
_PHASES = text("SELECT meter_key, phase FROM meters WHERE meter_key = ANY (:keys)")
_HOLD = text("""
    INSERT INTO quarantine (fingerprint, code, message, meter_id, read_at, payload, source, received_at)
    SELECT fingerprint, code, message, meter_id, read_at, payload, :source, :now
    FROM unnest(CAST(:fingerprint AS bytea[]), CAST(:code AS text[]), CAST(:message AS text[]),
        CAST(:meter_id AS text[]), CAST(:read_at AS timestamptz[]), CAST(:payload AS text[]))
        AS q(fingerprint, code, message, meter_id, read_at, payload)
    ON CONFLICT (fingerprint) DO NOTHING""")


def store(
    rows: Sequence[Row | Unreadable],
    *,
    source: str,
    now: datetime,
    config: Config,
    default_interval: int = rules.DEFAULT_INTERVAL,
) -> StoreResult:
    """Take in a batch, in the order of its rows: validated, stored once each, usage marked for recomputing.

    `source` (at most 40 characters) says who sent it, `default_interval` (seconds) is that of rows that name none.
    Suspicious rows go to quarantine and stand in `rejected` all the same. Call it once a transaction: see `staging`.
    """
    limits = limits_of(config, now)
    told: list[Told] = []
    refused: dict[int, Refused | Unreadable] = {}
    for place, row in enumerate(rows):
        checked = row if isinstance(row, Unreadable) else rules.check(place, row, limits, default_interval)
        if isinstance(checked, list):
            told += checked
        else:
            refused[place] = checked
    told = _without_watched(told, refused)
    told = _without_excess(told, refused, config)
    _hold(rows, refused, source, now, default_interval)
    accepted = settle(told, source, now) if told else set()
    return StoreResult(
        accepted=len(accepted),
        duplicates=len(rows) - len(refused) - len(accepted),
        rejected=[Rejected(place, why.code, why.message) for place, why in sorted(refused.items())],
    )


def limits_of(config: Config, now: datetime) -> rules.Limits:
    """What this portal takes at this instant."""
    return rules.Limits(
        config.meter_first, config.meter_last, now + timedelta(seconds=config.reading_max_ahead_seconds)
    )


def _without_watched(told: list[Told], refused: dict[int, Refused | Unreadable]) -> list[Told]:
    """The values less those of meters that are retired, or were commissioned later; these are added to `refused`."""
    watched = {
        row.meter_key: row for row in session.execute(_WATCHED, {"keys": sorted({each.meter_key for each in told})})
    }
    if not watched:
        return told
    for each in told:
        meter = watched.get(each.meter_key)
        why = rules.check_meter(each, meter.status, meter.commissioned_at) if meter else None
        if why:
            refused[each.row] = why
    return [each for each in told if each.row not in refused]


def _without_excess(told: list[Told], refused: dict[int, Refused | Unreadable], config: Config) -> list[Told]:
    """The values less those beyond what their meters' phases can carry; these are added to `refused`.

    Only what one phase cannot carry makes the database look for meters that have three.
    """
    single, three = config.reading_max_kw_single, config.reading_max_kw_three
    high = [each for each in told if rules.exceeds(each, min(single, three))]
    if not high:
        return told
    found = session.execute(_PHASES, {"keys": sorted({each.meter_key for each in high})})
    phases: dict[int, int] = {row.meter_key: row.phase for row in found}
    for each in high:
        most = three if phases.get(each.meter_key) == 3 else single
        if rules.exceeds(each, most):
            refused[each.row] = rules.beyond(each, most)
    return [each for each in told if each.row not in refused]


def _hold(
    rows: Sequence[Row | Unreadable],
    refused: dict[int, Refused | Unreadable],
    source: str,
    now: datetime,
    default_interval: int,
) -> None:
    held: dict[bytes, tuple[str, str, str, datetime, str]] = {}
    for place, why in refused.items():
        row = rows[place]
        if isinstance(why, Refused) and why.held and isinstance(row, Row):
            # With its interval: what the call's setting was is not known any more when staff look at it.
            payload = incoming.encode(
                msgspec.structs.replace(row, interval_seconds=row.interval_seconds or default_interval)
            )
            fingerprint = hashlib.sha256(f"{why.code} {payload}".encode()).digest()
            held[fingerprint] = (why.code, why.message, row.meter_id, row.timestamp, payload)
    if held:
        # In one order for everybody, so that the same rows from two senders do not block each other.
        fingerprints = sorted(held)
        code, message, meter_id, read_at, payloads = zip(*(held[each] for each in fingerprints), strict=True)
        session.execute(
            _HOLD,
            {
                "fingerprint": fingerprints,
                "code": list(code),
                "message": list(message),
                "meter_id": list(meter_id),
                "read_at": list(read_at),
                "payload": list(payloads),
                "source": source,
                "now": now,
            },
        )


def settle(told: list[Told], source: str, now: datetime) -> set[int]:
    """Store values that were checked; gives the rows of the batch that told something new. Once a transaction."""
    by_key: dict[Key, list[Told]] = {}
    for each in told:
        by_key.setdefault(each.key, []).append(each)
    chains = [by_key[key] for key in sorted(by_key)]
    firsts = [chain[0] for chain in chains]
    several = {
        place
        for place, chain in enumerate(chains)
        if len(chain) > 1 and not all(each.same_as(chain[0]) and each.seq == chain[0].seq for each in chain)
    }
    holding.hear_of(sorted({each.meter_key for each in firsts}))
    staging.note_registers(sorted({each.meter_key for each in firsts if each.kind == Kind.REGISTER}))
    staging.stage(firsts, several)
    known = staging.insert(firsts, source, now)
    accepted = {first.row for place, first in enumerate(firsts) if place not in known}
    different = sorted(several.union(place for place, same in known.items() if not same))
    if different:
        staging.touch(_settle_different(chains, firsts, different, accepted, source, now), now)
    staging.touch_within([each for each in told if each.row in accepted], now)
    return accepted


def _settle_different(
    chains: list[list[Told]], firsts: list[Told], places: list[int], accepted: set[int], source: str, now: datetime
) -> list[Told]:
    """Hear what differs from what is stored, key by key; adds to `accepted`, gives the values whose key changed."""
    current = staging.lock_different(firsts, places)
    # In a new statement, under the locks: what others put on record before they let go of them is seen.
    past = staging.list_past(firsts, list(current)) if current else {}
    histories = []
    changed: list[Told] = []
    for place, version in current.items():
        history = History(version, past.get(place, []))
        for each in chains[place]:
            if history.hear(each, source, now):
                accepted.add(each.row)
                # Usage changes where the old interval lay as well as where the new one lies.
                changed += [version.told, each]
        histories.append(history)
    staging.settle(
        [version for history in histories for version in history.added],
        [history.current for history in histories if history.changed],
        now,
    )
    return changed
