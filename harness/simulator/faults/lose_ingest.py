"""`lose_ingest`: the guest's message is confirmed and never stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.engine import Engine, Taken


class LoseIngest(Fault):
    """Per guest's message."""

    name = "lose_ingest"
    direction = "guest"

    def on_guest(self, engine: Engine, now: int, taken: Taken) -> None:
        """Do not store it."""
        if taken.store and taken.confirm and taken.nonce is not None and self.concerns(taken.message, taken.conv) and self.hit():
            taken.store = False
            engine.act(now, self.name, taken.message.unit)
