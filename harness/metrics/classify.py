"""Sorting the copies of one stream's messages before anything is measured: each copy gets one class, each message one fate.

A copy that comes more than `wait_ns` after its message was sent is no receipt. That also bounds the memory: of a message
that old only late copies can still come, so it is settled and forgotten (`forget`). Where the caller knows that a copy is
the last one of its message (`last`), the message is settled at once.
"""

from __future__ import annotations

import msgspec

from harness.metrics.duplicates import (
    CROSS_CONNECTION,
    FIRST_PUSH,
    FIRST_RESYNC,
    LATE,
    OVERLAP,
    RESEND,
    SAME_CONNECTION,
    UNEXPECTED,
)
from harness.metrics.numbers import Numbers

OK, INFO, FAIL = "ok", "info", "fail"
OUTCOMES = (OK, INFO, FAIL)
_KEEP = 1024
"""Below so many messages forgetting is not worth a look."""

# What is kept of a message, by place in its list: when sent, bits, place in sent order, size, the name of its first copy, the
# connection of its first push copy under that name, and how many such push copies there were
_SENT, _BITS, _PLACE, _SIZE, _NAME, _EPOCH, _COPIES = range(7)
_SEEN, _IN_TIME, _WITHIN_HALF, _WITHIN_DOUBLE, _PUSHED, _RESENT, _SEVERAL = 1, 2, 4, 8, 16, 32, 64
_CODE = {OK: 0, INFO: 128, FAIL: 256}
_LEFT_OUT = 512
_TIMELY = _SEEN | _IN_TIME | _WITHIN_DOUBLE
_SOON = _TIMELY | _WITHIN_HALF
_PLAIN = _SOON | _PUSHED
"""Acknowledged, pushed once, in good time: what becomes of nearly all."""


class Fates(msgspec.Struct):
    """What became of one stream's messages, counted. Adding up is merging."""

    sent: int = 0
    ok: int = 0
    info: int = 0
    fail: int = 0
    lost: int = 0
    """Acknowledged, and no copy in time by any channel."""
    push_missed: int = 0
    """Acknowledged, and no copy in time by push."""
    recovered: int = 0
    """Outcome unknown, yet delivered."""
    aborted: int = 0
    """Refused for certain, yet delivered."""
    undetermined: int = 0
    """Outcome unknown, and no copy in time: in no numerator and in no denominator."""
    lost_at_half: int = 0
    """Would be lost with half the waiting time."""
    lost_at_double: int = 0
    copies: int = 0
    """Push copies under the name of the message's first copy (RFC 5560's arrival counts, summed)."""
    pushed: int = 0
    """Messages with at least one of them."""
    replicated: int = 0
    """Messages with several."""
    resent: int = 0
    """Messages that came under more than one name."""
    seen: int = 0
    """Messages of which any copy came, late ones too."""
    seen_ok: int = 0
    """Acknowledged ones among them."""
    left_out: int = 0
    """Sent too shortly before nobody listened any more: in none of the figures above but those of copies."""


class Classifier:
    """One stream: tell it what was sent and what arrives, in the order in which both happened."""

    __slots__ = (
        "_epochs",
        "_first_pushes",
        "_forget",
        "_forgotten",
        "_limit",
        "_messages",
        "_other",
        "_plain",
        "_sent",
        "_wait",
        "aborted",
        "fates",
        "lost",
        "missed",
        "recovered",
        "size",
        "waited_ns",
    )

    def __init__(self, wait_ns: int, *, forget: bool = False) -> None:
        """`forget`: times never go back, so that what is too old can be settled on the way."""
        self._wait = wait_ns
        self._forget = forget
        self._limit = _KEEP
        self._messages: dict[int, list[int]] = {}
        self._epochs: dict[int, set[int]] = {}
        """Connections of the messages that were pushed on several."""
        self._forgotten = Numbers()
        self._sent = self._plain = self._first_pushes = 0
        self._other: dict[str, int] = {}
        """Copies by class, but for the first that came by push."""
        self.fates = Fates()
        """Complete once the stream is closed."""
        self.lost: list[tuple[int, int]] = []
        """(place in sent order, number) of each; so are the next three."""
        self.missed: list[tuple[int, int]] = []
        self.recovered: list[tuple[int, int]] = []
        self.aborted: list[tuple[int, int]] = []
        self.waited_ns = 0
        """Last arrival: time since its message was sent, if that is known."""
        self.size = 0
        """Last arrival: its payload."""

    def send(self, seq: int, at: int, outcome: str = OK, size: int = 0, place: int | None = None) -> None:
        """A message was attempted, with what became of it as far as the sender knows. Its first attempt counts.

        `place` orders the messages as they were sent, where they are not told in that order.
        """
        messages = self._messages
        if seq in messages:
            return
        messages[seq] = [at, _CODE[outcome], self._sent if place is None else place, size, 0, 0, 0]
        self._sent += 1
        if self._forget and len(messages) > self._limit:
            self._sweep(at)

    def arrive(self, seq: int, at: int, push: bool = True, epoch: int = 0, name: int = 0, last: bool = False) -> str:
        """Sort one copy. `name` stands for the server's id of this copy, 0 for none; `epoch` for its connection."""
        message = self._messages.get(seq)
        if message is None:
            # A forgotten message is too old for anything that comes now
            return self._count(LATE if seq in self._forgotten else UNEXPECTED)
        self.waited_ns = waited = at - message[_SENT]
        self.size = message[_SIZE]
        bits = message[_BITS]
        if waited > self._wait:
            message[_BITS] = bits | (_SEEN | _WITHIN_DOUBLE if waited <= 2 * self._wait else _SEEN)
            kind = self._count(LATE)
        elif bits & _IN_TIME:
            kind = self._count(self._again(seq, message, push, epoch, name))
        else:
            bits |= _SOON if 2 * waited <= self._wait else _TIMELY
            if push:
                message[_BITS] = bits | _PUSHED
                message[_COPIES] = 1
                kind = FIRST_PUSH
                self._first_pushes += 1
            else:
                message[_BITS] = bits
                kind = self._count(FIRST_RESYNC)
            if not last:
                message[_NAME] = name
                message[_EPOCH] = epoch
        if last:
            del self._messages[seq]
            self._settle(seq, message)
        return kind

    def straight(self, count: int) -> None:
        """So many further messages, acknowledged and pushed once each within half the waiting time: all is known of them."""
        self._sent += count
        self._plain += count
        self._first_pushes += count

    def leave_out(self, seq: int) -> bool:
        """The message was sent too late to be judged. Its copies still count as copies; whether any came in time is the answer."""
        message = self._messages[seq]
        message[_BITS] |= _LEFT_OUT
        return message[_BITS] & _IN_TIME != 0

    def close(self) -> None:
        """Nothing more will come: every message that is left has its fate."""
        for seq, message in self._messages.items():
            self._settle(seq, message)
        self._messages = {}
        self._epochs = {}
        fates, plain = self.fates, self._plain
        fates.sent = self._sent - fates.left_out
        fates.ok += plain
        fates.copies += plain
        fates.pushed += plain
        fates.seen += plain
        fates.seen_ok += plain
        self._plain = 0
        for found in (self.lost, self.missed, self.recovered, self.aborted):
            found.sort()

    @property
    def classes(self) -> dict[str, int]:
        """Copies by class, without those that did not occur."""
        return {FIRST_PUSH: self._first_pushes, **self._other} if self._first_pushes else dict(self._other)

    @property
    def kept(self) -> int:
        """Messages that are remembered."""
        return len(self._messages)

    def _count(self, kind: str) -> str:
        self._other[kind] = self._other.get(kind, 0) + 1
        return kind

    def _again(self, seq: int, message: list[int], push: bool, epoch: int, name: int) -> str:
        """A further copy in time. One without a name counts as one of the first."""
        if name and not message[_NAME]:
            message[_NAME] = name
        if push:
            message[_BITS] |= _PUSHED
        if name and name != message[_NAME]:
            message[_BITS] |= _RESENT
            return RESEND
        if not push:
            return OVERLAP
        message[_COPIES] += 1
        if message[_COPIES] == 1:
            message[_EPOCH] = epoch
            return OVERLAP
        message[_BITS] |= _SEVERAL
        if epoch == message[_EPOCH]:
            return SAME_CONNECTION
        others = self._epochs.setdefault(seq, set())
        if epoch in others:
            return SAME_CONNECTION
        others.add(epoch)
        return CROSS_CONNECTION

    def _sweep(self, now: int) -> None:
        """Settle what is too old for any copy in time, even with twice the waiting time."""
        old = now - 2 * self._wait
        gone = []
        for seq, message in self._messages.items():
            if message[_SENT] >= old:
                break
            gone.append(seq)
        for seq in gone:
            self._settle(seq, self._messages.pop(seq))
            self._forgotten.add(seq)
        self._limit = max(_KEEP, 2 * len(self._messages))

    def _settle(self, seq: int, message: list[int]) -> None:
        bits = message[_BITS]
        if bits == _PLAIN:
            self._plain += 1
            return
        fates, place = self.fates, message[_PLACE]
        if message[_COPIES]:
            fates.pushed += 1
            fates.copies += message[_COPIES]
            if bits & _SEVERAL:
                fates.replicated += 1
                self._epochs.pop(seq, None)
        if bits & _RESENT:
            fates.resent += 1
        if bits & _LEFT_OUT:
            fates.left_out += 1
            return
        if bits & _SEEN:
            fates.seen += 1
        if bits & _CODE[INFO]:
            fates.info += 1
            if bits & _IN_TIME:
                fates.recovered += 1
                self.recovered.append((place, seq))
            else:
                fates.undetermined += 1
        elif bits & _CODE[FAIL]:
            fates.fail += 1
            if bits & _IN_TIME:
                fates.aborted += 1
                self.aborted.append((place, seq))
        else:
            fates.ok += 1
            if bits & _SEEN:
                fates.seen_ok += 1
            if not bits & _WITHIN_HALF:
                fates.lost_at_half += 1
                if not bits & _WITHIN_DOUBLE:
                    fates.lost_at_double += 1
            if not bits & _PUSHED:
                fates.push_missed += 1
                self.missed.append((place, seq))
                if not bits & _IN_TIME:
                    fates.lost += 1
                    self.lost.append((place, seq))
