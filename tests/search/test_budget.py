"""What a plan says of its longest search holds for every search: on targets of all kinds, unsteady ones and weak generators too."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest

from harness.search.budget import longest_orders, longest_runs, most_steps
from harness.search.capacity import CapacityController, CapacityPlan, StepLimits, StepOrder, StepResult
from harness.search.steps import RuleShare
from tests.search.test_steps_judged import P95, blocks


def drawn_plan(rng: Random) -> CapacityPlan:
    first = 10 ** rng.uniform(0, 3)
    whole = rng.random() < 0.7
    repeats = rng.choice((1, 2, 3, 5))
    return CapacityPlan(
        first=float(int(first)) if whole else first,
        most=float(int(first)) * rng.choice((1, 3, 16, 64)) if whole else first * rng.uniform(1, 64),
        least=1.0 if whole else first / rng.choice((4, 1000)),
        whole=whole,
        growth=rng.choice((1.3, 1.5, 2.0, 4.0)),
        tolerance=rng.choice((0.01, 0.03, 0.06, 0.2)),
        repeats=repeats,
        needed=rng.randint(1, repeats),
        extra=rng.choice((0, 4, 12)),
        confirm=rng.random() < 0.8,
        confirms=rng.choice((1, 2, 3)),
        cycle_s=rng.choice((0.7, 10.0)),
        limits=StepLimits(step_min_s=10.0, step_max_s=rng.choice((10.0, 60.0, 900.0))),
    )


class Drawn:
    """A target with an edge anywhere, as steep as a cliff or flat, and as unsteady; sometimes the generator is not believed."""

    def __init__(self, plan: CapacityPlan, rng: Random) -> None:
        self.rng = rng
        self.edge = plan.most * rng.choice((2.0, rng.random(), rng.random() ** 3, 0.0))
        self.steepness = rng.choice((3.0, 15.0, 60.0, 1000.0))
        self.noise = rng.choice((0.0, 0.01, 0.05))
        self.unhealthy = rng.choice((0.0, 0.0, 0.05, 0.3))
        self.samples = rng.choice((100, 1000, 5000))

    def __call__(self, order: StepOrder) -> StepResult:
        if self.rng.random() < self.unhealthy:
            return StepResult(order.load, order.length_s, generator_healthy=False)
        edge = self.edge * (1 + self.rng.gauss(0, self.noise))
        ratio = min(order.load / edge, 10.0) if edge > 0 else 10.0
        odds = 0.05 / 0.95 * math.exp(min(self.steepness * math.log(ratio), 14.0))
        kept = round(self.samples / (1 + odds))
        rule = RuleShare(P95, 0.95, blocks(kept, self.samples))
        return StepResult(order.load, order.length_s, (rule,), throughput=order.load / 10, response_s=0.2)


@pytest.mark.parametrize("part", range(4))
def test_no_search_is_longer_than_its_plan_says(part: int) -> None:
    ends: Counter[str] = Counter()
    for seed in range(part * 75, part * 75 + 75):
        rng = Random(seed)
        plan = drawn_plan(rng)
        orders, target, controller = longest_runs(plan), Drawn(plan, rng), CapacityController(plan)
        while (order := controller.next_step()) is not None:
            controller.update(target(order))
        taken = [step.order for step in controller.steps]
        assert len(taken) <= most_steps(plan), seed
        assert taken[0].length_s <= orders[0].length_s
        lengths = sorted((one.length_s for one in orders), reverse=True)
        for place, length in enumerate(sorted((one.length_s for one in taken), reverse=True)):
            assert length <= lengths[place] + 1e-9, (seed, place)
        loads = sorted((one.load for one in orders), reverse=True)
        for place, load in enumerate(sorted((one.load for one in taken), reverse=True)):
            assert load <= loads[place], (seed, place)
        ends["short" if "were not enough" in controller.doomed_reason else "done"] += 1
    assert ends["short"] <= 2, "what bounds a search does not cut it short"


def test_a_first_step_that_is_run_again_may_be_longer_then() -> None:
    """Nobody knows before it how slow the target answers."""
    plan = CapacityPlan(
        first=1.0, most=1.0, extra=0, repeats=1, needed=1, confirm=False, cycle_s=0.7, limits=StepLimits(samples=20)
    )
    controller, rule = CapacityController(plan), RuleShare(P95, 0.95, ((190, 200),))
    while (order := controller.next_step()) is not None:
        controller.update(StepResult(order.load, order.length_s, (rule,), throughput=1.0, response_s=60.0))
    first, again = [step.order.length_s for step in controller.steps]
    assert again > first
    assert first + again <= sum(order.length_s for order in longest_runs(plan))


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"first": 100.0, "most": 1600.0}, {"explore": 7, "bisect": 6, "repeat": 16, "confirm": 2}),  # all breaks: 100, 50, … 1
        ({"first": 100.0, "most": 1600.0, "least": 50.0}, {"explore": 5, "bisect": 6, "repeat": 16, "confirm": 2}),
        ({"first": 1.0, "most": 1.0, "extra": 0, "repeats": 1, "needed": 1, "confirm": False}, {"explore": 1}),
    ],
)
def test_the_longest_search_step_by_step(changes: dict[str, float], kinds: dict[str, int]) -> None:
    plan = CapacityPlan(**changes)  # type: ignore[arg-type]
    orders = longest_orders(plan)
    assert Counter(order.kind for order in orders) == kinds
    assert most_steps(plan) == min(2 * len(orders), 60)
    assert [order.number for order in orders] == list(range(1, len(orders) + 1))
    assert all(order.length_s == 900 * order.length_factor for order in orders[1:])
