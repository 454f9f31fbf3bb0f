"""What the tariff asks about a supply: its load, phases, category, options and entitlements. Callers commit."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from portal import audit
from portal.audit import Actor
from portal.billing.drafting import BY_HOURS
from portal.db import session
from portal.errors import Invalid, NotFound
from portal.meters.models import Connection
from portal.money import kwh_str
from portal.tariffs.queries import Catalogue
from portal.tariffs.terms import Entitlement, Fixed


def set_terms(
    user_id: uuid.UUID,
    *,
    load_kw: Decimal | None = None,
    phase: int | None = None,
    category: str | None = None,
    options: Iterable[str] | None = None,
    entitlements: Mapping[str, Decimal] | None = None,
    actor: Actor,
    now: datetime,
) -> Connection:
    """Change the terms of a customer's open supply; what is None stays. Issued bills keep the terms they were made by.

    `options` and `entitlements` (kWh a month by charge) replace what was there. Raises NotFound CONNECTION_NOT_FOUND
    and NO_TARIFF, Invalid for a word that no version of the supply's tariff knows.
    """
    connection = session.scalar(
        select(Connection).where(Connection.user_id == user_id, Connection.ends_at.is_(None)).with_for_update()
    )
    if connection is None:
        raise NotFound("This customer has no open supply.", "CONNECTION_NOT_FOUND")
    if load_kw is not None and not Decimal(0) < load_kw <= Decimal(100_000):
        raise Invalid.field("load_kw", "The sanctioned load is above 0 and at most 100,000 kW.")
    if phase not in (None, 1, 3):
        raise Invalid.field("phase", "A supply has 1 or 3 phases.")
    catalogue = Catalogue()
    region = catalogue.region(connection.region, category or connection.tariff_category)
    charges = [charge for version in catalogue.versions(region.tariff_code) for charge in version.charges]
    changes: dict[str, Any] = {"sanctioned_load_kw": load_kw, "phase": phase, "tariff_category": category}
    if options is not None:
        known = {BY_HOURS, *(word for charge in charges for word in charge.options)}
        known |= {word for charge in charges if isinstance(charge, Fixed) for word in charge.extra}
        changes["options"] = _known(options, known, "option")
    if entitlements is not None:
        named = _known(entitlements, {each.code for each in charges if isinstance(each, Entitlement)}, "entitlement")
        if any(not 0 <= kwh < 100_000 for kwh in entitlements.values()):
            raise Invalid.field("entitlement", "An entitlement is a number of kWh a month.")
        changes["entitlements"] = {code: kwh_str(entitlements[code]) for code in named}
    changes = {name: value for name, value in changes.items() if value is not None}
    for name, value in changes.items():
        setattr(connection, name, value)
    details = {name: str(value) for name, value in changes.items()}
    audit.record("supply.terms", actor, now, "user", user_id, details)
    session.flush()
    return connection


def _known(words: Iterable[str], known: set[str], kind: str) -> list[str]:
    found = sorted(set(words))
    if unknown := [word for word in found if word not in known]:
        raise Invalid.field(
            kind, f"The tariff knows no {kind} {', '.join(unknown)}; it knows {', '.join(sorted(known)) or 'none'}."
        )
    return found
