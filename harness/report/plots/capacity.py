"""Plot F: throughput above and the rule's percentile below, against load. What held, what broke, what does not count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.report.plots.bands import Band
from harness.report.plots.style import BLUE, DASH, DOTS, INK, MUTED, ORANGE, PAPER, TEAL, Sheet, counts_axis, heading, log_ms, word
from harness.report.wording import digits

_MARKS = {
    "held": {"marker": "o", "mfc": BLUE, "mec": PAPER, "ms": 7.5, "mew": 1.0},
    "broke": {"marker": "X", "mfc": ORANGE, "mec": PAPER, "ms": 9.5, "mew": 1.0},
    "none": {"marker": "D", "mfc": PAPER, "mec": MUTED, "ms": 6.5, "mew": 1.2},
}
_MAX_POINTS = 120


@dataclass(frozen=True, slots=True)
class Dot:
    """One step, or several at one load taken together."""

    load: float
    verdict: str
    """`held`, `broke`, or anything else: it does not count."""
    throughput: tuple[float, float, float] | None
    """Value and 95 % interval, per second."""
    percentile: tuple[float, float, float] | None
    """Value and 95 % interval, in ms."""
    confirms: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that is drawn."""

    dots: Sequence[Dot]
    unit: str
    rule: str
    """What the percentile is of, such as `reply p95`; empty: no rule is about one."""
    limit_ms: float | None
    estimate: float | None
    low: float | None
    high: float | None
    holds: str
    """The word at the answer's line."""
    band: Band | None = None
    """Of the throughput."""
    ideal: float | None = None
    """Throughput per unit of load if all went as fast as the first: the dotted line."""
    knee: float | None = None
    planned: float | None = None


def capacity(sheet: Sheet, chart: Chart) -> None:
    """Draw it."""
    left, right = (56, 70) if not sheet.narrow else (46, 16)
    middle = sheet.height * 0.47
    upper, lower = sheet.axes(50, middle, left, right), sheet.axes(middle + 40, sheet.height - 42, left, right)
    loads = [dot.load for dot in chart.dots]
    marks = [value for value in (chart.estimate, chart.high, chart.planned) if value is not None]
    end = max([*loads, *marks, 1.0]) * 1.05
    for axes in (upper, lower):
        _load_axis(axes, end, narrow=sheet.narrow)
        _answer(axes, chart)
    _throughput(upper, sheet, chart, end)
    _latency(lower, sheet, chart)
    upper.tick_params(labelbottom=False)
    across = upper.get_xaxis_transform()
    taken: list[tuple[float, float]] = []
    if chart.estimate is not None and chart.holds:
        _above(upper, across, sheet, end, chart.estimate, chart.holds, TEAL, taken, bold=True)
    if chart.planned is not None:
        _above(upper, across, sheet, end, chart.planned, "planned", INK, taken)
    heading(sheet, upper, "Completed per second" if sheet.narrow else "Completed messages per second", up=24)
    heading(sheet, lower, chart.rule or "No rule is about a percentile")
    word(lower, (1, 0), "concurrent guests" if chart.unit == "guests" else "arrivals per second", coords="axes fraction",
         by=(0, -34), ha="right", color=MUTED, fontsize=10.5)  # fmt: skip


def _load_axis(axes: Axes, end: float, *, narrow: bool) -> None:
    axes.set_xlim(0, end)
    most = 5 if narrow else 9
    step = next(f * 10.0**d for d in range(-3, 9) for f in (1, 2, 5) if end / (f * 10.0**d) <= most)
    axes.xaxis.set_major_locator(FixedLocator([n * step for n in range(int(end / step) + 1)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if step >= 1 else f"{value:g}"))


def _answer(axes: Axes, chart: Chart) -> None:
    if chart.low is not None and chart.high is not None:
        axes.axvspan(chart.low, chart.high, color=TEAL, alpha=0.22, lw=0, zorder=0)
    if chart.estimate is not None:
        axes.axvline(chart.estimate, color=TEAL, lw=1.6, zorder=1)
    if chart.planned is not None:
        axes.axvline(chart.planned, color=INK, lw=1.1, ls=(0, (6, 2, 1, 2)), zorder=1)


def _above(
    axes: Axes, across: object, sheet: Sheet, end: float, at: float, text: str, hue: str,
    taken: list[tuple[float, float]], *, bold: bool = False,
) -> None:  # fmt: skip
    """A word above the axes at a load, kept inside the sheet; moved up where another one stands."""
    pixels = axes.get_position().width * sheet.width
    half = len(text) * 3.1
    x = min(max(at / end * pixels, half), pixels - half)
    level = sum(abs(x - other) < half + width + 4 for other, width in taken)
    taken.append((x, half))
    style = {"fontweight": "bold"} if bold else {}
    word(axes, (x / pixels * end, 1.0), text, coords=across, by=(0, 4 + 12 * level), ha="center", color=hue, **style)


def _thinned(dots: Sequence[Dot]) -> list[Dot]:
    """Points that do not count first, so that the others lie on top of them; of very many steps the last ones."""
    order = {"held": 1, "broke": 2}
    return sorted(dots[-_MAX_POINTS:], key=lambda dot: (dot.confirms, order.get(dot.verdict, 0)))


def _point(axes: Axes, dot: Dot, value: tuple[float, float, float]) -> None:
    axes.plot((dot.load, dot.load), value[1:], color=INK, lw=1.2, zorder=3)
    axes.plot(dot.load, value[0], ls="", zorder=4, **_MARKS.get(dot.verdict, _MARKS["none"]))  # type: ignore[arg-type]
    if dot.confirms:
        axes.plot(dot.load, value[0], ls="", marker="o", mfc="none", mec=INK, ms=14, mew=1.3, zorder=5)


def _throughput(axes: Axes, sheet: Sheet, chart: Chart, end: float) -> None:
    known = [dot.throughput[2] for dot in chart.dots if dot.throughput is not None]
    top = max([*known, *(chart.band.high if chart.band is not None else ())], default=1.0)
    counts_axis(axes, top * 1.1)
    if chart.ideal:
        until = min(end, axes.get_ylim()[1] / chart.ideal)
        axes.plot((0, until), (0, until * chart.ideal), color=MUTED, lw=1.2, ls=DOTS)
        word(axes, (until * 0.8, until * 0.8 * chart.ideal), "ideal", by=(-6, 2), ha="right", color=MUTED)
    if chart.band is not None:
        band = chart.band
        inside = [n for n, at in enumerate(band.at) if at <= end]
        at, middle = [band.at[n] for n in inside], [band.middle[n] for n in inside]
        axes.fill_between(at, [band.low[n] for n in inside], [band.high[n] for n in inside], color=TEAL, alpha=0.2, lw=0)
        axes.plot(at, middle, color=TEAL, lw=1.5, ls=DASH)
        place = (at[-1], middle[-1])
        if sheet.narrow:
            word(axes, place, "USL fit", by=(-2, -16), ha="right", color=TEAL, fontweight="bold")
        else:
            word(axes, place, "USL fit", by=(8, 0), va="center", color=TEAL, fontweight="bold")
    if chart.knee is not None:
        near = min((dot for dot in chart.dots if dot.throughput), key=lambda dot: abs(dot.load - chart.knee), default=None)  # type: ignore[operator]
        if near is not None and near.throughput is not None:
            word(axes, (chart.knee, near.throughput[0]), "knee", by=(0, -27), ha="center", fontsize=10)
    for dot in _thinned(chart.dots):
        if dot.throughput is not None:
            _point(axes, dot, dot.throughput)


def _latency(axes: Axes, sheet: Sheet, chart: Chart) -> None:
    values = [value for dot in chart.dots if dot.percentile is not None for value in dot.percentile if value > 0]
    if chart.limit_ms is not None:
        values.append(chart.limit_ms)
    if not values:
        axes.set_yticks([])
        word(axes, (0.5, 0.5), "no percentile to draw", coords="axes fraction", ha="center", color=MUTED)
        return
    low, high = min(values), max(values)
    log_ms(axes, "y", 10 ** (math.floor(math.log10(low * 0.9) * 4) / 4), 10 ** (math.ceil(math.log10(high * 1.25) * 4) / 4))
    if len(axes.get_yticks()) < 2:  # a narrow span has no 1-3-10 in it
        ticks = [low, *([chart.limit_ms] if chart.limit_ms else []), high]
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{digits(value)} ms"))
    if chart.limit_ms is not None:
        axes.axhline(chart.limit_ms, color=INK, lw=1.1, ls=DASH, zorder=2)
        word(axes, (0, chart.limit_ms), f"rule: {digits(chart.limit_ms)} ms", coords=axes.get_yaxis_transform(), by=(4, 4))
    for dot in _thinned(chart.dots):
        if dot.percentile is not None:
            _point(axes, dot, dot.percentile)
    lost = [dot for dot in chart.dots if dot.verdict not in _MARKS]
    if lost and not sheet.narrow:
        dot = lost[-1]
        if dot.percentile is not None:
            word(axes, (dot.load, dot.percentile[0]), "not counted", by=(-8, 8), ha="right", color=MUTED)
