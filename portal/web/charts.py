"""Where each bar, line and label of a chart goes. Pure: numbers in, geometry out; `_macros/charts.html` draws it.

x is in per cent of the width, y in pixels of a fixed height, so that text stays 12 px at every width and one SVG serves
phone and desktop. Heights start from zero. Energy is kWh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

LEAST = Decimal("0.1")  # kWh: an axis never ends below it, so that its labels stay short
TOP = 14  # room above the highest grid line for its label
BOTTOM = 24  # room under the base line for the ticks

MEASURED, ESTIMATED, EXPECTED, RUNNING, MISSING, COMPARE = (
    "measured",
    "estimated",
    "expected",
    "running",
    "missing",
    "compare",
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One slot of the x axis. `value` is its height in the chart's unit, of which `estimated` is hatched.

    `tick` is the label under it (None: none) and `phone_tick` says whether phones show it too; `note` is the word above
    it; `gap` says that part of it is missing, which a dashed box on top shows.
    """

    value: Decimal
    kind: str = MEASURED
    estimated: Decimal = Decimal(0)
    tick: str | None = None
    phone_tick: bool = True
    note: str | None = None
    gap: bool = False


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle: x and width in per cent, y and height in px."""

    x: str
    y: str
    width: str
    height: str
    kind: str


@dataclass(frozen=True, slots=True)
class Label:
    """A word: x in per cent, y in px; `where` is the class that shows it on all, desktop or phone only."""

    x: str
    y: str
    text: str
    anchor: str = "middle"
    where: str = ""


@dataclass(frozen=True, slots=True)
class BarChart:
    """All that is drawn of a bar chart, and which kinds need a legend."""

    title: str
    height: int
    base: int
    grid: tuple[Label, ...]
    bars: tuple[Rect, ...]
    ticks: tuple[Label, ...]
    notes: tuple[Label, ...]
    kinds: tuple[str, ...]


def _px(value: Decimal | float) -> str:
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


def nice_top(highest: Decimal) -> tuple[Decimal, Decimal]:
    """(top of the axis, step between lines): two or three light lines above the base, from 1, 2, 2.5 or 5 times ten."""
    if highest <= 0:
        return Decimal(1), Decimal("0.5")
    scale = Decimal(1).scaleb(highest.adjusted())
    for factor in ("0.5", "1", "2", "2.5", "5"):
        step = Decimal(factor) * scale
        lines = (highest / step).to_integral_value(ROUND_CEILING)
        if lines <= 3:
            return max(lines, Decimal(2)) * step, step
    return 10 * scale, 5 * scale


def axis_text(value: Decimal) -> str:
    """A number of the axis without needless zeros: 0, 2.5, 10."""
    text = format(value.normalize(), "f")
    return "0" if text in ("-0", "0") else text


def bar_chart(title: str, bars: Sequence[Bar], unit: str, *, height: int = 190, least: Decimal = LEAST) -> BarChart:
    """Bars over equal slots; the axis ends at `least` or above it.

    The unit stands on the top label only; the title is the sentence that is read out.
    """
    top, step = nice_top(max((bar.value for bar in bars), default=Decimal(0)).max(least))
    base = height - BOTTOM
    room = base - TOP
    slot = 100 / max(1, len(bars))
    gap = slot * (0.28 if len(bars) > 3 else 0.6)

    def y_of(value: Decimal) -> float:
        return base - float(value / top) * room

    grid, line = [], Decimal(0)
    while line <= top:
        text = axis_text(line)
        label = f"{text} {unit}".strip() if line + step > top else text
        grid.append(Label("0", _px(y_of(line)), label, "end"))
        line += step

    rects: list[Rect] = []
    ticks: list[Label] = []
    notes: list[Label] = []
    for index, bar in enumerate(bars):
        x, width = _px(slot * index + gap / 2), _px(slot - gap)
        middle = _px(slot * (index + 0.5))
        solid = bar.value - bar.estimated
        if bar.kind == MISSING and bar.value <= 0:
            rects.append(Rect(x, _px(base - 12), width, "12", MISSING))
        elif bar.value > 0:
            if solid > 0:
                rects.append(Rect(x, _px(y_of(solid)), width, _px(base - y_of(solid)), bar.kind))
            if bar.estimated > 0:
                rects.append(Rect(x, _px(y_of(bar.value)), width, _px(y_of(solid) - y_of(bar.value)), ESTIMATED))
            if bar.gap:
                rects.append(Rect(x, _px(y_of(bar.value) - 12), width, "12", MISSING))
        if bar.tick is not None:
            ticks.append(Label(middle, str(base + 17), bar.tick, where="" if bar.phone_tick else "p-desktop"))
        if bar.note:
            notes.append(Label(middle, _px(y_of(bar.value) - 6), bar.note))
    return BarChart(
        title,
        height,
        base,
        tuple(grid),
        tuple(rects),
        tuple(ticks),
        tuple(notes),
        tuple(dict.fromkeys(r.kind for r in rects)),
    )


def level(chart: BarChart, bars: Sequence[Bar], value: Decimal, least: Decimal = LEAST) -> Label:
    """Where a line at `value` lies in a chart of these bars, such as their average."""
    top, _step = nice_top(max((bar.value for bar in bars), default=Decimal(0)).max(least))
    return Label("0", _px(chart.base - float(value / top) * (chart.base - TOP)), axis_text(value))


@dataclass(frozen=True, slots=True)
class Slab:
    """One step of an energy tariff: from kWh (exclusive), to kWh (None: no end), and its price as words."""

    start: Decimal
    end: Decimal | None
    price: str


@dataclass(frozen=True, slots=True)
class SlabBar:
    """A bar to true scale with the slabs' boundaries and prices, and a pin at the use."""

    title: str
    used: Rect
    edges: tuple[Label, ...]
    prices: tuple[Label, ...]
    pin: Label


def slab_bar(title: str, slabs: Sequence[Slab], use: Decimal, pin_text: str, unit: str) -> SlabBar:
    """`slabs` in order from zero. The scale ends a fifth past the last boundary or the use, whichever is further."""
    boundaries = [slab.end for slab in slabs if slab.end is not None]
    furthest = max([use, *boundaries, Decimal(1)])
    end = furthest * Decimal("1.2") if slabs[-1].end is None else furthest

    def at(value: Decimal) -> float:
        return float(min(value, end) / end * 100)

    edges = [Label("0", "58", f"0 {unit}", "start")]
    per_unit = f"/{unit}"
    edges += [Label(_px(at(edge)), "58", axis_text(edge), "middle" if at(edge) < 96 else "end") for edge in boundaries]
    prices = []
    for slab in slabs:
        left, right = at(slab.start), at(end if slab.end is None else slab.end)
        # A slab too narrow for its price would print over its neighbour; phones have a third of the width.
        middle = _px((left + right) / 2)
        if right - left > 10:
            prices.append(Label(middle, "72", slab.price + per_unit, where="p-desktop"))
        if right - left > 13:
            prices.append(Label(middle, "72", slab.price, where="p-phone"))
    x = at(use)
    anchor = "start" if x < 20 else "end" if x > 80 else "middle"
    return SlabBar(
        title,
        Rect("0", "20", _px(x), "20", MEASURED),
        tuple(edges),
        tuple(prices),
        Label(_px(x), "10", pin_text, anchor),
    )


@dataclass(frozen=True, slots=True)
class RangeBar:
    """Used, expected and last month's mark on one scale; positions in per cent."""

    title: str
    used: str
    expected: Label | None
    compare: Label | None


def range_bar(
    title: str,
    used: Decimal,
    expected: Decimal | None,
    expected_text: str,
    compare: Decimal | None = None,
    compare_text: str = "",
) -> RangeBar:
    """The scale ends a little past the largest of them, so that its label has room."""
    end = max(used, expected or Decimal(0), compare or Decimal(0), Decimal("0.001")) * Decimal("1.08")

    def label(value: Decimal | None, text: str) -> Label | None:
        if value is None:
            return None
        x = float(value / end * 100)
        return Label(_px(x), "0", text, "start" if x < 15 else "end" if x > 80 else "middle")

    return RangeBar(title, _px(float(used / end * 100)), label(expected, expected_text), label(compare, compare_text))


def share(part: Decimal | int, whole: Decimal | int) -> str:
    """`part` of `whole` in per cent of a width, "0" where there is no whole."""
    return _px(min(100.0, float(Decimal(part) / Decimal(whole) * 100))) if whole else "0"
