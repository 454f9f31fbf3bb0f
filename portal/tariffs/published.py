"""The tariffs that come with the project: `portal/tariffs/data/*.json`, each version with its source and confidence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from portal.errors import NotFound
from portal.tariffs.fraction import FuelValue
from portal.tariffs.terms import Version, read_version

FUEL_FILE = "fuel_adjustment.json"
REGIONS_FILE = "regions.json"


@dataclass(frozen=True, slots=True)
class PublishedTariff:
    """One tariff with all its versions, oldest first."""

    code: str
    name: str
    utility: str
    illustrative: bool
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class PublishedFuel:
    """A fuel adjustment as published, with where it was read."""

    value: FuelValue
    source: str


@dataclass(frozen=True, slots=True)
class RegionTerms:
    """The tariff of a region's households: its code, who supplies there, and the options that hold for everyone."""

    region: str
    category: str
    tariff: str
    licensee: str | None
    options: tuple[str, ...]


@cache
def published_tariffs() -> dict[str, PublishedTariff]:
    """Every tariff of the data folder by its code. Raises Invalid BAD_TARIFF for a file that does not fit."""
    tariffs = {}
    for entry in sorted(files("portal.tariffs").joinpath("data").iterdir(), key=lambda path: path.name):
        if entry.name in (FUEL_FILE, REGIONS_FILE) or not entry.name.endswith(".json"):
            continue
        document: dict[str, Any] = msgspec.json.decode(entry.read_bytes())
        versions = tuple(read_version(version) for version in document["versions"])
        tariffs[document["tariff"]] = PublishedTariff(
            document["tariff"], document["name"], document["utility"], document["illustrative"], versions
        )
    return tariffs


@cache
def published_fuel() -> tuple[PublishedFuel, ...]:
    """Every published fuel adjustment: INR per kWh or per cent, by utility and local day."""
    rows: list[dict[str, Any]] = msgspec.json.decode(_read(FUEL_FILE))
    return tuple(
        PublishedFuel(
            FuelValue(
                licensee=row["licensee"],
                series=row["series"],
                first_day=date.fromisoformat(row["first_day"]),
                until=date.fromisoformat(row["until"]) if row["until"] else None,
                values=tuple(Decimal(value) for value in row["values"]),
            ),
            row["source"],
        )
        for row in rows
    )


@cache
def published_regions() -> tuple[RegionTerms, ...]:
    """Which tariff holds where, to start with."""
    return tuple(msgspec.json.decode(_read(REGIONS_FILE), type=list[RegionTerms]))


def get_published(version_id: str) -> tuple[Version, PublishedTariff]:
    """A version by its name, and the tariff it belongs to. Raises NotFound TARIFF_NOT_FOUND."""
    for tariff in published_tariffs().values():
        for version in tariff.versions:
            if version.version == version_id:
                return version, tariff
    raise NotFound(f"No tariff is called {version_id}.", "TARIFF_NOT_FOUND")


def _read(name: str) -> bytes:
    return files("portal.tariffs").joinpath("data").joinpath(name).read_bytes()
