"""Dates of a customer's supply, where bills rest on them."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import select

from portal.accounts import queries as accounts
from portal.audit import Actor
from portal.billing.models import Invoice
from portal.db import session
from portal.errors import Conflict
from portal.meters import actions as meters
from portal.meters import queries as meter_queries
from portal.meters.holding import Assigned
from portal.meters.models import Connection


def move_start(user_id: uuid.UUID, start: datetime, *, actor: Actor, now: datetime) -> Assigned:
    """Move the start of the user's open assignment and connection back to `start` (UTC), as `meters.move_start` does.

    A bill is final and the only one of its cycle: once the cycle in which supply began is billed, energy before that
    beginning would be on no bill. Raises Conflict PERIOD_BILLED naming the bill, and what `meters.move_start` raises.
    """
    accounts.lock_user(user_id)
    held = meter_queries.find_open_assignment(user_id)
    if held is not None:
        # The lock of a billing run: either it sees the new start, or we see its bill.
        session.get_one(Connection, held.connection_id, with_for_update={"key_share": True})
        first_bill = session.scalar(
            select(Invoice.invoice_number)
            .where(Invoice.connection_id == held.connection_id)
            .order_by(Invoice.cycle_start)
            .limit(1)
        )
        if first_bill is not None:
            raise Conflict(
                f"The supply is billed since its beginning, first by {first_bill}; its start cannot move any more.",
                "PERIOD_BILLED",
            )
    return meters.move_start(user_id, start, actor=actor, now=now)
