"""Assignment in numbers for staff: by region and state, a day, and when the free meters run out."""

from __future__ import annotations

from flask import render_template

from portal.gates import OPERATOR, gate
from portal.meters import stats
from portal.meters.models import STATUSES
from portal.web import staff, words
from portal.web.operator import operator
from portal.web.session import now, pool


@operator.get("/statistics")
@gate(OPERATOR)
def statistics() -> str:
    """Everything that is counted, exact at this moment."""
    counts = stats.by_region()
    return render_template(
        "operator/statistics.html",
        page=staff.numbers(pool(), now()),
        counts=counts,
        statuses=STATUSES,
        status_words=words.METER_STATUS,
        totals={status: sum(each.meters[status] for each in counts) for status in STATUSES},
        waiting=sum(each.waiting for each in counts),
        forecast=stats.forecast(pool(), now()),
    )
