"""`maintenance`: for a time sockets are closed with 1012 and none is given, and every request is answered 503."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.core.wire import HttpResponse
from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.connections import Conn, Exchange
    from harness.simulator.engine import Engine


class Maintenance(Fault):
    """All at once; `retry_after` is what the 503 says (0: nothing)."""

    name = "maintenance"
    needs_window = True
    options = {"retry_after": (spelling.duration, 0)}  # noqa: RUF012

    def on_start(self, engine: Engine, now: int) -> None:
        """Everybody out; what waits is told."""
        for conn in list(engine.conns.values()):
            if conn.usable and (not self.dialect or conn.dialect.name == self.dialect):
                engine.act(now, self.name, conn.id)
                engine.end(now, conn, self.name, how="close", code=1012)
        for exchange in list(engine.pending.values()):
            if not exchange.done and self.concerns_exchange(exchange) and engine.abandon(now, exchange, None):
                engine.act(now, self.name, exchange.id)
                engine.send(now, exchange, self._answer())

    def on_upgrade(self, engine: Engine, now: int, conn: Conn) -> HttpResponse | None:
        """Not now."""
        if self.dialect and conn.dialect.name != self.dialect:
            return None
        engine.act(now, self.name, conn.peer)
        return self._answer()

    def on_request(self, engine: Engine, now: int, exchange: Exchange) -> bool:
        """Not now."""
        if not self.concerns_exchange(exchange):
            return False
        engine.act(now, self.name, exchange.id)
        engine.send(now, exchange, self._answer())
        return True

    def _answer(self) -> HttpResponse:
        wait = self.option("retry_after")
        headers = {"retry-after": str(-(-wait // spelling.SECOND))} if wait else {}
        return HttpResponse(503, headers, b'{"code":"maintenance"}')
