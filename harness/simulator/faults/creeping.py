"""What the faults share that grow slowly: how far one has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.simulator import spelling
from harness.simulator.faults.base import Fault, Option
from harness.simulator.tables import MINUTE, length

if TYPE_CHECKING:
    from harness.simulator.engine import Engine

HOUR = 60 * MINUTE


class Creeping(Fault):
    """Grows evenly from the opening of its window. After `over` it has reached what its own options say, and goes on at that pace.

    `hold`: it stays there. With the end of the window it is gone.
    """

    pace: ClassVar[dict[str, Option]] = {"over": (length, HOUR), "hold": (spelling.flag, False)}
    _since = 0

    def on_start(self, engine: Engine, now: int) -> None:  # noqa: ARG002
        """The creeping begins."""
        self._since = now

    def grown(self, now: int) -> float:
        """How far it has come: 0 at the beginning, 1 after `over`."""
        part = (now - self._since) / int(self.option("over"))
        return min(part, 1.0) if self.option("hold") else part
