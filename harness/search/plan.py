"""The settings of a capacity search. Only data. Loads are guests or arrivals per second, times are seconds."""

from __future__ import annotations

import math

import msgspec


class StepLimits(msgspec.Struct, frozen=True):
    """What a step is judged by, and how much evidence it needs."""

    errors: float = 0.001
    """A greater share of failed operations breaks a step."""
    achieved: float = 0.99
    """A lesser share of the planned load breaks a step."""
    rising_p: float = 0.01
    """In-flight operations rise if the trend test of the last half of the step is that sure (one-sided) ..."""
    rising_least: float = 0.2
    """... and they grew by that share of their mean within that half ..."""
    rising_noise: float = 4.0
    """... and by so many times their own standard deviation around a line through the whole step: near the limit a queue that
    is steady swings for seconds, and the last half of a short step may just be one such swing."""
    samples: int = 1000
    """A step has at least so many samples (if `step_max_s` allows) ..."""
    beyond: float = 50.0
    """... and so many beyond the strictest percentile: 1,000 samples for p95, 5,000 for p99."""
    cycles: float = 10.0
    """A step lasts at least so many times the response and think time together."""
    step_min_s: float = 60.0
    """The shortest step."""
    step_max_s: float = 900.0
    """The longest ordinary step."""


class CapacityPlan(msgspec.Struct, frozen=True):
    """How to search."""

    first: float
    """The first load."""
    most: float
    """No more than that is tried."""
    least: float = 1.0
    """No less than that is tried."""
    whole: bool = True
    """Whether loads are whole numbers: guests. Otherwise arrivals per second."""
    growth: float = 2.0
    """While nothing has broken, the next load is so many times the last."""
    tolerance: float = 0.03
    """Bisection ends at (high - low) / high of that."""
    repeats: int = 3
    """Loads at the edge are run up to so many times ..."""
    needed: int = 2
    """... and so many of the runs decide."""
    precision: float = 0.04
    """Steps are repeated at the edge until the interval reaches no further than that share of the estimate to either side ..."""
    extra: int = 12
    """... but no more than so many times."""
    confirm: bool = True
    """Whether to end with a longer run at what the answer promises."""
    confirm_factor: float = 3.0
    """How many times longer than an ordinary step."""
    confirms: int = 2
    """If the longer run breaks, the answer is corrected and confirmed again, so many times in all."""
    most_steps: int = 60
    """No more steps than that, whatever is still open; see also `search.budget`."""
    share: float = 0.95
    """The strictest percentile of the rules, as a share: 0.95 of p95."""
    cycle_s: float = 30.0
    """Think and response time together, as far as is known before the first step."""
    limit_s: float = 0.0
    """How long an answer may take by the percentile rules; 0: not known."""
    per_arrival: float = 1.0
    """Open model: operations that a visit holds, as far as is known before the first step."""
    planned: float | None = None
    """The load that is planned for the target; None: none is."""
    limits: StepLimits = StepLimits()
    """How a step is judged."""

    def bounded(self, load: float) -> float:
        """The load that is tried where this one is meant."""
        load = min(max(load, self.least), self.most)
        return float(math.floor(load + 1e-9)) if self.whole else load

    @property
    def unit(self) -> str:
        """Of all loads."""
        return "guests" if self.whole else "arrivals/s"
