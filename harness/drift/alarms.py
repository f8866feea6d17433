"""Warnings while a long run goes on: CUSUM and Page-Hinkley, one-sided upwards (metrics.md F4). Pure.

Both take the values for independent, so feed them block values, and both are for warnings: the verdict is for `leak`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

SLACK = 0.5
"""In standard deviations: half the shift that is to be found quickest."""
THRESHOLD = 5.0
"""A false alarm about every 950 values; at 4 about every 340."""
BASELINE = 14
"""Values that tell the normal mean and spread."""


class Cusum:
    """Sums up by how much standard values lie above the slack."""

    def __init__(self, mean: float, sd: float, *, slack: float = SLACK, threshold: float = THRESHOLD) -> None:
        """The normal mean and standard deviation, which must be above 0."""
        if not sd > 0:
            raise ValueError("a CUSUM needs a standard deviation above 0")
        self._mean, self._sd, self._slack, self._threshold = mean, sd, slack, threshold
        self.sum = 0.0

    def take(self, value: float) -> bool:
        """One more; whether the alarm is on."""
        self.sum = max(0.0, self.sum + (value - self._mean) / self._sd - self._slack)
        return self.sum > self._threshold


class PageHinkley:
    """Sums up by how much values lie above the mean of all so far, which needs no baseline."""

    def __init__(self, *, delta: float, threshold: float) -> None:
        """Both in the unit of the values."""
        self._delta, self._threshold = delta, threshold
        self._count, self._total, self._sum, self._least = 0, 0.0, 0.0, math.inf

    def take(self, value: float) -> bool:
        """One more; whether the alarm is on."""
        self._count += 1
        self._total += value
        self._sum += value - self._total / self._count - self._delta
        self._least = min(self._least, self._sum)
        return self.rise > self._threshold

    @property
    def rise(self) -> float:
        """How far the sum lies above its least."""
        return self._sum - self._least if self._count else 0.0


def cusum(values: Iterable[float], mean: float, sd: float, *, slack: float = SLACK) -> list[float]:
    """The sum after each value."""
    watch, sums = Cusum(mean, sd, slack=slack), []
    for value in values:
        watch.take(value)
        sums.append(watch.sum)
    return sums


def page_hinkley(values: Iterable[float], delta: float) -> list[float]:
    """How far the sum lies above its least after each value."""
    watch, rises = PageHinkley(delta=delta, threshold=math.inf), []
    for value in values:
        watch.take(value)
        rises.append(watch.rise)
    return rises


def first_alarm(
    values: Sequence[float | None], *, baseline: int = BASELINE, threshold: float = THRESHOLD, least: float = 0.0
) -> int | None:
    """Index of the value at which a CUSUM on a baseline from the first known values raises its alarm; None: it never does.

    `least`: the least standard deviation that is believed, as a share of the baseline's mean; what never varied would cry at once.
    """
    known = [(number, value) for number, value in enumerate(values) if value is not None and math.isfinite(value)]
    if baseline < 2 or len(known) <= baseline:
        return None
    start = [value for _, value in known[:baseline]]
    mean = math.fsum(start) / baseline
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in start) / (baseline - 1))
    sd = max(sd, least * abs(mean))
    if not sd > 0:
        return next((number for number, value in known[baseline:] if value > mean), None)
    watch = Cusum(mean, sd, threshold=threshold)
    return next((number for number, value in known[baseline:] if watch.take(value)), None)
