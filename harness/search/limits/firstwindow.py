"""Fixed window that begins with the first request after the last one's end (Redis `INCR` and `EXPIRE`), held against a trace.

Between two windows is a gap of no fixed length, so there is no phase: one length W says where every window begins, as the first
acceptance at or after the last one's end. What is said of a range of lengths holds for each of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.search.limits.finding import Candidate, Interval
from harness.search.limits.trace import Evidence, Flags, Floats, least_window
from harness.search.limits.windows import FINE_SHARE, boundaries, refused_runs

Indices = NDArray[np.int64]
STEP = 0.01
MOST_RANGES = 4000
"""Followed at once; more of them mean that the trace says little as yet."""
MOST_DOUBTED = 10
"""Answers that are tried as accidents: those whose neighbour disagrees."""


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Ranges of W, s."""

    low: Floats
    high: Floats

    def pick(self, which: Flags) -> _Ranges:
        return _Ranges(self.low[which], self.high[which])

    def halved(self) -> _Ranges:
        middle = (self.low + self.high) / 2
        return _Ranges(np.concatenate([self.low, middle]), np.concatenate([middle, self.high]))

    def middles(self) -> _Ranges:
        middle = (self.low + self.high) / 2
        return _Ranges(middle, middle)


class _Course:
    """The windows one after the other, for all ranges at once."""

    def __init__(self, seen: Evidence) -> None:
        inf = np.array([np.inf])
        self._yes_low, self._yes_up = seen.spent(False)
        self._count = len(self._yes_low)
        self._lost_low, self._lost_up = np.append(seen.lost_low, np.inf), seen.lost_up
        self._begin_low, self._begin_up = np.append(self._yes_low, inf), np.append(self._yes_up, inf)
        _, at_most = seen.orders(False)
        low, up = seen.low[~seen.ok], seen.up[~seen.ok]
        order = np.argsort(low, kind="stable")
        self._no_low, self._no_up = low[order], np.append(up[order], inf)
        self._no_most = np.append(at_most[order].astype(np.float64), inf)
        # whatever went before: the first acceptance after a refusal begins a window
        after = np.searchsorted(self._yes_up, low)
        self._sure = np.append(np.unique(after[self._begin_low[after] > up]), self._count)
        gaps = boundaries(seen)
        gaps = gaps[np.argsort(gaps[:, 0], kind="stable")]
        self._gap_low, self._gap_up = gaps[:, 0], np.append(gaps[:, 1], inf)

    def limits(self, ranges: _Ranges) -> tuple[Floats, Floats]:
        """Per range the least and greatest whole L that no answer contradicts (greatest < least: none)."""
        size = len(ranges.low)
        least, most = np.ones(size), np.full(size, np.inf)
        alive = np.arange(size)
        first, last = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
        begin_low = np.full(size, min(self._yes_low[0], self._lost_low[0]))
        begin_up = np.full(size, self._yes_up[0])
        while len(alive):
            end_low, end_up = begin_low + ranges.low[alive], begin_up + ranges.high[alive]
            # let in after a refusal: this window had ended by then
            back = self._gap_up[np.searchsorted(self._gap_low, begin_up)]
            wrong = back < end_low
            end_up = np.minimum(end_up, back)
            inside = np.searchsorted(self._yes_up, end_low)
            least[alive] = np.maximum(least[alive], inside - last)
            refusal = np.searchsorted(self._no_low, begin_up)
            gone = first + np.searchsorted(self._lost_up, begin_low)
            full = np.where(self._no_up[refusal] < end_low, self._no_most[refusal] - gone, np.inf)
            most[alive] = np.minimum(most[alive], full)
            sure = self._sure[np.minimum(np.searchsorted(self._sure, last, side="right"), len(self._sure) - 1)]
            first = np.maximum(inside, first + 1)
            last = np.maximum(np.searchsorted(self._yes_low, end_up), first)
            unanswered = self._lost_low[np.searchsorted(self._lost_up, end_low)]
            # refused while there was no window, or one that begins surely is within another
            begin_low = np.maximum(end_low, np.minimum(self._begin_low[first], unanswered))
            wrong |= self._no_up[np.searchsorted(self._no_low, end_up)] < begin_low
            wrong |= first > sure
            first, last = np.where(last >= sure, sure, first), np.minimum(last, sure)
            begin_low = np.maximum(end_low, np.minimum(self._begin_low[first], unanswered))
            begin_up = self._begin_up[last]
            most[alive] = np.where(wrong, least[alive] - 1, most[alive])
            on = (most[alive] >= least[alive]) & (last < self._count)
            alive, first, last, begin_low, begin_up = alive[on], first[on], last[on], begin_low[on], begin_up[on]
        return least, most


def fit_first(seen: Evidence, *, spare: int = 0) -> Candidate | None:
    """The best one; None while nothing came back. `spare`: so many answers may be left out, if each of them stands alone."""
    found = _fit(seen)
    if found is None or not found.wrong or not spare:
        return found
    for some in _doubted(seen, spare):
        keep = np.ones_like(seen.ok)
        keep[list(some)] = False
        again = _fit(_of(seen, keep))
        if again is not None and not again.wrong:
            return replace(again, wrong=len(some), asked=len(seen.ok))
    return replace(found, wrong=max(found.wrong, spare + 1))


def begins(spent: Floats, window_s: float) -> Floats:
    """At which of these moments, in order, windows of this length began, s."""
    found: list[float] = []
    at = 0
    while at < len(spent):
        found.append(float(spent[at]))
        at = max(at + 1, int(np.searchsorted(spent, found[-1] + window_s)))
    return np.array(found)


def _fit(seen: Evidence) -> Candidate | None:
    gaps, runs = boundaries(seen), refused_runs(seen)
    if not len(gaps) or not seen.ok.any():
        return None
    longest = float((runs[:, 1] - runs[:, 0]).max()) if len(runs) else 0.0
    least = max(0.05, least_window(seen), longest * 0.999)
    spans = np.append(gaps[1:, 1] - gaps[:-1, 0], gaps[0, 1] - float(np.append(seen.low[seen.ok], seen.lost_low).min()))
    most = max(float(spans.min()), least * 1.01)
    edges = np.geomspace(least, most, max(3, min(200, int(np.log(most / least) / STEP) + 3)))
    ranges = _Ranges(edges[:-1], edges[1:])
    course = _Course(seen)
    fine = max(1e-3, FINE_SHARE * float(np.median(seen.up - seen.low)))
    while True:
        low, high = course.limits(ranges)
        fits = high >= low
        if not fits.any():
            return _contradicted(seen, (least + most) / 2)
        ranges, low, high = ranges.pick(fits), low[fits], high[fits]
        if float((ranges.high - ranges.low).max()) <= fine or len(ranges.low) > MOST_RANGES:
            return _candidate(seen, 0, ranges, low, high)
        ranges = ranges.halved()


def _candidate(seen: Evidence, wrong: int, ranges: _Ranges, low: Floats, high: Floats) -> Candidate:
    known = float(len(seen.ok))  # more than was ever asked is not known
    limit = Interval(min(float(low.min()), known), min(float(high.max()), known))
    window = Interval(float(ranges.low.min()), float(ranges.high.max()))
    rate = Interval(limit.low / window.high, limit.high / max(window.low, 1e-9))
    return Candidate("fixed_window", False, wrong, len(seen.ok), rate, None, limit, window, anchor="first_request")


def _contradicted(seen: Evidence, window: float) -> Candidate:
    """How many answers a limiter of the middle length contradicts, with the limit that the first window shows."""
    mid, ok = seen.mid, seen.ok
    refused = np.flatnonzero(~ok)
    limit = int(refused[0]) if len(refused) else len(ok)
    began, used, wrong = -np.inf, 0, 0
    for at, yes in zip(mid, ok, strict=True):
        if at - began >= window:
            began, used = at, 0
        wrong += bool(yes) != (used < limit)
        used += bool(yes)
    span = np.array([window])
    return _candidate(seen, max(1, wrong), _Ranges(span, span), np.array([float(limit)]), np.array([float(limit)]))


def _doubted(seen: Evidence, most: int) -> Iterator[tuple[int, ...]]:
    """Answers that may be accidents, the fewest first: one that its neighbours contradict, or a last refusal before an acceptance.

    What was refused by somebody on the way has not been counted, so it can be left out as if it had not been asked.
    """
    ok = seen.ok
    after = np.append(ok[1:], ok[-1])
    before = np.append(ok[0], ok[:-1])
    lonely = np.flatnonzero((ok != after) & (ok != before))
    last = np.flatnonzero(~ok & after & ~before)
    ones = [int(at) for at in (*lonely, *last)][:MOST_DOUBTED]
    for many in range(1, most + 1):
        for some in itertools.combinations(sorted(ones), many):
            if all(later - earlier > 1 for earlier, later in itertools.pairwise(some)):
                yield some


def _of(seen: Evidence, keep: Flags) -> Evidence:
    rows = tuple(row for row, kept in zip(seen.rows, keep, strict=True) if kept)
    return replace(seen, low=seen.low[keep], up=seen.up[keep], ok=seen.ok[keep], rows=rows)
