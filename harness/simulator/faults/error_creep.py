"""`error_creep`: more and more fails: requests by a status, messages over a WebSocket by an error frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.core.wire import HttpResponse
from harness.simulator import spelling
from harness.simulator.faults.creeping import Creeping
from harness.simulator.faults.http_error import failure

if TYPE_CHECKING:
    from harness.simulator.connections import Conn, Exchange
    from harness.simulator.engine import Engine


class ErrorCreep(Creeping):
    """`to`: share that fails after `over`. What has failed was not worked on."""

    name = "error_creep"
    options = {"to": (spelling.share, 0.05), "status": (failure, 503), **Creeping.pace}  # noqa: RUF012

    def _fails_now(self, now: int) -> bool:
        return self.rng.random() < self.option("to") * self.grown(now) and self.hit()

    def on_request(self, engine: Engine, now: int, exchange: Exchange) -> bool:
        """Answer it with the status."""
        if not self.concerns_exchange(exchange) or not self._fails_now(now):
            return False
        engine.act(now, self.name, exchange.id)
        engine.send(now, exchange, HttpResponse(self.option("status"), {}, b'{"code":"simulated.error"}'))
        return True

    def fails(self, engine: Engine, now: int, conn: Conn) -> bool:
        """Does this message? With an `endpoint` in the plan only requests do."""
        if self.endpoint or (self.dialect and conn.dialect.name != self.dialect) or not self._fails_now(now):
            return False
        engine.act(now, self.name, conn.id)
        return True
