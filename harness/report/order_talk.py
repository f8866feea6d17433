"""One conversation's share of the figures of order and loss: kept compactly while it lasts, measured when it is over.

An agent's send times are not known to a guest, so none of its messages is ever late; every number below its highest must have
been sent. A guest's message counts as sent when its first attempt was written down.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from harness.core import ops
from harness.core.ops import GUEST, INFO, OK, PUSH
from harness.metrics.duplicates import FIRST_PUSH, FIRST_RESYNC, LATE, OVERLAP, UNEXPECTED, Copies, name_of
from harness.metrics.ordering import Ordering, Params
from harness.metrics.suite import Suite
from harness.report.listings import Pages
from harness.report.order_pools import (
    DELIVERY,
    E2E,
    INGEST,
    NO_DIRECTION,
    NO_ECHO,
    NO_LISTING,
    NO_STAMPS,
    NOT_ENDED,
    NOT_READ,
    Heard,
    Pools,
)

_MAX_JUMP = 10_000
_MAX_MISSING = 100_000
"""An agent's number that left more out than that is none of the stream's (a spoilt marker): `unexpected`."""
_WIDTH = 5
_SEQ, _AT, _PLACE, _NAME, _STAMP = range(_WIDTH)
"""What is kept of a copy. Its place: the number of its connection (push), or below 0 that of the page (-1: of no reading)."""


class Talk:
    """What is kept of one conversation."""

    __slots__ = (
        "agent",
        "closed",
        "complete",
        "dialect",
        "ended_ns",
        "evident",
        "guest",
        "label",
        "last_ns",
        "listing",
        "pages",
        "sent",
        "slot",
    )

    def __init__(self, label: str, slot: str) -> None:
        self.label, self.slot = label, slot
        self.guest, self.agent = array("q"), array("q")
        self.sent: dict[int, tuple[int, int]] = {}
        """When each number was first attempted, and its size."""
        self.closed: dict[int, tuple[str, int]] = {}
        """Its outcome, and when that was known."""
        self.evident: set[int] = set()
        """Guest's numbers that are surely in the server's store: listed, in an answer to a request, or answered by an agent."""
        self.pages = Pages()
        self.ended_ns = self.last_ns = 0
        self.complete = False
        self.listing = True
        self.dialect = ""

    def arrived(self, row: ops.Arrived) -> None:
        """One copy."""
        seq = row.seq
        if row.channel == PUSH:
            place = row.epoch
            listed = ":" not in row.via
        else:
            place = -1 if self.ended_ns else -1 - self.pages.listed(row.via, row.server_ns)
            listed = True
        if row.direction == GUEST:
            self.guest.extend((seq, row.at_ns, place, name_of(row.mid), row.server_ns))
            if listed:
                self.evident.add(seq)
        else:
            self.agent.extend((seq, row.at_ns, place, name_of(row.mid), row.server_ns))
            if row.re:
                self.evident.add(row.re)
        self.last_ns = row.at_ns

    def fold(self, pools: Pools, params: Params) -> None:
        """Add this conversation to the sums."""
        pages = self.pages
        windows = pages.oldest_first() if self.complete else []
        for own, rows, heard in ((True, self.guest, pools.guest), (False, self.agent, pools.agent)):
            if own:
                self._fold_store(heard)
            if not rows and not (own and self.sent):
                continue
            why = ""
            listed: list[int] = []
            if windows:
                listed = _listed(rows, windows, bool(pages.newest_first))
                if pages.newest_first is None and len(listed) > 1:
                    why = NO_DIRECTION
            else:
                why = NOT_READ if self.listing and not self.complete else NO_LISTING
            stream = _Stream(self, own, rows, heard, params)
            if own and not rows and not (self.listing and self.ended_ns):
                unheard = NO_ECHO if self.ended_ns else NOT_ENDED
                heard.untold.update({(E2E, unheard): 1, (DELIVERY, unheard): 1})
            else:
                stream.fold(None if why else listed)
            if why:
                heard.untold[INGEST, why] += 1
            else:
                stream.fold_ingest(listed)

    def _fold_store(self, heard: Heard) -> None:
        """Is what was acknowledged in the server's store?"""
        stored, evident = heard.stored, self.evident
        lost = acknowledged = 0
        for seq in self.sent:
            outcome = self.closed.get(seq, _UNKNOWN)[0]
            if outcome == OK:
                acknowledged += 1
                if seq not in evident:
                    if self.complete:
                        lost += 1
                    else:
                        stored.unread += 1
            elif outcome == INFO and seq not in evident:
                stored.undetermined += 1
        stored.acknowledged += acknowledged
        stored.lost += lost
        if acknowledged:
            stored.by_loss[lost, acknowledged] += 1


_UNKNOWN = (INFO, 1 << 62)


def _listed(rows: array[int], windows: list[int], newest_first: bool) -> list[int]:
    """The numbers of one direction in the server's order, each where it was stored first."""
    pages: dict[int, list[int]] = {}
    for seq, place in zip(rows[_SEQ::_WIDTH], rows[_PLACE::_WIDTH], strict=True):
        if place < -1:
            pages.setdefault(-1 - place, []).append(seq)
    found: dict[int, None] = {}
    for number in windows:
        page = pages.get(number, ())
        found.update(dict.fromkeys(reversed(page) if newest_first else page))
    return list(found)


class _Stream:
    """One direction of a conversation that is over."""

    __slots__ = ("_heard", "_own", "_params", "_rows", "_talk")

    def __init__(self, talk: Talk, own: bool, rows: array[int], heard: Heard, params: Params) -> None:
        self._talk, self._own, self._rows, self._heard, self._params = talk, own, rows, heard, params

    def fold(self, listed: list[int] | None) -> None:
        """The sender's numbers, and the server's order (None: no listing tells it), as push brought them."""
        talk, own, heard, params = self._talk, self._own, self._heard, self._params
        delays: list[int] = []
        suite = Suite(params, sized=own, sink=heard.e2e.order.take_rows, delays=delays, listed_delays=delays)
        if own:
            for seq, (at, size) in talk.sent.items():
                suite.send(seq, at, talk.closed.get(seq, _UNKNOWN)[0], size, seq)
        ranks = None if listed is None else {seq: place for place, seq in enumerate(listed, 1)}
        delivery = None if ranks is None else Ordering(params, heard.by_listing.take_rows, sized=own)
        pushes: list[tuple[int, int, int]] = []
        came: dict[int, tuple[int, int]] = {}
        several: dict[int, Copies] = {}
        ordering, arrive = suite.ordering, suite.arrive
        for seq, at, place, name, stamp in self._copies():
            if not own and seq not in came and seq < ordering.due + _MAX_JUMP and seq - len(came) < _MAX_MISSING:
                suite.send(seq, at, OK, 0, seq)
            push = place >= 0
            due = ordering.due
            kind = arrive(seq, at, push, place if push else 0, name)
            if kind is FIRST_PUSH:
                if seq < due and own and self._together(seq, due - 1):
                    heard.concurrent[E2E] += 1
                if ranks is None or delivery is None:
                    pushes.append((stamp, seq, at))
                elif seq in ranks:
                    delivery.pushed(ranks[seq], at, suite.copies.size)
                else:
                    heard.unranked += 1
            elif kind is FIRST_RESYNC:
                if ranks is not None and delivery is not None and seq in ranks:
                    delivery.resynced(ranks[seq])
            elif kind is UNEXPECTED:
                continue
            first = came.get(seq)
            if first is None:
                came[seq] = name, place if push else -1
                if kind is LATE:
                    heard.late["first"] += 1
                continue
            if kind is LATE:
                heard.late["again"] += 1
            if not push and name == first[0]:
                continue
            copies = several.get(seq)
            if copies is None:
                copies = several[seq] = Copies(*first)
            as_seen = copies.another(name, place if push else -1)
            if as_seen is not OVERLAP:
                heard.doubled[as_seen] += 1
        if own:
            self._leave_out(suite)
        elif came:
            outcome = OK if talk.complete or not talk.listing else INFO
            highest = max(came)
            if highest > len(came):
                for seq in range(1, highest):
                    if seq not in came:
                        suite.send(seq, 0, outcome, 0, seq)
        suite.close()
        heard.e2e.take(talk.label, suite)
        if delivery is not None:
            delivery.close()
            heard.by_listing.take(talk.label, delivery)
        else:
            self._fold_stamps(pushes)

    def fold_ingest(self, listed: list[int]) -> None:
        """The sender's numbers in the server's order."""
        heard = self._heard
        ordering = Ordering(self._params, heard.ingest.take_rows, sized=False)
        for seq in listed:
            if seq < ordering.due and self._own and self._together(seq, ordering.due - 1):
                heard.concurrent[INGEST] += 1
            ordering.pushed(seq, 0)
        ordering.close()
        heard.ingest.take(self._talk.label, ordering)

    def _fold_stamps(self, pushes: list[tuple[int, int, int]]) -> None:
        """Delivery by the server's stamps: of equal ones none is before the other, and what is missing cannot be seen."""
        heard, talk = self._heard, self._talk
        if not pushes:
            return
        if any(not stamp for stamp, _, _ in pushes):
            heard.untold[DELIVERY, NO_STAMPS] += 1
            return
        ordering = Ordering(self._params, heard.by_stamps.take_rows, sized=self._own)
        ranks = [0] * len(pushes)
        for rank, place in enumerate(sorted(range(len(pushes)), key=lambda place: pushes[place][0]), 1):
            ranks[place] = rank
        for rank, (_, seq, at) in zip(ranks, pushes, strict=True):
            ordering.pushed(rank, at, talk.sent[seq][1] if self._own else 0)
        ordering.close()
        heard.by_stamps.take(talk.label, ordering)

    def _copies(self) -> Iterator[tuple[int, ...]]:
        rows = self._rows
        return zip(*(rows[column::_WIDTH] for column in range(_WIDTH)), strict=True)

    def _together(self, seq: int, top: int) -> bool:
        """Whether the message was still unanswered when the last of those that overtook it was sent."""
        talk = self._talk
        outcome, known_ns = talk.closed.get(seq, _UNKNOWN)
        return outcome != OK or top not in talk.sent or known_ns >= talk.sent[top][0]

    def _leave_out(self, suite: Suite) -> None:
        """Messages that were not waited for long enough, unless the read-back has settled what became of them."""
        talk = self._talk
        if talk.complete:
            return
        since = (talk.ended_ns or talk.last_ns) - self._params.wait_ns
        for seq, (at, _) in talk.sent.items():
            if at > since and not suite.copies.leave_out(seq):
                self._heard.unheard += 1
