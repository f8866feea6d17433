"""`refuse_upgrade`: a WebSocket is asked for and not given: an HTTP status, or RST (`status = 0`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.core.wire import HttpResponse
from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.connections import Conn
    from harness.simulator.engine import Engine


def _status(value: Any, where: str) -> int:
    if value == 0 and not isinstance(value, bool):
        return 0
    return spelling.whole(value, where, low=400)


class RefuseUpgrade(Fault):
    """Per upgrade."""

    name = "refuse_upgrade"
    options = {"status": (_status, 503)}  # noqa: RUF012

    def on_upgrade(self, engine: Engine, now: int, conn: Conn) -> HttpResponse | None:
        """Refuse."""
        if not self.concerns_upgrade(conn) or not self.hit():
            return None
        engine.act(now, self.name, conn.peer)
        return HttpResponse(self.option("status"), {}, b"")
