"""Reads of tariffs. Versions never change, so what was read once in a run is kept for that run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from sqlalchemy import select

from portal.db import session
from portal.errors import NotFound
from portal.tariffs.fraction import FuelTable, FuelValue
from portal.tariffs.models import FuelAdjustment, RegionTariff, Tariff, TariffVersion
from portal.tariffs.rules import VersionDays
from portal.tariffs.terms import Version, read_version


def read_row(row: TariffVersion) -> Version:
    """The version as the pricing function takes it."""
    document = {
        **row.terms,
        "version": row.version_id,
        "tariff": row.tariff_code,
        "valid_from": row.valid_from.isoformat(),
        "valid_until": row.valid_until.isoformat() if row.valid_until else None,
        "charges": row.charges,
        "sources": row.sources,
        "confidence": row.confidence,
        "notes": row.notes,
    }
    return read_version(document)


def get_version(version_id: str) -> Version:
    """A version by its name. Raises NotFound TARIFF_NOT_FOUND."""
    row = session.get(TariffVersion, version_id)
    if row is None:
        raise NotFound(f"No tariff is called {version_id}.", "TARIFF_NOT_FOUND")
    return read_row(row)


def get_tariff(code: str) -> Tariff:
    """The tariff by its code. Raises NotFound TARIFF_NOT_FOUND."""
    row = session.get(Tariff, code)
    if row is None:
        raise NotFound(f"No tariff is called {code}.", "TARIFF_NOT_FOUND")
    return row


def list_tariffs() -> list[tuple[Tariff, list[TariffVersion]]]:
    """Every tariff with its versions, newest first: for staff, with sources and confidence."""
    versions: dict[str, list[TariffVersion]] = {}
    for row in session.scalars(select(TariffVersion).order_by(TariffVersion.valid_from.desc())):
        versions.setdefault(row.tariff_code, []).append(row)
    return [(tariff, versions.get(tariff.code, [])) for tariff in session.scalars(select(Tariff).order_by(Tariff.code))]


def find_region_tariff(region: str | None, category: str = "residential") -> RegionTariff | None:
    """The tariff that holds in the region for the category."""
    return session.get(RegionTariff, (region, category)) if region else None


def list_regions() -> list[RegionTariff]:
    """Which tariff holds where."""
    return list(session.scalars(select(RegionTariff).order_by(RegionTariff.region, RegionTariff.category)))


def list_fuel() -> FuelTable:
    """Every published fuel adjustment (a few rows a month and utility)."""
    return [
        FuelValue(row.licensee, row.series, row.valid_from, row.valid_until, tuple(Decimal(rate) for rate in row.rates))
        for row in session.scalars(select(FuelAdjustment))
    ]


@dataclass(slots=True)
class Catalogue:
    """The tariffs as one run needs them: each is read from the database once."""

    _versions: dict[str, list[Version]] = field(default_factory=dict)
    _regions: dict[tuple[str | None, str], RegionTariff] = field(default_factory=dict)
    _fuel: FuelTable | None = None

    @property
    def fuel(self) -> FuelTable:
        """The published fuel adjustments."""
        if self._fuel is None:
            self._fuel = list_fuel()
        return self._fuel

    def region(self, region: str | None, category: str) -> RegionTariff:
        """What holds in the region. Raises NotFound NO_TARIFF."""
        key = (region, category)
        if key not in self._regions:
            found = find_region_tariff(region, category)
            if found is None:
                raise NotFound(f"No {category} tariff is set for {region or 'a supply without a region'}.", "NO_TARIFF")
            self._regions[key] = found
        return self._regions[key]

    def versions(self, tariff_code: str) -> list[Version]:
        """All versions of a tariff, oldest first."""
        if tariff_code not in self._versions:
            rows = session.scalars(
                select(TariffVersion).where(TariffVersion.tariff_code == tariff_code).order_by(TariffVersion.valid_from)
            )
            self._versions[tariff_code] = [read_row(row) for row in rows]
        return self._versions[tariff_code]

    def in_force(self, tariff_code: str, first_day: date, until: date) -> list[VersionDays]:
        """The versions that share the local days `[first_day, until)`. Raises NotFound NO_TARIFF, naming the day."""
        parts: list[VersionDays] = []
        day = first_day
        for version in self.versions(tariff_code):
            end = min(until, version.valid_until or until)
            if version.valid_from <= day < end:
                parts.append(VersionDays(version, day, end))
                day = end
        if day < until:
            last = until - timedelta(days=1)
            raise NotFound(f"No version of {tariff_code} is in force on {day} (to {last}).", "NO_TARIFF")
        return parts
