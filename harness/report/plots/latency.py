"""Plot A: latency over time. The middle as a line, middle to p90 as a band, p99 as dashes in bins of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from harness.report.plots.marks import backdrop, phase_words
from harness.report.plots.style import BLUE, DASH, INK, ORANGE, Sheet, log_ms, spread, word
from harness.report.series import Latency, Quantile, Timeline
from harness.report.windows import Windows

Values = npt.NDArray[np.float64]


def latency(
    sheet: Sheet, wide: Latency, narrow: Latency, line: Timeline, windows: Windows, limits: list[tuple[float, str]]
) -> None:
    """Draw it. `limits` are the rules on this measure: milliseconds and the rule's own words."""
    found = narrow if sheet.narrow else wide
    axes = sheet.axes(34, sheet.height - 26)
    low, high = _range(found, limits)
    log_ms(axes, "y", low, high)
    backdrop(sheet, axes, line, windows, names=True, gap_words=True)
    phase_words(axes, line, narrow=sheet.narrow)
    at, middle = _line(found.p50, found.width_s, line.end_s)
    _, upper = _line(found.p90, found.width_s, line.end_s)
    axes.fill_between(at, middle, upper, color=BLUE, alpha=0.34, lw=0)
    axes.plot(at, middle, color=BLUE, lw=1.7, solid_capstyle="round")
    _lonely(axes, at, middle)
    for one in found.p99:
        axes.add_patch(Rectangle((one.at_s, one.low), one.width_s, max(one.high - one.low, 0), color=ORANGE, alpha=0.3, lw=0))
        inset = one.width_s * 0.06
        axes.plot((one.at_s + inset, one.at_s + one.width_s - inset), (one.value, one.value), color=ORANGE, lw=2)
    for limit, text in limits:
        axes.axhline(limit, color=INK, lw=1.1, ls=DASH)
        word(axes, (0, limit), text, coords=axes.get_yaxis_transform(), by=(4, 3), fontsize=9.5)
    _ends(sheet, axes, found, low, high)


def _range(found: Latency, limits: list[tuple[float, str]]) -> tuple[float, float]:
    values = [one.value for kind in (found.p50, found.p90, found.p99) for one in kind] or [1.0, 100.0]
    values += [limit for limit, _ in limits]
    least, most = max(min(values), 0.01), max(values)
    low = max((step for step in _STEPS if step <= least / 1.15), default=_STEPS[0])
    high = min((step for step in _STEPS if step >= most * 1.15), default=_STEPS[-1])
    return low, max(high, low * 10)


_STEPS = [factor * 10.0**power for power in range(-3, 8) for factor in (1, 3)]


def _line(kind: list[Quantile], width: int, end_s: float) -> tuple[Values, Values]:
    """Middles of all bins and their values, NaN where the percentile is withheld."""
    bins = int(end_s // width) + 1
    values = np.full(bins, np.nan, dtype=np.float64)
    for one in kind:
        number = int(one.at_s // width)
        if number < bins:
            values[number] = one.value
    middles = np.array([(number + 0.5) * width for number in range(bins)], dtype=np.float64)
    return middles, values


def _lonely(axes: Axes, at: Values, values: Values) -> None:
    """A value between two gaps has no line: a point."""
    known = ~np.isnan(values)
    beside = np.r_[False, known[:-1]] | np.r_[known[1:], False]
    alone = known & ~beside
    if alone.any():
        axes.plot(at[alone], values[alone], "o", color=BLUE, ms=4)


def _ends(sheet: Sheet, axes: Axes, found: Latency, low: float, high: float) -> None:
    """Names at the right, in the margin beside the plot's end."""
    names = [
        (kind[-1].value, text, hue)
        for kind, text, hue in ((found.p50, "p50", BLUE), (found.p90, "p90", BLUE), (found.p99, "p99", ORANGE))
        if kind
    ]
    if not names:
        return
    pixels = axes.get_position().height * sheet.height / np.log(high / low)
    places = spread([float(np.log(max(value, low) / low) * pixels) for value, _, _ in names], 12)
    for place, (_, text, hue) in zip(places, names, strict=True):
        y = float(np.exp(place / pixels) * low)
        word(axes, (1, y), text, coords=axes.get_yaxis_transform(), by=(6, 0), va="center", color=hue, fontweight="bold")
