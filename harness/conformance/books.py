"""Conservation, at every moment: an observer between the sessions and the recorder that believes neither.

Attempted = ok + failed + unknown + pending; one `Closed` for each seq that was invoked, one `Connection` for each socket, one
`Ended` for each conversation, states in a chain. What it counts as pending is compared with what each session says is open.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from harness.conformance.stage import NonConformance
from harness.core import ops
from harness.core.ops import Observer, Row
from harness.core.session import GuestSession


def slot_of(label: str) -> str:
    """The guest of a label."""
    return label.partition("-")[0]


class Books:
    """Counts what passes, and passes it on."""

    def __init__(self, observer: Observer | None = None) -> None:
        self._observer = observer
        self.attempts: dict[tuple[str, int], int] = {}
        self.closed: dict[tuple[str, int], str] = {}
        self.outcomes: Counter[str] = Counter()
        self.pending: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        """Messages without an outcome yet, by slot."""
        self._states: dict[str, str] = {}
        self._sockets: set[tuple[str, int]] = set()
        self._ended: set[str] = set()
        self._timed: set[tuple[str, str, str]] = set()
        self._takers: dict[type, Any] = {
            ops.Invoked: self._invoked,
            ops.Closed: self._closed,
            ops.Connection: self._connection,
            ops.Ended: self._end,
            ops.State: self._state,
            ops.Sample: self._sample,
        }

    def record(self, row: Row) -> None:
        """Look at a row and pass it on."""
        if taker := self._takers.get(type(row)):
            taker(row)
        if self._observer is not None:
            self._observer.record(row)

    def _invoked(self, row: ops.Invoked) -> None:
        key = row.label, row.seq
        before = self.attempts.get(key, 0)
        _hold(row.attempt == before + 1, f"attempt {row.attempt} of {key} comes after {before}")
        _hold(row.label not in self._ended, f"{key} is attempted after the end of its conversation")
        self.attempts[key] = row.attempt
        if row.attempt == 1:
            self.pending[slot_of(row.label)].add(key)

    def _closed(self, row: ops.Closed) -> None:
        key = row.label, row.seq
        _hold(key in self.attempts, f"{key} has an outcome and was never attempted")
        _hold(key not in self.closed, f"{key} has a second outcome: {self.closed.get(key)}, then {row.outcome}")
        _hold(row.outcome in (ops.OK, ops.FAIL, ops.INFO), f"{key} ends as {row.outcome!r}")
        _hold(row.attempts == self.attempts[key], f"{key} counts {row.attempts} attempts, there were {self.attempts[key]}")
        self.closed[key] = row.outcome
        self.outcomes[row.outcome] += 1
        self.pending[slot_of(row.label)].discard(key)

    def _connection(self, row: ops.Connection) -> None:
        key = slot_of(row.label), row.epoch
        _hold(key not in self._sockets, f"socket {key} ends twice")
        self._sockets.add(key)

    def _end(self, row: ops.Ended) -> None:
        _hold(row.label not in self._ended, f"conversation {row.label} ends twice")
        _hold(row.listing or not row.complete, f"conversation {row.label} was read back completely, without a listing")
        self._ended.add(row.label)

    def _state(self, row: ops.State) -> None:
        slot = slot_of(row.label)
        before = self._states.get(slot, "")
        _hold(row.before == before, f"guest {slot} leaves {row.before!r} and was {before!r}")
        _hold(row.after in ops.STATES, f"guest {slot} is {row.after!r}, which is no state")
        self._states[slot] = row.after

    def _sample(self, row: ops.Sample) -> None:
        _hold(row.measure in ops.MEASURES, f"{row.measure!r} is no measure")
        _hold(row.start_ns <= row.end_ns or row.measure == "event.lag", f"{row.measure} of {row.label} ends before it starts")
        if row.measure in ("echo", "ack", "reply"):
            key = row.label, row.measure, row.ref
            _hold(key not in self._timed, f"{row.measure} of {row.label}.{row.ref} is timed twice")
            self._timed.add(key)

    # ------------------------------------------------------------ asking
    def balance(self) -> None:
        """Raise unless everything attempted is accounted for."""
        left = sum(map(len, self.pending.values()))
        parts = (self.outcomes[ops.OK], self.outcomes[ops.FAIL], self.outcomes[ops.INFO], left)
        _hold(len(self.attempts) == sum(parts), f"{len(self.attempts)} attempted, and {parts} ok, failed, unknown and pending")

    def match(self, totals: Counter[str]) -> None:
        """Raise unless the recorder, which counts for the report, has counted the same."""
        mine = {"invoked": len(self.attempts), **{name: self.outcomes[name] for name in (ops.OK, ops.FAIL, ops.INFO)}}
        theirs = {name: totals[f"messages|{name}"] for name in mine}
        _hold(mine == theirs, f"the recorder counts {theirs}, it was {mine}")

    def agree(self, session: GuestSession) -> None:
        """Raise unless the session holds open just what is pending here."""
        mine = self.pending.get(str(session.context.slot), set())
        theirs = {(op.label, op.seq) for op in session.ops.values() if not op.closed}
        _hold(theirs == mine, f"guest {session.context.slot} holds {sorted(theirs - mine)} open, not {sorted(mine - theirs)}")

    def settled(self, sessions: list[GuestSession]) -> None:
        """Raise unless all guests have finished and nothing is pending."""
        self.balance()
        unfinished = [f"{one.context.slot} ({one.state})" for one in sessions if not one.finished]
        _hold(not unfinished, f"guests that never finish: {', '.join(unfinished[:10])}")
        left = sorted(key for keys in self.pending.values() for key in keys)
        _hold(not left, f"messages without an outcome: {left[:10]}")
        for one in sessions:
            state = self._states.get(str(one.context.slot))
            _hold(state in ("finished", None), f"guest {one.context.slot} is {state!r} at the end")
            _hold(one.next_deadline() is None, f"guest {one.context.slot} still has a timer")


def _hold(so: bool, trouble: str) -> None:
    if not so:
        raise NonConformance(trouble)
