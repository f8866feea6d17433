"""From op rows to order, duplication and loss by the standards (RFC 4737, 5236, 5560, 7680, 3357): one more fold over the rows.

Three questions, each for both directions and never mixed: `e2e`, the sender's numbers as push brought them; `delivery`, the
server's order as push brought it; `ingest`, the sender's numbers in the server's order. Rows of one guest come in order. What is
kept of a conversation is folded and freed when nothing more is to be expected of it, which its guest's own rows decide, so that
neither how guests were spread over files nor in which order these are read can change a figure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from harness.core import ops
from harness.metrics.ordering import Params
from harness.report.order_pools import OrderFound
from harness.report.order_talk import Talk

LOSS_WAIT_NS = 60 * 10**9


class Orders:
    """Takes op rows; `finish` gives what they say."""

    def __init__(self, params: Params | None = None) -> None:
        self.params = params or Params(LOSS_WAIT_NS)
        self._linger_ns = 2 * self.params.wait_ns
        """So long after its end a conversation's copies are still waited for: the test of the waiting time doubles it."""
        self._talks: dict[str, Talk] = {}
        self._slots: dict[str, tuple[int, int]] = {}
        """Slot -> newest conversation, newest that is folded."""
        self._ended: dict[str, deque[Talk]] = {}
        self._found = OrderFound()
        self._acts: dict[type, Callable[[Any], None]] = {
            ops.Arrived: self._arrived,
            ops.Invoked: self._invoked,
            ops.Closed: self._closed,
            ops.State: self._state,
            ops.Ended: self._over,
        }

    def take(self, row: ops.Row) -> None:
        """Take one row; those of one guest in the order in which they were written, guests in any order."""
        act = self._acts.get(type(row))
        if act is not None:
            act(row)

    def finish(self) -> OrderFound:
        """Nothing more will come."""
        for talk in list(self._talks.values()):
            self._fold(talk)
        self._ended.clear()
        return self._found

    @property
    def kept(self) -> int:
        """Conversations that are not folded yet."""
        return len(self._talks)

    def _arrived(self, row: ops.Arrived) -> None:
        talk = self._talks.get(row.label)
        if talk is None:
            talk = self._open(row.label, ours=False)
            if talk is None:
                return
        if talk.ended_ns and row.at_ns > talk.ended_ns + self._linger_ns:
            self._found.after_end += 1
            return
        talk.arrived(row)

    def _invoked(self, row: ops.Invoked) -> None:
        talk = self._talks.get(row.label) or self._open(row.label, ours=True)
        if talk is not None:
            talk.sent.setdefault(row.seq, (row.at_ns, row.size))
            talk.last_ns = row.at_ns

    def _closed(self, row: ops.Closed) -> None:
        talk = self._talks.get(row.label)
        if talk is not None:
            talk.closed[row.seq] = row.outcome, row.at_ns

    def _over(self, row: ops.Ended) -> None:
        talk = self._talks.get(row.label) or self._open(row.label, ours=True)
        if talk is None:
            return
        talk.dialect = row.dialect
        talk.complete |= row.complete
        talk.listing = row.listing
        if not talk.ended_ns:
            talk.ended_ns = max(row.at_ns, 1)
            self._ended.setdefault(talk.slot, deque()).append(talk)

    def _state(self, row: ops.State) -> None:
        slot, _, number = row.label.partition("-")
        if number.isdecimal():
            newest, folded = self._slots.get(slot, (0, 0))
            self._slots[slot] = max(newest, int(number)), folded
        ended = self._ended.get(slot)
        while ended and (ended[0].ended_ns + self._linger_ns < row.at_ns or row.after == "finished"):
            self._fold(ended.popleft())
        if row.after == "finished":
            self._ended.pop(slot, None)

    def _open(self, label: str, *, ours: bool) -> Talk | None:
        """A conversation not seen before; None for one that is folded, or that no guest had."""
        slot, _, text = label.partition("-")
        number = int(text) if text.isdecimal() else 0
        newest, folded = self._slots.get(slot, (-2, 0))
        if not number or (not ours and number > newest + 1):
            self._found.strange += not ours
            return None
        if number <= folded:
            self._found.after_end += not ours
            return None
        self._slots[slot] = max(newest, number), folded
        talk = self._talks[label] = Talk(label, slot)
        return talk

    def _fold(self, talk: Talk) -> None:
        del self._talks[talk.label]
        newest, folded = self._slots[talk.slot]
        self._slots[talk.slot] = newest, max(folded, int(talk.label.partition("-")[2]))
        self._found.conversations += 1
        talk.fold(self._found.pools(talk.dialect), self.params)
