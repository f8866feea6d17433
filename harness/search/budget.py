"""The most that a search may take, from its plan alone: how many steps, at what loads, how long each. Pure; bounds, no guesses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice, pairwise, zip_longest

import msgspec

from harness.search.lengths import length_for
from harness.search.plan import CapacityPlan
from harness.search.steps import StepKind, StepOrder


def most_steps(plan: CapacityPlan) -> int:
    """No search has more steps than that; it would end undone."""
    return min(len(longest_runs(plan)), plan.most_steps)


def longest_runs(plan: CapacityPlan) -> list[StepOrder]:
    """Every step of the longest search, and each a second time, since the generator was not healthy or the first did not decide.

    What is not needed for that is there for an edge whose repeats turn out otherwise, so that the gap is halved anew. A second run,
    that of the first step too, is as long as the first has shown to be needed.
    """
    once, longest = longest_orders(plan), _longest_s(plan)
    return [*once, *(msgspec.structs.replace(order, length_s=longest * order.length_factor) for order in once)]


def longest_orders(plan: CapacityPlan) -> list[StepOrder]:
    """The steps of the longest search, each once: no step of its kind has a greater load or is longer."""
    longest = _longest_s(plan)
    up, down = list(_explored(plan, rising=True)), list(_explored(plan, rising=False))
    loads = [max(pair) for pair in zip_longest(up, down, fillvalue=0.0)]
    lengths = [length_for(plan, plan.first, ()), *[longest] * (len(loads) - 1)]
    gaps = [sorted(pair) for path in (up, down) for pair in pairwise(path)]
    halvings = max((_halvings(plan, low, high) for low, high in gaps), default=0)
    found = [
        StepOrder(number, load, "explore", length) for number, (load, length) in enumerate(zip(loads, lengths, strict=True), 1)
    ]
    later: list[tuple[StepKind, int, float]] = [
        ("bisect", halvings, 1.0),
        ("repeat", 2 * (plan.repeats - 1) + plan.extra, 1.0),
        ("confirm", plan.confirms if plan.confirm else 0, plan.confirm_factor),
    ]
    for kind, count, factor in later:
        found += [StepOrder(len(found) + 1 + place, plan.most, kind, longest * factor, factor) for place in range(count)]
    return found


def _longest_s(plan: CapacityPlan) -> float:
    """Of an ordinary step."""
    return max(plan.limits.step_max_s, plan.limits.step_min_s)


def _explored(plan: CapacityPlan, *, rising: bool) -> Iterator[float]:
    """Loads of the exploration if everything holds, or if everything breaks."""

    def loads() -> Iterator[float]:
        load = plan.bounded(plan.first)
        while True:
            yield load
            if load >= plan.most if rising else load <= plan.least:
                return
            load = plan.bounded(max(load * plan.growth, load + plan.whole) if rising else load / plan.growth)

    return islice(loads(), plan.most_steps)


def _halvings(plan: CapacityPlan, held: float, broke: float) -> int:
    """How often a gap is halved at most until it is small. The part nearest to what held is the widest for its load."""
    gap, count = broke - held, 0
    while gap / (held + gap) > plan.tolerance and not (plan.whole and gap <= 1) and count < plan.most_steps:
        gap, count = math.ceil(gap / 2) if plan.whole else gap / 2, count + 1
    return count
