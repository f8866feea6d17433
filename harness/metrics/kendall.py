"""The Mann-Kendall test of a monotonic trend, with the correction for ties (metrics.md F2). Pure.

Here and not in `drift`, since the search for a capacity asks the same of the guests in flight, and loads no scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


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


def mann_kendall(values: Sequence[float] | npt.NDArray[np.float64]) -> MannKendall:
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
    return MannKendall(s, variance, z, math.erfc(abs(z) / math.sqrt(2)), math.erfc(z / math.sqrt(2)) / 2)
