"""Which readings a figure rests on, in one number: a bill keeps it, and anybody with the readings can make it again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from portal.db import session

# A line a reading, oldest first: kind, start in seconds since 1970, seconds, kWh, quality, version. Plan: pk_readings.
_DIGEST = text("""
    SELECT count(*) AS readings, count(*) FILTER (WHERE version > 1) AS corrected,
        encode(sha256(convert_to(coalesce(string_agg(
            kind || ' ' || extract(epoch FROM read_at)::bigint || ' ' || interval_seconds || ' ' || value || ' '
                || quality || ' ' || version, E'\\n' ORDER BY kind, read_at), ''), 'UTF8')), 'hex') AS sha256
    FROM readings
    WHERE meter_key = :meter_key AND kind IN (1, 2) AND read_at >= :start AND read_at < :end""")


@dataclass(frozen=True, slots=True)
class ReadingsDigest:
    """How many intervals in force there were, how many of them corrected values, and the SHA-256 over all of them."""

    readings: int
    corrected: int
    sha256: str


def digest_readings(meter_key: int, start: datetime, end: datetime) -> ReadingsDigest:
    """The intervals of a meter that began in `[start, end)`, each with the version in force."""
    row = session.execute(_DIGEST, {"meter_key": meter_key, "start": start, "end": end}).one()
    return ReadingsDigest(row.readings, row.corrected, row.sha256)
