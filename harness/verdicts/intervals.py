"""How sure a percentile or a share is: exact intervals from the binomial distribution. Pure.

Independent samples are assumed, which samples in time are not: the true doubt is at least as large.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np

TAIL = 0.025
"""Left out on each side of a 95 % interval."""
_SIGMAS = 12
"""What lies further from the mean has less than 1e-30 of the weight."""


@lru_cache(maxsize=256)
def ranks(n: int, share: Fraction) -> tuple[int | None, int | None]:
    """Ranks (from 1) of the order statistics that hold a percentile in 95 of 100 cases; None: no sample is far enough out.

    With B ~ Binomial(n, share): the largest l with P(B <= l-1) <= 2.5 %, and the smallest u with P(B >= u) <= 2.5 %.
    """
    p = float(share)
    if n <= 0 or not 0 < p < 1:
        return None, None
    first, weights = _weights(n, p)
    below = np.cumsum(weights)  # P(B <= first + i)
    above = np.cumsum(weights[::-1])[::-1]  # P(B >= first + i)
    low = first + int(np.searchsorted(below, TAIL, side="right"))  # so many values k have P(B <= k) <= 2.5 %
    far = np.flatnonzero(above <= TAIL)
    high = first + int(far[0]) if far.size else n + 1
    return (low if low >= 1 else None), (high if high <= n else None)


def _weights(n: int, p: float) -> tuple[int, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Probabilities of the values around the mean, and the first of those values."""
    mean, sigma = n * p, math.sqrt(n * p * (1 - p))
    reach = _SIGMAS * sigma + 40
    first, last = max(0, math.floor(mean - reach)), min(n, math.ceil(mean + reach))
    values = np.arange(first, last, dtype=np.float64)
    steps = np.log(n - values) - np.log(values + 1) + math.log(p / (1 - p))
    logs = np.concatenate(([0.0], np.cumsum(steps)))
    weights = np.exp(logs - logs.max())
    return first, weights / weights.sum()


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """Exact (Clopper-Pearson) 95 % interval of the share behind `hits` out of `n`."""
    if n <= 0:
        return 0.0, 1.0
    low = 0.0 if hits <= 0 else _root(lambda p: 1 - _at_most(hits - 1, n, p), rising=True)
    high = 1.0 if hits >= n else _root(lambda p: _at_most(hits, n, p), rising=False)
    return low, high


def _at_most(k: int, n: int, p: float) -> float:
    if p <= 0:
        return 1.0
    if p >= 1:
        return 1.0 if k >= n else 0.0
    first, weights = _weights(n, p)
    return float(weights[: max(0, min(k - first + 1, weights.size))].sum())


def _root(tail: object, *, rising: bool) -> float:
    """Where a monotonous tail is 2.5 %."""
    assert callable(tail)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if (tail(middle) <= TAIL) == rising:
            low = middle
        else:
            high = middle
    return (low + high) / 2
