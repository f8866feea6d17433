"""One stream: one conversation, one direction. Each copy that arrives is sorted (class), then judged for order.

Streaming: per message a few bytes for the conversation's life, since a copy of any of its messages may still come, and
nothing that grows with time otherwise. Loss is asked for once, when the books are closed.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from zlib import crc32

from harness.metrics.duplicates import (
    CLASSES,
    FIRST_PUSH,
    FIRST_RESYNC,
    LATE,
    UNEXPECTED,
    Copies,
    name_of,
)
from harness.metrics.loss import Losses
from harness.metrics.reorder import Jump, Order, Reordered

__all__ = ["CLASSES", "MAX_JUMP", "StreamStats"]

MAX_JUMP = 10_000
"""An agent's number further ahead than this is no number of the stream (a spoilt marker): `unexpected`."""

_OPEN, _OK, _INFO, _FAIL = 1, 2, 3, 4
_CODES = {"ok": _OK, "info": _INFO, "fail": _FAIL}
_OUTCOME, _PROVEN = 0x07, 0x08
_CAME, _PUSHED = 1, 2
_FIRST_PUSHED = _CAME | _PUSHED
_EPOCH = 0x3FFFFFFF


class StreamStats:
    """Copies, order and loss of one stream.

    `own`: we are the sender, so what was sent is known through `invoke` and `close`; otherwise every number from 1 to the
    highest seen must have been sent. `cut_ns`: a copy later than this is no receipt (RFC 7680's threshold); None: any is.
    The attributes that describe the last arrival are overwritten by the next.
    """

    __slots__ = (
        "_cut_ns",
        "_due",
        "_marks",
        "_names",
        "_order",
        "_sent",
        "_sent_at",
        "_several",
        "event",
        "oddity",
        "own",
        "pushes",
        "waited_ns",
    )

    def __init__(self, *, own: bool, cut_ns: int | None = None) -> None:
        self.own = own
        self._order = Order()
        self._due = 1
        """The number that would be in order next. The order is told of a stretch that came in order when it is asked for."""
        self.event: Reordered | Jump | None = None
        """Last arrival: what it did to the order."""
        self.pushes = 0
        """Last arrival: push copies so far under the message's first name, itself included; 0: it is none of them."""
        self.oddity = ""
        """Last arrival or `close`: `recovered` (outcome unknown, yet here) or `aborted` (refused, yet here)."""
        self.waited_ns = 0
        """Last arrival: time since its first attempt, where that is known and this is the first copy."""
        self._cut_ns = cut_ns
        # Of the first copy, by number: its name, and its connection above two flags; 0 where none came
        self._names = array("I", (0,))
        self._marks = array("I", (0,))
        self._several: dict[int, Copies] | None = None
        self._sent = bytearray(1) if own else None
        self._sent_at = array("q", (0,)) if own else None

    # ---------------------------------------------------------------- what the sender knows
    def invoke(self, seq: int, at: int) -> None:
        """The message was attempted (again)."""
        sent, sent_at = self._sent, self._sent_at
        if sent is None or sent_at is None:
            return
        while len(sent) <= seq:
            sent.append(0)
            sent_at.append(0)
        if not sent[seq] & _OUTCOME:
            sent[seq] |= _OPEN
            sent_at[seq] = at

    def close(self, seq: int, outcome: str) -> None:
        """The message has its final outcome: `ok`, `info` or `fail`."""
        self.oddity = ""
        sent = self._sent
        if sent is None or not 0 < seq < len(sent):
            return
        code = _CODES[outcome]
        sent[seq] = sent[seq] & ~_OUTCOME | code
        if code != _OK and seq in self:
            self.oddity = _oddity(code)

    def proven(self, seq: int) -> None:
        """The server surely stored the message (an agent quoted it, say), whether or not it ever comes back."""
        if self._sent is not None and 0 < seq < len(self._sent):
            self._sent[seq] |= _PROVEN

    # ---------------------------------------------------------------- what arrives
    @property
    def order(self) -> Order:
        """The order so far."""
        order = self._order
        if order.expected != self._due:
            order.advance(self._due - order.expected)
        return order

    @property
    def received(self) -> int:
        """Distinct messages that came by any channel."""
        return sum(mark != 0 for mark in self._marks)

    def straight(self, seq: int, at: int, channel: str, epoch: int, mid: str) -> bool:
        """`arrive` for what nearly every copy is: the first of the next message, by push. False: it is not, nothing was done."""
        marks = self._marks
        if seq != self._due or seq != len(marks) or channel != "push":
            return False
        sent = self._sent
        if sent is not None and self._sent_at is not None:
            if seq >= len(sent) or not 0 < sent[seq] & _OUTCOME <= _OK:
                return False
            self.waited_ns = waited = at - self._sent_at[seq]
            if self._cut_ns is not None and waited > self._cut_ns:
                return False
        try:
            name = (crc32(mid.encode()) or 1) if mid else 0  # as `name_of` says, without the call
        except UnicodeEncodeError:
            name = name_of(mid)
        self._names.append(name)
        marks.append((epoch & _EPOCH) << 2 | _FIRST_PUSHED)
        self._due = seq + 1
        return True

    def arrive(self, seq: int, at: int, channel: str, epoch: int, mid: str) -> str:
        """Sort one copy; the answer is one of `CLASSES`."""
        self.event, self.pushes, self.oddity, self.waited_ns = None, 0, "", 0
        sent = self._sent
        if sent is None:
            if not 0 < seq < self._due + MAX_JUMP:
                return UNEXPECTED
        else:
            if not 0 < seq < len(sent) or not sent[seq] & _OUTCOME:
                return UNEXPECTED
            if self._sent_at is not None:
                self.waited_ns = at - self._sent_at[seq]
                if self._cut_ns is not None and self.waited_ns > self._cut_ns:
                    return LATE
            if channel != "push":
                sent[seq] |= _PROVEN
        marks = self._marks
        if seq >= len(marks):
            more = bytes(marks.itemsize * (seq + 1 - len(marks)))
            marks.frombytes(more)
            self._names.frombytes(more)
        mark = marks[seq]
        if not mark:
            self._names[seq] = name_of(mid)
            if sent is not None:
                self.oddity = _oddity(sent[seq] & _OUTCOME)
            if channel == "push":
                marks[seq] = (epoch & _EPOCH) << 2 | _FIRST_PUSHED
                self.pushes = 1
                self.event = self.order.pushed(seq, at)
                self._due = self._order.expected
                return FIRST_PUSH
            marks[seq] = _CAME
            self.order.resynced(seq)
            return FIRST_RESYNC
        self.waited_ns = 0
        if self._several is None:
            self._several = {}
        copies = self._several.get(seq)
        if copies is None:
            copies = self._several[seq] = Copies(self._names[seq], mark >> 2 if mark & _PUSHED else -1)
        pushes = copies.pushes
        kind = copies.another(name_of(mid), epoch if channel == "push" else -1)
        if copies.pushes > pushes:
            self.pushes = copies.pushes
        return kind

    # ---------------------------------------------------------------- when the books are closed
    def __contains__(self, seq: object) -> bool:
        """Whether that number came by any channel."""
        return isinstance(seq, int) and 0 < seq < len(self._marks) and self._marks[seq] != 0

    def _with_outcome(self, code: int) -> Iterator[int]:
        if self._sent is not None:
            for seq, state in enumerate(self._sent):
                if state & _OUTCOME == code:
                    yield seq

    def lost(self) -> list[int]:
        """A2's list: acknowledged, and no copy by any channel."""
        return [seq for seq in self._with_outcome(_OK) if seq not in self]

    def push_missed(self) -> list[int]:
        """A2's list: acknowledged, and no push copy."""
        return [seq for seq in self._with_outcome(_OK) if not self._was_pushed(seq)]

    def recovered(self) -> list[int]:
        """Outcome unknown, and yet received."""
        return [seq for seq in self._with_outcome(_INFO) if seq in self]

    def aborted(self) -> list[int]:
        """Refused for certain, and yet received."""
        return [seq for seq in self._with_outcome(_FAIL) if seq in self]

    def _was_pushed(self, seq: int) -> bool:
        if self._several and seq in self._several:
            return self._several[seq].pushed
        return seq in self and bool(self._marks[seq] & _PUSHED)

    def losses(self, complete: bool, limit: int = 1 << 62) -> Losses:
        """What is missing at the conversation's end. `complete`: everything that the server stored was read back.

        For an agent's stream at most `limit` numbers are listed; `order.unseen` is how many there are.
        """
        if self._sent is None:
            missing = self.order.unseen_numbers(limit, self)
            return Losses(definite=missing) if complete else Losses(unread=missing)
        lost, echoed, undetermined = [], [], []
        for seq, state in enumerate(self._sent):
            outcome = state & _OUTCOME
            if not outcome or outcome == _FAIL or state & _PROVEN:
                continue
            if outcome != _OK:
                if seq not in self:
                    undetermined.append(seq)
            elif seq in self:
                echoed.append(seq)
            else:
                lost.append(seq)
        if complete:
            return Losses(definite=lost, unlisted=echoed, undetermined=undetermined)
        return Losses(unread=lost, unproven=echoed, undetermined=undetermined)


def _oddity(code: int) -> str:
    return "recovered" if code == _INFO else "aborted" if code == _FAIL else ""
