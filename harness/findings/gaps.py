"""Gaps between two sockets: what was lost in them, whether it was read after, and when the server has closed meanwhile."""

from __future__ import annotations

from collections import deque

from harness.core import ops
from harness.findings.copies import Copies
from harness.findings.detector import SECOND, Detector, Extent, Tally, Witness, slot_of
from harness.findings.model import Finding, Severity

DROP_NS = 60 * SECOND
"""A guest that is away for so long may find its conversation closed (seed 000, edge case 3 and section 4)."""
NEWS_NS = 15 * SECOND
"""The server's word that it is over comes within so long of the guest's return."""
BEFORE_NS = SECOND
"""The word that a token has expired may be as much older than the gap that it opens."""
_KEPT = 16


class Gap:
    """A time without a usable socket."""

    __slots__ = ("begin_ns", "end_ns", "expired", "recovered", "synced")

    def __init__(self, begin_ns: int, end_ns: int) -> None:
        self.begin_ns, self.end_ns = begin_ns, end_ns
        self.expired = self.synced = False
        self.recovered = 0
        """Messages that a listing brought when it was over."""


class _Guest:
    __slots__ = ("closed_ns", "connected", "expired_ns", "gaps", "label", "left", "longest", "synced_ns")

    def __init__(self, label: str) -> None:
        self.label = label
        self.connected = self.left = False
        self.expired_ns = self.synced_ns = self.closed_ns = 0
        self.longest: tuple[int, int] = (0, 0)
        """Begin and end of the longest time away."""
        self.gaps: deque[Gap] = deque(maxlen=_KEPT)


class Gaps(Witness):
    """The gaps of each conversation, judged when it ends."""

    notes = ("token.expired", "closed.by_server", "conversation.gone", "conversation.lost", "session.not_found", "session.expired")
    samples = ("connect", "reconnect.gap", "refresh.gap", "resync", "history", "leave")
    rows = (ops.Ended,)

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._guests: dict[str, _Guest] = {}
        self.expired, self.unread, self.closed = Tally(), Tally(), Tally()
        self.recovered_expired = self.missing_expired = self.missing_unread = self.gaps = 0
        self.expired_for, self.unread_for, self.away = Extent(), Extent(), Extent()

    def take(self, row: ops.Sample | ops.Noted | ops.Ended) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        guest = self._guests.get(slot)
        if guest is None or guest.label != row.label:
            guest = self._guests[slot] = _Guest(row.label)
        if isinstance(row, ops.Noted):
            if row.what == "token.expired":
                guest.expired_ns = row.at_ns
            else:
                guest.closed_ns = guest.closed_ns or row.at_ns
        elif isinstance(row, ops.Ended):
            self._judge(guest, row)
            del self._guests[slot]
        elif row.measure == "connect":
            guest.connected = True
        elif row.measure == "leave":
            guest.left = True
        elif row.measure in ("resync", "history"):
            guest.synced_ns = row.at_ns
        else:
            self._gap(guest, row)

    def _gap(self, guest: _Guest, row: ops.Sample) -> None:
        begin, end = row.start_ns, row.end_ns
        if end - begin > guest.longest[1] - guest.longest[0]:
            guest.longest = (begin, end)
        if row.outcome != ops.OK or not guest.connected:
            return
        gap = Gap(begin, end)
        gap.expired = row.measure == "refresh.gap" and begin - BEFORE_NS <= guest.expired_ns <= end
        gap.synced = guest.synced_ns >= begin and guest.synced_ns > 0
        gap.recovered = sum(at >= begin for at in self._copies.talk(guest.label).agent.recovered)
        guest.gaps.append(gap)

    def _judge(self, guest: _Guest, row: ops.Ended) -> None:
        holes = self._copies.talk(row.label).agent.holes
        for gap in guest.gaps:
            self.gaps += 1
            missing = sum(number for after, before, number in holes if after <= gap.end_ns and gap.begin_ns <= before)
            if gap.expired and (gap.recovered or missing):
                self.expired.hit(gap.end_ns, row.label)
                self.expired_for.add(gap.end_ns - gap.begin_ns)
                self.recovered_expired += gap.recovered
                self.missing_expired += missing
            if row.listing and not gap.synced:
                self.unread.hit(gap.end_ns, row.label)
                self.unread_for.add(gap.end_ns - gap.begin_ns)
                self.missing_unread += missing
        begin, end = guest.longest
        told = guest.closed_ns or (0 if guest.left or guest.connected else row.at_ns)
        if end - begin >= DROP_NS and begin <= told <= end + NEWS_NS:
            self.closed.hit(row.at_ns, row.label)
            self.away.add(end - begin)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._guests.pop(slot, None)


class TokenGap(Detector):
    """Messages fell into the gap that an expired token opened."""

    id = "token-expired-gap"
    title = "Messages were missed while an expired token was replaced"
    severity: Severity = "high"
    cause = "The socket was given up only when the server said TOKEN_EXPIRED; what agents sent until the next one was not pushed."
    advice = "Change to a socket with a fresh token before the old one expires, and read the listing before going on."
    source = "seed 002, section 2"

    def __init__(self, gaps: Gaps) -> None:
        self._gaps = gaps

    def finish(self) -> Finding | None:
        """What was seen."""
        gaps = self._gaps
        return self.found(
            gaps.expired,
            {
                "gaps": gaps.expired.count,
                "messages_read_from_listing": gaps.recovered_expired,
                "messages_missing": gaps.missing_expired,
                "longest_gap_s": gaps.expired_for.high / SECOND,
            },
        )


class MissingResync(Detector):
    """Back on the air, and nobody asked what was missed."""

    id = "missing-resync"
    title = "Guests went on after a reconnect without reading what they had missed"
    severity: Severity = "high"
    cause = "The socket never replays; the client takes up the stream where it is."
    advice = "After each reconnect read the listing since the last known server time before anything new is shown."
    source = "seed 002, section 4"

    def __init__(self, gaps: Gaps) -> None:
        self._gaps = gaps

    def finish(self) -> Finding | None:
        """What was seen."""
        gaps = self._gaps
        return self.found(
            gaps.unread,
            {
                "reconnects_without_resync": gaps.unread.count,
                "reconnects": gaps.gaps,
                "messages_missing": gaps.missing_unread,
                "longest_gap_s": gaps.unread_for.high / SECOND,
            },
        )


class AutoClosed(Detector):
    """Away too long."""

    id = "conversation-auto-closed"
    title = "Conversations were closed while the guest was away"
    severity: Severity = "high"
    cause = "The guest did not get back within 60 s, and the routing strategy closes a conversation whose guest is gone."
    advice = "Come back sooner (1, 2, 4 … 30 s), and tell the guest that the conversation is over instead of a silent new one."
    source = "seed 000, section 4"

    def __init__(self, gaps: Gaps) -> None:
        self._gaps = gaps

    def finish(self) -> Finding | None:
        """What was seen."""
        away = self._gaps.away
        evidence = {"closed": away.number, "shortest_drop_s": away.low / SECOND, "longest_drop_s": away.high / SECOND}
        doubt = "An agent who leaves during a drop looks the same to the guest who comes back."
        return self.found(self._gaps.closed, evidence, certainty=doubt)


def watchers(copies: Copies) -> list[Witness]:
    """The family."""
    gaps = Gaps(copies)
    return [gaps, TokenGap(gaps), MissingResync(gaps), AutoClosed(gaps)]
