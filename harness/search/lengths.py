"""How long a step must be for its evidence: enough samples, and long beside what one guest's round takes. Pure; seconds."""

from __future__ import annotations

from collections.abc import Sequence

from harness.search.plan import CapacityPlan
from harness.search.steps import Step

WARM_UP = 1.25
"""So much longer, since the beginning is left out."""


def length_for(plan: CapacityPlan, load: float, steps: Sequence[Step]) -> float:
    """Length of a step at `load`, by what the steps so far have shown of throughput and response time."""
    limits = plan.limits
    per_s, cycle = _expected(plan, load, steps)
    samples = max(float(limits.samples), limits.beyond / max(1 - plan.share, 1e-6))
    needed = WARM_UP * max(samples / per_s if per_s > 0 else 0.0, limits.cycles * cycle)
    return min(max(limits.step_min_s, needed), max(limits.step_max_s, limits.step_min_s))


def _expected(plan: CapacityPlan, load: float, steps: Sequence[Step]) -> tuple[float, float]:
    """Operations per second at a load, and how long one takes with its think time; of answers, at first, that they may take as long
    as the rules allow."""
    known = [step for step in steps if step.result.throughput]
    if not known:
        if plan.whole:
            return (load / plan.cycle_s if plan.cycle_s > 0 else load), plan.cycle_s + plan.limit_s
        return load * plan.per_arrival, plan.cycle_s + plan.limit_s
    nearest = min(known, key=lambda step: abs(step.order.load - load))
    most = max(step.result.throughput or 0.0 for step in known)
    throughput = nearest.result.throughput or 0.0
    per_s = throughput * load / nearest.order.load
    if load > nearest.order.load and nearest.judgement.verdict == "broke":
        per_s = min(per_s, most)  # what is beyond the limit brings no more
    response = nearest.result.response_s or 0.0
    think = nearest.result.think_s
    return per_s, response + (plan.cycle_s if think is None else think)
