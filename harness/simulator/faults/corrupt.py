"""`corrupt`: a garbled frame goes out in the message's place. The message itself can only be found in the listing, if at all.

Over HTTP a share of the answers is garbled as a whole; what was in them counts as not handed over and comes again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.core.wire import HttpResponse
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.connections import Exchange
    from harness.simulator.conversations import Plan
    from harness.simulator.engine import Engine


class Corrupt(Fault):
    """Per delivery, or per answer that may be spoiled."""

    name = "corrupt"

    def on_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """Garble the frame."""
        if plan.push and not plan.garble and plan.conv.dialect.can_lose and self.concerns(plan.message, plan.conv) and self.hit():
            plan.garble = True
            nonce = plan.message.copy.nonce
            if nonce is not None and not nonce.fault:
                nonce.fault = self.name
            engine.act(now, self.name, plan.message.unit)

    def on_answer(self, engine: Engine, now: int, exchange: Exchange, response: HttpResponse) -> HttpResponse | None:
        """Garble the body."""
        if not engine.may_spoil(exchange, response) or not self.concerns_exchange(exchange) or not self.hit():
            return response
        engine.act(now, self.name, exchange.id)
        if not exchange.told_by_status:
            exchange.on_handed = None
        return HttpResponse(response.status, response.headers, response.body[: max(1, len(response.body) * 2 // 3)] + b"\xff\xfe")
