"""Counts over time in bounded memory: for what many guests do at one moment."""

from __future__ import annotations

from typing import NamedTuple

MAX_BINS = 50_000
"""Bins that are not empty; beyond, two become one. At 100 ms that is well over an hour of events in every single bin."""

First = tuple[int, str]
"""Instant and label of an occurrence; the least stands for its bin."""


class Wave(NamedTuple):
    """Much at one moment."""

    begin_ns: int
    number: int
    near: int
    """How many there are around it, itself included."""
    first: First


class Bins:
    """Counts by instant, with the first occurrence in each bin. However the instants are ordered, the result is the same."""

    __slots__ = ("_bins", "width_ns")

    def __init__(self, width_ns: int) -> None:
        self.width_ns = width_ns
        self._bins: dict[int, tuple[int, First]] = {}

    def add(self, at_ns: int, label: str) -> None:
        """Count something at this instant."""
        self._put(self._bins, at_ns // self.width_ns, 1, (at_ns, label))
        while len(self._bins) > MAX_BINS:
            self.width_ns *= 2
            merged: dict[int, tuple[int, First]] = {}
            for place, (number, first) in self._bins.items():
                self._put(merged, place // 2, number, first)
            self._bins = merged

    @staticmethod
    def _put(bins: dict[int, tuple[int, First]], place: int, number: int, first: First) -> None:
        known = bins.get(place)
        bins[place] = (number, first) if known is None else (known[0] + number, min(known[1], first))

    def waves(self, width: int, *, least: int, share: float, around_ns: int) -> list[Wave]:
        """Disjoint spans of `width` bins with at least `least`, and this share of all that lies around them; the fullest first."""
        bins = self._bins
        spans = []
        for place in bins:
            total = sum(bins[one][0] for one in range(place, place + width) if one in bins)
            if total >= least:
                spans.append((-total, place))
        spans.sort()
        found: list[Wave] = []
        used: set[int] = set()
        for negative, place in spans:
            here = range(place, place + width)
            if not used.isdisjoint(here):
                continue
            used.update(here)
            near = self._between(place - around_ns // self.width_ns, place + around_ns // self.width_ns)
            if -negative >= share * near:
                found.append(Wave(place * self.width_ns, -negative, near, min(bins[one][1] for one in here if one in bins)))
        return found

    def spikes(self, width: int, *, least: int, sigmas: float, around_ns: int) -> list[Wave]:
        """Spans of `width` bins that stand out from all others of that width around them by more than chance puts there.

        What a share of the guests does in step, while the others spread out.
        """
        sums = {place: self._between(place, place + width - 1) for place in self._bins}
        around = around_ns // self.width_ns
        found: list[Wave] = []
        used: set[int] = set()
        for place, total in sorted(sums.items(), key=lambda one: (-one[1], one[0])):
            here = range(place, place + width)
            if total < least or not used.isdisjoint(here):
                continue
            used.update(here)
            places = (*range(place - around, place - width + 1), *range(place + width, place + around + 1))
            rival = max((sums.get(one, 0) for one in places), default=0)
            if total > rival + sigmas * (rival + 1) ** 0.5:
                near = self._between(place - around, place + around)
                first = min(self._bins[one][1] for one in here if one in self._bins)
                found.append(Wave(place * self.width_ns, total, near, first))
        return found

    def _between(self, low: int, high: int) -> int:
        return sum(self._bins[place][0] for place in range(low, high + 1) if place in self._bins)
