"""Is there a trend, and how steep: Mann-Kendall with ties, Theil-Sen with its interval, pre-whitening (metrics.md F2). Pure.

Values that follow each other are alike, and that makes a trend test cry wolf: so test `whitened` values where `lag1` is large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from harness.metrics.kendall import MannKendall, mann_kendall

__all__ = ["Floats", "Line", "MannKendall", "adjusted", "lag1", "mann_kendall", "theil_sen", "whitened"]

Floats = npt.NDArray[np.float64]


class Line(NamedTuple):
    """A Theil-Sen line with the interval of its slope, per unit of `at`."""

    slope: float
    low: float
    high: float
    intercept: float

    def value(self, at: float) -> float:
        """Where the line is."""
        return self.intercept + self.slope * at


def theil_sen(values: Sequence[float] | Floats, at: Sequence[float] | Floats | None = None, confidence: float = 0.95) -> Line:
    """Median of all slopes between pairs, with the interval by ranks (`scipy.stats.theilslopes`). Needs two values."""
    y = np.asarray(values, dtype=float)
    x = np.arange(len(y), dtype=float) if at is None else np.asarray(at, dtype=float)
    if np.all(y == y[0]):
        return Line(0.0, 0.0, 0.0, float(y[0]))
    found = stats.theilslopes(y, x, confidence)
    return Line(float(found.slope), float(found.low_slope), float(found.high_slope), float(found.intercept))


def lag1(values: Sequence[float | None]) -> float:
    """Autocorrelation of neighbours; None is a gap, whose neighbours make no pair. 0 for what does not vary."""
    x = np.array([math.nan if value is None else value for value in values])
    if np.isfinite(x).sum() < 2:
        return 0.0
    deviation = x - np.nanmean(x)
    total = float(np.nansum(deviation * deviation))
    # Rounding about a perfect line is no correlation.
    if total <= 1e-24 * float(np.nansum(x * x)) or total == 0:
        return 0.0
    return float(np.nansum(deviation[1:] * deviation[:-1])) / total


def whitened(values: Sequence[float | None], r1: float) -> list[float]:
    """`x_i - r1 * x_(i-1)` of all neighbours that are both known."""
    return [now - r1 * before for before, now in pairwise(values) if before is not None and now is not None]


def adjusted(p: Sequence[float]) -> list[float]:
    """Benjamini-Hochberg: p values adjusted for how many were looked at; of those up to 0.05 at most 5 % are false."""
    if not p:
        return []
    return [float(q) for q in stats.false_discovery_control(np.asarray(p, dtype=float), method="bh")]
