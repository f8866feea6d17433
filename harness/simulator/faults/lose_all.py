"""`lose_all`: an agent's message is neither pushed nor listed. A further one always follows, for only a gap can show the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.conversations import Conversation
    from harness.simulator.engine import Engine


class LoseAll(Fault):
    """Per agent's message."""

    name = "lose_all"

    def on_agent(self, engine: Engine, now: int, conv: Conversation) -> str:  # noqa: ARG002
        """Lose it."""
        return "lose" if (not self.dialect or conv.dialect.name == self.dialect) and self.hit() else ""
