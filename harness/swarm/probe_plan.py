"""From `[ratelimit]` to the plans of the probers in `search.limits`. Pure."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

from harness.config.ratelimit import RatelimitTable
from harness.search.limits.concurrency import ConcurrencyPlan
from harness.search.limits.plan import ProbePlan

_S = 1e9
_BURST_MOST = 1000
_HOLD_SPACING_S = 0.2


def probe_plan(table: RatelimitTable, per_s: float) -> ProbePlan:
    """Of one endpoint's probe; `per_s` is the least of all ceilings."""
    window = table.suspected_window / _S
    return ProbePlan(
        max_per_s=per_s,
        max_requests=table.max_requests,
        max_s=table.max_time / _S,
        spacing_s=table.spacing / _S,
        burst_cap=min(_BURST_MOST, table.max_requests),
        idle_s=2 * window,
        longest_window_s=window,
        tolerance=table.tolerance,
    )


def hold_plan(table: RatelimitTable) -> ConcurrencyPlan:
    """Of the search for how many may be open at once."""
    window = table.suspected_window / _S
    return ConcurrencyPlan(
        most_open=table.max_open, spacing_s=_HOLD_SPACING_S, quiet_s=2 * window, answer_timeout_s=2 * table.ready_within / _S
    )
