"""`throttle`: for a time requests and message frames are refused as by a rate limit, whatever their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.engine import Engine


class Throttle(Fault):
    """Per unit that a limit could refuse."""

    name = "throttle"
    options = {"retry_after": (spelling.duration, 2 * spelling.SECOND)}  # noqa: RUF012

    def refuses(self, engine: Engine, now: int, endpoint: str) -> int:
        """Refuse it."""
        if (self.endpoint and endpoint != self.endpoint) or not self.hit():
            return 0
        engine.act(now, self.name, endpoint)
        return max(1, int(self.option("retry_after")))
