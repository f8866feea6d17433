"""How far two samples are apart, as a description and never as a verdict (metrics.md F5). Pure; chance is an argument.

Two nights cannot tell a change from an ordinary bad night, whatever these figures are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST = 2_000
"""Values a side that pairs are formed of."""
_RESAMPLES = 1_000
FEWEST_BLOCKS = 5
"""Blocks a side below which there is no interval: too few to draw from."""


class QuantileRatio(msgspec.Struct, frozen=True):
    """A percentile of two runs. `low` and `high`: 95 % interval of the ratio by the block bootstrap; None: too few blocks."""

    share: float
    """0.95 of p95."""
    a: float | None
    b: float | None
    ratio: float | None
    low: float | None = None
    high: float | None = None


def hodges_lehmann(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> float:
    """Median of all differences b - a. Raises ValueError for an empty side."""
    x, y = _side(a), _side(b)
    return float(np.median(np.subtract.outer(y, x)))


def a12(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> float:
    """Chance that a value of b is above one of a, ties half (Vargha-Delaney): U/(mn). Raises ValueError for an empty side."""
    x, y = np.sort(_side(a)), _side(b)
    below = np.searchsorted(x, y, side="left")
    up_to = np.searchsorted(x, y, side="right")
    return float((below + up_to).sum() / (2 * len(x) * len(y)))


def _side(values: Sequence[float] | Floats) -> Floats:
    found = np.asarray(values, dtype=float)
    if not found.size:
        raise ValueError("a side is empty")
    return found


def sample_of(values: Sequence[float] | Floats, counts: Sequence[int] | NDArray[Any], most: int = MOST) -> Floats:
    """At most `most` values that stand for a histogram: its quantiles at even shares, so that nothing is left to chance."""
    x, n = np.asarray(values, dtype=float), np.asarray(counts, dtype=np.int64)
    total = int(n.sum())
    if total == 0:
        return np.empty(0)
    size = min(total, most)
    ranks = np.ceil((np.arange(size) + 0.5) / size * total)
    found: Floats = x[np.searchsorted(np.cumsum(n), ranks)]
    return found


def quantile_ratios(
    values: Sequence[float] | Floats,
    a: Sequence[Sequence[int]] | NDArray[Any],
    b: Sequence[Sequence[int]] | NDArray[Any],
    shares: Sequence[float],
    rng: np.random.Generator,
    *,
    resamples: int = _RESAMPLES,
) -> list[QuantileRatio]:
    """b over a at these percentiles, with intervals from drawing whole blocks of time.

    `values` are the cells of the histograms, ascending; a row of `a` and of `b` holds the counts of one block (of 10 min, say).
    A percentile is given where at least 10 samples lie beyond it.
    """
    x = np.asarray(values, dtype=float)
    sides = [np.asarray(side, dtype=np.int64).reshape(-1, len(x)) for side in (a, b)]
    whole = [side.sum(axis=0) for side in sides]
    drawn = [_drawn(side, rng, resamples) if len(side) >= FEWEST_BLOCKS else None for side in sides]
    found = []
    for share in shares:
        one, other = (_quantile(x, counts[None, :], share)[0] if counts.sum() * (1 - share) >= 10 else None for counts in whole)
        ratio = float(other / one) if one is not None and other is not None and one > 0 else None
        low = high = None
        if ratio is not None and drawn[0] is not None and drawn[1] is not None:
            ratios = _quantile(x, drawn[1], share) / np.maximum(_quantile(x, drawn[0], share), np.finfo(float).tiny)
            low, high = (float(edge) for edge in np.quantile(ratios, [0.025, 0.975]))
        found.append(
            QuantileRatio(share, None if one is None else float(one), None if other is None else float(other), ratio, low, high)
        )
    return found


def _drawn(blocks: NDArray[Any], rng: np.random.Generator, times: int) -> NDArray[Any]:
    """Counts of `times` runs that are made of as many blocks, drawn with replacement."""
    often = rng.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=times)
    found: NDArray[Any] = often @ blocks
    return found


def _quantile(x: Floats, counts: NDArray[Any], share: float) -> Floats:
    """The value at a share, of each row's counts."""
    sums = np.cumsum(counts, axis=1)
    ranks = np.maximum(np.ceil(share * sums[:, -1] - 1e-9), 1)
    places = (sums < ranks[:, None]).sum(axis=1)
    found: Floats = x[np.minimum(places, len(x) - 1)]
    return found
