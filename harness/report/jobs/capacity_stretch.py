"""Stretches of a run: interval records added up over any span of time. Where a step's warm-up ends is found here as well. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from harness.journal.records import Interval, merge_counts
from harness.metrics.censored import failures
from harness.metrics.histogram import Histogram
from harness.metrics.little import GUESTS, MESSAGES, REPLIES
from harness.metrics.steady import BATCH, mser
from harness.search.lengths import WARM_UP

_LITTLE = "little."
_NS = 1e9
__all__ = ["GUESTS", "MESSAGES", "REPLIES", "Stretch", "blocks", "in_flight", "without_warm_up"]


class Stretch:
    """What a few consecutive interval records say together, of one worker or of many."""

    def __init__(self, records: Sequence[Interval]) -> None:
        self.begin_ns = min((record.t0_ns for record in records), default=0)
        self.end_ns = max((record.t1_ns for record in records), default=0)
        self.counters: dict[str, int] = {}
        self.histograms: dict[str, Histogram] = {}
        self._little: dict[str, float] = {}
        for record in records:
            merge_counts(self.counters, record.counters)
            for name, sparse in record.histograms.items():
                self.histograms.setdefault(name, Histogram()).add_sparse(sparse)
            for name, value in record.health.items():
                if name.startswith(_LITTLE):
                    self._little[name] = self._little.get(name, 0.0) + value

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.begin_ns) / _NS

    def count(self, *names: str) -> int:
        """Sum of counters by their full names."""
        return sum(self.counters.get(name, 0) for name in names)

    def failed(self, measure: str) -> dict[str, int]:
        """Samples of a measure that are not `ok`, by cause; not those that guests cut off themselves."""
        return failures(self.counters).get(measure, {})

    def present(self, stock: str) -> float | None:
        """How many there were on average (`metrics.little`); None: no time passed."""
        span = self.end_ns - self.begin_ns
        return self._little.get(f"{_LITTLE}{stock}.area_ns", 0.0) / span if span > 0 else None

    def done(self, stock: str) -> int:
        """How many ended."""
        return round(self._little.get(f"{_LITTLE}{stock}.done", 0.0))

    def took_s(self, stock: str) -> float | None:
        """How long each took on average; None: none ended."""
        done = self.done(stock)
        return self._little.get(f"{_LITTLE}{stock}.spent_ns", 0.0) / done / _NS if done else None


def blocks(records: Sequence[Interval], most: int) -> list[Stretch]:
    """The records in so many equal and consecutive spans of time, or as many as there are records for."""
    if not records:
        return []
    begin, end = min(record.t0_ns for record in records), max(record.t1_ns for record in records)
    number = min(most, len({record.t1_ns for record in records}))
    parts: list[list[Interval]] = [[] for _ in range(number)]
    for record in records:
        middle = (record.t0_ns + record.t1_ns) // 2
        parts[min((middle - begin) * number // max(end - begin, 1), number - 1)].append(record)
    return [Stretch(part) for part in parts if part]


def in_flight(records: Sequence[Interval], stock: str) -> list[tuple[int, float]]:
    """Begin of each interval and how many were under way in it on average, all workers together."""
    if not records:
        return []
    first = records[0].worker
    spans = sorted((record.t0_ns, record.t1_ns) for record in records if record.worker == first)
    begins, areas = [begin for begin, _ in spans], [0.0] * len(spans)
    for record in records:
        middle = (record.t0_ns + record.t1_ns) // 2
        areas[max(bisect_right(begins, middle) - 1, 0)] += record.health.get(f"{_LITTLE}{stock}.area_ns", 0.0)
    return [(begin, area / (end - begin)) for (begin, end), area in zip(spans, areas, strict=True) if end > begin]


def without_warm_up(records: Sequence[Interval], stock: str, warm_up_ns: int | None) -> list[Interval]:
    """What is left of a load once its warm-up is over: so long after its begin, or (None) where MSER-5 finds it over.

    By MSER-5 no more is left out than a step was made longer by, so that what remains has the samples that were asked for.
    """
    if not records:
        return []
    if warm_up_ns is None:
        series = in_flight(records, stock)
        cut = _warm_up([value for _, value in series])
        begin = series[min(cut, len(series) - 1)][0] if series else 0
    else:
        begin = min(record.t0_ns for record in records) + warm_up_ns
    return [record for record in records if record.t0_ns >= begin]


def _warm_up(values: Sequence[float]) -> int:
    """How many of the values are warm-up."""
    found = mser(values)
    if found is None:
        return 0
    allowed = found.statistics[: int(len(values) // BATCH * (1 - 1 / WARM_UP)) + 1]
    return BATCH * min(range(len(allowed)), key=allowed.__getitem__)
