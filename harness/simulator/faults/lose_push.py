"""`lose_push`: the message is stored and not pushed. A listing still has it; where a dialect has none, it is lost for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.conversations import Plan
    from harness.simulator.engine import Engine


class LosePush(Fault):
    """Per delivery."""

    name = "lose_push"

    def on_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """Leave the push out."""
        if plan.push and plan.conv.dialect.can_lose and self.concerns(plan.message, plan.conv) and self.hit():
            plan.push = False
            nonce = plan.message.copy.nonce
            if nonce is not None:
                nonce.fault = self.name
            engine.act(now, self.name, plan.message.unit)
