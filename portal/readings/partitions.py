"""Monthly partitions of readings, made before they are needed."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import text

from portal.db import session
from portal.periods import next_month

MONTHS_AHEAD = 3
# Months of readings older than all partitions that one call moves out of the default partition.
MOVED_AT_ONCE = 12

_MAKE = text("SELECT make_readings_partition(:day)")
_STRAYS = text("""
    SELECT DISTINCT date_trunc('month', read_at AT TIME ZONE 'UTC')::date AS month FROM readings_default
    ORDER BY month LIMIT :limit""")


def make_partitions(now: datetime) -> int:
    """Make the partitions of this month and the next three, and of months that the default partition took readings of.

    Gives how many were made. Those readings move into theirs; nothing waits longer than two seconds for it: then it
    raises sqlalchemy's OperationalError (lock timeout), and the next call goes on. The caller commits.
    """
    session.execute(text("SET LOCAL lock_timeout = '2s'"))
    months = [now.date().replace(day=1)]
    while len(months) <= MONTHS_AHEAD:
        months.append(date(*next_month(months[-1].year, months[-1].month), 1))
    months += session.scalars(_STRAYS, {"limit": MOVED_AT_ONCE})
    made = [session.scalar(_MAKE, {"day": month}) for month in months]
    session.execute(text("SET LOCAL lock_timeout = 0"))
    return made.count(True)
