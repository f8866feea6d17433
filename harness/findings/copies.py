"""Copies of messages: order, duplicates, and what a gap in the stream has swallowed."""

from __future__ import annotations

from collections import deque

from harness.core import ops
from harness.core.ops import AGENT, GUEST, PUSH
from harness.findings.detector import Detector, Tally, Witness, slot_of
from harness.findings.model import Finding, Severity

TABS_NS = 2_000_000_000
"""Copies over two open sockets of one guest within so long are one message for each of its tabs, and no duplicates."""
KEPT = 1024
"""Numbers of one direction of one conversation that are remembered; a copy of an older one counts as new."""
RECENT = 64
"""Messages first read from a listing, and holes, that are remembered with their instants."""


class Stream:
    """One direction of one conversation."""

    __slots__ = ("answers", "copies", "holes", "last_ns", "recovered", "top")

    def __init__(self) -> None:
        self.copies: dict[int, dict[str, tuple[int, tuple[int, ...]]]] = {}
        """Number -> the server's name for the stored copy -> when it first came, and the sockets over which it was pushed."""
        self.answers: dict[int, int] = {}
        """Guest's number -> the agent's number that answered it first."""
        self.top = 0
        self.last_ns = 0
        self.recovered: deque[int] = deque(maxlen=RECENT)
        """When messages were first read, and from a listing."""
        self.holes: deque[tuple[int, int, int]] = deque(maxlen=RECENT)
        """(after this instant, before that one, how many are missing between)."""


class Talk:
    """What is kept of one conversation."""

    __slots__ = ("agent", "attempts", "guest")

    def __init__(self) -> None:
        self.agent, self.guest = Stream(), Stream()
        self.attempts: dict[int, int] = {}
        """By number, where there was more than one attempt: when the second was."""


class Copies(Witness):
    """All arrivals, by conversation."""

    rows = (ops.Arrived, ops.Invoked, ops.Connection)

    def __init__(self) -> None:
        self._talks: dict[str, dict[str, Talk]] = {}
        self._over: dict[str, deque[int]] = {}
        """By guest: sockets that have ended, the latest of them."""
        self.same, self.cross, self.stored = Tally(), Tally(), Tally()
        self.resent, self.answered_twice = Tally(), Tally()
        self.reordered_agent, self.reordered_guest = Tally(), Tally()
        self.furthest = self.late_by_resend = 0
        self.arrived = self.resends = 0

    def take(self, row: ops.Arrived | ops.Invoked | ops.Connection) -> None:
        """Take one row."""
        if isinstance(row, ops.Connection):
            self._over.setdefault(slot_of(row.label), deque(maxlen=RECENT)).append(row.epoch)
            return
        talk = self.talk(row.label)
        if isinstance(row, ops.Invoked):
            if row.attempt > 1:
                self.resends += 1
                talk.attempts.setdefault(row.seq, row.at_ns)
            return
        self.arrived += 1
        if row.direction == GUEST:
            self._arrive(row, talk, talk.guest)
        else:
            self._arrive(row, talk, talk.agent)

    def talk(self, label: str) -> Talk:
        """What is kept of this conversation: of the latest two of each guest there is something."""
        slot = slot_of(label)
        talks = self._talks.get(slot)
        if talks is None:
            talks = self._talks[slot] = {}
        talk = talks.get(label)
        if talk is None:
            while len(talks) > 1:
                del talks[next(iter(talks))]
            talk = talks[label] = Talk()
        return talk

    def _arrive(self, row: ops.Arrived, talk: Talk, stream: Stream) -> None:
        seq, pushed = row.seq, row.channel == PUSH
        stored = stream.copies.get(seq)
        if stored is not None:
            self._again(row, talk, stored, pushed=pushed)
            return
        if len(stream.copies) >= KEPT:
            del stream.copies[next(iter(stream.copies))]
        stream.copies[seq] = {row.mid: (row.at_ns, (row.epoch,) if pushed else ())}
        if not pushed:
            stream.recovered.append(row.at_ns)
        elif seq < stream.top:
            self._overtaken(row, talk, stream.top - seq)
        elif row.direction == AGENT and seq > stream.top + 1:
            missing = sum(one not in stream.copies for one in range(max(stream.top + 1, seq - KEPT), seq))
            if missing:
                stream.holes.append((stream.last_ns, row.at_ns, missing))
        stream.top = max(stream.top, seq)
        stream.last_ns = row.at_ns
        if row.re and row.direction == AGENT:
            if stream.answers.setdefault(row.re, seq) != seq and row.re in talk.attempts:
                self.answered_twice.hit(talk.attempts[row.re], row.label)
            if len(stream.answers) > KEPT:
                del stream.answers[next(iter(stream.answers))]

    def _overtaken(self, row: ops.Arrived, talk: Talk, places: int) -> None:
        if row.direction == GUEST and row.seq in talk.attempts:
            self.late_by_resend += 1  # it was sent later than what overtook it
            return
        (self.reordered_agent if row.direction == AGENT else self.reordered_guest).hit(row.at_ns, row.label)
        self.furthest = max(self.furthest, places)

    def _again(self, row: ops.Arrived, talk: Talk, stored: dict[str, tuple[int, tuple[int, ...]]], *, pushed: bool) -> None:
        if row.mid and "" in stored:
            stored[row.mid] = stored.pop("")
        mid = row.mid or next(iter(stored))
        first_ns, epochs = stored.get(mid, (0, ()))
        if mid not in stored:
            stored[mid] = (row.at_ns, (row.epoch,) if pushed else ())
            resent = row.direction == GUEST and row.seq in talk.attempts
            if resent:
                self.resent.hit(talk.attempts[row.seq], row.label)  # what is to be shown is the sending, not when it came out
            else:
                self.stored.hit(row.at_ns, row.label)
        elif pushed and row.epoch in epochs:
            self.same.hit(row.at_ns, row.label)
        elif pushed:
            if epochs and not self._is_tab(row, first_ns, epochs):
                self.cross.hit(row.at_ns, row.label)
            stored[mid] = (first_ns, (*epochs[-3:], row.epoch))

    def _is_tab(self, row: ops.Arrived, first_ns: int, epochs: tuple[int, ...]) -> bool:
        """Whether the earlier copies came over sockets that are still open, at the same time."""
        if row.at_ns - first_ns > TABS_NS or ":" not in row.via:
            return False
        over = self._over.get(slot_of(row.label), ())
        return all(epoch not in over for epoch in epochs)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._talks.pop(slot, None)
        self._over.pop(slot, None)

    def evidence(self) -> dict[str, int | float]:
        """What both findings on duplicates show."""
        return {
            "pushed_again_on_the_same_connection": self.same.count,
            "pushed_again_after_a_reconnect": self.cross.count,
            "stored_twice_unasked": self.stored.count,
            "stored_twice_after_resend": self.resent.count,
            "answered_twice_after_resend": self.answered_twice.count,
            "messages_sent_again": self.resends,
            "copies_read": self.arrived,
        }


class DuplicatesByServer(Detector):
    """The server pushed or stored a message again, unasked."""

    id = "duplicates-by-server"
    title = "The server delivered messages more than once"
    severity: Severity = "medium"
    cause = "Delivery is at least once: the same stored message was pushed again, or a message sent once was stored twice."
    advice = "Remove duplicates by conversation and message id before showing anything."
    source = "seed 002, section 3 and edge case 2"

    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    def finish(self) -> Finding | None:
        """What was seen."""
        tally = Tally()
        for one in (self._copies.same, self._copies.cross, self._copies.stored):
            tally.add(one)
        return self.found(tally, self._copies.evidence())


class DuplicatesByResend(Detector):
    """The guest sent a message again that was there already."""

    id = "duplicates-by-resend"
    title = "Messages that were sent again are there twice"
    severity: Severity = "high"
    cause = (
        "The client repeats what was not confirmed in time, unchecked or while the first copy was still under way, and the server "
        "stores both."
    )
    advice = "After a reconnect ask the listing before sending again, keep the message id the same, and let the server drop copies."
    source = "seed 002, edge case 2"

    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    def finish(self) -> Finding | None:
        """What was seen."""
        tally = Tally()
        tally.add(self._copies.resent)
        tally.add(self._copies.answered_twice)
        return self.found(tally, self._copies.evidence())


class OutOfOrder(Detector):
    """A message arrived after a later one of its direction."""

    id = "out-of-order"
    title = "Messages arrived out of order"
    severity: Severity = "medium"
    cause = "The socket promises no order: a message was overtaken on its way."
    advice = "Hold later messages back for a moment and show by the server's time, not by arrival."
    source = "seed 002, section 3"

    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    def finish(self) -> Finding | None:
        """What was seen."""
        copies = self._copies
        tally = Tally()
        tally.add(copies.reordered_agent)
        tally.add(copies.reordered_guest)
        evidence: dict[str, int | float] = {
            "agent_messages": copies.reordered_agent.count,
            "own_messages": copies.reordered_guest.count,
            "furthest_places": copies.furthest,
            "late_by_their_resend": copies.late_by_resend,
            "copies_read": copies.arrived,
        }
        return self.found(tally, evidence)


def watchers(copies: Copies) -> list[Witness]:
    """The family."""
    return [copies, DuplicatesByServer(copies), DuplicatesByResend(copies), OutOfOrder(copies)]
