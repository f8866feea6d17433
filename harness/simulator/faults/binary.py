"""`binary`: besides the message, a binary frame goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.conversations import Plan
    from harness.simulator.engine import Engine


class Binary(Fault):
    """Per delivery."""

    name = "binary"

    def on_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """Ask for the odd frame."""
        if self.concerns(plan.message, plan.conv) and self.hit():
            plan.extras.append(self.name)
            engine.act(now, self.name, plan.message.unit)
