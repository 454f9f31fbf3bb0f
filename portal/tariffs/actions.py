"""Bringing tariffs in. A version is written once; a change of rates is a new version. Callers commit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from portal.accounts.models import Region
from portal.db import session
from portal.tariffs.models import FuelAdjustment, RegionTariff, Tariff, TariffVersion
from portal.tariffs.published import published_fuel, published_regions, published_tariffs
from portal.tariffs.queries import read_row
from portal.tariffs.terms import Version, write_version

_COLUMNS = ("version", "tariff", "valid_from", "valid_until", "charges", "sources", "confidence", "notes")


@dataclass(frozen=True, slots=True)
class Loaded:
    """How many versions were added, and the names of those that are kept although the file says otherwise now."""

    added: int
    unchanged: int
    differing: tuple[str, ...]


def load_published(now: datetime) -> Loaded:
    """Add what the data folder has and the database has not. Running it again, or twice at once, changes nothing.

    A version that is in the database stays as it is, also when its file was edited since: bills rest on it. A region's
    tariff is set where none is set, or where an illustrative one stood in.
    """
    added, unchanged, differing = 0, 0, []
    for tariff in published_tariffs().values():
        row = {"name": tariff.name, "utility": tariff.utility, "illustrative": tariff.illustrative}
        session.execute(insert(Tariff).values(code=tariff.code, **row).on_conflict_do_nothing())
        for version in tariff.versions:
            done = session.execute(
                insert(TariffVersion)
                .values(_columns(version, now))
                .on_conflict_do_nothing(index_elements=[TariffVersion.version_id])
                .returning(TariffVersion.version_id)
            ).scalar()
            if done is not None:
                added += 1
            elif read_row(session.get_one(TariffVersion, version.version, populate_existing=True)) == version:
                unchanged += 1
            else:
                differing.append(version.version)
    _load_fuel()
    _load_regions()
    session.flush()
    return Loaded(added, unchanged, tuple(differing))


def _columns(version: Version, now: datetime) -> dict[str, Any]:
    document = write_version(version)
    return {
        "version_id": version.version,
        "tariff_code": version.tariff,
        "valid_from": version.valid_from,
        "valid_until": version.valid_until,
        "terms": {key: value for key, value in document.items() if key not in _COLUMNS},
        "charges": document["charges"],
        "sources": list(version.sources),
        "confidence": version.confidence,
        "notes": version.notes,
        "added_at": now,
    }


def _load_fuel() -> None:
    for each in published_fuel():
        value = each.value
        session.execute(
            insert(FuelAdjustment)
            .values(
                licensee=value.licensee,
                series=value.series,
                valid_from=value.first_day,
                valid_until=value.until,
                rates=[str(rate) for rate in value.values],
                source=each.source,
            )
            .on_conflict_do_nothing()
        )


def _load_regions() -> None:
    """Regions that the database knows; the illustrative tariff gives way to a real one, nothing else is overwritten."""
    known = set(session.scalars(select(Region.name)))
    illustrative = select(Tariff.code).where(Tariff.illustrative)
    for terms in published_regions():
        if terms.region not in known:
            continue
        values = {"tariff_code": terms.tariff, "licensee": terms.licensee, "options": list(terms.options)}
        session.execute(
            insert(RegionTariff)
            .values(region=terms.region, category=terms.category, **values)
            .on_conflict_do_update(
                index_elements=[RegionTariff.region, RegionTariff.category],
                set_=values,
                where=RegionTariff.tariff_code.in_(illustrative),
            )
        )
