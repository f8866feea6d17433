"""A set of numbers as ranges: its memory grows with the holes and not with the numbers."""

from __future__ import annotations

from bisect import bisect_right


class Numbers:
    """Numbers that came in nearly ascending order."""

    __slots__ = ("_ends", "_firsts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []

    def add(self, seq: int) -> None:
        """One more; a second time changes nothing."""
        firsts, ends = self._firsts, self._ends
        if ends and seq == ends[-1]:
            ends[-1] += 1
            return
        at = bisect_right(firsts, seq)
        if at and seq < ends[at - 1]:
            return
        below = at > 0 and ends[at - 1] == seq
        above = at < len(firsts) and firsts[at] == seq + 1
        if below and above:
            ends[at - 1] = ends[at]
            del firsts[at], ends[at]
        elif below:
            ends[at - 1] += 1
        elif above:
            firsts[at] = seq
        else:
            firsts.insert(at, seq)
            ends.insert(at, seq + 1)

    def __contains__(self, seq: int) -> bool:
        at = bisect_right(self._firsts, seq)
        return at > 0 and seq < self._ends[at - 1]

    @property
    def ranges(self) -> int:
        """How many there are."""
        return len(self._firsts)
