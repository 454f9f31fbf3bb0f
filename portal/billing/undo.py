"""What stands in the way of undoing a bulk run: readings, bills, and what was changed since."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import text

from portal.db import session
from portal.meters.undo import Given

# One look-up each by uq_meter_assignments_user_open, uq_invoices_connection_cycle and the key of the readings.
_STATES = text("""
    SELECT g.user_id, a.assignment_id IS NOT NULL AND a.meter_key = g.meter_key AND a.assigned_act = :act AS same,
        (SELECT count(*) FROM meter_assignments o WHERE o.connection_id = a.connection_id) > 1 AS changed,
        (SELECT min(i.invoice_number) FROM invoices i WHERE i.connection_id = a.connection_id) AS bill,
        EXISTS (SELECT FROM readings r
                WHERE r.meter_key = g.meter_key AND r.kind IN (1, 2, 3) AND r.read_at >= a.assigned_at) AS readings
    FROM unnest(CAST(:users AS uuid[]), CAST(:keys AS int[])) AS g (user_id, meter_key)
    LEFT JOIN meter_assignments a ON a.user_id = g.user_id AND a.unassigned_at IS NULL""")


def list_dependents(given: Sequence[Given], act: int) -> dict[uuid.UUID, str]:
    """For each of these that cannot be taken back as if it had never been: why. `act` is the run's row of the log."""
    values = {"users": [each.user_id for each in given], "keys": [each.meter_key for each in given], "act": act}
    reasons: dict[uuid.UUID, str] = {}
    for row in session.execute(_STATES, values):
        if not row.same:
            reasons[row.user_id] = "It was taken back or exchanged since, so the run's assignment is over."
        elif row.changed:
            reasons[row.user_id] = "The meter was swapped since; the supply has a history."
        elif row.bill:
            reasons[row.user_id] = f"Bill {row.bill} rests on it."
        elif row.readings:
            reasons[row.user_id] = "Readings of this meter came in since, and belong to this customer."
    return reasons
