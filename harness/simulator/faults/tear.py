"""`tear`: the connection ends with RST inside a frame. Whether the guest makes anything of that half is allowed either way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.connections import Exchange
    from harness.simulator.conversations import Plan
    from harness.simulator.engine import Engine
from harness.core.wire import HttpResponse


class Tear(Fault):
    """Per delivery; over HTTP the answer is cut as by `reset`."""

    name = "tear"

    def on_delivery(self, engine: Engine, now: int, plan: Plan) -> None:  # noqa: ARG002
        """Mark the delivery."""
        if (
            plan.push
            and not plan.tear
            and plan.conv.dialect.upgrade_paths
            and self.concerns(plan.message, plan.conv)
            and self.hit()
        ):
            plan.tear = self.name

    def on_answer(self, engine: Engine, now: int, exchange: Exchange, response: HttpResponse) -> HttpResponse | None:
        """Cut the answer."""
        if self.spec.direction or not self.concerns_exchange(exchange) or not self.hit():
            return response
        engine.act(now, self.name, exchange.id)
        engine.cut(now, exchange)
        return None
