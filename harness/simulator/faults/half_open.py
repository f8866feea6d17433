"""`half_open`: the other end is gone and nobody says so. What the guest sends is lost, until it gives up or `limit` has passed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.base import Killer

if TYPE_CHECKING:
    from harness.simulator.connections import Conn, Exchange
    from harness.simulator.engine import Engine


class HalfOpen(Killer):
    """WebSockets; an HTTP request is never answered."""

    name = "half_open"
    direction = "both"
    options = {"limit": (spelling.duration, 120 * spelling.SECOND)}  # noqa: RUF012

    def strike(self, engine: Engine, now: int, conn: Conn) -> None:
        """Close the gate for good."""
        engine.stall(now, conn, self.option("limit"), deaf=self.name)

    def strike_exchange(self, engine: Engine, now: int, exchange: Exchange) -> bool:
        """Say nothing; cut it in the end."""
        engine.abandon(now, exchange, self.option("limit"))
        return True
