"""Words for the states of billing runs and corrections, and the sentences of their pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel.speaklater import LazyString

from portal.billing.run_models import BillingRun, BillingRunItem
from portal.web import formats

RUN: dict[str, tuple[LazyString, str]] = {
    "calculating": (_l("Calculating"), "accent"),
    "draft": (_l("To approve"), "warn"),
    "issuing": (_l("Issuing"), "accent"),
    "issued": (_l("Issued"), "good"),
    "cancelled": (_l("Cancelled"), "quiet"),
}
EXCEPTION: dict[str, tuple[LazyString, str]] = {
    "high": (_l("High"), "bad"),
    "low": (_l("Low"), "warn"),
    "zero": (_l("Zero"), "quiet"),
    "first": (_l("First bill"), "accent"),
    "last": (_l("Last bill"), "accent"),
    "estimated": (_l("Estimated"), "estimated"),
    "changed": (_l("Changed"), "warn"),
    "refused": (_l("No bill"), "bad"),
    "undecided": (_l("Not decided"), "warn"),
}
REASON: dict[str, LazyString] = {
    "readings": _l("Readings came later or were corrected"),
    "supply": _l("The time of the supply or its meters changed"),
    "tariff": _l("A published value of the tariff came later"),
    "credit": _l("The energy credited from the bill before changed"),
}
STEPS: tuple[tuple[str, LazyString], ...] = (
    ("choose", _l("Choose bills")),
    ("calculating", _l("Calculate")),
    ("draft", _l("Preview and approve")),
    ("issuing", _l("Issue")),
    ("issued", _l("Done")),
)


def month_choices(months: Iterable[date]) -> list[tuple[str, str]]:
    """Months for a select field."""
    return [(f"{day:%Y-%m}", formats.month(day)) for day in months]


def month_of(run: BillingRun) -> str:
    """October 2026."""
    return formats.month(run.first_day)


def step_of(run: BillingRun) -> int:
    """The place of the run's step; a cancelled run has none."""
    return next((number for number, (state, _word) in enumerate(STEPS) if state == run.status), -1)


def use_of(item: BillingRunItem) -> str:
    """What the use is beside the usual, in a sentence."""
    if item.error:
        return item.error
    parts = []
    if item.usual_kwh and item.kwh:
        times = f"{(item.kwh / item.usual_kwh):.1f}"
        parts.append(_("%(times)s times usual", times=times))
    if item.kwh == 0:
        parts.append(_("no use in the whole time"))
    if item.unsure_percent:
        parts.append(_("%(percent)s %% of the time estimated or without a reading", percent=item.unsure_percent))
    return ", ".join(parts)


def bar(value: Decimal | None, usual: Decimal | None) -> tuple[str, str | None]:
    """(width, place of the usual) of a bar, in per cent of the longer one and a tenth."""
    most = max(value or Decimal(0), usual or Decimal(0)) * Decimal("1.1")
    if not most:
        return "0", None
    width = f"{100 * (value or Decimal(0)) / most:.1f}"
    return width, None if usual is None else f"{100 * usual / most:.1f}"


def signed(amount: Decimal) -> str:
    """An amount with its sign."""
    return f"+{formats.money(amount)}" if amount > 0 else formats.money(amount)
