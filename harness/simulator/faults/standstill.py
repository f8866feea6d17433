"""`standstill`: the whole server does nothing for `length`: no intake, no output, no timer; then everything, in order.

The pause of a stop-the-world collector or a frozen machine. Kernel and proxy go on: connections are taken and bytes buffered.
`stall` does the like to single connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.engine import Engine


class Standstill(Fault):
    """At moments: `at`, then each `every`, from beginning to beginning."""

    name = "standstill"
    impulse = True
    options = {"length": (spelling.spread, spelling.Spread("fixed", 2 * spelling.SECOND))}  # noqa: RUF012

    def on_moment(self, engine: Engine, now: int) -> None:
        """Everything waits."""
        engine.act(now, self.name, "server")
        engine.stand_still(now, self.option("length").sample(self.rng))
