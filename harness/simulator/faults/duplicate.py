"""`duplicate`: a message is pushed again, at once or after a gap (then perhaps over another connection)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.conversations import Plan
    from harness.simulator.engine import Engine


class Duplicate(Fault):
    """Per delivery. `gap`: how long after; `copies`: how many more."""

    name = "duplicate"
    options = {  # noqa: RUF012
        "gap": (spelling.spread, spelling.Spread()),
        "copies": (lambda value, where: spelling.whole(value, where, low=1), 1),
    }

    def on_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """Ask for repeats."""
        if plan.push and self.concerns(plan.message, plan.conv) and self.hit():
            gap = self.option("gap")
            plan.repeats.extend(gap.sample(self.rng) for _ in range(self.option("copies")))
            engine.act(now, self.name, plan.message.unit)
