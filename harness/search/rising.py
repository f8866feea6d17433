"""Whether a short series rises: Mann-Kendall with pre-whitening, and how much, by the Theil-Sen slope. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from harness.metrics.kendall import mann_kendall

_FEWEST = 8
"""Of fewer values nothing is said."""
_MOST = 0.95
"""No more than that of the value before is taken off."""


class Trend(NamedTuple):
    """What the test came to."""

    p: float
    """How likely so much of a rise is without one (one-sided)."""
    slope: float
    """Median of all pairwise slopes, per value."""


def rising(values: Sequence[float]) -> Trend:
    """Whether it rises; values that hang together in time are pre-whitened first, which keeps false alarms down."""
    x = np.asarray(values, dtype=np.float64)
    if x.size < _FEWEST or float(np.ptp(x)) == 0:
        return Trend(1.0, 0.0)
    first, second = np.triu_indices(x.size, 1)
    slope = float(np.median((x[second] - x[first]) / (second - first)))
    rest = x - slope * np.arange(x.size)
    rest = rest - rest.mean()
    power = float(rest @ rest)
    r1 = float(rest[1:] @ rest[:-1]) / power if power > 0 else 0.0
    r1 = min((r1 + 2 / x.size) / (1 - 4 / x.size), _MOST)  # taking a line off few values makes it too low by (2 + 4·r1)/n
    if r1 > 0:  # few values never show it significantly, and hang together all the same
        x = x[1:] - r1 * x[:-1]
    return Trend(mann_kendall(x).p_up, slope)


def spread(values: Sequence[float]) -> float:
    """Standard deviation around the straight line through the values: what they vary by apart from a steady rise."""
    if len(values) <= 2:
        return 0.0
    x, y = np.arange(len(values)), np.asarray(values, dtype=np.float64)
    slope, level = np.polyfit(x, y, 1)
    return float(np.sqrt(((y - level - slope * x) ** 2).sum() / (len(values) - 2)))
