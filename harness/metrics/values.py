"""The values of one interval: lists by name, to which the hot path appends, and the histograms that they become at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from harness.core import ops
from harness.journal.records import ONE_WAY, REQUEST_DELAY, SEND_DELAY, SPANS, SparseHistogram
from harness.metrics.histogram import Counts, sparse_of

BOUNDED = frozenset(ops.MEASURES) - SPANS
"""Measures whose samples get a lower bound from the loop watcher's bracket."""
_REQUESTS = frozenset({"token", "guest", "connect", "upload", "resync", "lookup", "leave"})
_Put = Callable[[int], None]


class Series(NamedTuple):
    """Where the values of a measure's samples of one outcome go.

    Send delay is what is left of the response without the service and without what held the guest up, so it is worked out
    when the interval ends.
    """

    aside: bool
    """Such samples are not taken here."""
    service: list[int]
    put_service: _Put
    put_response: _Put | None
    """None: it has but one length."""
    blocked: dict[int, int]
    """By place in the lists: how long the guest's previous action held this one up."""
    lows: tuple[_Put, _Put] | None
    """Lower bounds of service and response."""
    reply: bool
    delays: str
    """Send delay over all measures, of messages or of requests, that these count for; "": for none."""


class Values:
    """Lists by name, and by measure and outcome where the values of samples go."""

    __slots__ = ("_lists", "series")

    def __init__(self) -> None:
        self._lists: dict[str, list[int]] = {}
        self.series: dict[tuple[str, str], Series] = {}
        """By measure and outcome, where there was any sample."""

    def named(self, name: str) -> list[int]:
        """The list of that name."""
        values = self._lists.get(name)
        if values is None:
            values = self._lists[name] = []
        return values

    def new_series(self, measure: str, outcome: str) -> Series:
        """Lists for samples of that measure and outcome."""
        name = f"{measure}|{outcome}|"
        aside = measure in ONE_WAY  # by two clocks that differ: the message itself has its stamp, and is taken as it is
        service = [] if aside else self.named(name + ("span" if measure in SPANS else "service"))
        response = None if measure in SPANS else self.named(name + "response").append
        lows, reply, delays = None, measure == "reply", ""
        if outcome == "ok" and measure in BOUNDED:
            lows = self.named(name + "service_low").append, self.named(name + "response_low").append
        if measure in _REQUESTS:
            delays = REQUEST_DELAY
        elif reply or (outcome == "fail" and measure in ("ack", "echo")):
            delays = SEND_DELAY
        series = self.series[measure, outcome] = Series(aside, service, service.append, response, {}, lows, reply, delays)
        return series

    def answered(self) -> tuple[int, int]:
        """Replies that came or were given up, and the time that their responses took together."""
        took = [self.named(f"{measure}|{outcome}|response") for (measure, outcome), one in self.series.items() if one.reply]
        return sum(map(len, took)), sum(map(sum, took))

    def close(self) -> dict[str, SparseHistogram]:
        """Everything since the last call, in microseconds (positions as they are)."""
        found = self._delays()
        for name, values in self._lists.items():
            if values:
                found[name] = sparse_of(values, 1 if name.endswith("|positions") else 1000)
                values.clear()
        return found

    @property
    def empty(self) -> bool:
        """Whether nothing is kept."""
        return not any(self._lists.values())

    def _delays(self) -> dict[str, SparseHistogram]:
        """Send delay by measure and outcome, and over all of a kind. A message that was never sent has none of the latter."""
        found: dict[str, SparseHistogram] = {}
        kinds: dict[str, list[Counts]] = {}
        for (measure, outcome), series in self.series.items():
            if series.put_response is None or not series.service:
                continue
            service = np.array(series.service, dtype=np.int64)
            delays = np.array(self.named(f"{measure}|{outcome}|response"), dtype=np.int64) - service
            for place, ns in series.blocked.items():
                delays[place] -= ns
            series.blocked.clear()
            found[f"{measure}|{outcome}|delay"] = sparse_of(delays, 1000)
            if series.delays:
                kinds.setdefault(series.delays, []).append(delays if series.delays == REQUEST_DELAY else delays[service != 0])
        for name, several in kinds.items():
            every = np.concatenate(several)
            if every.size:
                found[name] = sparse_of(every, 1000)
        return found
