"""The search for the highest load at which all rules hold. Pure: it orders steps, is told what they measured, and answers.

Loads grow by a factor until one breaks, then the gap is halved until it is small. Loads at the edge are run several times, and
most of the runs decide. A curve through all steps near the edge gives the estimate and its interval; steps are repeated there
until the interval is narrow enough. A longer run at the lower end of the interval confirms what is promised.

What comes next depends on the plan and on the steps alone, so a search that was cut off can be taken up again, and its answer
can be had at any time.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.search.answer import answer
from harness.search.answers import Answer
from harness.search.bracket import Located, bracket, locate, standings
from harness.search.budget import most_steps
from harness.search.edge import EdgeSettings
from harness.search.judge import judge_step
from harness.search.lengths import length_for
from harness.search.plan import CapacityPlan, StepLimits
from harness.search.steps import Judgement, Step, StepKind, StepOrder, StepResult

__all__ = ["Answer", "CapacityController", "CapacityPlan", "Judgement", "Step", "StepLimits", "StepOrder", "StepResult"]

_NARROWEST, _WIDEST = 0.01, 0.08
"""Repeats are spread around the estimate by that share of it, depending on how steep the curve is."""


class CapacityController:
    """Orders steps until the capacity is known: `next_step`, run it, `update`, and again."""

    def __init__(self, plan: CapacityPlan, edge: EdgeSettings | None = None) -> None:
        self.plan = plan
        self.steps: list[Step] = []
        """What was run, in order."""
        self._most = most_steps(plan)
        self._edge = edge or EdgeSettings()
        self._next: StepOrder | None = None
        self._located: tuple[int, Located | None] = (0, None)

    @classmethod
    def resume(cls, plan: CapacityPlan, results: Sequence[StepResult], edge: EdgeSettings | None = None) -> CapacityController:
        """The search as it stood after these results."""
        controller = cls(plan, edge)
        for result in results:
            if controller.next_step() is None:
                break
            controller.update(result)
        return controller

    @property
    def located(self) -> Located | None:
        """Where the curve through the steps so far puts the edge."""
        if self._located[0] != len(self.steps):
            self._located = (len(self.steps), locate(self.steps, self._edge))
        return self._located[1]

    @property
    def doomed_reason(self) -> str:
        """Why the search cannot go on; empty while it can, or when it came to its own end."""
        if self._invalid_in_a_row() >= 2:
            return self.steps[-1].judgement.sentence
        if len(self.steps) >= self._most and self._wanted() is not None:
            return f"{self._most} steps were not enough"
        return ""

    def next_step(self) -> StepOrder | None:
        """What to run now; None: the search is over. The same until `update` is called."""
        if self._next is None and not self.doomed_reason:
            self._next = self._wanted()
        return self._next

    def update(self, result: StepResult) -> Judgement:
        """What the step that was ordered measured; returns what it came to."""
        order = self.next_step()
        if order is None:
            raise ValueError("no step was ordered")
        before = self._undecided_before(order)
        final = bool(before) or order.kind in ("repeat", "confirm")
        parts = [*before, result] if result.generator_healthy else [result]
        judgement = judge_step(parts, self.plan.limits, final=final)
        self.steps.append(Step(order, result, judgement))
        self._next = None
        return judgement

    def answer(self, *, interrupted: bool = False) -> Answer:
        """What is known so far."""
        over = self.next_step() is None and not self.doomed_reason
        return answer(self.plan, self.steps, complete=over, doomed=self.doomed_reason, interrupted=interrupted, where=self.located)

    def _undecided_before(self, order: StepOrder) -> list[StepResult]:
        """The first run of a step that is now run again because it did not decide."""
        found: list[StepResult] = []
        for step in reversed(self.steps if order.attempt > 1 else []):
            if step.judgement.verdict not in ("undecided", "invalid"):
                break
            if step.judgement.verdict == "undecided":
                found.insert(0, step.result)
        return found

    def _invalid_in_a_row(self) -> int:
        count = 0
        for step in reversed(self.steps):
            if step.judgement.verdict != "invalid":
                break
            count += 1
        return count

    def _wanted(self) -> StepOrder | None:
        if self.steps and self.steps[-1].judgement.verdict in ("invalid", "undecided"):
            last = self.steps[-1].order
            return self._order(last.load, last.kind, attempt=2, factor=last.length_factor, refines=last.refines)
        return self._searched() or self._repeated() or self._confirmed()

    def _searched(self) -> StepOrder | None:
        """Explore and bisect."""
        plan = self.plan
        held, broke = bracket(self.steps)
        if broke is None:
            if held is not None and held >= plan.most:
                return None
            return self._order(plan.first if held is None else max(held * plan.growth, held + plan.whole), "explore")
        if held is None:
            if broke <= plan.least:
                return None
            return self._order(broke / plan.growth, "explore")
        if (broke - held) / broke <= plan.tolerance or (plan.whole and broke - held <= 1):
            return None
        return self._order((held + broke) / 2, "bisect")

    def _repeated(self) -> StepOrder | None:
        """The edge several times, then more around it until the interval is narrow."""
        plan = self.plan
        held, broke = bracket(self.steps)
        every = standings(self.steps)
        for load in (broke, held):
            if load is not None and not every[load].settled(plan.needed, plan.repeats):
                return self._order(load, "repeat")
        where = self.located
        if where is None or self._extra() >= plan.extra:
            return None
        enough = max(plan.precision * where.estimate, 1.0 if plan.whole else 0.0)
        if max(where.high - where.estimate, where.estimate - where.low) <= enough:
            return None
        spread = min(max(1 / where.steepness, _NARROWEST), _WIDEST)
        aside = (0.0, spread, -spread)[self._extra() % 3]
        return self._order(where.estimate * (1 + aside), "repeat", refines=True)

    def _extra(self) -> int:
        """Repeats that only narrow the interval."""
        return sum(step.order.refines for step in self.steps if step.judgement.verdict != "invalid")

    def _confirmed(self) -> StepOrder | None:
        plan = self.plan
        held, _ = bracket(self.steps)
        before = [step for step in self.steps if step.order.kind == "confirm"]
        if not plan.confirm or held is None or len(before) >= plan.confirms:
            return None
        if before and before[-1].judgement.verdict == "held":
            return None
        where = self.located
        load = held if where is None else where.low
        if before:
            load = min(load, before[-1].order.load * (1 - plan.tolerance))
        if load < plan.least:
            return None
        return self._order(load, "confirm", factor=plan.confirm_factor)

    def _order(self, load: float, kind: StepKind, *, attempt: int = 1, factor: float = 1.0, refines: bool = False) -> StepOrder:
        load = self.plan.bounded(load)
        length = length_for(self.plan, load, self.steps) * factor
        return StepOrder(len(self.steps) + 1, load, kind, length, factor, refines, attempt)
