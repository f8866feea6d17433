"""`unknown_type`: besides the message, a frame of a type that no document knows goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.conversations import Plan
    from harness.simulator.engine import Engine


class UnknownType(Fault):
    """Per delivery."""

    name = "unknown_type"

    def on_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """Ask for the odd frame."""
        if self.concerns(plan.message, plan.conv) and self.hit():
            plan.extras.append(self.name)
            engine.act(now, self.name, plan.message.unit)
