"""`backlog`: what agents have said lies longer and longer before it is delivered, and more and more of it lies there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.creeping import Creeping

if TYPE_CHECKING:
    from harness.simulator.conversations import Plan
    from harness.simulator.engine import Engine


class Backlog(Creeping):
    """`lag`: how long a message lies after `over`. `count`: messages that besides seem to lie there, as far as health tells."""

    name = "backlog"
    options = {"lag": (spelling.duration, 0), "count": (spelling.whole, 1000), **Creeping.pace}  # noqa: RUF012

    def on_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """Put it off."""
        lag = round(int(self.option("lag")) * self.grown(now))
        if lag > 0 and plan.push and self.concerns(plan.message, plan.conv) and self.hit():
            plan.delay += lag
            engine.act(now, self.name, plan.message.unit)

    def planted_undelivered(self, now: int) -> int:
        """What only seems to lie there."""
        return round(int(self.option("count")) * self.grown(now))
