"""`reorder`: a message is held back until `extent` later ones of its direction have gone, or for `within` at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator import spelling
from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.conversations import Plan
    from harness.simulator.engine import Engine


class Reorder(Fault):
    """Per delivery."""

    name = "reorder"
    options = {  # noqa: RUF012
        "extent": (lambda value, where: spelling.whole(value, where, low=1), 1),
        "within": (spelling.duration, 5 * spelling.SECOND),
    }

    def on_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """Hold it, unless another fault does already."""
        if plan.push and not plan.hold and self.concerns(plan.message, plan.conv) and self.hit():
            plan.hold, plan.hold_for = self.option("extent"), self.option("within")
            engine.act(now, self.name, plan.message.unit)
