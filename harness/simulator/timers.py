"""Things to do later: a heap of due times. Equal times run in the order in which they were asked for."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

Timer = list[Any]
"""A handle to cancel by; opaque."""


class Timers:
    """Due calls `fn(now, *args)`."""

    __slots__ = ("_heap", "_order", "live")

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._order = 0
        self.live = 0

    def at(self, due: int, fn: Callable[..., None], *args: Any) -> Timer:
        """Call `fn(now, *args)` when `due` has come."""
        self._order += 1
        entry: Timer = [due, self._order, fn, args]
        heapq.heappush(self._heap, entry)
        self.live += 1
        return entry

    def cancel(self, timer: Timer | None) -> None:
        """Forget it; harmless when it has run or was cancelled before."""
        if timer is not None and timer[2] is not None:
            timer[2] = None
            timer[3] = ()
            self.live -= 1
            if len(self._heap) > 256 and self.live * 3 < len(self._heap):  # mostly cancelled ones: drop them
                self._heap = [entry for entry in self._heap if entry[2] is not None]
                heapq.heapify(self._heap)

    def next(self) -> int | None:
        """When the next one is due."""
        heap = self._heap
        while heap and heap[0][2] is None:
            heapq.heappop(heap)
        return int(heap[0][0]) if heap else None

    def run(self, now: int) -> None:
        """Run all that are due, those included that come to be due meanwhile."""
        while True:
            heap = self._heap
            if not heap or heap[0][0] > now:
                return
            entry = heapq.heappop(heap)
            fn = entry[2]
            if fn is not None:
                args = entry[3]
                entry[2], entry[3] = None, ()  # who was called often keeps the handle: no cycle may be left
                self.live -= 1
                fn(now, *args)
