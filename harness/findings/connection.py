"""Sockets: deaf ones, those that were cut, and those that the server closed with a reason."""

from __future__ import annotations

from harness.core import ops
from harness.findings.detector import SECOND, Detector, Extent, Tally, Witness, slot_of
from harness.findings.model import Finding, Severity

IDLE_NS = 60 * SECOND
"""A proxy cuts no sooner than after so long without a byte (seed 002, edge case 1: 60 to 90 s)."""
DEAD_NS = 8 * SECOND
"""So long without a confirmation while the socket seemed open: longer than any takes, shorter than one is waited for."""
UNHEARD_NS = 60 * SECOND
UNHEARD = 2
"""Where nothing confirms there is only the agent's answer, which may take its time: so long, and so many messages, without one."""
POLICY, INTERNAL = 1008, 1011
HASTY_NS = 10 * SECOND
"""A socket that ends for violations ends within moments; one that never authenticates is left much longer."""
ALIKE = 0.25
"""Lives that differ by no more than this share come from one clock."""


class _Socket:
    __slots__ = ("asked", "asked_ns", "confirmed", "heard_ns")

    def __init__(self) -> None:
        self.heard_ns = 0
        """When anything last came from the server over a socket."""
        self.asked_ns = self.asked = 0
        """First message since then, and how many there were."""
        self.confirmed = False
        """The dialect confirms messages."""


class Silences(Witness):
    """Sockets on which nothing came any more although the guest spoke."""

    notes = ("zombie",)
    samples = ("auth", "routing", "echo", "ack")
    rows = (ops.Arrived, ops.Invoked, ops.Connection)

    def __init__(self) -> None:
        self._guests: dict[str, _Socket] = {}
        self.noticed, self.unnoticed, self.idle = Tally(), Tally(), Tally()
        self.deaf_for, self.idle_for = Extent(), Extent()

    def take(self, row: ops.Row) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        guest = self._guests.get(slot)
        if guest is None:
            guest = self._guests[slot] = _Socket()
        if isinstance(row, ops.Arrived):
            if row.channel == ops.PUSH:
                guest.heard_ns, guest.asked_ns, guest.asked = row.at_ns, 0, 0
        elif isinstance(row, ops.Invoked):
            guest.asked_ns = guest.asked_ns or row.at_ns
            guest.asked += 1
        elif isinstance(row, ops.Sample):
            if row.outcome == ops.OK:
                guest.heard_ns, guest.asked_ns, guest.asked = row.at_ns, 0, 0
                guest.confirmed = guest.confirmed or row.measure in ("echo", "ack")
        elif isinstance(row, ops.Noted):
            self.noticed.hit(row.at_ns, row.label)
            guest.asked_ns = 0
        elif isinstance(row, ops.Connection):
            self._ended(guest, row)

    def _ended(self, guest: _Socket, row: ops.Connection) -> None:
        asked, number, since = guest.asked_ns, guest.asked, max(guest.heard_ns, row.opened_ns)
        guest.asked_ns = guest.asked = 0
        if row.begun != "server" or row.code or not row.ready_ns or asked < since:
            return
        dead = row.ended_ns - asked
        if dead < DEAD_NS or not (guest.confirmed or (dead >= UNHEARD_NS and number >= UNHEARD)):
            return
        self.deaf_for.add(row.ended_ns - asked)
        if asked - since >= IDLE_NS:
            self.idle_for.add(asked - since)
            self.idle.hit(row.at_ns, row.label)
        else:
            self.unnoticed.hit(row.at_ns, row.label)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._guests.pop(slot, None)


class Zombie(Detector):
    """Open by the look of it, and nothing flows."""

    id = "zombie-connection"
    title = "Connections stayed open while nothing flowed"
    severity: Severity = "high"
    cause = "The other end, or something between, is gone without a close: the socket's state still says open."
    advice = "Send a keep-alive every 20 s and give the socket up when no answer comes within 10 s."
    source = "seed 002, section 4 and edge case 1"

    def __init__(self, silences: Silences) -> None:
        self._silences = silences

    def finish(self) -> Finding | None:
        """What was seen."""
        silences = self._silences
        tally = Tally()
        tally.add(silences.noticed)
        tally.add(silences.unnoticed)
        evidence: dict[str, int | float] = {
            "noticed_by_keep_alive": silences.noticed.count,
            "not_noticed": silences.unnoticed.count,
        }
        if silences.unnoticed:
            evidence["longest_deaf_s"] = silences.deaf_for.high / SECOND
        return self.found(tally, evidence)


class IdleCut(Detector):
    """Cut by a middlebox while nobody spoke."""

    id = "idle-connection-cut"
    title = "Idle connections were cut without a word"
    severity: Severity = "high"
    cause = "A proxy between drops what carries no byte for 60 to 90 s, and tells neither end: the next message goes nowhere."
    advice = "Send a keep-alive at well under 60 s, 20 s for instance."
    source = "seed 002, edge case 1; seed 001 (idle sockets)"

    def __init__(self, silences: Silences) -> None:
        self._silences = silences

    def finish(self) -> Finding | None:
        """What was seen."""
        silences = self._silences
        evidence = {
            "cut": silences.idle.count,
            "shortest_idle_s": silences.idle_for.low / SECOND,
            "longest_idle_s": silences.idle_for.high / SECOND,
            "deaf_and_not_idle": silences.unnoticed.count,
        }
        doubt = (
            "A zombie connection looks alike; here every one had been idle for 60 s before, which a zombie need not be."
            if not silences.unnoticed
            else "Zombie connections were there as well; these had been idle before."
        )
        return self.found(silences.idle, evidence, certainty=doubt)


class Closed(Witness):
    """Ends that the server named by a close code."""

    rows = (ops.Connection,)

    def __init__(self) -> None:
        self.internal, self.policy = Tally(), Tally()
        self.lives = Extent()

    def take(self, row: ops.Connection) -> None:
        """Take one row."""
        if row.begun != "server":
            return
        if row.code == INTERNAL and row.ready_ns:
            self.internal.hit(row.at_ns, row.label)
            self.lives.add(row.ended_ns - row.ready_ns)
        elif row.code == POLICY and not row.ready_ns and row.ended_ns - row.opened_ns < HASTY_NS:
            self.policy.hit(row.at_ns, row.label)

    @property
    def one_clock(self) -> bool:
        """Whether connections closed with 1011 all lived equally long."""
        return self.lives.width <= ALIKE * self.lives.high


class KeepaliveMissed(Detector):
    """The server asked, and nobody answered."""

    id = "keep-alive-missed"
    title = "The server closed connections that did not answer its keep-alive"
    severity: Severity = "high"
    cause = "The client does not answer the server's ping, or not in time."
    advice = "Answer each ping at once with the same payload, before anything else is worked on."
    source = "seed 002, section 4 (pong within 15 s)"

    def __init__(self, closed: Closed) -> None:
        self._closed = closed

    def finish(self) -> Finding | None:
        """What was seen."""
        closed = self._closed
        if not closed.one_clock:
            return None
        lives = closed.lives
        doubt = "" if lives.number > 1 else "Code 1011 also stands for an error in the server; a single case cannot tell."
        evidence = {"closed_1011": lives.number, "shortest_life_s": lives.low / SECOND, "longest_life_s": lives.high / SECOND}
        return self.found(closed.internal, evidence, certainty=doubt)


class ServerError(Detector):
    """1011 at any age: an error in the server."""

    id = "connections-closed-by-error"
    title = "The server closed connections because of an error of its own"
    severity: Severity = "high"
    cause = "Close code 1011 after lives of every length: something in the server failed."
    advice = "Look for the same moments in the server's log."
    source = "RFC 6455, section 7.4.1"

    def __init__(self, closed: Closed) -> None:
        self._closed = closed

    def finish(self) -> Finding | None:
        """What was seen."""
        closed = self._closed
        return None if closed.one_clock else self.found(closed.internal, {"closed_1011": closed.lives.number})


class FramesBeforeAuth(Detector):
    """Thrown out before it was let in."""

    id = "frames-before-authentication"
    title = "Frames were sent before the handshake was over"
    severity: Severity = "high"
    cause = "The client speaks as soon as the socket opens: such frames are dropped, and the third ends the connection."
    advice = "Send nothing but the token until the server has said success."
    source = "seed 002, section 2"

    def __init__(self, closed: Closed) -> None:
        self._closed = closed

    def finish(self) -> Finding | None:
        """What was seen."""
        return self.found(self._closed.policy, {"closed_1008_before_ready": self._closed.policy.count})


def watchers() -> list[Witness]:
    """The family."""
    silences, closed = Silences(), Closed()
    return [
        silences,
        Zombie(silences),
        IdleCut(silences),
        closed,
        KeepaliveMissed(closed),
        ServerError(closed),
        FramesBeforeAuth(closed),
    ]
