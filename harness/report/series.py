"""The run over time: interval records folded into bins for the plots. Missing intervals stay gaps.

Percentiles come in the finest bins that can carry them: nine of ten bins must have ten samples beyond the percentile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.journal.reader import JournalReader
from harness.journal.records import Interval
from harness.metrics.histogram import Histogram, highest_of, lowest_of
from harness.report.fold import Point, intervals
from harness.verdicts.intervals import ranks

WIDTHS = (1, 2, 5, 10, 15, 30, 60, 300)
"""Bins of latencies, in seconds."""
MAX_POINTS = {False: 360, True: 120}
"""Points of a series, by narrowness."""
_BEYOND = 10
_FEW_BINS = 4
_S = 1_000_000_000
P50, P90, P99 = Fraction(1, 2), Fraction(9, 10), Fraction(99, 100)

LANES: tuple[tuple[str, tuple[str, ...], bool], ...] = (
    ("lost", ("lost.definite|g", "lost.definite|a", "unlisted|g"), True),
    ("duplicate, same connection", ("copies|g|dup_same_connection", "copies|a|dup_same_connection"), True),
    ("duplicate, after reconnect", ("copies|g|dup_cross_connection", "copies|a|dup_cross_connection"), False),
    ("duplicate, stored twice", ("copies|g|dup_resend", "copies|a|dup_resend"), True),
    ("reordered", ("reordered|g", "reordered|a"), True),
    ("late", ("late|g", "late|a"), True),
    ("recovered by resync", ("recovered|g",), False),
    ("refused (429)", ("refused|",), True),
    ("disconnect by server", ("disconnects|server",), False),
    ("unexpected copy", ("copies|g|unexpected", "copies|a|unexpected", "after_end|g", "after_end|a"), True),
)
"""Name, counters (one that ends in a bar is a family), and whether a user would notice."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """A percentile of one bin with its 95 % interval, in milliseconds."""

    at_s: float
    width_s: float
    value: float
    low: float
    high: float


@dataclass(slots=True)
class Latency:
    """One measure over time: middle and p90 in bins of `width_s`, the tail in its own."""

    measure: str
    width_s: int
    tail_width_s: int | None
    """None: no width carries a p99."""
    p50: list[Quantile] = field(default_factory=list)
    p90: list[Quantile] = field(default_factory=list)
    p99: list[Quantile] = field(default_factory=list)


@dataclass(slots=True)
class Timeline:
    """Everything over time. Seconds count from the begin of the first interval."""

    start_ns: int
    end_s: float
    """End of the axis: the run's, or the planned one where it ended early."""
    measured_s: float
    edges: list[tuple[float, str]]
    """Where ramp, load and what follows meet, with the word for what begins."""
    gaps: list[tuple[float, float]]
    latencies: dict[str, Latency]
    narrow_latencies: dict[str, Latency]


def timeline(
    files: Sequence[Path], manifest: Mapping[str, Any], measures: Sequence[str], *, planned_ns: int | None
) -> Timeline | None:
    """Fold the interval records. None where there are none. Latencies are the `ok` responses of `measures`."""
    readers = [JournalReader(path) for path in files]
    lasts: dict[str, tuple[int, bool]] = {}
    gaps: list[tuple[int, int]] = []
    start = end = -1
    counts: dict[str, dict[int, int]] = {measure: {} for measure in measures}
    for record in intervals(readers):
        start = record.t0_ns if start < 0 else start
        end = max(end, record.t1_ns)
        before = lasts.get(record.worker)
        if before is not None and record.t0_ns - before[0] > _S // 2:
            gaps.append((before[0], record.t0_ns))
        lasts[record.worker] = (record.t1_ns, record.final)
        second = _middle(record, start)
        for measure in measures:
            sparse = record.histograms.get(f"{measure}|ok|response")
            if sparse is not None:
                counts[measure][second] = counts[measure].get(second, 0) + sparse.count
    if start < 0:
        return None
    planned_s = (planned_ns or 0) / _S
    gaps += [(last, end) for last, final in lasts.values() if not final and end - last > _S // 2]
    measured_s = (end - start) / _S
    end_s = max(measured_s, planned_s)
    if end_s - measured_s > 1:
        gaps.append((end, start + int(end_s * _S)))
    spans = _merged([((a - start) / _S, (b - start) / _S) for a, b in gaps])
    edges = _edges(manifest, start, measured_s)
    loaded = next((int(at) for at, name in edges if name == "settle"), math.ceil(measured_s))
    plans = {
        narrow: {measure: _widths(counts[measure], loaded, end_s, MAX_POINTS[narrow]) for measure in measures}
        for narrow in (False, True)
    }
    wanted = {(measure, width) for plan in plans.values() for measure, pair in plan.items() for width in pair if width}
    binned = _bins(intervals([JournalReader(path) for path in files]), start, wanted)
    both = [
        {measure: _latency(measure, *plans[narrow][measure], binned) for measure in measures if counts[measure]}
        for narrow in (False, True)
    ]
    return Timeline(start, end_s, measured_s, edges, spans, *both)


def _middle(record: Interval, start: int) -> int:
    """The second of the run in which an interval's middle lies."""
    return max((record.t0_ns + record.t1_ns) // 2 - start, 0) // _S


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def _edges(manifest: Mapping[str, Any], start: int, end_s: float) -> list[tuple[float, str]]:
    phases = manifest.get("phases")
    if not isinstance(phases, dict):
        return []
    found = [((at - start) / _S, name) for name, at in phases.items() if name in ("ramp", "load", "settle") and isinstance(at, int)]
    return sorted((max(at, 0.0), name) for at, name in found if -1 <= at <= end_s)


def _widths(counts: Mapping[int, int], loaded: int, end_s: float, most: int) -> tuple[int, int | None]:
    """Bin width for middle and p90, and for the tail (None: no width carries one)."""
    fine = [width for width in WIDTHS if end_s / width <= most] or [math.ceil(end_s / most)]
    wide = _fit(counts, fine, loaded, P90)
    if wide is None or loaded / wide < _FEW_BINS:
        wide = _fit(counts, fine, loaded, P50) or wide or fine[min(3, len(fine) - 1)]
    tail = _fit(counts, fine, loaded, P99)
    if tail is not None and loaded / tail < 1:
        tail = None
    return wide, tail


def _fit(counts: Mapping[int, int], widths: Sequence[int], loaded: int, share: Fraction) -> int | None:
    """The finest width at which nine of ten bins under load have enough samples beyond the percentile."""
    if not counts:
        return None
    least = math.ceil(_BEYOND / (1 - share))
    first = min(counts)
    for width in widths:
        whole = range(first // width, max(loaded // width, first // width + 1))
        sums = dict.fromkeys(whole, 0)
        for second, number in counts.items():
            if second // width in sums:
                sums[second // width] += number
        if sum(number >= least for number in sums.values()) >= 0.9 * len(sums):
            return width
    return None


_Bins = dict[tuple[str, int], dict[int, dict[int, int]]]


def _bins(records: Iterator[Interval], start: int, wanted: set[tuple[str, int]]) -> _Bins:
    """Sparse histograms by measure and width, then by bin."""
    binned: _Bins = {key: {} for key in sorted(wanted)}
    for record in records:
        second = _middle(record, start)
        for (measure, width), bins in binned.items():
            sparse = record.histograms.get(f"{measure}|ok|response")
            if sparse is None:
                continue
            cell = bins.setdefault(second // width, {})
            for index, number in zip(sparse.indexes, sparse.counts, strict=True):
                cell[index] = cell.get(index, 0) + number
    return binned


def _latency(measure: str, width: int, tail: int | None, binned: _Bins) -> Latency:
    found = Latency(measure, width, tail)
    for number, cell in sorted(binned[measure, width].items()):
        for share, into in ((P50, found.p50), (P90, found.p90)):
            _add(into, number, width, cell, share)
    if tail is not None:
        for number, cell in sorted(binned[measure, tail].items()):
            _add(found.p99, number, tail, cell, P99)
    return found


def _add(into: list[Quantile], number: int, width: int, cell: Mapping[int, int], share: Fraction) -> None:
    indexes = np.array(sorted(cell), dtype=np.int64)
    sums = np.cumsum([cell[int(index)] for index in indexes])
    found = quantile(indexes, sums, share)
    if found is not None:
        into.append(Quantile(number * width, width, *found))


def quantile(indexes: np.ndarray[Any, Any], sums: np.ndarray[Any, Any], share: Fraction) -> tuple[float, float, float] | None:
    """A percentile and its 95 % interval (order statistics) in ms, of filled counters and their running sums.

    None with fewer than ten samples beyond it.
    """
    n = int(sums[-1]) if len(sums) else 0
    if n * (1 - share) < _BEYOND:
        return None
    middle = max(1, -(-share.numerator * n // share.denominator))
    low, high = ranks(n, share)
    at = [int(indexes[np.searchsorted(sums, rank)]) for rank in (middle, low or 1, high or n)]
    return highest_of(at[0]) / 1000, lowest_of(at[1]) / 1000, highest_of(at[2]) / 1000


def quantile_of(histogram: Histogram, share: Fraction) -> tuple[float, float, float] | None:
    """The same of a histogram of microseconds."""
    filled = np.flatnonzero(histogram.counts)
    return quantile(filled, np.cumsum(histogram.counts[filled]), share)


# ---------------------------------------------------------------- counts over time


def step_for(end_s: float, most: int) -> int:
    """Whole seconds of a bin, so that there are at most so many."""
    return next(
        (s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600) if end_s / s <= most), math.ceil(end_s / most)
    )


def guests_over_time(points: Sequence[Point], line: Timeline, step: int) -> pd.DataFrame:
    """Guests by state at the end of each bin; NaN in gaps."""
    bins = max(math.ceil(line.end_s / step), 1)
    if not points:
        return pd.DataFrame(index=np.arange(bins) * step)
    frame = pd.DataFrame([point.guests for point in points]).fillna(0)
    frame.index = pd.Index([max(point.at_ns - line.start_ns - 1, 0) // _S // step for point in points])
    frame = frame.groupby(level=0).last().reindex(range(bins)).ffill().fillna(0)
    frame.index = pd.Index(np.arange(bins) * step)
    return _with_gaps(frame, line, step)


def counts_over_time(points: Sequence[Point], line: Timeline, step: int, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Sums of counters in each bin; NaN in gaps. A counter that ends in a bar stands for its family."""
    bins = max(math.ceil(line.end_s / step), 1)
    table = np.zeros((bins, len(groups)))
    spans = {number: max(later.at_ns - earlier.at_ns, 1) for number, (earlier, later) in enumerate(pairwise(points))}
    for number, point in enumerate(points):
        half = min(spans.get(number - 1, _S), _S) // 2  # points stand at the ends of intervals: count them at their middle
        cell = min(max(point.at_ns - half - line.start_ns, 0) // _S // step, bins - 1)
        for column, names in enumerate(groups.values()):
            for name in names:
                if name.endswith("|"):
                    table[cell, column] += sum(value for key, value in point.counters.items() if key.startswith(name))
                else:
                    table[cell, column] += point.counters.get(name, 0)
    frame = pd.DataFrame(table, columns=list(groups), index=pd.Index(np.arange(bins) * step))
    return _with_gaps(frame, line, step)


def _with_gaps(frame: pd.DataFrame, line: Timeline, step: int) -> pd.DataFrame:
    frame = frame.astype(float)
    for low, high in line.gaps:
        inside = (frame.index.to_numpy() >= math.floor(low / step) * step) & (frame.index.to_numpy() + step <= high + step / 2)
        frame.loc[inside] = np.nan
    return frame
