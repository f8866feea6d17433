"""`slow_accept`: a connection is given, and then the server takes its time before it looks at anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.connections import Conn
    from harness.simulator.engine import Engine


class SlowAccept(Fault):
    """Per WebSocket. `by`: how long."""

    name = "slow_accept"
    options = {"by": (spelling.spread, spelling.Spread("fixed", 2 * spelling.SECOND))}  # noqa: RUF012

    def on_open(self, engine: Engine, now: int, conn: Conn) -> None:
        """Close the gate at once."""
        if self.concerns_upgrade(conn) and self.hit():
            engine.act(now, self.name, conn.id)
            engine.stall(now, conn, self.option("by").sample(self.rng))
