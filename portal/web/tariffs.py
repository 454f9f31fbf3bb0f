"""Tariffs for administrators: versions with their sources and confidence, and what one makes of the last bills."""

from __future__ import annotations

from flask import Blueprint, render_template

from portal.billing.what_if import what_if
from portal.gates import ADMIN, gate
from portal.tariffs import queries
from portal.web import billing_words as words

tariffs = Blueprint("tariffs", __name__, url_prefix="/admin/tariffs")


@tariffs.get("")
@gate(ADMIN)
def show_all() -> str:
    """Every tariff with its versions, newest first."""
    return render_template("billing/tariffs.html", tariffs=queries.list_tariffs(), regions=queries.list_regions())


@tariffs.get("/<version_id>")
@gate(ADMIN)
def show(version_id: str) -> str:
    """One version: its charges, sources, and what it makes of the last cycle's bills."""
    version = queries.get_version(version_id)
    tariff = queries.get_tariff(version.tariff)
    found = what_if(version, queries.list_fuel())
    return render_template("billing/tariff.html", version=version, tariff=tariff, found=found, words=words)
