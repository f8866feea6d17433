"""`skew`: the server's clock, as its timestamps show it, is ahead. Within a conversation they still never fall."""

from __future__ import annotations

from harness.simulator import spelling
from harness.simulator.faults.base import Fault


class Skew(Fault):
    """`by`: how far."""

    name = "skew"
    options = {"by": (spelling.duration, 500_000_000)}  # noqa: RUF012

    def skew_ms(self, now: int) -> int:  # noqa: ARG002
        """Add it."""
        return int(self.option("by")) // 1_000_000
