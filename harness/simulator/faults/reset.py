"""`reset`: the connection ends with RST, as soon as what was pushed has gone out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.faults.base import Killer

if TYPE_CHECKING:
    from harness.simulator.connections import Conn, Exchange
    from harness.simulator.engine import Engine


class Reset(Killer):
    """WebSockets and HTTP exchanges (then the request was worked on, and only its answer is missing)."""

    name = "reset"
    direction = "both"

    def strike(self, engine: Engine, now: int, conn: Conn) -> None:
        """RST."""
        engine.end(now, conn, self.name, how="reset")

    def strike_exchange(self, engine: Engine, now: int, exchange: Exchange) -> bool:
        """RST instead of the answer."""
        engine.cut(now, exchange)
        return True
