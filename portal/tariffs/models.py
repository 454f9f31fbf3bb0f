"""Tariffs as they are kept: dated versions that nobody can edit, and which of them holds where."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from portal.accounts.models import Region
from portal.db import Base, UtcTime


class Tariff(Base):
    """A tariff by its code. `illustrative`: invented rates, said wherever they show."""

    __tablename__ = "tariffs"

    code: Mapped[str] = mapped_column(String(60), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    utility: Mapped[str] = mapped_column(String(120))
    illustrative: Mapped[bool] = mapped_column(server_default="false")


class TariffVersion(Base):
    """One version, in force on the local days `[valid_from, valid_until)`.

    `charges` is the ordered list and `terms` the rest of `terms.Version`. A trigger refuses every change and removal;
    versions of one tariff cannot overlap.
    """

    __tablename__ = "tariff_versions"
    __table_args__ = (
        CheckConstraint("valid_until > valid_from", name="period"),
        ExcludeConstraint(
            (text("tariff_code"), "="),
            (text("daterange(valid_from, valid_until)"), "&&"),
            name="ex_tariff_versions_period",
            using="gist",
        ),
    )

    version_id: Mapped[str] = mapped_column(String(60), primary_key=True)
    tariff_code: Mapped[str] = mapped_column(ForeignKey(Tariff.code))
    valid_from: Mapped[date]
    valid_until: Mapped[date | None]
    terms: Mapped[dict[str, Any]] = mapped_column(JSONB)
    charges: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    sources: Mapped[list[str]] = mapped_column(JSONB)
    confidence: Mapped[str] = mapped_column(Text, server_default="")
    notes: Mapped[str] = mapped_column(Text, server_default="")
    added_at: Mapped[UtcTime]


class FuelAdjustment(Base):
    """A fuel adjustment as published for local days `[valid_from, valid_until)`: INR per kWh (or one a slab), or %."""

    __tablename__ = "fuel_adjustments"
    __table_args__ = (CheckConstraint("valid_until > valid_from", name="period"),)

    licensee: Mapped[str] = mapped_column(String(40), primary_key=True)
    series: Mapped[str] = mapped_column(String(60), primary_key=True)
    valid_from: Mapped[date] = mapped_column(primary_key=True)
    valid_until: Mapped[date | None]
    rates: Mapped[list[str]] = mapped_column(JSONB)
    source: Mapped[str] = mapped_column(Text)


class RegionTariff(Base):
    """The tariff of a region and category, who supplies there, and the options that hold for everyone (municipal …)."""

    __tablename__ = "region_tariffs"

    region: Mapped[str] = mapped_column(String(100), ForeignKey(Region.name), primary_key=True)
    category: Mapped[str] = mapped_column(String(30), primary_key=True)
    tariff_code: Mapped[str] = mapped_column(ForeignKey(Tariff.code))
    licensee: Mapped[str | None] = mapped_column(String(40))
    options: Mapped[list[str]] = mapped_column(JSONB)
