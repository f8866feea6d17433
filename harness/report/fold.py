"""From a run's journal files, any number and in any order, to what was measured. Nothing else is read here.

Figures come from the interval records alone, which are sums, so neither the order of the files nor how guests were spread
over them can matter. Op rows are read only for the ids that truth is joined by.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from harness.core.ops import Row
from harness.findings import Board
from harness.journal.reader import JournalReader
from harness.journal.records import LAG, ONE_WAY, Example, Interval, merge_counts, merge_examples, parts
from harness.journal.segments import by_worker
from harness.journal.segments import journals as journals
from harness.metrics.health import merge_health
from harness.metrics.histogram import Histogram
from harness.metrics.one_way import OneWay, OneWayFold
from harness.report.identities import Collector, Identities
from harness.report.order import Orders
from harness.report.order_pools import OrderFound
from harness.verdicts.lattice import WindowResult
from harness.verdicts.windowed import WindowFold

_GUESTS = "guests"
_LAGS = f"{LAG}|"
HEALTH_WINDOW_NS = 10 * 10**9


class Damage(msgspec.Struct):
    """What of a journal is missing or cannot be read."""

    torn: list[str] = []
    """Workers whose file ends in the middle of a chunk."""
    unreadable: int = 0
    """Places in the middle of files."""
    chunks: int = 0
    """Chunks that must have been there by their numbers."""
    intervals: int = 0
    """Intervals that must have been there by their numbers."""
    unended: list[str] = []
    """Workers without a final interval: lost, killed, or still at work."""
    lost: list[tuple[str, int, int]] = []
    """Sessions that were lost and replaced: worker, end of the last interval, begin of the next session's first."""

    @property
    def any(self) -> bool:
        """Whether anything is missing."""
        return bool(self.torn or self.unreadable or self.chunks or self.intervals or self.unended or self.lost)


class Point(msgspec.Struct, array_like=True):
    """The run at one instant, the end of an interval."""

    at_ns: int
    guests: dict[str, int]
    """Guests by state, those not at 0."""
    counters: dict[str, int]
    """What was counted in the interval that ended here."""


class Measured(msgspec.Struct):
    """Everything that the journal says."""

    workers: list[str]
    first_ns: int
    """Begin of the earliest interval; -1 without any."""
    last_ns: int
    """End of the latest interval; -1 without any."""
    interval_ns: int
    """Longest interval: what a sudden end can cost."""
    counters: dict[str, int]
    histograms: dict[str, Histogram]
    anomalies: dict[str, list[Example]]
    gauges: dict[str, int]
    """Values at the end."""
    peak_guests: int
    series: list[Point]
    health: dict[str, float]
    rows_kept: str
    """`all` only if every op row of every worker is in the files."""
    damage: Damage
    identities: Identities | None
    """None where they were not asked for, or where rows were left out."""
    health_windows: dict[int, dict[str, float]] = {}
    """Health by windows of `HEALTH_WINDOW_NS`, keyed by the instant at which each begins; an interval counts where it ends."""
    one_way: OneWay | None = None
    """The server's clocks and what they allow to say; its histograms are in `histograms` too, as `event.lag|ok|KIND`."""
    health_workers: dict[str, dict[int, dict[str, float]]] = {}
    """The same windows of each worker by itself: one that is overloaded must not hide behind the others."""
    order: OrderFound | None = None
    """None where it was not asked for, or where rows were left out."""
    rule_windows: dict[str, list[WindowResult]] = {}
    """What each window of the rules came to that must hold in every one, by `rule.show()`."""

    def count(self, *names: str) -> int:
        """Sum of counters by their full names; what was never counted is 0."""
        return sum(self.counters.get(name, 0) for name in names)

    def family(self, head: str) -> dict[str, int]:
        """Counters `head|rest` by their rest."""
        return {name[len(head) + 1 :]: count for name, count in self.counters.items() if name.startswith(head + "|")}


def intervals(readers: Sequence[JournalReader]) -> Iterator[Interval]:
    """Interval records of several files by time, in whatever order they are given. One file of each worker is open at a time."""
    known = {reader.path: reader for reader in readers}
    chains = ([known[path] for path in paths] for paths in by_worker(known))
    return heapq.merge(*(_chained(chain) for chain in chains), key=_by_time)


def _chained(readers: Sequence[JournalReader]) -> Iterator[Interval]:
    for reader in readers:
        yield from reader.intervals()


def _by_time(record: Interval) -> tuple[int, int, str, int]:
    return record.t0_ns, record.t1_ns, record.worker, record.index


def op_rows(files: Iterable[Path]) -> Iterator[Row]:
    """The op rows of several files, one file after the other."""
    for path in files:
        for record in JournalReader(path).records():
            if not isinstance(record, Interval):
                yield record


def fold(
    files: Iterable[Path],
    *,
    run: str = "",
    by_id: bool = False,
    board: Board | None = None,
    orders: Orders | None = None,
    windows: WindowFold | None = None,
) -> Measured:
    """Fold journal files. `by_id` also reads the op rows, for the join with truth (`run` is the run id in the markers).

    A `board` is shown every op row that was kept, `orders` too if none was left out: a gap in the rows is no gap in a stream.
    `windows` is shown every interval as it goes by.

    Raises JournalError for a file that is no journal of ours; a damaged one is folded as far as it can be read.
    """
    readers = [JournalReader(path) for path in files]
    folder = _Folder()
    for record in intervals(readers):
        folder.take(record)
        if windows is not None:
            windows.take(record)
    measured = folder.finish()
    measured.rule_windows = windows.finish() if windows is not None else {}
    workers = set(measured.workers)
    collector = Collector(run) if by_id and measured.rows_kept == "all" else None
    if measured.rows_kept != "all":
        orders = None
    takers = [one.take for one in (collector, board, orders) if one is not None]
    for reader in readers:
        if takers:
            for row in reader.records():
                if not isinstance(row, Interval):
                    for take in takers:
                        take(row)
        if reader.torn and reader.worker not in measured.damage.torn:
            measured.damage.torn.append(reader.worker)
        measured.damage.unreadable += reader.corrupt
        measured.damage.chunks += reader.missing
        if reader.worker and reader.worker not in workers:  # it was killed before its first interval
            workers.add(reader.worker)
            measured.damage.unended.append(reader.worker)
    measured.workers = sorted(workers)
    measured.damage.torn.sort()
    measured.damage.unended.sort()
    if collector is not None:
        measured.identities = collector.finish()
    if orders is not None:
        measured.order = orders.finish()
    return measured


class _Folder:
    """Adds up interval records that come by time."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.histograms: dict[str, Histogram] = {}
        self.anomalies: dict[str, list[Example]] = {}
        self.gauges: dict[str, int] = {}
        self.health: dict[str, float] = {}
        self.lasts: dict[str, tuple[tuple[int, int, str, int], float]] = {}
        self.points: dict[int, tuple[dict[str, int], dict[str, int]]] = {}
        self.indexes: dict[str, set[int]] = {}
        self.final: set[str] = set()
        self.suppressed = self.longest = 0
        self.first = self.last = -1
        self.rows: set[str] = set()
        self.windows: dict[int, dict[str, float]] = {}
        self.by_worker: dict[str, dict[int, dict[str, float]]] = {}
        self.one_way = OneWayFold()
        self.sessions: dict[str, tuple[int, int, bool, dict[str, int]]] = {}
        """By worker: its session, the end of its last interval, whether that was the final one, and its gauges."""
        self.lost: list[tuple[str, int, int]] = []

    def take(self, record: Interval) -> None:
        self.indexes.setdefault(record.worker, set()).add(record.index)
        self.first = record.t0_ns if self.first < 0 else min(self.first, record.t0_ns)
        self.last = max(self.last, record.t1_ns)
        self.longest = max(self.longest, record.t1_ns - record.t0_ns)
        self._session(record)
        if record.final:
            self.final.add(record.worker)
        else:
            self.final.discard(record.worker)
        self.rows.add(record.rows)
        self.suppressed += record.suppressed
        merge_counts(self.counters, record.counters)
        merge_counts(self.gauges, record.gauges)
        self.one_way.take(record)
        for name, sparse in record.histograms.items():
            if name.startswith(_LAGS):  # each from a bound of its own: not to be added up as they are
                continue
            self.histograms.setdefault(name, Histogram()).add_sparse(sparse)
        for kind, examples in record.anomalies.items():
            self.anomalies[kind] = merge_examples(self.anomalies.get(kind, []), examples)
        self._health(record)
        changes, counts = self.points.setdefault(record.t1_ns, ({}, {}))
        merge_counts(changes, record.gauges)
        merge_counts(counts, record.counters)

    def _session(self, record: Interval) -> None:
        """A worker's next session: what the guests of the last one left open is over, said or not."""
        number = int(record.health.get("session.last", 1))
        before, last_ns, final, gauges = self.sessions.get(record.worker, (number, record.t0_ns, True, {}))
        if number != before:
            if not final:
                self.lost.append((record.worker, last_ns, record.t0_ns))
            over = {name: -value for name, value in gauges.items() if value}
            merge_counts(self.gauges, over)
            merge_counts(self.points.setdefault(last_ns, ({}, {}))[0], over)
            gauges = {}
        merge_counts(gauges, record.gauges)
        self.sessions[record.worker] = (number, record.t1_ns, record.final, gauges)

    def _health(self, record: Interval) -> None:
        at = (record.t1_ns - 1) // HEALTH_WINDOW_NS * HEALTH_WINDOW_NS
        additive = {name: value for name, value in record.health.items() if not name.endswith(".last")}
        merge_health(self.windows.setdefault(at, {}), additive)
        merge_health(self.by_worker.setdefault(record.worker, {}).setdefault(at, {}), additive)
        for name, value in record.health.items():
            if name.endswith(".last"):
                when = (record.t1_ns, record.t0_ns, record.worker, record.index)
                if name not in self.lasts or self.lasts[name][0] < when:
                    self.lasts[name] = (when, value)
            elif name.endswith(".max"):
                self.health[name] = max(self.health.get(name, value), value)
            else:
                self.health[name] = self.health.get(name, 0.0) + value

    def finish(self) -> Measured:
        series, peak = self._series()
        self.health.update({name: value for name, (_, value) in self.lasts.items()})
        damage = Damage(
            [],
            0,
            0,
            sum(max(seen) + 1 - len(seen) for seen in self.indexes.values()),
            [worker for worker in self.indexes if worker not in self.final],
            self.lost,
        )
        one_way = self.one_way.finish()
        for measure in ONE_WAY:
            self.histograms.update({f"{measure}|ok|{kind}": found for kind, found in one_way.histograms.items()})
        kept = "all" if self.rows == {"all"} and not self.suppressed else "none" if self.rows <= {"none"} else "anomalies"
        return Measured(
            sorted(self.indexes),
            self.first,
            self.last,
            self.longest,
            self.counters,
            self.histograms,
            self.anomalies,
            self.gauges,
            peak,
            series,
            self.health,
            kept,
            damage,
            None,
            {at: self.windows[at] for at in sorted(self.windows)},
            one_way,
            health_workers=self.by_worker,
        )

    def _series(self) -> tuple[list[Point], int]:
        """Guests by state at each interval's end, and the most guests that were there at once."""
        now: dict[str, int] = {}
        series, peak = [], 0
        for at_ns in sorted(self.points):
            changes, counts = self.points[at_ns]
            for name, change in changes.items():
                family, *state = parts(name)
                if family == _GUESTS:
                    now[state[0]] = now.get(state[0], 0) + change
            series.append(Point(at_ns, {state: count for state, count in sorted(now.items()) if count}, counts))
            peak = max(peak, sum(count for state, count in now.items() if state != "finished"))
        return series, peak
