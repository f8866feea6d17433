"""Answers that never come, although the server has every message."""

from __future__ import annotations

from harness.core import ops
from harness.errors import FailureCause
from harness.findings.detector import Detector, Tally, Witness
from harness.findings.model import Finding, Severity

FEW = 10
"""Fewer unanswered messages than this may be chance."""
SHARE = 0.9
"""Share of the exchanges without an answer from which on nobody can be said to be at work."""
_TIMEOUT = FailureCause.REPLY_TIMEOUT.value


class HardlyAnswered(Detector):
    """The server takes what guests say, and next to nobody answers."""

    id = "hardly-answered"
    title = "Messages were taken, and hardly one was answered"
    severity: Severity = "high"
    cause = "No agent or bot is behind the deployment: the flow routes to a queue or skill that nobody serves, or answers too late."
    advice = "Check queue, skill and shift behind the deployment's flow; a protocol that shows no queue shows nothing else of it."
    source = "seed 002, edge case 3, for a protocol without a queue's signals"
    samples = ("reply",)
    rows = (ops.Closed, ops.Arrived)

    def __init__(self) -> None:
        self._silent = Tally()
        self._answered = self._taken = self._late = 0

    def take(self, row: ops.Sample | ops.Closed | ops.Arrived) -> None:
        """Take one row."""
        if isinstance(row, ops.Closed):
            self._taken += row.outcome == ops.OK and row.via in ("echo", "listing")
        elif isinstance(row, ops.Arrived):
            self._late += row.direction == ops.AGENT and row.re > 0
        elif row.outcome == ops.OK:
            self._answered += 1
        elif row.cause == _TIMEOUT:
            self._silent.hit(row.at_ns, row.label)

    def finish(self) -> Finding | None:
        """What was seen."""
        silent, answered = self._silent.count, self._answered
        if silent < FEW or self._taken < FEW or silent < SHARE * (silent + answered):
            return None
        late = max(self._late - answered, 0)
        evidence = {"messages_taken": self._taken, "unanswered_in_time": silent, "answered": answered, "answered_late": late}
        return self.found(self._silent, evidence)


def watchers() -> list[Witness]:
    """All of this family."""
    return [HardlyAnswered()]
