"""Tariffs in the database: loaded once, never edited, never overlapping."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session

from portal.errors import NotFound
from portal.tariffs import actions, queries
from portal.tariffs.models import FuelAdjustment, RegionTariff, TariffVersion
from portal.tariffs.published import published_fuel, published_tariffs
from tests.factories import NOW

Area = scoped_session[Session]


def test_loading_again_adds_nothing_and_the_database_says_what_the_files_say(area: Area) -> None:
    loaded = actions.load_published(NOW)

    versions = {version.version: version for tariff in published_tariffs().values() for version in tariff.versions}
    assert (loaded.added, loaded.unchanged, loaded.differing) == (0, len(versions), ())
    for name, version in versions.items():
        assert queries.get_version(name) == version
    assert area.scalar(select(func.count()).select_from(FuelAdjustment)) == len(published_fuel())
    assert set(queries.list_fuel()) == {each.value for each in published_fuel()}


@pytest.mark.promise(6)
@pytest.mark.parametrize("change", [{"notes": "better"}, {"valid_until": date(2030, 1, 1)}, {"charges": []}])
def test_a_version_cannot_be_edited(area: Area, change: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="is final"):
        area.execute(update(TariffVersion).where(TariffVersion.version_id == "MSEDCL_LT1B_FY2026_27").values(**change))


@pytest.mark.promise(6)
def test_a_version_cannot_be_removed(area: Area) -> None:
    area.delete(area.get_one(TariffVersion, "MSEDCL_LT1B_FY2026_27"))
    with pytest.raises(IntegrityError, match="is final"):
        area.flush()


@pytest.mark.parametrize(("first", "allowed"), [(date(2027, 3, 31), False), (date(2027, 4, 1), True)])
def test_versions_of_a_tariff_cannot_overlap_but_may_touch(area: Area, first: date, allowed: bool) -> None:
    row = area.get_one(TariffVersion, "MSEDCL_LT1B_FY2026_27")
    following = TariffVersion(
        version_id="NEXT",
        tariff_code=row.tariff_code,
        valid_from=first,
        valid_until=None,
        terms=row.terms,
        charges=row.charges,
        sources=["test"],
        added_at=NOW,
    )
    area.add(following)
    if allowed:
        area.flush()
    else:
        with pytest.raises(IntegrityError, match="ex_tariff_versions_period"):
            area.flush()


@pytest.mark.promise(8)
@pytest.mark.parametrize(
    ("first", "until", "names"),
    [
        (date(2026, 3, 1), date(2026, 4, 1), ["FY2025_26_JUL"]),
        (date(2026, 4, 1), date(2026, 5, 1), ["FY2026_27"]),
        (date(2026, 3, 31), date(2026, 4, 2), ["FY2025_26_JUL", "FY2026_27"]),
        (date(2025, 6, 15), date(2026, 4, 2), ["FY2024_25", "FY2025_26_JUL", "FY2026_27"]),
    ],
)
def test_the_versions_in_force_follow_each_other_to_the_day(
    area: Area, first: date, until: date, names: list[str]
) -> None:
    parts = queries.Catalogue().in_force("MSEDCL_LT1B", first, until)

    assert [part.version.version.removeprefix("MSEDCL_LT1B_") for part in parts] == names
    assert sum((part.until - part.first_day for part in parts), timedelta()) == until - first


def test_a_day_without_a_version_is_named(area: Area) -> None:
    with pytest.raises(NotFound, match="2027-04-01") as refusal:
        queries.Catalogue().in_force("MSEDCL_LT1B", date(2027, 3, 1), date(2027, 5, 1))
    assert refusal.value.code == "NO_TARIFF"


def test_every_region_has_a_tariff_and_pune_is_municipal(area: Area) -> None:
    found = {row.region: row for row in area.scalars(select(RegionTariff))}

    assert len(found) == 10
    assert found["Pune-East"].tariff_code == found["Pune-West"].tariff_code == "MSEDCL_LT1B"
    assert found["Pune-West"].options == ["municipal"]
    assert queries.find_region_tariff("Atlantis") is None


def test_the_illustrative_tariff_is_marked(area: Area) -> None:
    tariffs = {tariff.code: tariff for tariff, _ in queries.list_tariffs()}

    assert tariffs["ILLUSTRATIVE_LT_DOM"].illustrative
    assert [code for code, tariff in tariffs.items() if tariff.illustrative] == ["ILLUSTRATIVE_LT_DOM"]
    assert queries.get_version("ILLUSTRATIVE_LT_DOM_1").illustrative


def test_an_illustrative_tariff_gives_way_to_a_real_one_and_a_chosen_one_does_not(area: Area) -> None:
    pune = area.get_one(RegionTariff, ("Pune-West", "residential"))
    pune.tariff_code, pune.options = "ILLUSTRATIVE_LT_DOM", []
    east = area.get_one(RegionTariff, ("Pune-East", "residential"))
    east.tariff_code = "TPCD_LT1B"
    area.flush()

    actions.load_published(NOW)
    area.expire_all()

    assert (pune.tariff_code, pune.options) == ("MSEDCL_LT1B", ["municipal"])
    assert east.tariff_code == "TPCD_LT1B"


def test_rates_keep_their_digits(area: Area) -> None:
    charges = area.get_one(TariffVersion, "MSEDCL_LT1B_FY2026_27").charges

    assert [slab["rate"] for slab in charges[1]["schedules"][0]["slabs"]] == ["3.96", "10.8", "15.03", "17.53"]
    assert Decimal("10.8") * 3 == Decimal("32.4")
