"""`wrong_id`: besides the message, a frame or event for a conversation that is not the guest's goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.conversations import Plan
    from harness.simulator.engine import Engine


class WrongId(Fault):
    """Per delivery."""

    name = "wrong_id"

    def on_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """Ask for the odd frame."""
        if self.concerns(plan.message, plan.conv) and self.hit():
            plan.extras.append(self.name)
            engine.act(now, self.name, plan.message.unit)
