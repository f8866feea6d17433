"""From a long run's interval records to series in equal steps: percentiles, error share, generator's and target's own figures.

Two passes over the interval records, so that memory holds one number for each step and no histogram for longer than its window.
A percentile's window is the shortest in which nine of ten have ten samples beyond it; its value stands in every step of the window.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from harness.journal.reader import JournalReader
from harness.journal.records import SPANS, Interval
from harness.metrics.censored import failed_messages
from harness.report.fold import intervals
from harness.report.series import quantile

P50, P95 = Fraction(1, 2), Fraction(95, 100)
SHARES = (("p50", P50), ("p95", P95))
PARTS = ("response", "service")
STANDARD = ("ack", "echo", "reply")
STEP_S = 10.0
SHORT_POINTS = 360
"""Steps of a run that is too short for steps of ten seconds to show anything."""
WINDOWS = (1, 3, 6, 12, 30, 60, 90)
"""Lengths of a percentile's window, in steps."""
_BEYOND = 10
_ENOUGH = 0.9
_S = 1_000_000_000

Values = list[float | None]


@dataclass(slots=True)
class Gathered:
    """Everything over time, in steps from the begin of the first interval to the end of the load."""

    start_ns: int
    step_s: float
    steps: int
    latencies: dict[str, tuple[Values, int]] = field(default_factory=dict)
    """`echo response p95`: milliseconds, and the length of its window in steps."""
    failed: list[int | None] = field(default_factory=list)
    asked: list[int | None] = field(default_factory=list)
    """Messages that got their outcome, and those that failed or whose outcome is unknown; None in gaps."""
    refreshes: list[int | None] = field(default_factory=list)
    reconnects: list[int | None] = field(default_factory=list)
    refusals: list[int | None] = field(default_factory=list)
    generator: dict[str, Values] = field(default_factory=dict)
    """By resource: of all workers together."""
    target: dict[str, Values] = field(default_factory=dict)
    wall_steps: list[tuple[float, float]] = field(default_factory=list)
    """Instants at which the wall clock was set, and how many times in that interval."""
    sessions: list[tuple[float, int]] = field(default_factory=list)
    """Begin of each session of a worker but its first."""
    waits: list[float] = field(default_factory=list)
    """Instants of intervals that could not be written at once."""


def step_of(interval_s: float, planned_s: float) -> float:
    """Ten seconds, or what a short run needs to show anything; never less than an interval."""
    if planned_s / STEP_S >= SHORT_POINTS:
        return max(STEP_S, interval_s)
    wanted = max(planned_s / SHORT_POINTS, 1.0)
    return max(math.ceil(wanted / interval_s) * interval_s, interval_s) if interval_s > 0 else wanted


def gather(
    files: Sequence[Path],
    target: Iterable[Mapping[str, Any]],
    *,
    interval_s: float,
    planned_s: float,
    end_ns: int | None,
    measures: Sequence[str] = STANDARD,
) -> Gathered | None:
    """Fold the records up to `end_ns`, the end of the load. None where there are none."""
    found = _counts(files, interval_s, planned_s, end_ns, measures)
    if found is None:
        return None
    gathered, counts = found
    _latencies(files, gathered, counts)
    _target(target, gathered)
    return gathered


def _counts(
    files: Sequence[Path], interval_s: float, planned_s: float, end_ns: int | None, measures: Sequence[str]
) -> tuple[Gathered, dict[str, list[int]]] | None:
    """Everything but the percentiles, and how many samples each measure has in each step."""
    gathered: Gathered | None = None
    counts: dict[str, list[int]] = {measure: [] for measure in measures}
    workers: dict[str, int] = {}
    lasts: dict[str, dict[str, float]] = {}
    for record in intervals([JournalReader(path) for path in files]):
        if gathered is None:
            gathered = Gathered(record.t0_ns, step_of(interval_s, planned_s), 0)
        if end_ns is not None and record.t1_ns > end_ns and (record.t0_ns + record.t1_ns) // 2 >= end_ns:
            continue
        number = _number(record, gathered)
        _grow(gathered, counts, number)
        _count(record, gathered, counts, number)
        session = int(record.health.get("session.last", 1))
        if session != workers.setdefault(record.worker, session):
            workers[record.worker] = session
            gathered.sessions.append((_seconds(record.t0_ns, gathered), session))
        _generator(record, gathered, lasts, number)
    return None if gathered is None else (gathered, counts)


def _seconds(at_ns: int, gathered: Gathered) -> float:
    return (at_ns - gathered.start_ns) / _S


def _number(record: Interval, gathered: Gathered) -> int:
    middle = (record.t0_ns + record.t1_ns) // 2 - gathered.start_ns
    return max(int(middle / (gathered.step_s * _S)), 0)


_COUNTED = ("failed", "asked", "refreshes", "reconnects", "refusals")
_GENERATOR = ("generator_memory", "generator_files", "generator_loop", "machine_ports")


def _grow(gathered: Gathered, counts: dict[str, list[int]], number: int) -> None:
    if not gathered.generator:
        gathered.generator = {name: [] for name in _GENERATOR}
    missing = number + 1 - gathered.steps
    if missing <= 0:
        return
    gathered.steps = number + 1
    for name in _COUNTED:
        getattr(gathered, name).extend([None] * missing)
    for values in gathered.generator.values():
        values.extend([None] * missing)
    for found in counts.values():
        found.extend([0] * missing)


def _count(record: Interval, gathered: Gathered, counts: dict[str, list[int]], number: int) -> None:
    counters, histograms = record.counters, record.histograms
    bad = failed_messages(counters)
    added = {
        "failed": bad,
        "asked": bad + counters.get("messages|ok", 0),
        "refreshes": _samples(record, "token|ok|service"),
        "reconnects": _samples(record, "reconnect.gap|ok|span"),
        "refusals": sum(count for name, count in counters.items() if name.startswith("refused|")),
    }
    for name, more in added.items():
        values: list[int | None] = getattr(gathered, name)
        values[number] = (values[number] or 0) + more
    for measure, found in counts.items():
        for part in ("span",) if measure in SPANS else ("response",):
            if (sparse := histograms.get(f"{measure}|ok|{part}")) is not None:
                found[number] += sparse.count
    if steps := record.health.get("clock.wall_steps"):
        gathered.wall_steps.append((_seconds(record.t1_ns, gathered), steps))
    if record.health.get("journal.waits"):
        gathered.waits.append(_seconds(record.t1_ns, gathered))


def _samples(record: Interval, name: str) -> int:
    sparse = record.histograms.get(name)
    return sparse.count if sparse is not None else 0


def _generator(record: Interval, gathered: Gathered, lasts: dict[str, dict[str, float]], number: int) -> None:
    """Figures of all workers together; what is of the machine, or a share, is that of the worst."""
    health = record.health
    wall = health.get("wall_ns")
    mine = {
        "generator_memory": health.get("rss_bytes.last"),
        "generator_files": health.get("open_files.max"),
        "generator_loop": health.get("loop.busy_ns", 0.0) / wall if wall else None,
        "machine_ports": health.get("ports.used.max"),
    }
    known = lasts.setdefault(record.worker, {})
    known.update({name: value for name, value in mine.items() if value is not None})
    for name, values in gathered.generator.items():
        there = [one[name] for one in lasts.values() if name in one]
        if there:
            values[number] = max(there) if name in ("generator_loop", "machine_ports") else sum(there)


# ------------------------------------------------------------------ percentiles
def _latencies(files: Sequence[Path], gathered: Gathered, counts: Mapping[str, Sequence[int]]) -> None:
    """One histogram for each measure, part and window length at a time."""
    plans: dict[tuple[str, str, int], list[tuple[str, Fraction]]] = {}
    for measure, found in counts.items():
        for name, share in SHARES:
            window = _window(found, share)
            if window is None:
                continue
            for part in ("span",) if measure in SPANS else PARTS:
                plans.setdefault((measure, part, window), []).append((name, share))
                label = f"{measure} {name}" if part == "span" else f"{measure} {part} {name}"
                gathered.latencies[label] = ([None] * gathered.steps, window)
    if not plans:
        return
    open_bins: dict[tuple[str, str, int], dict[int, dict[int, int]]] = {key: {} for key in plans}
    for record in intervals([JournalReader(path) for path in files]):
        number = _number(record, gathered)
        if number >= gathered.steps:
            continue
        for key, bins in open_bins.items():
            measure, part, window = key
            at = number // window
            for past in [other for other in bins if other < at - 1]:  # workers' intervals are not quite side by side
                _put(gathered, key, plans[key], past, bins.pop(past))
            sparse = record.histograms.get(f"{measure}|ok|{part}")
            if sparse is not None:
                cell = bins.setdefault(at, {})
                for index, count in zip(sparse.indexes, sparse.counts, strict=True):
                    cell[index] = cell.get(index, 0) + count
    for key, bins in open_bins.items():
        for at, cell in bins.items():
            _put(gathered, key, plans[key], at, cell)


def _window(counts: Sequence[int], share: Fraction) -> int | None:
    """The shortest window of which nine of ten have ten samples beyond the percentile; the run's first tenth does not count."""
    steady = np.asarray(counts[len(counts) // 10 :])
    needed = _BEYOND / (1 - share)
    for window in WINDOWS:
        whole = len(steady) // window
        if whole < 1:
            return None
        sums = steady[: whole * window].reshape(whole, window).sum(axis=1)
        seen = sums[sums > 0]
        if len(seen) and (seen >= needed).mean() >= _ENOUGH:
            return window
    return None


def _put(
    gathered: Gathered, key: tuple[str, str, int], plan: Sequence[tuple[str, Fraction]], at: int, cell: Mapping[int, int]
) -> None:
    measure, part, window = key
    indexes = np.array(sorted(cell), dtype=np.int64)
    sums = np.cumsum([cell[int(index)] for index in indexes])
    for name, share in plan:
        found = quantile(indexes, sums, share)
        if found is None:
            continue
        label = f"{measure} {name}" if part == "span" else f"{measure} {part} {name}"
        values, _ = gathered.latencies[label]
        for number in range(at * window, min((at + 1) * window, gathered.steps)):
            values[number] = found[0]


# ------------------------------------------------------------------ the target's own figures
_TARGET = {"target_memory": "memory_bytes", "target_undelivered": "undelivered", "target_sockets": "sockets"}


def _target(lines: Iterable[Mapping[str, Any]], gathered: Gathered) -> None:
    """What the target said of itself: the last of each step."""
    for line in lines:
        seconds = _seconds(line["at_ns"], gathered)
        number = int(seconds / gathered.step_s)
        if seconds < 0 or number >= gathered.steps:
            continue
        for name, key in _TARGET.items():
            value = line.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                gathered.target.setdefault(name, [None] * gathered.steps)[number] = float(value)
