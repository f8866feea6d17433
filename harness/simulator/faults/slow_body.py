"""`slow_body`: an answer begins in time and drips; the shell writes it in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.core.wire import HttpResponse
from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.connections import Exchange
    from harness.simulator.engine import Engine

OVER = "x-sim-body-over"
"""Read by the shell, never sent: write the body over so many ns."""


class SlowBody(Fault):
    """Per answer. `over`: how long it takes."""

    name = "slow_body"
    options = {"over": (spelling.spread, spelling.Spread("fixed", 2 * spelling.SECOND))}  # noqa: RUF012

    def on_answer(self, engine: Engine, now: int, exchange: Exchange, response: HttpResponse) -> HttpResponse | None:
        """Ask the shell for it."""
        if not response.body or not self.concerns_exchange(exchange) or not self.hit():
            return response
        engine.act(now, self.name, exchange.id)
        return HttpResponse(response.status, {**response.headers, OVER: str(self.option("over").sample(self.rng))}, response.body)
