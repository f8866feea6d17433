"""What of a step's beginning is warm-up: MSER-5. Pure.

The cut is where the standard error of what remains is least. For means and percentiles of a steady state only: before a trend
test it would throw the trend away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BATCH = 5
"""Values whose mean is one of the values that are looked at."""


class WarmUp(NamedTuple):
    """Where the steady part begins."""

    cut: int
    """So many values are left out."""
    steady: bool
    """False: the least was at the end of what may be cut, so the series has not settled."""


def mser(batches: Sequence[float]) -> list[float]:
    """The statistic for d = 0 .. half of the batches: squared deviations after d, over their number squared."""
    z = np.asarray(batches, dtype=np.float64)
    if not z.size:
        return []
    left = np.arange(z.size, 0, -1)
    sums = np.cumsum(z[::-1])[::-1]
    squares = np.cumsum((z * z)[::-1])[::-1]
    spread = np.maximum(squares - sums * sums / left, 0.0) / (left * left)
    return [float(value) for value in spread[: z.size // 2 + 1]]


def warm_up(values: Sequence[float], *, most: float = 0.25) -> WarmUp:
    """Cut of a series of values in time, no more than `most` of it. An even series is not cut at all."""
    whole = len(values) // BATCH
    if whole < 2:
        return WarmUp(0, steady=False)
    x = np.asarray(values[: whole * BATCH], dtype=np.float64)
    x = x - x.mean()  # sums of squares of large numbers lose their digits
    statistic = mser(x.reshape(whole, BATCH).mean(axis=1).tolist())[: max(1, int(whole * min(most, 0.5)) + 1)]
    best = int(np.argmin(statistic))
    return WarmUp(best * BATCH, steady=best < len(statistic) - 1 or best == 0)
