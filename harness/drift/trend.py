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

Floats = npt.NDArray[np.float64]


class MannKendall(NamedTuple):
    """A test of monotonic trend."""

    s: int
    """Pairs that rise less pairs that fall."""
    variance: float
    z: float
    p: float
    """Two-sided."""
    p_up: float
    """One-sided: how often a series without trend rises as much."""


def mann_kendall(values: Sequence[float] | Floats) -> MannKendall:
    """Mann-Kendall with the correction for ties. Fewer than three values, or all equal: no trend, p = 1 (one-sided 0.5)."""
    x = np.asarray(values, dtype=float)
    n = len(x)
    order = np.sign(x[None, :] - x[:, None])
    s = int(np.triu(order, 1).sum())
    _, ties = np.unique(x, return_counts=True)
    variance = float(n * (n - 1) * (2 * n + 5) - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18
    if n < 3 or variance <= 0:
        return MannKendall(s, max(variance, 0.0), 0.0, 1.0, 0.5)
    z = (s - math.copysign(1, s) if s else 0.0) / math.sqrt(variance)
    return MannKendall(s, variance, z, float(2 * stats.norm.sf(abs(z))), float(stats.norm.sf(z)))


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
