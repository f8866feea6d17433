"""`duplicate_store`: the server inserts an agent's message twice, under two ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.conversations import Conversation
    from harness.simulator.engine import Engine


class DuplicateStore(Fault):
    """Per agent's message."""

    name = "duplicate_store"

    def on_agent(self, engine: Engine, now: int, conv: Conversation) -> str:  # noqa: ARG002
        """Store it twice."""
        return "twice" if (not self.dialect or conv.dialect.name == self.dialect) and self.hit() else ""
