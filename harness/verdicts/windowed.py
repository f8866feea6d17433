"""Judges windows as the interval records go by, and keeps nothing of a window but what it came to. Pure.

An interval belongs to the window that its middle lies in. Windows begin with the full load; what came before is in none, and what
came after its end, when books are closed, belongs to the last one, so that nothing can fall behind it. A last window shorter than
half is not judged, unless a number that only grows is over its limit even so.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.journal.records import ONE_WAY, SPANS, Interval, merge_counts
from harness.metrics.histogram import Histogram
from harness.verdicts.check import WIDE, Evidence, broken_for_good, check
from harness.verdicts.lattice import WindowResult
from harness.verdicts.slo import Rule

_LEAST_PART = 0.5
"""Of its length, for a last window to be judged."""


def wanted(rule: Rule) -> frozenset[str]:
    """The histograms that a rule is judged by, in one window or over the whole run."""
    if not rule.measure or rule.subject in ONE_WAY:
        return frozenset()
    if rule.kind != "percentile":
        return frozenset({f"{rule.subject}|ok|{'span' if rule.subject in SPANS else 'service'}"})
    ends = [f"{rule.subject}|{outcome}|{rule.part}" for outcome in ("ok", "fail", "info")]
    return frozenset([*ends, f"{rule.subject}|ok|{rule.part}_low"])


class WindowFold:
    """Takes interval records by time, of one worker or of several, and judges each window when it is past."""

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        begin_ns: int | None,
        end_ns: int | None = None,
        ramp_ns: int = 0,
        duration_ns: int | None = None,
        origin_ns: int | None = None,
        wide: float = WIDE,
    ) -> None:
        """Begin and end of the full load; where they are not known, the ramp after the first record and the planned length.

        `origin_ns`: the run's start, from which the results count; else the first record's. Rules without windows are left alone.
        """
        self._end_ns, self._ramp_ns, self._duration_ns = end_ns, ramp_ns, duration_ns
        self._origin_ns = origin_ns
        self._groups: dict[int, _Group] = {}
        for rule in rules:
            if rule.window_ns:
                self._groups.setdefault(rule.window_ns, _Group(rule.window_ns, wide)).watch(rule)
        self._begin_ns = begin_ns
        self._last_ns: int | None = None

    def take(self, record: Interval) -> None:
        """One more record; none later may begin before it."""
        if not self._groups:
            return
        if self._origin_ns is None:
            self._origin_ns = record.t0_ns
        if self._begin_ns is None:
            self._begin_ns = record.t0_ns + self._ramp_ns
        self._last_ns = record.t1_ns if self._last_ns is None else max(self._last_ns, record.t1_ns)
        for group in self._groups.values():
            group.take(record, self._begin_ns, self._origin_ns, self._end())

    def results(self) -> dict[str, list[WindowResult]]:
        """The windows that are past so far, by `rule.show()`."""
        return {show: list(found) for group in self._groups.values() for show, found in group.results.items()}

    def finish(self) -> dict[str, list[WindowResult]]:
        """All windows; to be called once, when nothing more comes."""
        if self._begin_ns is not None and self._origin_ns is not None and self._last_ns is not None:
            end_ns = self._end()
            end_ns = self._last_ns if end_ns is None else min(end_ns, self._last_ns)
            for group in self._groups.values():
                group.finish(self._begin_ns, self._origin_ns, end_ns)
        return self.results()

    def _end(self) -> int | None:
        if self._end_ns is not None:
            return self._end_ns
        if self._duration_ns is None or self._begin_ns is None:
            return None
        return self._begin_ns + self._duration_ns


class _Window:
    """What is known of one window while records for it may still come."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.histograms: dict[str, Histogram] = {}
        self.sent = 0
        self.covered_ns: dict[str, int] = {}

    def add(self, record: Interval, names: frozenset[str], *, loaded: bool) -> None:
        """One more record, which may lie behind the load."""
        merge_counts(self.counters, record.counters)
        for name in names & record.histograms.keys():
            self.histograms.setdefault(name, Histogram()).add_sparse(record.histograms[name])
        if loaded:
            self.sent += record.counters.get("messages|invoked", 0)
            self.covered_ns[record.worker] = self.covered_ns.get(record.worker, 0) + record.t1_ns - record.t0_ns

    def evidence(self, wide: float) -> Evidence:
        """Workers send side by side: the time is that of the one that was there longest."""
        seconds = max(self.covered_ns.values(), default=0) / 1e9
        return Evidence(
            self.histograms,
            self.counters,
            steady_sent=self.sent if seconds else None,
            steady_s=seconds or None,
            wide=wide,
        )


class _Group:
    """All rules of one window length. One window is open at a time, or a few where intervals lie across a boundary."""

    def __init__(self, window_ns: int, wide: float) -> None:
        self.results: dict[str, list[WindowResult]] = {}
        self._rules: list[Rule] = []
        self._names: frozenset[str] = frozenset()
        self._window_ns, self._wide = window_ns, wide
        self._open: dict[int, _Window] = {}
        self._next = 0

    def watch(self, rule: Rule) -> None:
        """One more rule."""
        if rule.show() not in self.results:
            self._rules.append(rule)
            self._names |= wanted(rule)
            self.results[rule.show()] = []

    def take(self, record: Interval, begin_ns: int, origin_ns: int, end_ns: int | None) -> None:
        middle = (record.t0_ns + record.t1_ns) // 2
        if middle < begin_ns:
            return
        last = None if end_ns is None else self._last(begin_ns, end_ns)
        # No record to come begins before this one, so every window that ends by then is past: but the last stays open for what
        # is only known after the load.
        past = (record.t0_ns - begin_ns) // self._window_ns
        self._close(past if last is None else min(past, last), begin_ns, origin_ns, end_ns)
        number = (middle - begin_ns) // self._window_ns
        number = max(number if last is None else min(number, last), self._next)
        self._open.setdefault(number, _Window()).add(record, self._names, loaded=end_ns is None or middle < end_ns)

    def _last(self, begin_ns: int, end_ns: int) -> int:
        return max(-(-(end_ns - begin_ns) // self._window_ns) - 1, 0)

    def finish(self, begin_ns: int, origin_ns: int, end_ns: int) -> None:
        """All that is still open, and all that nothing was seen of."""
        if end_ns > begin_ns:
            self._close(self._last(begin_ns, end_ns) + 1, begin_ns, origin_ns, end_ns)

    def _close(self, until: int, begin_ns: int, origin_ns: int, end_ns: int | None) -> None:
        while self._next < until:
            t0_ns = begin_ns + self._next * self._window_ns
            t1_ns = t0_ns + self._window_ns
            whole = end_ns is None or min(t1_ns, end_ns) - t0_ns >= _LEAST_PART * self._window_ns
            evidence = self._open.pop(self._next, _Window()).evidence(self._wide)
            for rule in self._rules:
                found = check(rule.each, evidence)
                if whole or broken_for_good(rule.each, found):
                    self.results[rule.show()].append(
                        WindowResult(
                            t0_ns - origin_ns,
                            (t1_ns if end_ns is None else min(t1_ns, end_ns)) - origin_ns,
                            found.verdict,
                            found.observed,
                            found.samples,
                            found.sentence,
                            found.note,
                        )
                    )
            self._next += 1
