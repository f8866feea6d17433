"""Sending: tokens used twice, acks mistaken, messages into the void."""

from __future__ import annotations

from harness.core import ops
from harness.errors import FailureCause
from harness.findings.copies import KEPT
from harness.findings.detector import Detector, Tally, Witness, slot_of
from harness.findings.model import Finding, Severity

VAIN = 3
"""Messages in a row without any answer, on a connection that is well, before a conversation counts as talking into the void."""
_UPGRADE = FailureCause.UPGRADE_REFUSED.value


class TokenReused(Detector):
    """A second connection with a token that was good for one."""

    id = "single-use-token-reused"
    title = "A single-use token was used again"
    severity: Severity = "high"
    cause = "The client reconnects with the token of its first connection."
    advice = "Register anew just before each connect, and mind that it is a new guest with a new place in the queue."
    source = "seed 004: 403 at the upgrade"
    notes = ("token.reused",)
    samples = ("guest", "connect")
    rows = (ops.Ended,)

    def __init__(self) -> None:
        self._spent: dict[str, bool] = {}
        self._named, self._seen = Tally(), Tally()
        self._registered = False

    def take(self, row: ops.Sample | ops.Noted | ops.Ended) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        if isinstance(row, ops.Noted):
            self._named.hit(row.at_ns, row.label)
        elif isinstance(row, ops.Ended):
            self._spent.pop(slot, None)
        elif row.measure == "guest":
            if row.outcome == ops.OK:
                self._spent[slot] = False
        elif row.outcome == ops.OK:
            if slot in self._spent:
                self._spent[slot] = True
        elif row.cause == _UPGRADE and self._spent.get(slot, False):
            self._seen.hit(row.at_ns, row.label)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._spent.pop(slot, None)

    def finish(self) -> Finding | None:
        """What was seen."""
        evidence = {"named": self._named.count, "refused_without_registering_anew": self._seen.count}
        return self.found(self._named, evidence)


class AckMistaken(Detector):
    """Another frame was taken for the ack."""

    id = "ack-mistaken"
    title = "Other frames were taken for the acknowledgement"
    severity: Severity = "high"
    cause = "The client reads the next frame after a send as its ack; an agent's message in between is swallowed."
    advice = "Read frames in one place and tell them by `type`; match acks in the order of the sends."
    source = "seed 004, step 2"
    notes = ("ack.mistaken",)

    def __init__(self) -> None:
        self._tally = Tally()

    def take(self, row: ops.Noted) -> None:
        """Take one row."""
        self._tally.hit(row.at_ns, row.label)

    def finish(self) -> Finding | None:
        """What was seen."""
        return self.found(self._tally, {"mistaken": self._tally.count})


class _Vain:
    __slots__ = ("agent", "broken", "closed", "first", "replied")

    def __init__(self) -> None:
        self.closed = 0
        self.first = 0
        self.agent = self.replied = self.broken = False


class SendsVanish(Detector):
    """Everything that a guest says goes nowhere, and nothing is wrong with its connection."""

    id = "sends-vanish"
    title = "Everything that a guest sent went unanswered"
    severity: Severity = "high"
    cause = "Frames that the server drops silently: a wrong conversation or sender id, a field too many, content that is no text."
    advice = "Use the ids from the registration's answer and nothing but the fields that the protocol names."
    source = "seed 001 (message not appearing) and seed 004 (message not received)"
    samples = ("queue",)
    rows = (ops.Closed, ops.Arrived, ops.Connection, ops.Ended)

    def __init__(self) -> None:
        self._guests: dict[str, _Vain] = {}
        self._served, self._alone = Tally(), Tally()
        self._queues = False
        """Some guest was told of its queue: then one without an agent is known to be waiting, and nothing has vanished."""
        self._messages = 0

    def take(self, row: ops.Row) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        guest = self._guests.get(slot)
        if guest is None:
            guest = self._guests[slot] = _Vain()
        if isinstance(row, ops.Sample):
            self._queues = True
            guest.agent = guest.agent or row.outcome == ops.OK
        elif isinstance(row, ops.Closed):
            if row.sent_ns and (row.outcome == ops.INFO or row.via == "ack"):
                guest.closed += 1
                guest.first = guest.first or row.at_ns
            else:
                guest.replied = True
        elif isinstance(row, ops.Arrived):
            guest.replied = guest.replied or row.re > 0 or row.direction == ops.GUEST
        elif isinstance(row, ops.Connection):
            guest.broken = guest.broken or row.begun == "server"
        elif isinstance(row, ops.Ended):
            if guest.closed >= VAIN and not guest.replied and not guest.broken:
                (self._served if guest.agent else self._alone).hit(guest.first, row.label)
                self._messages += min(guest.closed, KEPT)
            del self._guests[slot]

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._guests.pop(slot, None)

    def finish(self) -> Finding | None:
        """What was seen."""
        doubt = "Frames that the server drops and agents who never answer look alike; neither says a word."
        all_of = Tally()
        all_of.add(self._served)
        if not self._queues:
            all_of.add(self._alone)
        return self.found(all_of, {"conversations": all_of.count, "messages_unanswered": self._messages}, certainty=doubt)


class _Sender:
    __slots__ = ("knows", "label", "sent_ns", "synced_ns")

    def __init__(self, label: str) -> None:
        self.label = label
        self.sent_ns: dict[int, int] = {}
        """By number, of the latest few: when it was last attempted."""
        self.synced_ns = 0
        self.knows = False
        """The last answer to a send said plainly that it was not taken."""


class ResentUnchecked(Detector):
    """A message went out again although nobody knew what had become of it, and no listing was read in between."""

    id = "resent-unchecked"
    title = "Messages were sent again without a look whether they had arrived"
    severity: Severity = "medium"
    cause = (
        "Whatever has no confirmation is repeated after a time-out or a reconnect; where the server stores both, it is there twice."
    )
    advice = "Ask the listing first; where there is none, repeat only what was certainly refused, or let the guest decide."
    source = "seed 002, section 3 and edge case 2"
    samples = ("resync", "ack")
    rows = (ops.Invoked, ops.Refused)
    KEPT = 64

    def __init__(self) -> None:
        self._senders: dict[str, _Sender] = {}
        self._tally = Tally()
        self._checked = 0

    def take(self, row: ops.Invoked | ops.Sample | ops.Refused) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        sender = self._senders.get(slot)
        if sender is None or sender.label != row.label:
            sender = self._senders[slot] = _Sender(row.label)
        if isinstance(row, ops.Refused):
            sender.knows = True
        elif isinstance(row, ops.Sample):
            if row.measure == "ack":
                sender.knows = row.outcome == ops.FAIL and row.cause != FailureCause.CONFIRM_TIMEOUT.value
            elif row.outcome == ops.OK:
                sender.synced_ns = row.at_ns
        else:
            self._sent(sender, row)

    def _sent(self, sender: _Sender, row: ops.Invoked) -> None:
        before = sender.sent_ns.pop(row.seq, 0)
        if row.attempt > 1:
            if sender.knows or sender.synced_ns > before:
                self._checked += 1
            else:
                self._tally.hit(row.at_ns, row.label)
        sender.knows = False
        sender.sent_ns[row.seq] = row.at_ns
        if len(sender.sent_ns) > self.KEPT:
            del sender.sent_ns[next(iter(sender.sent_ns))]

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._senders.pop(slot, None)

    def finish(self) -> Finding | None:
        """What was seen."""
        return self.found(self._tally, {"sent_again_unchecked": self._tally.count, "sent_again_knowing": self._checked})


def watchers() -> list[Witness]:
    """The family."""
    return [TokenReused(), AckMistaken(), SendsVanish(), ResentUnchecked()]
