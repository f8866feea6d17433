"""How far from its place each first copy came by push (RFC 5236), and how long after what overtook it (RFC 4737 §4.3)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from harness.metrics.histogram import Histogram, highest_of, lowest_of
from harness.report.plots.style import BLUE, ORANGE, Sheet, heading, log_ms

_BINS = 24


def reorder(sheet: Sheet, displacements: Mapping[int, int], late: Histogram | None) -> None:
    """Draw it: `displacements` by place, `late` in microseconds."""
    if sheet.narrow:
        left, right = sheet.axes(34, sheet.height * 0.42, 48, 18), sheet.axes(sheet.height * 0.6, sheet.height - 26, 48, 18)
    else:
        left, right = sheet.axes(34, sheet.height - 28, 56, 474), sheet.axes(34, sheet.height - 28, 476, 70)
    _displaced(left, sheet, displacements)
    _late(right, sheet, late)


def _displaced(axes: Axes, sheet: Sheet, displacements: Mapping[int, int]) -> None:
    total = sum(displacements.values())
    off = {place: number for place, number in displacements.items() if place}
    heading(sheet, axes, "Places early (left) or late, share of arrivals")
    reach = max((abs(place) for place in off), default=1) + 1
    for place, number in sorted(off.items()):
        axes.bar(place, 100 * number / total, 0.8, color=ORANGE if place > 0 else BLUE, lw=0)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(0, 100 * max(off.values(), default=1) / max(total, 1) * 1.15)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g} %"))


def _late(axes: Axes, sheet: Sheet, late: Histogram | None) -> None:
    heading(sheet, axes, "How long after what overtook it, reordered arrivals")
    if late is None or not late.count:
        axes.set_axis_off()
        return
    low = 10.0 ** np.floor(np.log10(max(late.low, 1) / 1000))
    high = max(10.0 ** np.ceil(np.log10(max(late.high, 2) / 1000)), low * 10)
    filled = np.flatnonzero(late.counts)
    middles = np.array([max(lowest_of(int(n)) + highest_of(int(n)), 1) / 2000 for n in filled])
    edges = np.geomspace(low, high, _BINS + 1)
    found = np.histogram(np.clip(middles, low, high), edges, weights=late.counts[filled])[0]
    axes.stairs(found, edges, fill=True, color=ORANGE, lw=0)
    log_ms(axes, "x", float(low), float(high), few=high / low > 1000)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, float(found.max()) * 1.15 or 1)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
