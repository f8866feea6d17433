"""Where a curve bends in the picture (Kneedle). For drawing only: it moves with the loads that were tried, and decides nothing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

_FEWEST = 5


def knee(loads: Sequence[float], values: Sequence[float], *, shape: Literal["throughput", "latency"]) -> float | None:
    """Load of the knee; None: there is none. Values at one load are averaged.

    Throughput rises ever more slowly (concave), latency ever faster (convex).
    """
    by_load: dict[float, list[float]] = {}
    for load, value in zip(loads, values, strict=True):
        by_load.setdefault(load, []).append(value)
    x = sorted(by_load)
    y = [sum(by_load[load]) / len(by_load[load]) for load in x]
    if len(x) < _FEWEST or max(y) <= min(y):
        return None
    from kneed import KneeLocator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns when it finds none
        found = KneeLocator(x, y, curve="concave" if shape == "throughput" else "convex", direction="increasing").knee
    return None if found is None else float(found)
