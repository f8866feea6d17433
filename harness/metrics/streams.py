"""One stream: one conversation, one direction. Each copy that arrives is sorted (class), then judged for order.

Streaming: per message a few bytes for the conversation's life, since a copy of any of its messages may still come, and
nothing that grows with time otherwise. Loss is asked for once, when the books are closed.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

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


class StreamStats:
    """Copies, order and loss of one stream.

    `own`: we are the sender, so what was sent is known through `invoke` and `close`; otherwise every number from 1 to the
    highest seen must have been sent. `cut_ns`: a copy later than this is no receipt (RFC 7680's threshold); None: any is.
    The attributes that describe the last arrival are overwritten by the next.
    """

    __slots__ = (
        "_cut_ns",
        "_first",
        "_sent",
        "_sent_at",
        "_several",
        "event",
        "oddity",
        "order",
        "own",
        "pushes",
        "received",
        "waited_ns",
    )

    def __init__(self, *, own: bool, cut_ns: int | None = None) -> None:
        self.own = own
        self.order = Order()
        self.event: Reordered | Jump | None = None
        """Last arrival: what it did to the order."""
        self.pushes = 0
        """Last arrival: push copies so far under the message's first name, itself included; 0: it is none of them."""
        self.oddity = ""
        """Last arrival or `close`: `recovered` (outcome unknown, yet here) or `aborted` (refused, yet here)."""
        self.waited_ns = 0
        """Last arrival: time since its first attempt, where that is known and this is the first copy."""
        self.received = 0
        """Distinct messages that came by any channel."""
        self._cut_ns = cut_ns
        # By number, 0 where none came: name << 32 | epoch << 2 | flags of the first copy
        self._first = array("Q", (0,))
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
        sent[seq] = sent[seq] & ~_OUTCOME | _CODES[outcome]
        if seq in self:
            self.oddity = _oddity(_CODES[outcome])

    def proven(self, seq: int) -> None:
        """The server surely stored the message (an agent quoted it, say), whether or not it ever comes back."""
        if self._sent is not None and 0 < seq < len(self._sent):
            self._sent[seq] |= _PROVEN

    # ---------------------------------------------------------------- what arrives
    def arrive(self, seq: int, at: int, channel: str, epoch: int, mid: str) -> str:
        """Sort one copy; the answer is one of `CLASSES`."""
        self.event, self.pushes, self.oddity, self.waited_ns = None, 0, "", 0
        sent = self._sent
        if sent is None:
            if not 0 < seq < self.order.expected + MAX_JUMP:
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
        first = self._first
        if seq >= len(first):
            first.frombytes(bytes(first.itemsize * (seq + 1 - len(first))))
        packed = first[seq]
        if not packed:
            self.received += 1
            if sent is not None:
                self.oddity = _oddity(sent[seq] & _OUTCOME)
            if channel == "push":
                first[seq] = name_of(mid) << 32 | (epoch & 0x3FFFFFFF) << 2 | _PUSHED | _CAME
                self.pushes = 1
                self.event = self.order.pushed(seq, at)
                return FIRST_PUSH
            first[seq] = name_of(mid) << 32 | _CAME
            self.order.resynced(seq)
            return FIRST_RESYNC
        self.waited_ns = 0
        if self._several is None:
            self._several = {}
        copies = self._several.get(seq)
        if copies is None:
            copies = self._several[seq] = Copies(packed >> 32, packed >> 2 & 0x3FFFFFFF if packed & _PUSHED else -1)
        pushes = copies.pushes
        kind = copies.another(name_of(mid), epoch if channel == "push" else -1)
        if copies.pushes > pushes:
            self.pushes = copies.pushes
        return kind

    # ---------------------------------------------------------------- when the books are closed
    def __contains__(self, seq: object) -> bool:
        """Whether that number came by any channel."""
        return isinstance(seq, int) and 0 < seq < len(self._first) and self._first[seq] != 0

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
        return seq in self and bool(self._first[seq] & _PUSHED)

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
