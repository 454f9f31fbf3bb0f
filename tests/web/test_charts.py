"""Geometry of charts: heights from zero, gaps drawn, nothing outside the frame."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.web import charts
from portal.web.charts import Bar, Slab, bar_chart, nice_top, slab_bar

D = Decimal


@pytest.mark.parametrize(
    ("highest", "top", "step"),
    [
        ("0", "1", "0.5"),
        ("8.5", "10", "5"),
        ("10.7", "15", "5"),
        ("0.389", "0.4", "0.2"),
        ("100", "100", "50"),
        ("2.4", "3", "1"),
    ],
)
def test_the_axis_ends_at_a_round_number_above_the_highest_bar(highest: str, top: str, step: str) -> None:
    assert nice_top(D(highest)) == (D(top), D(step))


@given(st.decimals(min_value="0.000001", max_value="9999999", places=6))
def test_every_bar_fits_under_the_axis_with_at_most_three_lines(highest: Decimal) -> None:
    top, step = nice_top(highest)
    assert highest <= top <= highest * 3
    assert 2 <= top / step <= 3


@given(st.lists(st.decimals(min_value=0, max_value=50, places=3), min_size=1, max_size=48))
def test_bars_stay_inside_the_frame_and_keep_their_proportion(values: list[Decimal]) -> None:
    chart = bar_chart("", [Bar(value) for value in values], "kWh")
    shown = [value for value in values if value > 0]
    assert len(chart.bars) == len(shown)
    highest = max(values)
    for value, bar in zip(shown, chart.bars, strict=True):
        assert float(bar.x) >= 0
        assert float(bar.x) + float(bar.width) <= 100.01
        assert float(bar.y) >= charts.TOP - 0.01
        assert float(bar.y) + float(bar.height) == pytest.approx(chart.base, abs=0.02)
        tallest = max(float(each.height) for each in chart.bars)
        assert float(bar.height) == pytest.approx(float(value / highest) * tallest, abs=0.05)


@pytest.mark.promise(5)
def test_estimated_and_missing_parts_are_drawn_as_what_they_are() -> None:
    chart = bar_chart(
        "",
        [
            Bar(D(5)),
            Bar(D(5), estimated=D(2)),
            Bar(D(0), charts.MISSING),
            Bar(D(3), gap=True),
            Bar(D(4), charts.EXPECTED),
        ],
        "kWh",
    )
    assert [bar.kind for bar in chart.bars] == [
        "measured", "measured", "estimated", "missing", "measured", "missing", "expected"
    ]  # fmt: skip
    solid, hatched = chart.bars[1], chart.bars[2]
    assert float(hatched.y) + float(hatched.height) == pytest.approx(float(solid.y), abs=0.01)
    assert float(hatched.height) / float(solid.height) == pytest.approx(2 / 3, abs=0.01)
    assert chart.kinds == ("measured", "estimated", "missing", "expected")


def test_the_unit_stands_on_the_top_label_only() -> None:
    assert [line.text for line in bar_chart("", [Bar(D(8))], "kWh").grid] == ["0", "5", "10 kWh"]


SLABS = [
    Slab(D(0), D(100), "₹3.96"),
    Slab(D(100), D(300), "₹8.45"),
    Slab(D(300), D(500), "₹11.72"),
    Slab(D(500), None, "₹13.40"),
]


def test_the_slab_bar_is_to_scale() -> None:
    bar = slab_bar("", SLABS, D("238.412"), "You used", "kWh")
    assert [edge.text for edge in bar.edges] == ["0 kWh", "100", "300", "500"]
    positions = [float(edge.x) for edge in bar.edges]
    assert positions == pytest.approx([0, 16.67, 50, 83.33], abs=0.01)
    assert float(bar.pin.x) == pytest.approx(238.412 / 600 * 100, abs=0.01)
    assert bar.used.width == bar.pin.x


@pytest.mark.parametrize(("used", "anchor"), [("0", "start"), ("238", "middle"), ("5000", "end"), ("599", "end")])
def test_the_pin_keeps_its_words_inside(used: str, anchor: str) -> None:
    assert slab_bar("", SLABS, D(used), "You used", "kWh").pin.anchor == anchor


def test_a_share_of_nothing_is_nothing() -> None:
    assert charts.share(3, 0) == "0"
    assert charts.share(1, 4) == "25"
    assert charts.share(9, 4) == "100"
