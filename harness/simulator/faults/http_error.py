"""`http_error`: a request is answered with a status of failure and not worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.core.wire import HttpResponse
from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.connections import Exchange
    from harness.simulator.engine import Engine


def failure(value: Any, where: str) -> int:
    """Read a status that tells of a failure, 429 left out."""
    status = spelling.whole(value, where, low=400)
    if status > 599 or status == 429:
        raise spelling.wrong(where, f"{status} is not for this fault", "400 to 599; for 429 there is `throttle`.")
    return status


class HttpError(Fault):
    """Per request."""

    name = "http_error"
    options = {"status": (failure, 500)}  # noqa: RUF012

    def on_request(self, engine: Engine, now: int, exchange: Exchange) -> bool:
        """Answer it so."""
        if not self.concerns_exchange(exchange) or not self.hit():
            return False
        engine.act(now, self.name, exchange.id)
        engine.send(now, exchange, HttpResponse(self.option("status"), {}, b'{"code":"simulated.error"}'))
        return True
