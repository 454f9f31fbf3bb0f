"""Words for the values that the database keeps. No page shows a raw one; a test holds the tables to the models."""

from __future__ import annotations

from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from flask_babel.speaklater import LazyString

ROLE: dict[str, LazyString] = {
    "user": _l("Customer"),
    "operator": _l("Operator"),
    "admin": _l("Administrator"),
}

HOW_ASSIGNED: dict[str, LazyString] = {
    "registration": _l("at registration"),
    "admin": _l("by staff"),
    "bulk": _l("by a bulk run"),
    "legacy": _l("by a program"),
    "swap": _l("in exchange for another meter"),
    "relocation": _l("on moving to another region"),
    "csv": _l("from a file"),
}

EVENT: dict[str, LazyString] = {
    "assigned": _l("%(meter)s assigned"),
    "taken_back": _l("%(meter)s taken back"),
    "swapped_in": _l("%(meter)s swapped in"),
    "swapped_out": _l("%(meter)s swapped out"),
    "start_moved": _l("Start of %(meter)s moved back"),
    "in_stock": _l("Back in stock"),
    "quarantine": _l("Put in quarantine"),
    "faulty": _l("Marked faulty"),
    "retired": _l("Retired"),
}

# What staff do with a meter that nobody holds: the act by the state that it leads to, and what it means.
METER_MOVE: dict[str, tuple[LazyString, LazyString]] = {
    "in_stock": (_l("Put in stock"), _l("It can be given to a customer at once.")),
    "quarantine": (_l("Put in quarantine"), _l("Nobody gets it until it is released.")),
    "faulty": (_l("Mark faulty"), _l("Nobody gets it until it is repaired and put in stock.")),
    "retired": (_l("Retire"), _l("For good: a retired meter never comes back.")),
}

METER_STATUS: dict[str, tuple[LazyString, str]] = {
    "in_stock": (_l("In stock"), "quiet"),
    "assigned": (_l("Assigned"), "good"),
    "quarantine": (_l("In quarantine"), "warn"),
    "faulty": (_l("Faulty"), "bad"),
    "retired": (_l("Retired"), "quiet"),
}

INVOICE_STATUS: dict[str, tuple[LazyString, str]] = {
    "pending": (_l("To pay"), "accent"),
    "paid": (_l("Paid"), "good"),
    "overdue": (_l("Overdue"), "bad"),
    "disputed": (_l("Disputed"), "warn"),
    "cancelled": (_l("Cancelled"), "quiet"),
}

TARIFF_CATEGORY: dict[str, LazyString] = {"residential": _l("Residential")}

KIND_OF_BAR: dict[str, LazyString] = {
    "measured": _l("Measured"),
    "estimated": _l("Estimated"),
    "expected": _l("Expected"),
    "running": _l("Today, not over"),
    "missing": _l("No readings"),
    "compare": _l("Before"),
}

_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrom", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS", "Mac"),
    ("Linux", "Linux"),
)  # fmt: skip


def agent_words(kind: str, agent: str) -> str:
    """What logs in, in a few words: 'Firefox, Android', 'Program (curl/8.5)'."""
    if kind == "program":
        first = agent.split(" ", 1)[0][:40]
        return gettext("Program (%(name)s)", name=first) if first else gettext("Program")
    found = [next((word for sign, word in table if sign in agent), None) for table in (_BROWSERS, _SYSTEMS)]
    return ", ".join(word for word in found if word) or gettext("Browser")
