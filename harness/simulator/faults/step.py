"""`step`: from one moment (`at`) on everything takes longer, as after a change that was rolled out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.engine import Engine


class Step(Fault):
    """`by`: part of itself by which a latency grows. `add`: and by how much more. `service`: a server's work as well."""

    name = "step"
    options = {"by": (spelling.growth, 0.0), "add": (spelling.duration, 0), "service": (spelling.flag, False)}  # noqa: RUF012

    def latency(self, engine: Engine, now: int, ns: int) -> int:  # noqa: ARG002
        """What it takes now."""
        return round(ns * (1.0 + float(self.option("by")))) + int(self.option("add"))

    def service(self, engine: Engine, now: int, ns: int) -> int:
        """The same for a server's work."""
        return self.latency(engine, now, ns) if self.option("service") else ns
