"""Many streams together: counts are summed, then divided; no ratio is ever averaged. Merging is adding."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from harness.metrics.classify import Fates
from harness.metrics.duplicates import CROSS_CONNECTION, RESEND, SAME_CONNECTION
from harness.metrics.histogram import Histogram
from harness.metrics.ordering import Ordering, Places, Rows
from harness.metrics.suite import Suite

SPREADS = {
    "extent": 1,
    "late_ms": 1000,
    "byte_offset": 1,
    "n": 1,
    "discontinuity_sizes": 1,
    "free_runs": 1,
    "gaps": 1,
    "gap_times_ms": 1000,
    "loss_distance": 1,
    "loss_period_lengths": 1,
    "inter_loss_period_lengths": 1,
}
"""Values whose distribution is kept, and what divides them: times are kept in microseconds."""
_BATCH = 10_000
EVENTS = ("reordered", "lost", "push_missed", "duplicated")


class Worst(msgspec.Struct, order=True, frozen=True):
    """A stream with the greatest share of something; of several equal ones that with the most, then the first by name."""

    ratio: float
    count: int
    name: str

    def beats(self, other: Worst | None) -> bool:
        """Whether this one is worse."""
        if other is None:
            return True
        return (self.ratio, self.count, other.name) > (other.ratio, other.count, self.name)


class PooledOrder:
    """The order of many streams in one view."""

    __slots__ = ("_spreads", "_waiting", "places", "reordering_discontinuities", "streams", "with_reordered", "worst")

    def __init__(self) -> None:
        self.streams = self.with_reordered = 0
        self.places = Places()
        self.reordering_discontinuities = 0
        self._spreads: dict[str, Histogram] = {}
        self._waiting: dict[str, list[int]] = {}
        """Values not counted yet: few at a time would cost too much."""
        self.worst: Worst | None = None

    def take_rows(self, rows: Rows) -> None:
        """Events of any stream: the `sink` of an `Ordering`."""
        late = rows.reordered
        if late:
            self.spread("extent", [one.extent for one in late])
            self.spread("late_ms", [one.late_ns for one in late])
            self.spread("byte_offset", [one.byte_offset for one in late])
            self.spread("n", [one.n for one in late])
            self.spread("free_runs", rows.free_runs)
        if rows.jumps:
            self.spread("discontinuity_sizes", [jump.missing for jump in rows.jumps])
        if rows.discontinuities:
            self.reordering_discontinuities += len(rows.discontinuities)
            self.spread("gaps", rows.gaps)
            self.spread("gap_times_ms", rows.gap_times_ns)

    def take(self, name: str, ordering: Ordering) -> None:
        """A closed stream whose rows were taken."""
        places = ordering.places
        self.streams += 1
        self.places.add(places)
        if places.reordered:
            self.with_reordered += 1
            worst = Worst(places.reordered / places.length, places.reordered, name)
            if worst.beats(self.worst):
                self.worst = worst

    def merge(self, other: PooledOrder) -> None:
        """Add what another one took."""
        self.streams += other.streams
        self.with_reordered += other.with_reordered
        self.places.add(other.places)
        self.reordering_discontinuities += other.reordering_discontinuities
        for name, histogram in other.spreads().items():
            self._histogram(name).merge(histogram)
        if other.worst is not None and other.worst.beats(self.worst):
            self.worst = other.worst

    def spread(self, name: str, values: list[int]) -> None:
        """Count values into one of `SPREADS`."""
        waiting = self._waiting.setdefault(name, [])
        waiting += values
        if len(waiting) > _BATCH:
            self._count(name)

    def spreads(self) -> dict[str, Histogram]:
        """The distributions by name; one without any value is left out."""
        for name in self._waiting:
            self._count(name)
        return self._spreads

    def _count(self, name: str) -> None:
        waiting = self._waiting[name]
        if waiting:
            self._histogram(name).record_many(waiting, SPREADS[name])
            waiting.clear()

    def _histogram(self, name: str) -> Histogram:
        if name not in self._spreads:
            self._spreads[name] = Histogram()
        return self._spreads[name]


class Pooled:
    """All metrics of many streams."""

    __slots__ = ("by_loss", "by_push_loss", "classes", "fates", "noticeable", "order", "streams", "with_event", "worst")

    def __init__(self) -> None:
        self.streams = 0
        self.fates = Fates()
        self.classes: Counter[str] = Counter()
        self.noticeable = 0
        self.order = PooledOrder()
        self.with_event: Counter[str] = Counter()
        """Streams with at least one, by name of `EVENTS` (but for the order's)."""
        self.worst: dict[str, Worst] = {}
        self.by_loss: Counter[tuple[int, int]] = Counter()
        """Streams by (lost, acknowledged), for the bootstrap."""
        self.by_push_loss: Counter[tuple[int, int]] = Counter()

    def take(self, name: str, suite: Suite) -> None:
        """A closed stream. Its rows went to `order.take_rows`."""
        copies = suite.copies
        fates = copies.fates
        self.streams += 1
        _add(self.fates, fates)
        classes = copies.classes
        for kind, count in classes.items():
            self.classes[kind] += count
        self.order.take(name, suite.ordering)
        self.by_loss[fates.lost, fates.ok] += 1
        self.by_push_loss[fates.push_missed, fates.ok] += 1
        if fates.push_missed:
            pattern = suite.loss_pattern()
            self.noticeable += pattern.noticeable
            self.order.spread("loss_distance", pattern.distances)
            self.order.spread("loss_period_lengths", pattern.lengths)
            self.order.spread("inter_loss_period_lengths", pattern.between)
            self._event(name, "push_missed", fates.push_missed, fates.ok)
            self._event(name, "lost", fates.lost, fates.ok)
        faults = sum(classes.get(kind, 0) for kind in (SAME_CONNECTION, CROSS_CONNECTION, RESEND))
        self._event(name, "duplicated", faults, fates.sent + fates.left_out)

    def merge(self, other: Pooled) -> None:
        """Add what another one took."""
        self.streams += other.streams
        _add(self.fates, other.fates)
        self.classes.update(other.classes)
        self.noticeable += other.noticeable
        self.order.merge(other.order)
        self.with_event.update(other.with_event)
        self.by_loss.update(other.by_loss)
        self.by_push_loss.update(other.by_push_loss)
        for what, worst in other.worst.items():
            if worst.beats(self.worst.get(what)):
                self.worst[what] = worst

    def _event(self, name: str, what: str, count: int, of: int) -> None:
        if not count:
            return
        self.with_event[what] += 1
        worst = Worst(count / of, count, name)
        if worst.beats(self.worst.get(what)):
            self.worst[what] = worst


def _add(total: Fates, more: Fates) -> None:
    for name in Fates.__struct_fields__:
        value: Any = getattr(more, name)
        if value:
            setattr(total, name, getattr(total, name) + value)
