"""Tail curves of two runs in one picture: the share that was slower."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.metrics.histogram import Histogram, highest_of, lowest_of
from harness.report.plots.style import BLUE, ORANGE, Sheet, heading, log_ms, word

_POINTS = 160


def tails(sheet: Sheet, name: str, a: Histogram, b: Histogram) -> None:
    """Draw it: A in blue, B in orange; the axis ends where one sample is the rest."""
    axes = sheet.axes(34, sheet.height - 28)
    low = 10.0 ** (np.floor(np.log10(max(min(a.low, b.low), 1) / 1000) * 2) / 2)
    high = max(10.0 ** (np.ceil(np.log10(max(a.high, b.high, 2) / 1000) * 2) / 2), low * 10)
    log_ms(axes, "x", float(low), float(high), few=high / low > (160 if sheet.narrow else 1000))
    least = 1.0
    for whole, hue, label, up in ((a, BLUE, "A", 3), (b, ORANGE, "B", -9)):
        filled = np.flatnonzero(whole.counts)
        values = np.array([max(lowest_of(int(n)) + highest_of(int(n)), 1) / 2000 for n in filled])
        share = np.r_[1.0, (1 - np.cumsum(whole.counts[filled]) / whole.count)[:-1]]
        keep = np.unique(np.searchsorted(-share, -np.geomspace(1, max(share.min(), 1e-7), _POINTS)).clip(0, len(share) - 1))
        axes.plot(values[keep], share[keep], color=hue, lw=1.8, drawstyle="steps-post")
        word(axes, (values[-1], float(share[-1])), label, by=(6, up), color=hue, fontweight="bold")
        least = min(least, 1 / whole.count)
    axes.set_yscale("log")
    axes.set_ylim(least * 0.7, 1.4)
    places = (0.5, 0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6)
    axes.yaxis.set_major_locator(FixedLocator([share for share in places if share >= least * 0.7]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share * 100:g} %"))
    heading(sheet, axes, f"{name}, share slower than")
