"""Assignment in numbers, from tallies that are kept while rows change: exact at the moment of the read, at any size.

Nothing here counts users or meters: a sum over some thousand small rows does (ADR 12).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import func, select, text

from portal.accounts.queries import DEFAULT_ZONE
from portal.db import session
from portal.meters import rules
from portal.meters.models import STATUSES, Assignment, Meter, Tally
from portal.meters.pool import Pool
from portal.periods import iterate_days, local_date

BUCKET = 100_000
DAY_ZERO = date(2000, 1, 1)
DAYS_KEPT = 400
SOON_DAYS = 30
OUT_OF_USE = ("assigned", "faulty", "retired")
_FOLD_LOCK = 7_406_005


@dataclass(frozen=True, slots=True)
class Stats:
    """Assignment in numbers. Only customers whose account is open count; staff hold no meters."""

    total_users: int
    users_with_meters: int
    meters_by_region: list[tuple[str | None, int]]
    available_meters: int
    resting_meters: int
    first: str
    last: str
    last_assigned_at: datetime | None

    @property
    def users_without_meters(self) -> int:
        """Customers who wait."""
        return self.total_users - self.users_with_meters

    @property
    def free_meters(self) -> int:
        """What can be claimed now: available, and not in quarantine."""
        return self.available_meters - self.resting_meters

    @property
    def assignment_percentage(self) -> float:
        """With a meter, in per cent of all customers, one decimal; 0 when there are none. Not money, so a float."""
        return round(100 * self.users_with_meters / self.total_users, 1) if self.total_users else 0.0


def stats(pool: Pool) -> Stats:
    """Counts of now. `meters_by_region` counts assigned meters by their holders' region, largest first."""
    rows = session.execute(
        select(Tally.what, Tally.region, func.sum(Tally.n))
        .where(Tally.what.in_(("customer", "holder")))
        .group_by(Tally.what, Tally.region)
    )
    by_region = {(what, region): int(count) for what, region, count in rows}
    held = [(region, count) for (what, region), count in by_region.items() if what == "holder" and count]
    return Stats(
        total_users=sum(count for (what, _), count in by_region.items() if what == "customer"),
        users_with_meters=sum(count for _, count in held),
        meters_by_region=sorted(held, key=lambda each: (-each[1], each[0] or "")),
        available_meters=pool.last - pool.first + 1 - _count_in_range(pool, OUT_OF_USE),
        resting_meters=_count_in_range(pool, ("quarantine",)),
        first=rules.meter_id(pool.first),
        last=rules.meter_id(pool.last),
        last_assigned_at=session.scalar(select(func.max(Assignment.assigned_at))),
    )


def _count_in_range(pool: Pool, statuses: tuple[str, ...]) -> int:
    """Meters of the range with one of the statuses: whole buckets, less what lies outside in the first and last."""
    low, high = pool.first // BUCKET, pool.last // BUCKET
    whole = session.scalar(select(func.sum(Tally.n)).where(Tally.what.in_(statuses), Tally.bucket.between(low, high)))
    outside = session.scalar(
        select(func.count()).where(
            Meter.status.in_(statuses),
            Meter.meter_key.between(low * BUCKET, pool.first - 1)
            | Meter.meter_key.between(pool.last + 1, high * BUCKET + BUCKET - 1),
        )
    )
    return int(whole or 0) - (outside or 0)


@dataclass(frozen=True, slots=True)
class RegionCounts:
    """One region (None: without one): meters by status, customers who hold one, and those who wait."""

    region: str | None
    meters: dict[str, int]
    holders: int
    waiting: int

    @property
    def total(self) -> int:
        """All meters that are known there."""
        return sum(self.meters.values())

    @property
    def free(self) -> int:
        """Meters in stock for this region, or, without a region, known and unallocated."""
        return self.meters["in_stock"]


def by_region() -> list[RegionCounts]:
    """Every region that has meters or customers, by name; those without a region last."""
    rows = session.execute(
        select(Tally.region, Tally.what, func.sum(Tally.n))
        .where(Tally.what.in_((*STATUSES, "customer", "holder")))
        .group_by(Tally.region, Tally.what)
    )
    found: dict[str | None, Counter[str]] = {}
    for region, what, count in rows:
        found.setdefault(region, Counter())[what] += int(count)
    return [
        RegionCounts(
            region,
            {status: counts[status] for status in STATUSES},
            counts["holder"],
            counts["customer"] - counts["holder"],
        )
        for region, counts in sorted(found.items(), key=lambda each: (each[0] is None, each[0] or ""))
        if any(counts.values())
    ]


def count_waiting(region: str | None = None) -> int:
    """How many customers wait for a meter."""
    query = select(func.sum(Tally.n).filter(Tally.what == "customer"), func.sum(Tally.n).filter(Tally.what == "holder"))
    query = query.where(Tally.what.in_(("customer", "holder")))
    customers, holders = session.execute(query.where(Tally.region == region) if region else query).one()
    return int(customers or 0) - int(holders or 0)


def count_users(role: str | None = None) -> int:
    """All users, or those of a role, closed accounts included."""
    roles = (role,) if role else ("user", "operator", "admin")
    return int(session.scalar(select(func.sum(Tally.n)).where(Tally.what.in_(roles))) or 0)


def count_meters(status: str | None = None, region: str | None = None) -> int:
    """Meters that have a row, of a status and a region."""
    query = select(func.sum(Tally.n)).where(Tally.what.in_((status,) if status else STATUSES))
    return int(session.scalar(query.where(Tally.region == region) if region else query) or 0)


@dataclass(frozen=True, slots=True)
class DayCount:
    """A local day: meters given and taken back."""

    day: date
    given: int
    taken: int


def assigned_a_day(now: datetime, days: int = 30) -> list[DayCount]:
    """The last `days` local days up to today, oldest first; a day without any stands there too."""
    today = local_date(now, DEFAULT_ZONE)
    first = today - timedelta(days=days - 1)
    rows = session.execute(
        select(Tally.what, Tally.bucket, func.sum(Tally.n))
        .where(Tally.what.in_(("given", "taken")), Tally.bucket >= (first - DAY_ZERO).days)
        .group_by(Tally.what, Tally.bucket)
    )
    counts = {(what, DAY_ZERO + timedelta(days=bucket)): int(count) for what, bucket, count in rows}
    return [
        DayCount(day, counts.get(("given", day), 0), counts.get(("taken", day), 0))
        for day in iterate_days(first, today + timedelta(days=1))
    ]


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the free meters run out, if the next days are like the last ones."""

    free: int
    a_day: float
    runs_out_on: date | None
    soon: bool


def forecast(pool: Pool, now: datetime, days: int = SOON_DAYS) -> Forecast:
    """From what was given less what came back in the last `days` local days; `soon`: none left, or within `days`."""
    counts = assigned_a_day(now, days)
    a_day = sum(each.given - each.taken for each in counts) / days
    free = stats(pool).free_meters
    left = free / a_day if a_day > 0 else None
    soon = free <= 0 or (left is not None and left <= days)
    # Beyond a century it says nothing.
    runs_out = local_date(now, DEFAULT_ZONE) + timedelta(days=int(left)) if left is not None and left < 36_500 else None
    return Forecast(free, a_day, runs_out, soon)


# Rows come one statement at a time; now and then they are made one row for each count again.
_MANY = text("SELECT count(*) > 2 * count(DISTINCT (what, region, bucket)) + 500 FROM tallies")
_FOLD = text("""
    WITH gone AS (DELETE FROM tallies RETURNING what, region, bucket, n)
    INSERT INTO tallies (what, region, bucket, n)
    SELECT what, region, bucket, sum(n) FROM gone
    WHERE what NOT IN ('given', 'taken') OR bucket >= :oldest
    GROUP BY what, region, bucket HAVING sum(n) <> 0""")


def fold(now: datetime) -> bool:
    """Make the tallies few again, if they are many; one at a time. No count changes, but of days over a year ago."""
    if not session.scalar(_MANY) or not session.scalar(
        text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _FOLD_LOCK}
    ):
        return False
    session.execute(_FOLD, {"oldest": (now.date() - DAY_ZERO).days - DAYS_KEPT})
    return True


def recount() -> None:
    """Count everything anew, for a database that was filled past the triggers. Nobody has to wait for it."""
    session.execute(text("SELECT recount_tallies()"))
