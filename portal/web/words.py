"""Words for the values that the database keeps. No page shows a raw one; a test holds the tables to the models."""

from __future__ import annotations

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
