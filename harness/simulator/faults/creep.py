"""`creep`: the server grows slower by a part of itself, as with an index that is never tidied up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.creeping import Creeping

if TYPE_CHECKING:
    from harness.simulator.engine import Engine


class Creep(Creeping):
    """`by`: how much slower after `over`. `service`: the servers of `[simulator.capacity]` as well, so that capacity shrinks."""

    name = "creep"
    options = {"by": (spelling.growth, 0.1), "service": (spelling.flag, False), **Creeping.pace}  # noqa: RUF012

    def latency(self, engine: Engine, now: int, ns: int) -> int:  # noqa: ARG002
        """What it takes by now."""
        return round(ns * (1.0 + float(self.option("by")) * self.grown(now)))

    def service(self, engine: Engine, now: int, ns: int) -> int:
        """The same for a server's work."""
        return self.latency(engine, now, ns) if self.option("service") else ns
