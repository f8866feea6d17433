"""How many bytes overtook a late message (RFC 4737 §4.4), streaming: memory is in proportion to the runs of missing numbers.

All arrivals with a greater number came at or after the one that opened the gap, so the byte offset of a reordered arrival
is the sum over everything above it. Between two runs of missing numbers all have come: one sum for each such block will do.
"""

from __future__ import annotations

from bisect import bisect_right


class Overtaken:
    """Bytes above each run of numbers that have not come by push."""

    __slots__ = ("_above", "_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._above: list[int] = []
        """Bytes of the block that follows each run."""

    def opened(self, first: int, last: int) -> None:
        """An arrival left these numbers out."""
        self._firsts.append(first)
        self._lasts.append(last)
        self._above.append(0)

    def came(self, size: int) -> None:
        """So many bytes came in order, at the top."""
        if self._above:
            self._above[-1] += size

    def fill(self, seq: int, size: int) -> int:
        """A missing number came late; the answer is its byte offset."""
        firsts, lasts, above = self._firsts, self._lasts, self._above
        at = bisect_right(firsts, seq) - 1
        offset = sum(above[at:]) if at < len(above) - 1 else above[at]
        if firsts[at] == seq:
            if at:
                above[at - 1] += size
            if lasts[at] == seq:
                if at:
                    above[at - 1] += above[at]
                del firsts[at], lasts[at], above[at]
            else:
                firsts[at] += 1
        elif lasts[at] == seq:
            lasts[at] -= 1
            above[at] += size
        else:
            firsts.insert(at + 1, seq + 1)
            lasts.insert(at + 1, lasts[at])
            above.insert(at + 1, above[at])
            lasts[at], above[at] = seq - 1, size
        return offset
