"""`delay`: a message is pushed later than it could be; those behind it overtake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.conversations import Plan
    from harness.simulator.engine import Engine


class Delay(Fault):
    """Per delivery. `by`: how long."""

    name = "delay"
    options = {"by": (spelling.spread, spelling.Spread("fixed", spelling.SECOND))}  # noqa: RUF012

    def on_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """Put it off."""
        if plan.push and self.concerns(plan.message, plan.conv) and self.hit():
            plan.delay += self.option("by").sample(self.rng)
            engine.act(now, self.name, plan.message.unit)
