"""Dates of a customer's supply, where bills rest on them: acts on meters that are dated back go through here."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import select

from portal.accounts import queries as accounts
from portal.audit import Actor
from portal.billing.models import Invoice
from portal.db import session
from portal.errors import Conflict
from portal.meters import actions as meters
from portal.meters import queries as meter_queries
from portal.meters import swap as swaps
from portal.meters.holding import Assigned
from portal.meters.models import Assignment, Connection
from portal.meters.pool import Pool
from portal.meters.swap import Swapped


def move_start(user_id: uuid.UUID, start: datetime, *, actor: Actor, now: datetime) -> Assigned:
    """Move the start of the user's open assignment and connection back to `start` (UTC), as `meters.move_start` does.

    A bill is final and the only one of its cycle: once the cycle in which supply began is billed, energy before that
    beginning would be on no bill. Raises Conflict PERIOD_BILLED naming the bill, and what `meters.move_start` raises.
    """
    held = _hold(user_id)
    if held is not None and (bills := _bills_since(held.connection_id, None)):
        raise Conflict(
            f"The supply is billed since its beginning, first by {bills[0]}; its start cannot move any more.",
            "PERIOD_BILLED",
        )
    return meters.move_start(user_id, start, actor=actor, now=now)


def unassign(user_id: uuid.UUID, pool: Pool, *, at: datetime | None = None, **details: Any) -> Assigned:
    """Take a meter back as `meters.unassign` does; dated back, not into what is billed: Conflict PERIOD_BILLED."""
    _check_unbilled(user_id, at)
    return meters.unassign(user_id, pool, at=at, **details)


def swap(
    user_id: uuid.UUID, pool: Pool, meter_id: str | None = None, *, at: datetime | None = None, **details: Any
) -> Swapped:
    """Swap a meter as `meters.swap` does; dated back, not into what is billed: Conflict PERIOD_BILLED."""
    _check_unbilled(user_id, at)
    return swaps.swap(user_id, pool, meter_id, at=at, **details)


def relocate(
    user_id: uuid.UUID,
    region: str,
    pool: Pool,
    meter_id: str | None = None,
    *,
    at: datetime | None = None,
    **details: Any,
) -> Assigned:
    """Move a customer as `meters.relocate` does; dated back, not into what is billed: Conflict PERIOD_BILLED."""
    _check_unbilled(user_id, at)
    return swaps.relocate(user_id, region, pool, meter_id, at=at, **details)


def _check_unbilled(user_id: uuid.UUID, at: datetime | None) -> None:
    """Raises Conflict PERIOD_BILLED with the number of every bill that reaches behind `at`."""
    held = _hold(user_id) if at is not None else None
    if held is not None and (bills := _bills_since(held.connection_id, at)):
        raise Conflict(
            f"The time after {at:%Y-%m-%d %H:%M} UTC is billed already: {', '.join(bills)}. Give a later instant.",
            "PERIOD_BILLED",
        )


def _hold(user_id: uuid.UUID) -> Assignment | None:
    """What the user holds, with the lock of a billing run: either it sees what we change, or we see its bill."""
    accounts.lock_user(user_id)
    held = meter_queries.find_open_assignment(user_id)
    if held is not None:
        session.get_one(Connection, held.connection_id, with_for_update={"key_share": True})
    return held


def _bills_since(connection_id: int, at: datetime | None) -> list[str]:
    """The numbers of the connection's bills that reach behind `at`, or of all, oldest first; not those taken back."""
    query = (
        select(Invoice.invoice_number)
        .where(Invoice.connection_id == connection_id, Invoice.status != "cancelled")
        .order_by(Invoice.cycle_start)
    )
    return list(session.scalars(query if at is None else query.where(Invoice.period_end > at)))
