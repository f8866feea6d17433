"""`stall`: the connection stays open and nothing flows, either way, for `length`; then intake first, output after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.core.wire import HttpResponse
from harness.simulator import spelling
from harness.simulator.faults.base import Killer

if TYPE_CHECKING:
    from harness.simulator.connections import Conn, Exchange
    from harness.simulator.engine import Engine


class Stall(Killer):
    """WebSockets; an HTTP answer is put off by as much."""

    name = "stall"
    direction = "both"
    options = {"length": (spelling.spread, spelling.Spread("fixed", 30 * spelling.SECOND))}  # noqa: RUF012

    def strike(self, engine: Engine, now: int, conn: Conn) -> None:
        """Close the gate for a time."""
        engine.stall(now, conn, self.option("length").sample(self.rng))

    def on_answer(self, engine: Engine, now: int, exchange: Exchange, response: HttpResponse) -> HttpResponse | None:
        """Send it later."""
        if self.acts_at_moments or self.spec.direction or not self.concerns_exchange(exchange) or not self.hit():
            return response
        engine.act(now, self.name, exchange.id)
        engine.put_off(now, exchange, response, self.option("length").sample(self.rng))
        return None
