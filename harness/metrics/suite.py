"""All of RFC 4737, 5236, 5560, 7680 and 3357 over one stream: what was sent and what arrived go in, in the order of time.

Copies are sorted first; only a message's first copy by push joins the sample whose order is judged, and one that a listing
gave fills its hole. Memory grows with what is missing, not with messages.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.metrics.classify import Classifier
from harness.metrics.duplicates import FIRST_PUSH, FIRST_RESYNC
from harness.metrics.loss_pattern import LossPattern, loss_pattern
from harness.metrics.ordering import Ordering, Params, Rows


class Suite:
    """One conversation, one direction, one sender."""

    __slots__ = ("copies", "delays", "listed_delays", "ordering", "params", "send")

    def __init__(
        self,
        params: Params,
        *,
        forget: bool = False,
        sized: bool = True,
        sink: Callable[[Rows], None] | None = None,
        delays: list[int] | None = None,
        listed_delays: list[int] | None = None,
    ) -> None:
        """`forget` and `sink` keep memory small where times never go back; the lists take the delay of each first copy."""
        self.params = params
        self.copies = Classifier(params.wait_ns, forget=forget)
        self.send = self.copies.send
        self.ordering = Ordering(params, sink, sized=sized)
        self.delays: list[int] = [] if delays is None else delays
        """Of the first copies that came by push, in nanoseconds."""
        self.listed_delays: list[int] = [] if listed_delays is None else listed_delays
        """Of those that a listing gave."""

    def arrive(self, seq: int, at: int, push: bool = True, epoch: int = 0, name: int = 0, last: bool = False) -> str:
        """A copy arrived; the answer is its class."""
        copies = self.copies
        kind = copies.arrive(seq, at, push, epoch, name, last)
        if kind is FIRST_PUSH:
            self.delays.append(copies.waited_ns)
            self.ordering.pushed(seq, at, copies.size)
        elif kind is FIRST_RESYNC:
            self.listed_delays.append(copies.waited_ns)
            self.ordering.resynced(seq)
        return kind

    def straight(self, delays: list[int], size: int) -> None:
        """Messages of which all is known: acknowledged, each pushed once within half the waiting time, one after another.

        The first must be the one that is due; `size` is the sum of their payloads.
        """
        self.copies.straight(len(delays))
        self.ordering.straight(len(delays), size)
        self.delays += delays

    def close(self) -> None:
        """Nothing more will come."""
        self.copies.close()
        self.ordering.close()

    def loss_pattern(self) -> LossPattern:
        """Of the acknowledged messages that push did not bring."""
        return loss_pattern(self.copies.missed, self.params.delta)
