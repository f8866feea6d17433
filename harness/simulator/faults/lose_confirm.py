"""`lose_confirm`: the guest's message is stored, its confirmation never comes (no echo; the HTTP answer is cut)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.engine import Engine, Taken


class LoseConfirm(Fault):
    """Per guest's message."""

    name = "lose_confirm"
    direction = "guest"

    def on_guest(self, engine: Engine, now: int, taken: Taken) -> None:
        """Store it in silence."""
        if taken.store and taken.confirm and self.concerns(taken.message, taken.conv) and self.hit():
            taken.confirm = False
            engine.act(now, self.name, taken.message.unit)
