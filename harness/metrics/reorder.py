"""Reordering after RFC 4737, streaming: memory is in proportion to the open gaps, not to the stream.

Only first push copies come in (the sample U, positions from 1). A number is reordered iff it lies below `expected`, which
starts at 1 and never falls (§3.3). What a search would need of the past is little: the arrivals that jumped ahead (each
opened a gap, and a reordered number lies in exactly one), and an ascending stack of last positions for n-reordering.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container
from itertools import pairwise
from typing import NamedTuple

import msgspec

from harness.errors import GuestswarmError

ENDLESS = 1 << 62
"""More numbers than any stream has: what lies below the first arrival of a stream that was joined."""


class Reordered(msgspec.Struct, array_like=True, gc=False):
    """An arrival with a number below the expected one."""

    seq: int
    position: int
    extent: int
    """§4.2: positions since the earliest arrival with a greater number."""
    late_ns: int
    """§4.3: time since that arrival, receiver's clock only."""
    n: int
    """§5.3: how many arrivals just before are all greater."""
    discontinuity: int
    """The number of that earliest arrival."""
    byte_offset: int = 0
    """§4.4: bytes that overtook it, filled in by who knows sizes."""


class Jump(NamedTuple):
    """An arrival in order that left numbers out (§3.4). `missing` have not come by any channel."""

    seq: int
    missing: int


_FEW = 8


class _Gap:
    """Numbers from `first` to just below `seq`, left open when `seq` arrived."""

    __slots__ = ("at", "first", "missing", "position", "seq")

    def __init__(self, first: int, seq: int, position: int, at: int, missing: int) -> None:
        self.first, self.seq, self.position, self.at, self.missing = first, seq, position, at, missing


class Order:
    """State of one stream that is observed from its start. Tell it of each number once."""

    __slots__ = ("_ahead", "_ends", "_gaps", "_most", "_stack", "expected", "length", "missing")

    def __init__(self, *, joined: bool = False) -> None:
        """`joined`: the stream was not watched from its start, so that its first arrival is in order whatever its number."""
        self.expected = 0 if joined else 1
        self.length = 0
        """Arrivals in the sample (L)."""
        self.missing = 0
        """Numbers below `expected` that have not come by any channel."""
        self._gaps: list[_Gap] = []
        self._ends: list[int] = []
        """The `seq` of each gap, to search in."""
        self._most = _FEW
        """With so many entries in the stack it is worth a look which of them are needed."""
        self._stack: list[tuple[int, int]] = []
        self._ahead: set[int] | None = None

    def pushed(self, seq: int, at: int) -> Reordered | Jump | None:
        """The first copy of a message came by push."""
        self.length += 1
        position, gaps, stack = self.length, self._gaps, self._stack
        if not self.expected:
            gaps.append(_Gap(-ENDLESS, seq, position, at, ENDLESS))
            self._ends.append(seq)
            self.expected = seq
        if seq >= self.expected:
            jump = None
            if seq > self.expected:
                missing = seq - self.expected - self._pass(seq)
                if missing:
                    gaps.append(_Gap(self.expected, seq, position, at, missing))
                    self._ends.append(seq)
                    self.missing += missing
                    jump = Jump(seq, missing)
            self.expected = seq + 1
            self._top(seq, position)
            return jump
        gap = self._fill(seq)
        while stack and stack[-1][0] > seq:
            stack.pop()
        n = position - 1 - (stack[-1][1] if stack else 0)
        stack.append((seq, position))
        if len(stack) > self._most and len(stack) > 2 * len(gaps) + _FEW:
            self._prune()
        return Reordered(seq, position, position - gap.position, at - gap.at, n, gap.seq)

    def advance(self, count: int) -> None:
        """So many numbers came by push one after another, from the expected one on: the same as to push each."""
        self.expected += count
        self.length += count
        self._top(self.expected - 1, self.length)

    def _top(self, seq: int, position: int) -> None:
        """Remember the last arrival in order; an older one only if a number between it and the next one is still to come."""
        gaps, stack = self._gaps, self._stack
        if not gaps:
            self._most = _FEW
            stack.clear()
            stack.append((seq, position))
        elif stack and gaps[-1].seq <= stack[-1][0]:
            stack[-1] = (seq, position)
        else:
            stack.append((seq, position))

    def resynced(self, seq: int) -> None:
        """The first copy of a message came by a listing: it fills its hole but is not in the sample."""
        if seq < self.expected:
            self._fill(seq)
        else:
            if self._ahead is None:
                self._ahead = set()
            self._ahead.add(seq)

    def _pass(self, seq: int) -> int:
        """How many numbers from the expected one to below `seq` are known from a listing; they need no memory any more."""
        if not self._ahead:
            return 0
        passed = {known for known in self._ahead if known < seq}
        self._ahead -= passed
        return len(passed)

    def _prune(self) -> None:
        """Forget the entries of the stack that can answer no search any more."""
        kept = []
        gaps, at, count = self._gaps, 0, len(self._gaps)
        for entry, above in pairwise(self._stack):
            while at < count and gaps[at].seq <= entry[0]:
                at += 1
            if at < count and gaps[at].first < above[0]:
                kept.append(entry)
        self._stack[:] = [*kept, self._stack[-1]]
        self._most = 2 * len(self._stack) + _FEW

    def _fill(self, seq: int) -> _Gap:
        gaps = self._gaps
        at = bisect_right(self._ends, seq)
        if at == len(gaps) or gaps[at].first > seq:
            raise GuestswarmError(f"number {seq} was told twice to one stream's order")
        gap = gaps[at]
        gap.missing -= 1
        self.missing -= 1
        if not gap.missing:
            del gaps[at], self._ends[at]
        return gap

    @property
    def first_open(self) -> int | None:
        """Position of the earliest arrival below which a number is still missing."""
        return self._gaps[0].position if self._gaps else None

    @property
    def highest(self) -> int:
        """The greatest number that came by any channel."""
        return max(self._ahead) if self._ahead else self.expected - 1

    @property
    def unseen(self) -> int:
        """Numbers below `highest` that have not come by any channel."""
        if not self._ahead:
            return self.missing
        return self.missing + max(self._ahead) + 1 - self.expected - len(self._ahead)

    def unseen_numbers(self, limit: int, known: Container[int]) -> list[int]:
        """The first of them, asking `known` (a container of the numbers that came)."""
        found: list[int] = []
        spans = [(gap.first, gap.seq) for gap in self._gaps]
        if self._ahead:
            spans.append((self.expected, max(self._ahead)))
        for first, end in spans:
            for seq in range(first, end):
                if len(found) >= limit:
                    return found
                if seq not in known:
                    found.append(seq)
        return found
