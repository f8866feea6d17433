"""Plot B: how latencies are spread. Left the share in each bin, right the share that was slower."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.metrics.histogram import Histogram, highest_of, lowest_of
from harness.report.plots.style import BLUE, DASH, INK, ORANGE, PAPER, Sheet, heading, log_ms, word
from harness.report.series import quantile_of
from harness.report.wording import ms

_PER_DECADE = 16
_STAIRS = 160


def distribution(sheet: Sheet, service: Histogram | None, response: Histogram, limits: list[float]) -> None:
    """Draw it: response from the intended instant, service from the actual send (None for spans), `ok` outcomes only."""
    both = [histogram for histogram in (service, response) if histogram is not None and histogram.count]
    low, high = _range(both, limits)
    if sheet.narrow:
        left, right = sheet.axes(40, sheet.height * 0.44, 20, 18), sheet.axes(sheet.height * 0.57, sheet.height - 26, 48, 18)
    else:
        left, right = sheet.axes(44, sheet.height - 28, 20, 474), sheet.axes(44, sheet.height - 28, 476, 70)
    decades = np.log10(high / low)
    for axes in (left, right):
        log_ms(axes, "x", low, high, few=decades > (2.2 if sheet.narrow else 3))
    _shares(left, sheet, service, response, low, high)
    _slower(right, sheet, service, response, limits, low, high)


def _range(both: list[Histogram], limits: list[float]) -> tuple[float, float]:
    least = min(max(h.low, 1) for h in both) / 1000
    most = max([max(h.high, 2) / 1000 for h in both] + limits)
    low = 10.0 ** (np.floor(np.log10(least) * 2) / 2)
    high = 10.0 ** (np.ceil(np.log10(most * 1.1) * 2) / 2)
    return float(low), float(max(high, low * 10))


def _middles(histogram: Histogram) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    filled = np.flatnonzero(histogram.counts)
    values = np.array([max(lowest_of(int(n)) + highest_of(int(n)), 1) / 2000 for n in filled])
    return values, histogram.counts[filled]


def _shares(axes: Axes, sheet: Sheet, service: Histogram | None, response: Histogram, low: float, high: float) -> None:
    edges = np.geomspace(low, high, max(int(np.log10(high / low) * _PER_DECADE), 24) + 1)
    top = 0.0
    for histogram, hue, filled in ((response, ORANGE, True), (service, BLUE, False)):
        if histogram is None or not histogram.count:
            continue
        values, counts = _middles(histogram)
        share = np.histogram(np.clip(values, low, high), edges, weights=counts)[0] / histogram.count
        if filled:
            axes.stairs(share, edges, fill=True, color=hue, alpha=0.32, lw=0)
        axes.stairs(share, edges, color=hue, lw=1.4)
        top = max(top, float(share.max()))
    axes.set_yticks([])
    axes.set_ylim(0, top * 1.3 or 1)
    heading(sheet, axes, "Share of samples", up=22)
    place = {"coords": "axes fraction", "fontsize": 10, "fontweight": "bold"}
    if service is not None:
        word(axes, (0, 1), "service: from the actual send", by=(-17, 7), color=BLUE, **place)
        word(axes, (0, 1), "response: from the intended instant", by=(-17, -6), color=ORANGE, **place)


def _slower(
    axes: Axes, sheet: Sheet, service: Histogram | None, response: Histogram, limits: list[float], low: float, high: float
) -> None:
    least = 1.0
    for histogram, hue, width in ((response, ORANGE, 1.9), (service, BLUE, 1.5)):
        if histogram is None or not histogram.count:
            continue
        values, counts = _middles(histogram)
        beyond = 1 - np.cumsum(counts) / histogram.count
        share = np.r_[1.0, beyond[:-1]]
        keep = np.unique(np.searchsorted(-share, -np.geomspace(1, max(share.min(), 1e-7), _STAIRS)).clip(0, len(share) - 1))
        axes.plot(values[keep], share[keep], color=hue, lw=width, drawstyle="steps-post")
        least = min(least, 1 / histogram.count)
    axes.set_yscale("log")
    axes.set_ylim(least * 0.7, 1.4)
    axes.yaxis.set_major_locator(
        FixedLocator([share for share in (0.5, 0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6) if share >= least * 0.7])
    )
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share * 100:g} %"))
    heading(sheet, axes, "Share slower than", up=22)
    for limit in limits:
        axes.axvline(limit, color=INK, lw=1.1, ls=DASH)
        word(axes, (limit, 1), "rule", coords=axes.get_xaxis_transform(), by=(3, 3), fontsize=9.5)
    for name, p in (("p50", Fraction(1, 2)), ("p90", Fraction(9, 10)), ("p99", Fraction(99, 100)), ("p99.9", Fraction(999, 1000))):
        found = quantile_of(response, p)
        if found is None:
            continue
        value, lower, upper = found
        y = float(1 - p)
        axes.plot((lower, upper), (y, y), color=INK, lw=1.3)
        axes.plot(value, y, "o", ms=5, mfc=PAPER, mec=INK, mew=1.3)
        late = np.log(value / low) > 0.62 * np.log(high / low)
        by = (-9, -6) if late else (8, 4)
        word(axes, (value, y), f"{name}  {ms(value)}", by=by, ha="right" if late else "left", va="top" if late else "bottom")
