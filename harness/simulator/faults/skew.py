"""`skew`: the server's clock, as its timestamps show it, is wrong. Within a conversation they still never fall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.engine import Engine


class Skew(Fault):
    """`by`: how far it is ahead. `ppm`: by how many millionths it runs too fast (below 0: too slow). A window's ends are steps."""

    name = "skew"
    options = {"by": (spelling.duration, 500_000_000), "ppm": (spelling.signed, 0.0)}  # noqa: RUF012
    _since = 0

    def on_start(self, engine: Engine, now: int) -> None:  # noqa: ARG002
        """From now on."""
        self._since = now

    def skew_ns(self, now: int) -> int:
        """Add it."""
        return int(self.option("by")) + round((now - self._since) * float(self.option("ppm")) / 1e6)
