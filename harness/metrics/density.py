"""Reorder density and reorder buffer-occupancy density after RFC 5236, streaming, over the first push copies of one stream.

Both are counts by bucket, so that streams and machines merge by adding. Memory is bounded by the thresholds. A stretch of
numbers that come one after another costs the same whatever its length (`advance`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

_NEAR = 16
"""So many numbers are looked at one by one before all that are known are."""


class ReorderDensity:
    """§3.6 and §7.1: how far from its place each message came, early (negative) or late (positive). Each number is told once.

    `threshold` (DT): a message that is not among the next DT+1 arrivals when its number comes up is lost for this count.
    """

    __slots__ = ("_early", "_end", "_index", "_inside", "_plain", "_straight", "_threshold", "_window", "counts")

    def __init__(self, threshold: int) -> None:
        self.counts: dict[int, int] = {}
        """FD: messages by displacement."""
        self._threshold = threshold
        self._index = 1
        """RI, the receive index: which number is due."""
        self._plain = True
        """The window is just the numbers from `_index` to below `_end`, and none is early: no need to hold them."""
        self._end = 1
        self._window: deque[int] = deque()
        self._inside: set[int] = set()
        self._early: set[int] = set()
        self._straight = 0
        """How many of the last arrivals in the window follow one another."""

    def advance(self, first: int, count: int) -> None:
        """The numbers `first`, `first + 1`, … came in this order."""
        for seq in range(first, first + count):
            if self._plain and seq == self._end:
                self._end = first + count
                done = self._end - self._index - self._threshold
                if done > 0:
                    self.counts[0] = self.counts.get(0, 0) + done
                    self._index += done
                return
            self.take(seq)

    def take(self, seq: int) -> None:
        """One number came."""
        if self._plain:
            if seq == self._end:
                self.advance(seq, 1)
                return
            self._spell_out()
        if seq < self._index:
            return
        window = self._window
        straight = self._straight = self._straight + 1 if window and seq == window[-1] + 1 else 1
        window.append(seq)
        self._inside.add(seq)
        if len(window) > self._threshold:
            self._step()
        if straight >= len(window) and not self._early and (not window or window[0] == self._index):
            self._plain = True
            self._end = self._index + len(window)
            window.clear()
            self._inside.clear()

    def finish(self) -> None:
        """Nothing more will come."""
        if self._plain and self._end > self._index:
            self.counts[0] = self.counts.get(0, 0) + self._end - self._index
            self._index = self._end
        while self._window:
            self._step()

    def _spell_out(self) -> None:
        self._plain = False
        self._window.extend(range(self._index, self._end))
        self._inside.update(self._window)
        self._straight = len(self._window)

    def _step(self) -> None:
        """The oldest of the window takes the receive index, if it is not too far from it."""
        index, inside, early = self._index, self._inside, self._early
        if index not in inside and index not in early:
            index = self._index = self._next(index)
        seq = self._window.popleft()
        inside.remove(seq)
        displacement = index - seq
        if -self._threshold <= displacement <= self._threshold:
            self.counts[displacement] = self.counts.get(displacement, 0) + 1
            early.discard(index)
            if displacement < 0:
                early.add(seq)
            self._index = index + 1

    def _next(self, index: int) -> int:
        """The least number from there on that is known; those that are skipped are lost for this count."""
        inside, early = self._inside, self._early
        for near in range(index + 1, index + _NEAR):
            if near in inside or near in early:
                return near
        return min((n for known in (inside, early) for n in known if n >= index), default=index)


class BufferDensity:
    """§3.8–3.11 and §7.2: how many early messages a receiver holds that gives them on in order, after each arrival.

    `threshold` (BT): with more than that in the buffer the number waited for is given up. Two things differ from the
    RFC's pseudo-code: a message that overflows the buffer is kept in it, and one that a listing gave fills its hole.
    """

    __slots__ = ("_due", "_filled", "_held", "_threshold", "counts")

    def __init__(self, threshold: int, due: int = 1) -> None:
        """`due`: the number waited for at first."""
        self.counts: dict[int, int] = {}
        """FB: arrivals by the number held afterwards."""
        self._threshold = threshold
        self._due = due
        self._held: set[int] = set()
        self._filled: set[int] = set()

    def advance(self, first: int, count: int) -> None:
        """The numbers `first`, `first + 1`, … came by push in this order."""
        for seq in range(first, first + count):
            if seq == self._due and not self._held and not self._filled:
                rest = first + count - seq
                self.counts[0] = self.counts.get(0, 0) + rest
                self._due += rest
                return
            self.push(seq)

    def push(self, seq: int) -> None:
        """The first copy of a message came by push."""
        if seq < self._due:
            return
        held = self._held
        held.add(seq)
        if len(held) > self._threshold and self._due not in held:
            self._due = min(held)
            if self._filled:
                self._filled = {known for known in self._filled if known > self._due}
        if self._due in held:
            self._release()
        kept, counts = len(held), self.counts
        counts[kept] = counts.get(kept, 0) + 1

    def fill(self, seq: int) -> None:
        """The first copy of a message came by a listing."""
        if seq >= self._due:
            self._filled.add(seq)
            self._release()

    def _release(self) -> None:
        held, filled = self._held, self._filled
        due = self._due
        while due in held or due in filled:
            held.discard(due)
            filled.discard(due)
            due += 1
        self._due = due


def shares(counts: Mapping[int, int]) -> dict[int, float]:
    """RD or RBD: the density behind such counts; empty where nothing came."""
    total = sum(counts.values())
    return {key: counts[key] / total for key in sorted(counts)} if total else {}


def mean_late(displacements: Mapping[int, int]) -> float | None:
    """Mean displacement of the late ones, None where none is."""
    late = sum(count for key, count in displacements.items() if key > 0)
    return sum(key * count for key, count in displacements.items() if key > 0) / late if late else None


def mean_occupancy(held: Mapping[int, int]) -> float | None:
    """Mean number of messages held; None where nothing came."""
    total = sum(held.values())
    return sum(key * count for key, count in held.items()) / total if total else None
