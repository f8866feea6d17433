"""Little's law for one step: as many guests as there are answers a second, times the time from answer to answer. Pure.

Closed: `N = X·(R + Z)`; open: what is in flight is `λ·R`. It holds for any distribution. A miss means lost samples, wrong clocks,
guests stuck unseen, or a load that was not steady. It says nothing about percentiles.
"""

from __future__ import annotations

from typing import NamedTuple

from harness.search.steps import StepResult

SLACK = 0.01
EDGES = 0.5
"""What the edges of a window may cost, in parts of one round over the length of the window."""


class Little(NamedTuple):
    """What the law came to."""

    ratio: float
    """X·(R + Z) / N: 1 when the books balance."""
    tolerance: float
    """How far from 1 it may be."""

    @property
    def holds(self) -> bool:
        """Whether the books balance."""
        return abs(self.ratio - 1) <= self.tolerance


def little(step: StepResult, *, closed: bool) -> Little | None:
    """The law for a step; None: it was not measured, or nothing happened."""
    throughput, response = step.throughput, step.response_s
    if throughput is None or response is None or step.length_s <= 0:
        return None
    if closed:
        if step.think_s is None:
            return None
        present, round_s = step.present if step.present is not None else step.load, response + step.think_s
    else:
        if not step.in_flight:
            return None
        present, round_s = sum(step.in_flight) / len(step.in_flight), response
    if present <= 0:
        return None
    return Little(throughput * round_s / present, SLACK + EDGES * round_s / step.length_s)
