"""What one more guest costs in latency near the limit: slope of the percentile over load, with its interval. Pure; seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from harness.search.bracket import counted
from harness.search.steps import Step

REACH = 0.2
"""Steps within that share of the limit count ..."""
FEWEST = 4
"""... if there are so many, at three loads or more; else the next ones too."""


class Cost(NamedTuple):
    """Near the limit the percentile grows by so much for each more guest (or arrival per second)."""

    each_s: float
    """Seconds per guest: the median of all slopes between two steps (Theil-Sen)."""
    low_s: float
    """Lower end of its 95 % interval."""
    high_s: float
    """Upper end of it."""
    steps: int
    """How many steps it rests on."""
    least: float
    """From this load ..."""
    most: float
    """... to that."""

    def per(self, guests: float) -> tuple[float, float, float]:
        """For so many more at once, such as 100: value and interval, seconds."""
        return self.each_s * guests, self.low_s * guests, self.high_s * guests


def latency_cost(steps: Sequence[Step], limit: float) -> Cost | None:
    """Slope of `percentile_s` around `limit`; None: too few steps there that measured it."""
    known = [(step.order.load, step.result.percentile_s) for step in counted(steps) if step.result.percentile_s is not None]
    if limit <= 0:
        return None
    known.sort(key=lambda one: abs(math.log(one[0] / limit)))
    chosen: list[tuple[float, float]] = []
    for load, value in known:
        enough = len(chosen) >= FEWEST and len({one[0] for one in chosen}) >= 3
        if enough and abs(load - limit) > REACH * limit:
            break
        chosen.append((load, value))
    loads, values = np.array([one[0] for one in chosen]), np.array([one[1] for one in chosen])
    if loads.size < FEWEST or np.unique(loads).size < 3:
        return None
    from scipy.stats import theilslopes

    slope, _, low, high = theilslopes(values, loads, alpha=0.95)
    return Cost(float(slope), float(low), float(high), int(loads.size), float(loads.min()), float(loads.max()))
