"""Where the warm-up of a series ends: MSER-5 (metrics.md F1). Pure.

Made for the means and percentiles of a steady state. Never before a trend test: on a pure ramp it cuts almost half, and so throws
away the very thing that is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

BATCH = 5
"""Values per batch mean: the 5 of MSER-5."""


class WarmUp(msgspec.Struct, frozen=True):
    """What MSER says about the start of a series."""

    cut: int
    """So many values at the start are warm-up."""
    steady: bool
    """Whether the rest is a steady state: the least statistic lies before the cap of half the series."""
    statistics: tuple[float, ...] = ()
    """The statistic after leaving out 0, 1, 2, … batches, in the values' unit squared."""


def mser(values: Sequence[float], *, batch: int = BATCH) -> WarmUp | None:
    """The warm-up of finite values, by means of `batch` of them; None if there are fewer than two whole batches."""
    whole = len(values) // batch
    if whole < 2:
        return None
    means = np.asarray(values[: whole * batch], dtype=float).reshape(whole, batch).mean(axis=1)
    found, statistics = mser_of_means(means.tolist())
    return WarmUp(found * batch, found < whole // 2, statistics)


def mser_of_means(means: Sequence[float]) -> tuple[int, tuple[float, ...]]:
    """How many of two or more batch means are warm-up, and the statistic of each candidate up to half of them."""
    given = np.asarray(means, dtype=float)
    z = given - np.median(given)
    scale = float(np.abs(z).max()) or 1.0
    z = z / scale  # so that squares of huge values stay finite
    left = np.arange(len(z), 0, -1)
    # Sums from the end, so that the transient at the start does not blur the sums of what remains.
    total, squares = np.cumsum(z[::-1])[::-1], np.cumsum((z * z)[::-1])[::-1]
    spread = np.maximum(squares - total * total / left, 0.0)
    statistics = (spread / (left * left))[: len(z) // 2 + 1]
    best = int(np.argmin(statistics))
    with np.errstate(over="ignore"):
        shown = np.minimum(statistics * scale * scale, np.finfo(float).max)
    return best, tuple(float(value) for value in shown)
