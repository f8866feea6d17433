"""The way to an agent: loops, wrong names, nobody there, too few."""

from __future__ import annotations

from harness.core import ops
from harness.errors import FailureCause
from harness.findings.detector import SECOND, Detector, Extent, Tally, Witness, slot_of
from harness.findings.model import Finding, Severity

OVERFLOW_NS = 120 * SECOND
"""After so long a guest should be offered a callback or another queue (seed 000, edge case 3)."""
CROWDED_NS = 60 * SECOND
"""Waits so long of guests who were served in the end: agents are there, and too few. Half of what counts as a stall."""
_CONFLICT = FailureCause.CONFLICT.value
_SKILL = FailureCause.SKILL_UNKNOWN.value


class _Wait:
    __slots__ = ("accepted", "late", "looped", "names", "nobody", "stalled_ns")

    def __init__(self) -> None:
        self.stalled_ns = 0
        self.accepted = self.late = self.looped = self.names = self.nobody = False


class Queues(Witness):
    """From routing to an agent, by conversation."""

    notes = (
        "queue.stalled.unknown_names",
        "queue.stalled.nobody_on_shift",
        "queue.late",
        "queue.accepted_late",
        "routing.loop",
    )
    samples = ("queue", "routing", "guest", "poll.hold", "ack", "leave")
    rows = (ops.Ended,)

    def __init__(self) -> None:
        self._waits: dict[str, tuple[str, _Wait]] = {}
        """By guest: its conversation, and how it fares."""
        self.loops, self.names, self.before = Tally(), Tally(), Tally()
        self.late, self.nobody, self.open = Tally(), Tally(), Tally()
        self.served = Extent()
        self.conflicts = 0

    def take(self, row: ops.Sample | ops.Noted | ops.Ended) -> None:
        """Take one row."""
        if isinstance(row, ops.Ended):
            self.over(slot_of(row.label))
        elif isinstance(row, ops.Noted):
            wait = self._wait(row.label)
            wait.names = wait.names or row.what == "queue.stalled.unknown_names"
            wait.nobody = wait.nobody or row.what == "queue.stalled.nobody_on_shift"
            wait.late = wait.late or row.what in ("queue.late", "queue.accepted_late")
            if row.what == "routing.loop":
                self._conflict(row.at_ns, row.label)
        elif row.measure == "queue":
            self._queued(row)
        elif row.cause == _CONFLICT:
            self.conflicts += 1
            self._conflict(row.at_ns, row.label)
        elif row.cause == _SKILL:
            self.before.hit(row.at_ns, row.label)

    def _queued(self, row: ops.Sample) -> None:
        length = row.end_ns - row.start_ns
        if row.outcome == ops.OK:
            wait = self._wait(row.label)
            wait.accepted = True
            if not wait.stalled_ns:
                self.served.add(length)
                if length > OVERFLOW_NS:
                    wait.stalled_ns, wait.late = row.at_ns, True
        elif row.outcome == ops.FAIL or length > OVERFLOW_NS:
            wait = self._wait(row.label)
            wait.stalled_ns = wait.stalled_ns or row.at_ns

    def _conflict(self, at_ns: int, label: str) -> None:
        wait = self._wait(label)
        if not wait.accepted and not wait.looped:
            wait.looped = True
            self.loops.hit(at_ns, label)

    def _wait(self, label: str) -> _Wait:
        slot = slot_of(label)
        known = self._waits.get(slot)
        if known is None or known[0] != label:
            if known is not None:
                self._close(*known)
            known = self._waits[slot] = (label, _Wait())
        return known[1]

    def _close(self, label: str, wait: _Wait) -> None:
        if not wait.stalled_ns or wait.looped:
            return
        if wait.names:
            self.names.hit(wait.stalled_ns, label)
        elif wait.late:
            self.late.hit(wait.stalled_ns, label)
        elif wait.nobody:
            self.nobody.hit(wait.stalled_ns, label)
        else:
            self.open.hit(wait.stalled_ns, label)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        known = self._waits.pop(slot, None)
        if known is not None:
            self._close(*known)

    def settle(self) -> None:
        """The journal is at its end: what still waits is judged as it stands."""
        for slot in list(self._waits):
            self.over(slot)

    @property
    def crowded(self) -> bool:
        """Whether agents were there and too few: some guests were served late, or after a long wait."""
        return bool(self.late) or self.served.high >= CROWDED_NS

    def evidence(self) -> dict[str, int | float]:
        """What the findings on stalls show."""
        return {
            "stalled_unknown_names": self.names.count,
            "stalled_nobody_on_shift": self.nobody.count,
            "stalled_unexplained": self.open.count,
            "served_late": self.late.count,
            "served": self.served.number,
            "longest_wait_served_s": self.served.high / SECOND,
        }


class RoutingLoop(Detector):
    """409 before any agent came."""

    id = "routing-loop"
    title = "Routing went round in a loop and ended in 409"
    severity: Severity = "high"
    cause = "Routing was left out or names a queue that does not exist, so the default strategy is evaluated again and again."
    advice = "Send `routing` at creation with a queue id checked against the tenant, and a skill where the strategy needs one."
    source = "seed 000, section 2"

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def finish(self) -> Finding | None:
        """What was seen."""
        return self.found(self._queues.loops, {"conversations": self._queues.loops.count, "answers_409": self._queues.conflicts})


class NameMismatch(Detector):
    """A skill group or an attribute key that the tenant does not know."""

    id = "queue-stall-unknown-names"
    title = "Guests wait for a skill or attribute that does not exist"
    severity: Severity = "high"
    cause = "A name that routing does not know to the letter: names and keys are case-sensitive, and no error says so."
    advice = "Compare with the canonical names (`GET /api/v2/routing/skillgroups`) before routing; mind upper and lower case."
    source = "seed 002, edge case 3"

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def finish(self) -> Finding | None:
        """What was seen."""
        self._queues.settle()
        both = Tally()
        both.add(self._queues.names)
        both.add(self._queues.before)
        return self.found(both, {**self._queues.evidence(), "found_before_routing": self._queues.before.count})


class NobodyOnShift(Detector):
    """The names are right, and no agent comes."""

    id = "queue-stall-nobody-on-shift"
    title = "Guests wait in a queue that nobody serves"
    severity: Severity = "high"
    cause = "The skill or queue exists, and no agent who has it is on shift; or the fallback leads to an empty queue."
    advice = "Staff the queue, or route overflow to one that is staffed; offer a callback after 120 s."
    source = "seed 000, edge case 3; seed 002, edge case 3"

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def finish(self) -> Finding | None:
        """What was seen."""
        queues = self._queues
        queues.settle()
        if queues.crowded:
            return None
        both = Tally()
        both.add(queues.nobody)
        both.add(queues.open)
        doubt = "" if not queues.open else "The dialect lets a guest look up no names: a wrong name stalls in the same way."
        return self.found(both, queues.evidence(), certainty=doubt)


class QueueOverflow(Detector):
    """Agents are there, and too few."""

    id = "queue-overflow"
    title = "Guests waited more than 120 s for an agent"
    severity: Severity = "high"
    cause = "More conversations than agents: the queue is served, but not fast enough."
    advice = "Add agents or concurrency, send overflow elsewhere, and offer a callback or transfer after 120 s."
    source = "seed 000, edge case 3"

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def finish(self) -> Finding | None:
        """What was seen."""
        queues = self._queues
        queues.settle()
        if not queues.crowded:
            return None
        all_of = Tally()
        for one in (queues.late, queues.nobody, queues.open):
            all_of.add(one)
        doubt = "" if queues.late else "Nobody who waited so long was served: some may have asked for a skill without agents."
        return self.found(all_of, queues.evidence(), certainty=doubt)


def watchers() -> list[Witness]:
    """The family."""
    queues = Queues()
    return [queues, RoutingLoop(queues), NameMismatch(queues), NobodyOnShift(queues), QueueOverflow(queues)]
