"""`leak`: the server needs more and more memory, as far as its health tells, or really."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.creeping import Creeping

if TYPE_CHECKING:
    from harness.simulator.engine import Engine
    from harness.simulator.timers import Timer

PAGE = 4096
LOOK = spelling.SECOND
"""How often it takes what is due."""


class Leak(Creeping):
    """`size`: how much after `over`. `real`: the process does hold it; otherwise it is only added to what health shows."""

    name = "leak"
    options = {"size": (spelling.size, 64 * 2**20), "real": (spelling.flag, False), **Creeping.pace}  # noqa: RUF012

    def on_start(self, engine: Engine, now: int) -> None:
        """Nothing is held yet."""
        super().on_start(engine, now)
        self._held: list[bytearray] = []
        self._holds = 0
        self._timer: Timer | None = None
        if self.option("real"):
            self._take(now, engine)

    def on_stop(self, engine: Engine, now: int) -> None:  # noqa: ARG002
        """Let go of it."""
        engine.timers.cancel(self._timer)
        self._held, self._holds = [], 0

    def planted_bytes(self, now: int) -> int:
        """What has leaked by now. What is really held shows in the process's own figure."""
        return 0 if self.option("real") else self._leaked(now)

    def _leaked(self, now: int) -> int:
        return round(int(self.option("size")) * self.grown(now))

    def _take(self, now: int, engine: Engine) -> None:
        missing = (self._leaked(now) - self._holds) // PAGE * PAGE
        if missing > 0:
            piece = bytearray(missing)
            piece[::PAGE] = b"\x01" * (missing // PAGE)  # the system gives a page when it is written to
            self._held.append(piece)
            self._holds += missing
        self._timer = engine.timers.at(now + LOOK, self._take, engine)
