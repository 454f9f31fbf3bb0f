"""Stock as staff see it: the meters that have a row, by status, region and number, at any size.

Nobody counts ten million meters, and nobody walks over a million of them to show the page after: the tallies know how
many there are in each 100,000 numbers, so only the numbers of the page's own buckets are looked at.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, select

from portal.accounts.models import User
from portal.db import session
from portal.errors import Invalid
from portal.meters.models import STATUSES, Assignment, Meter, Tally
from portal.meters.stats import BUCKET

HIGHEST = 99_999_999
_NUMBER = re.compile(r"(mtr-?)?([0-9]{1,8})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Sought:
    """Which meters: of a status, of a region or of none (`unallocated`), numbered `low` to `high`, both included."""

    status: str | None = None
    region: str | None = None
    unallocated: bool = False
    low: int = 1
    high: int = HIGHEST


def numbers_of(text: str) -> tuple[int, int]:
    """What somebody types for a number, as the lowest and highest key: MTR-00000417, its beginning, or 417 alone.

    Raises Invalid on the field `number`.
    """
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise Invalid.field("number", "Give a number such as MTR-00000013, its beginning, or 13.")
    if match[1] is None:
        return int(match[2]), int(match[2])
    free = 10 ** (8 - len(match[2]))
    low = int(match[2]) * free
    return low, low + free - 1


@dataclass(frozen=True, slots=True)
class Held:
    """A meter, and who holds it."""

    meter: Meter
    user_id: uuid.UUID | None
    name: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class MeterPage:
    """One page of meters by number, and how many there are in all."""

    meters: list[Held]
    total: int


def list_meters(sought: Sought, limit: int = 20, offset: int = 0) -> MeterPage:
    """Meters that have a row, by number; the total is exact."""
    counts = _counts(sought)
    total = sum(count for _bucket, count in counts)
    place = _place(counts, limit, offset)
    if place is None:
        return MeterPage([], total)
    first, last, skipped = place
    near = replace(sought, low=max(sought.low, first * BUCKET), high=min(sought.high, last * BUCKET + BUCKET - 1))
    # The page first, and only then who holds its meters.
    page = select(Meter.meter_key).where(*_conditions(near)).order_by(Meter.meter_key).limit(limit).offset(skipped)
    keys = page.cte("page").prefix_with("MATERIALIZED", dialect="postgresql")
    rows = session.execute(
        select(Meter, User.user_id, User.name, User.email)
        .join(keys, keys.c.meter_key == Meter.meter_key)
        .outerjoin(Assignment, and_(Assignment.meter_key == Meter.meter_key, Assignment.unassigned_at.is_(None)))
        .outerjoin(User, User.user_id == Assignment.user_id)
        .order_by(Meter.meter_key)
    )
    return MeterPage([Held(*row) for row in rows], total)


def count_meters(sought: Sought) -> int:
    """How many meters that have a row there are."""
    return sum(count for _bucket, count in _counts(sought))


def _place(counts: list[tuple[int, int]], limit: int, offset: int) -> tuple[int, int, int] | None:
    """(first bucket, last bucket, how many to pass over there) of the rows after `offset`; None behind the end."""
    first, skipped, reached = None, offset, 0
    for bucket, count in counts:
        if first is None:
            if skipped >= count:
                skipped -= count
                continue
            first = bucket
        reached += count
        if reached >= skipped + limit:
            return first, bucket, skipped
    return None if first is None else (first, counts[-1][0], skipped)


def _counts(sought: Sought) -> list[tuple[int, int]]:
    """(bucket, how many meters sought) of every bucket that has any, lowest first."""
    low, high = sought.low // BUCKET, sought.high // BUCKET
    query = select(Tally.bucket, func.sum(Tally.n)).where(
        Tally.what.in_((sought.status,) if sought.status else STATUSES), Tally.bucket.between(low, high)
    )
    if sought.region is not None or sought.unallocated:
        query = query.where(Tally.region.is_not_distinct_from(sought.region))
    counts = {bucket: int(count) for bucket, count in session.execute(query.group_by(Tally.bucket))}
    # Of the buckets that the numbers cut, the part that is sought.
    for bucket in {low, high} if counts else ():
        start, end = bucket * BUCKET, bucket * BUCKET + BUCKET - 1
        if counts.get(bucket) and (sought.low > max(start, 1) or sought.high < min(end, HIGHEST)):
            part = replace(sought, low=max(start, sought.low), high=min(end, sought.high))
            counts[bucket] = session.scalar(select(func.count()).select_from(Meter).where(*_conditions(part))) or 0
    return sorted((bucket, count) for bucket, count in counts.items() if count > 0)


def _conditions(sought: Sought) -> list[ColumnElement[bool]]:
    # Plan: pk_meters between the numbers; for what is in stock, faulty or retired the partial index of it.
    conditions: list[ColumnElement[bool]] = [Meter.meter_key.between(sought.low, sought.high)]
    if sought.status is not None:
        conditions.append(Meter.status == sought.status)
    if sought.unallocated:
        conditions.append(Meter.region.is_(None))
    elif sought.region is not None:
        conditions.append(Meter.region == sought.region)
    return conditions


Line = Row[Any]
"""A meter for a file: meter_key, meter_id, region, make, model, phase, multiplier, digits, commissioned_at, status,
quarantine_until, and its holder's `email`."""


def iterate_lines(sought: Sought, size: int = 2_000) -> Iterator[list[Line]]:
    """All meters sought, by number, so many at a time; each is a statement of its own, so the caller may end the
    transaction in between."""
    held = and_(Assignment.meter_key == Meter.meter_key, Assignment.unassigned_at.is_(None))
    after = sought.low - 1
    while True:
        rows: list[Line] = list(
            session.execute(
                select(
                    Meter.meter_key,
                    Meter.meter_id,
                    Meter.region,
                    Meter.make,
                    Meter.model,
                    Meter.phase,
                    Meter.multiplier,
                    Meter.digits,
                    Meter.commissioned_at,
                    Meter.status,
                    Meter.quarantine_until,
                    User.email,
                )
                .outerjoin(Assignment, held)
                .outerjoin(User, User.user_id == Assignment.user_id)
                .where(*_conditions(replace(sought, low=after + 1)))
                .order_by(Meter.meter_key)
                .limit(size)
            )
        )
        if rows:
            yield rows
        if len(rows) < size:
            return
        after = rows[-1].meter_key


def count_untouched(first: int, last: int) -> int:
    """Numbers of a range that nobody stocked, assigned or heard of: free, and without a row."""
    return last - first + 1 - count_meters(Sought(low=first, high=last))
