"""`mass_disconnect`: at one moment a share of all connections ends, by a close frame or by RST."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.base import Killer
from harness.simulator.faults.close_code import code

if TYPE_CHECKING:
    from harness.simulator.connections import Conn, Exchange
    from harness.simulator.engine import Engine


class MassDisconnect(Killer):
    """At `at`, and again each `every`."""

    name = "mass_disconnect"
    impulse = True
    options = {"mode": (spelling.choice("close", "reset"), "reset"), "code": (code, 1012)}  # noqa: RUF012

    @property
    def acts_at_moments(self) -> bool:
        """Always."""
        return True

    def strike(self, engine: Engine, now: int, conn: Conn) -> None:
        """End it."""
        engine.end(now, conn, self.name, how=self.option("mode"), code=self.option("code"), reason=self.name)

    def strike_exchange(self, engine: Engine, now: int, exchange: Exchange) -> bool:
        """Polls that wait are connections too."""
        engine.cut(now, exchange)
        return True
