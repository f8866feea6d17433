"""How long agents' messages were under way from the server to us: by its stamps, as far as its clock can be known. Pure.

A message that was stamped S and came at T4 took `T4 + θ - S`, or up to a grain g less, as the stamp is cut down. The offset θ
is known to lie in an interval (`metrics.clock`), and so does every delay: added up they are three histograms, `low`, `middle`
and `high`, and the truth lies for certain between the outer two. No figure is given

* where the stamps contradict each other (`unresolvable`): the server's clock steps, or several machines stamp;
* where θ is not bounded at both sides (`one-sided`), or too loosely (`too wide`): by more than 20 % of the median delay, and 5 ms.
  Differences within the run are sound all the same: `spread`, how much longer each took than the quickest of its interval.

Each source stands for itself: a clock that cannot be resolved takes no figure from the messages that another one stamped. The
pooled figures are those of the sources that can be resolved; where a rule is judged (`bounds`), the messages of all others took
between nothing and for ever.

A message of an interval whose offset is not known (this machine was suspended, say) took between nothing and for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final, Literal

import msgspec
import numpy as np

from harness.journal.records import LAG, Interval, SparseHistogram
from harness.metrics.clock import CELL_NS, OK, ONE_SIDED, UNRESOLVABLE, ClockBook, Offset, starts_of
from harness.metrics.histogram import HIGHEST, Histogram, indexes_of

FLOOR_NS = 5_000_000
SHARE = Fraction(1, 5)
"""Of the median delay. The half width may be as much as the greater of the two."""
TOO_WIDE: Final = "too wide"
NONE: Final = "none"
State = Literal["ok", "too wide", "one-sided", "unresolvable", "none"]
Edge = Literal["low", "middle", "high"]
KINDS = ("low", "middle", "high", "spread")
_US = 1000


class SourceClock(msgspec.Struct):
    """What a run's stamps of one source came to."""

    source: str
    state: State
    answers: int
    both: int
    grain_ns: int
    quick_ns: int | None
    """Least round trip."""
    offset: Offset
    """Where it was known best, at both sides if ever."""
    half_ns: int | None
    """The widest error bound of any interval in which a message came, stamps being cut (without such: the narrowest of θ's)."""
    drift_ns: int | None
    """By how much the middle has moved from the first interval to the last."""
    gap_ns: int
    """By how much the sides contradict each other."""
    messages: int
    left_out: int
    """Messages of intervals whose offset is not known."""
    faults: int
    """Messages stamped in the future, whatever the offset within its bounds."""
    median_ns: int | None
    """Median delay by the middle."""
    histograms: dict[str, Histogram] = {}
    """By `KINDS`; those that may be given."""

    @property
    def limit_ns(self) -> int:
        """How wide the half width may be."""
        return max(FLOOR_NS, int(SHARE * (self.median_ns or 0)))


class OneWay(msgspec.Struct):
    """All sources of a run, and the histograms of what they give together."""

    sources: list[SourceClock]
    state: State
    """`ok` if there is a source with figures, else the gravest of those that stamp messages, or `none` where none does."""
    why: str
    """Why there are no figures, or not of every source; empty where there are of all, or where nothing was measured."""
    histograms: dict[str, Histogram]
    """By `KINDS`; those that may be given, of the sources that have them."""
    bounds: dict[str, Histogram]
    """`low` and `high` of all stamped messages: those of a source without figures took between nothing and for ever."""

    @property
    def without(self) -> int:
        """Stamped messages of sources that have no figures."""
        return sum(one.messages for one in self.sources if one.state != OK)

    @property
    def faults(self) -> int:
        """Messages stamped in the future."""
        return sum(one.faults for one in self.sources)


class OneWayFold:
    """Takes the interval records of all workers, in any order."""

    def __init__(self) -> None:
        self._books: dict[str, ClockBook] = {}
        self._lags: dict[str, list[tuple[int, int, int, SparseHistogram]]] = {}
        self._breaks: set[tuple[int, int]] = set()

    def take(self, record: Interval) -> None:
        """One interval of one worker."""
        if record.health.get("clock.suspensions"):
            self._breaks.add((record.t0_ns, record.t1_ns))
        for source, span in record.clocks.items():
            self._books.setdefault(source, ClockBook()).add(record.t0_ns, record.t1_ns, span)
            cells = record.histograms.get(f"{LAG}|{source}|cells")
            if cells is not None and span.low_ns is not None:
                self._lags.setdefault(source, []).append((record.t0_ns, record.t1_ns, span.low_ns, cells))

    def finish(self) -> OneWay:
        """What it comes to."""
        sources = []
        pooled: dict[str, Histogram] = {}
        bounds = {kind: Histogram() for kind in ("low", "high")}
        for source in sorted(self._books):
            found, histograms = self._source(source)
            sources.append(found)
            kinds = KINDS if found.state == OK else () if found.state == UNRESOLVABLE else ("spread",)
            if not found.messages:
                continue
            found.histograms = {kind: histograms[kind] for kind in kinds}
            for kind in kinds:
                pooled.setdefault(kind, Histogram()).merge(histograms[kind])
            if found.state == OK:
                for kind, bound in bounds.items():
                    bound.merge(histograms[kind])
            else:
                bounds["low"].record(0, found.messages)
                bounds["high"].record(HIGHEST + 1, found.messages)
        stamping = [one for one in sources if one.messages]
        if not stamping:
            return OneWay(sources, NONE, "", {}, {})
        worst = max(stamping, key=lambda one: (_GRAVITY.index(one.state), one.source))
        state = OK if any(one.state == OK for one in stamping) else worst.state
        return OneWay(sources, state, _why(worst), {kind: pooled[kind] for kind in KINDS if kind in pooled}, bounds)

    def _source(self, source: str) -> tuple[SourceClock, dict[str, Histogram]]:
        book = self._books[source]
        whole, offsets = book.whole(), book.offsets(self._breaks)
        assert whole is not None
        histograms = {kind: Histogram() for kind in KINDS}
        grain, faults, left_out = whole.grain_ns, 0, 0
        widths: list[int] = []
        for t0_ns, t1_ns, low_ns, cells in self._lags.get(source, ()):
            quickest = book.span(t0_ns, t1_ns).low_ns
            assert quickest is not None
            histograms["spread"].add_sparse(delays(cells, low_ns, quickest, "middle"))
            offset = offsets[t0_ns, t1_ns]
            if offset.high_ns is not None and offset.state == UNRESOLVABLE:
                faults += _future(cells, low_ns, offset.high_ns)
            middle, half = offset.middle_ns, offset.half_ns
            if middle is None or half is None or offset.low_ns is None or offset.high_ns is None:
                left_out += cells.count
                histograms["low"].record(0, cells.count)
                histograms["high"].record(HIGHEST + 1, cells.count)
                continue
            widths.append(half + -(-grain // 2))
            histograms["low"].add_sparse(delays(cells, low_ns, offset.low_ns - grain, "low"))
            histograms["middle"].add_sparse(delays(cells, low_ns, middle - grain // 2, "middle"))
            histograms["high"].add_sparse(delays(cells, low_ns, offset.high_ns, "high"))
        known = [offsets[key] for key in sorted(offsets)]
        sound = [one for one in known if one.state == OK]
        states = {one.state for one in known}
        median = histograms["middle"].percentile(Fraction(1, 2))
        found = SourceClock(
            source,
            UNRESOLVABLE if UNRESOLVABLE in states else OK if sound else ONE_SIDED,
            whole.answers,
            whole.both,
            whole.grain_ns,
            whole.quick_ns if whole.quick_ns >= 0 else None,
            min(sound, key=_half) if sound else known[-1],
            max(widths) if widths else min(map(_half, sound), default=None),
            _drift(sound),
            max((one.low_ns - one.high_ns for one in known if one.low_ns is not None and one.high_ns is not None), default=0),
            histograms["spread"].count,
            left_out,
            faults,
            None if median is None else median * _US,
        )
        found.gap_ns = max(found.gap_ns, 0)
        if found.state == OK and found.messages and (found.half_ns is None or found.half_ns > found.limit_ns or not widths):
            found.state = TOO_WIDE if widths else ONE_SIDED
        return found, histograms


def _half(offset: Offset) -> int:
    return offset.half_ns or 0


_GRAVITY = (OK, TOO_WIDE, ONE_SIDED, UNRESOLVABLE)


def _drift(sound: Sequence[Offset]) -> int | None:
    ends = [one.middle_ns for one in (sound[0], sound[-1])] if len(sound) > 1 else []
    return ends[1] - ends[0] if ends and ends[0] is not None and ends[1] is not None else None


def _why(worst: SourceClock) -> str:
    if worst.state == UNRESOLVABLE:
        return (
            f"clock_unresolvable: stamps of {worst.source} contradict each other by {worst.gap_ns / 1e6:.3g} ms; "
            "the server's clock stepped, or several clocks stamp"
        )
    if worst.state == ONE_SIDED:
        return f"skew not resolved: nothing bounds the server's clock at both sides by {worst.source}"
    if worst.state == TOO_WIDE:
        return (
            f"skew not resolved: the server's clock is known to ±{(worst.half_ns or 0) / 1e6:.3g} ms by {worst.source}, "
            f"{worst.limit_ns / 1e6:.3g} ms would do"
        )
    return ""


def _future(cells: SparseHistogram, low_ns: int, high_ns: int) -> int:
    """How many were stamped later than they were read even by the greatest offset that there can be."""
    ends = starts_of(cells, low_ns) + CELL_NS
    return int(np.array(cells.counts, dtype=np.int64)[ends + high_ns <= 0].sum())


def delays(cells: SparseHistogram, low_ns: int, offset_ns: int, edge: Edge) -> SparseHistogram:
    """Delays in microseconds, the offset being so much. `low` rounds every step down, `high` up: no error is hidden."""
    starts = starts_of(cells, low_ns) + offset_ns
    if edge == "low":
        values = np.maximum(starts // _US, 0)
        # The bucket that ends at or below the value: percentiles are read at upper ends.
        indexes = np.maximum(indexes_of(np.minimum(values + 1, HIGHEST)) - 1, 0)
    else:
        values = np.maximum(-(-(starts + (CELL_NS if edge == "high" else CELL_NS // 2)) // _US), 0)
        indexes = indexes_of(np.minimum(values, HIGHEST))
    counts = np.array(cells.counts, dtype=np.int64)
    filled, place = np.unique(indexes, return_inverse=True)
    summed = np.zeros(filled.size, dtype=np.int64)
    np.add.at(summed, place, counts)
    return SparseHistogram(
        cells.count,
        int(counts[values > HIGHEST].sum()),
        0,
        int((values * counts).sum()),
        int(values.min()),
        int(values.max()),
        filled.tolist(),
        summed.tolist(),
    )
