"""`revoke`: at one moment a share of all tokens is good no longer, though they are not old enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.engine import Engine


class Revoke(Fault):
    """At `at`, and again each `every`."""

    name = "revoke"
    impulse = True

    def on_moment(self, engine: Engine, now: int) -> None:
        """Revoke."""
        for grant in engine.credentials.alive(now):
            if self.hit():
                engine.act(now, self.name, "grant")
                engine.revoke(now, grant)
