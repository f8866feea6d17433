"""The server's clock against ours: what is known for certain of the offset, from nothing but stamps of answers. Pure.

θ is the server's clock minus this machine's monotonic clock. An answer that was asked for at T1 and read at T4, and that bears
the server's stamp S, cut down to a grain g, proves `S - T4 <= θ < S + g - T1`. Without T1 (an agent's message) it proves the left
side alone. The intersection of all answers of a window is the *certain* interval, its middle the estimate, its half width the
bound of the error: the quickest answers bound it most tightly, so nothing is ever averaged (a queue only adds to one leg).

The evidence of one interval is a `ClockSpan`: extremes only, so that merging is exact in any order. Evidence holds for another
instant within ±10 min if it is widened by 50 ppm of the time between: no sane clock drifts faster. What is left can be

| state | means |
| --- | --- |
| `ok` | both sides are known |
| `one-sided` | nothing bounds θ from above (no answer whose asking is known), or from below |
| `unresolvable` | the intersection is empty: the server's clock steps, or several machines stamp and disagree |
| `unknown` | no evidence at all |

Suspension of this machine stops the monotonic clock and not the server's: evidence from before says nothing of after.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.journal.records import ClockSpan, SparseHistogram

SECOND = 1_000_000_000
WINDOW_NS = 600 * SECOND
DRIFT = 20_000
"""One part in so many is what a clock may drift: 50 ppm."""
CELL_NS = 50_000
SECONDS, MILLISECONDS, MICROSECONDS = SECOND, 1_000_000, 1_000

Cells = npt.NDArray[np.int64]

OK: Final = "ok"
ONE_SIDED: Final = "one-sided"
UNRESOLVABLE: Final = "unresolvable"
UNKNOWN: Final = "unknown"


def grain_of(stamp_ns: int) -> int:
    """The coarsest grain that a stamp can have been cut to: 1 s, 1 ms, 1 µs or 1 ns. The finest of many stamps is their field's."""
    for grain in (SECONDS, MILLISECONDS, MICROSECONDS):
        if not stamp_ns % grain:
            return grain
    return 1


class Offset(NamedTuple):
    """What is known of θ at some time."""

    low_ns: int | None
    high_ns: int | None

    @property
    def state(self) -> Literal["ok", "one-sided", "unresolvable", "unknown"]:
        """See the table above."""
        if self.low_ns is None or self.high_ns is None:
            return UNKNOWN if self.low_ns is None and self.high_ns is None else ONE_SIDED
        return OK if self.low_ns <= self.high_ns else UNRESOLVABLE

    @property
    def middle_ns(self) -> int | None:
        """The estimate; None where there is none."""
        return None if self.state != OK else (self.low_ns + self.high_ns) // 2  # type: ignore[operator]

    @property
    def half_ns(self) -> int | None:
        """By how much the estimate can be off at most."""
        return None if self.state != OK else -((self.low_ns - self.high_ns) // 2)  # type: ignore[operator]


class Tally:
    """Takes the answers of one interval of one source; `close` gives them as a `ClockSpan`."""

    __slots__ = ("_answers", "_both", "_grain", "_high", "_low", "_quick", "_quick_sum")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._answers = self._both = 0
        self._grain = 0
        self._low: int | None = None
        self._high: int | None = None
        self._quick = -1
        self._quick_sum = 0

    def take(self, sent_ns: int, stamp_ns: int, got_ns: int, grain_ns: int = 0) -> None:
        """One answer: asked for at `sent_ns` (0: not known), stamped, read at `got_ns`. A grain of 0 is found out."""
        self._answers += 1
        low = stamp_ns - got_ns
        if self._low is None or low > self._low:
            self._low = low
        grain = self._grain
        if grain_ns:
            self._grain = min(grain, grain_ns) if grain else grain_ns
        elif grain != 1 and (not grain or stamp_ns % grain):
            found = grain_of(stamp_ns)
            self._grain = min(grain, found) if grain else found
        if sent_ns:
            self._both += 1
            high = stamp_ns - sent_ns
            if self._high is None or high < self._high:
                self._high = high
            trip = got_ns - sent_ns
            quick = self._quick
            if trip <= quick or quick < 0:  # nearly always neither: no more is worked out then
                both = low + high
                if trip != quick or both < self._quick_sum:
                    self._quick, self._quick_sum = trip, both

    def close(self) -> ClockSpan | None:
        """What was taken since the last call; None: nothing."""
        if not self._answers:
            return None
        span = ClockSpan(self._answers, self._both, self._low, self._high, self._grain, self._quick, self._quick_sum)
        self._reset()
        return span


def cells_of(lags: list[int], low_ns: int) -> SparseHistogram:
    """How long after their stamps messages were read, in cells; the indexes count from the cell of `-low_ns`, which is the least.

    Cells lie on one grid for all, so it does not matter how messages were spread over workers.
    """
    cells = np.array(lags, dtype=np.int64) // CELL_NS
    filled, counts = np.unique(cells - -low_ns // CELL_NS, return_counts=True)
    indexes = filled.tolist()
    # Without their sum: what a server stamps at will may add up to more than a journal can hold.
    return SparseHistogram(len(lags), 0, 0, 0, indexes[0], indexes[-1], indexes, counts.tolist())


def starts_of(cells: SparseHistogram, low_ns: int) -> Cells:
    """Where each filled cell begins: no message in it was read earlier after its stamp, and none a whole cell later."""
    found: Cells = (np.array(cells.indexes, dtype=np.int64) + -low_ns // CELL_NS) * CELL_NS
    return found


def merge(one: ClockSpan, other: ClockSpan) -> ClockSpan:
    """Both together: associative, commutative, exact."""
    quick = min(
        ((span.quick_ns, span.quick_sum_ns) for span in (one, other) if span.quick_ns >= 0),
        default=(-1, 0),
    )
    return ClockSpan(
        one.answers + other.answers,
        one.both + other.both,
        max((low for low in (one.low_ns, other.low_ns) if low is not None), default=None),
        min((high for high in (one.high_ns, other.high_ns) if high is not None), default=None),
        min((grain for grain in (one.grain_ns, other.grain_ns) if grain), default=0),
        *quick,
    )


class Stretch(NamedTuple):
    """The evidence of an interval of time."""

    t0_ns: int
    t1_ns: int
    span: ClockSpan


class ClockBook:
    """All evidence of one source over a run, of any number of workers on one machine, in any order."""

    def __init__(self) -> None:
        self._spans: dict[tuple[int, int], ClockSpan] = {}

    def add(self, t0_ns: int, t1_ns: int, span: ClockSpan) -> None:
        """Evidence from within [t0, t1]."""
        before = self._spans.get((t0_ns, t1_ns))
        self._spans[t0_ns, t1_ns] = merge(before, span) if before else span

    def merge(self, other: ClockBook) -> None:
        """All of another book's too."""
        for (t0_ns, t1_ns), span in other._spans.items():
            self.add(t0_ns, t1_ns, span)

    def span(self, t0_ns: int, t1_ns: int) -> ClockSpan:
        """All evidence of just this interval."""
        return self._spans[t0_ns, t1_ns]

    def whole(self) -> ClockSpan | None:
        """The evidence as if it were all of one instant (the grain, the number of answers and the quickest are good of it)."""
        found: ClockSpan | None = None
        for span in self._spans.values():
            found = merge(found, span) if found else span
        return found

    def offsets(self, breaks: Iterable[tuple[int, int]] = (), window_ns: int = WINDOW_NS) -> dict[tuple[int, int], Offset]:
        """θ in each interval that holds evidence, by what lies within the window before and after it.

        `breaks` are stretches in which this machine was suspended: what overlaps one is known of no side of it and gets no
        offset, and no evidence is carried over it.
        """
        whole = self.whole()
        if whole is None:
            return {}
        gaps = sorted(set(breaks))
        found: dict[tuple[int, int], Offset] = {}
        pieces: dict[int, list[Stretch]] = {}
        for (t0, t1), span in sorted(self._spans.items(), key=lambda item: item[0]):
            if any(start < t1 and t0 < end for start, end in gaps):
                found[t0, t1] = Offset(None, None)
            else:
                pieces.setdefault(sum(end <= t0 for _, end in gaps), []).append(Stretch(t0, t1, span))
        for piece in pieces.values():
            lows = _both_ways([(one.t0_ns, one.t1_ns, one.span.low_ns) for one in piece], window_ns)
            # An upper bound is the lower bound of the other clock's view: the same with the sign turned.
            ceilings = [(one.t0_ns, one.t1_ns, None if one.span.high_ns is None else -one.span.high_ns) for one in piece]
            highs = _both_ways(ceilings, window_ns)
            for one, low, high in zip(piece, lows, highs, strict=True):
                found[one.t0_ns, one.t1_ns] = Offset(low, None if high is None else whole.grain_ns - high)
        return dict(sorted(found.items()))


_Bound = tuple[int, int, int | None]
"""Begin, end, and a value that θ is not below."""


def _both_ways(bounds: Sequence[_Bound], window_ns: int) -> list[int | None]:
    """For each interval the greatest of the bounds around it, each lowered by what the clocks can have drifted meanwhile."""
    earlier = _carried(list(enumerate(bounds)), window_ns)
    mirrored = [(place, (-t1, -t0, low)) for place, (t0, t1, low) in enumerate(bounds)]
    later = _carried(mirrored, window_ns)
    return [max((low for low in pair if low is not None), default=None) for pair in zip(earlier, later, strict=True)]


def _carried(bounds: list[tuple[int, _Bound]], window_ns: int) -> list[int | None]:
    """The same of what ended no later than each. One pass: the best so far stand in a queue, the better the further in front.

    Exact integers throughout: a bound that was known at t0 is lowered by (now - t0) / DRIFT, so that bounds compare by
    `low * DRIFT + t0` whatever `now` is.
    """
    found: list[int | None] = [None] * len(bounds)
    queue: deque[tuple[int, int]] = deque()
    for place, (t0, t1, low) in sorted(bounds, key=lambda item: (item[1][1], item[1][0])):
        if low is not None:
            key = low * DRIFT + t0
            while queue and queue[-1][0] <= key:
                queue.pop()
            queue.append((key, t0))
        while queue and queue[0][1] < t0 - window_ns:
            queue.popleft()
        if queue:
            found[place] = (queue[0][0] - t1) // DRIFT
    return found


def offset_of(span: ClockSpan) -> Offset:
    """What answers of (nearly) one instant say together."""
    return Offset(span.low_ns, None if span.high_ns is None else span.high_ns + span.grain_ns)


def quickest_of(span: ClockSpan) -> Offset:
    """What the answer with the least round trip alone says (RFC 5905 §10): never tighter than all together."""
    if span.quick_ns < 0:
        return Offset(None, None)
    # The two sides differ by the round trip and add up to `quick_sum`, so both halves are whole numbers.
    low, high = (span.quick_sum_ns - span.quick_ns) // 2, (span.quick_sum_ns + span.quick_ns) // 2
    return Offset(low, high + span.grain_ns)
