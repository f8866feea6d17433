"""`drift`: the server grows slower: its latencies grow by a part of themselves, and by an amount, for each hour of the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.engine import Engine

HOUR = 3600 * spelling.SECOND


class Drift(Fault):
    """On every latency. `factor` and `add` are per hour; `step` is added at once (a change of level)."""

    name = "drift"
    options = {"factor": (spelling.number, 0.0), "add": (spelling.duration, 0), "step": (spelling.duration, 0)}  # noqa: RUF012
    _since = 0

    def on_start(self, engine: Engine, now: int) -> None:  # noqa: ARG002
        """The creeping begins."""
        self._since = now

    def latency(self, engine: Engine, now: int, ns: int) -> int:  # noqa: ARG002
        """What it takes by now."""
        hours = (now - self._since) / HOUR
        return int(ns * (1.0 + self.option("factor") * hours) + self.option("add") * hours + self.option("step"))
