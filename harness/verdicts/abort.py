"""Watches the rules while a run goes on: how each one stands, and whether the run should end early. Pure.

A number that only grows and is over its limit can never be mended: that ends the run at once. A percentile, share or rate may
recover: it ends the run once it has been broken, over the whole run so far, for longer than the grace. Of a rule that must hold in
every window only windows that are past count; those never recover, and still the grace applies to all but counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.journal.records import Interval, merge_counts
from harness.metrics.histogram import Histogram
from harness.verdicts.check import Evidence, broken_for_good, check
from harness.verdicts.lattice import Verdict, WindowResult
from harness.verdicts.slo import Rule, parse
from harness.verdicts.windowed import WindowFold, wanted


class Abort(msgspec.Struct, frozen=True):
    """Why the run should end now."""

    rule: str
    at_ns: int
    sentence: str


class RuleWatch:
    """Takes one worker's intervals in order."""

    def __init__(self, texts: Sequence[str], *, grace_ns: int, abort: bool) -> None:
        """Raises SloError for a text that is no rule."""
        self._texts = list(texts)
        self._rules = [parse(text) for text in texts]
        self._grace_ns, self._abort = grace_ns, abort
        self._wanted = frozenset[str]().union(*(wanted(rule) for rule in self._rules))
        self._histograms: dict[str, Histogram] = {}
        self._counters: dict[str, int] = {}
        self._origin_ns: int | None = None
        self._windows: WindowFold | None = None
        self._broken_since: dict[int, int] = {}
        self.states: list[bool | None] = [None] * len(self._rules)
        """How each rule stands so far: held, broken, or not to be said yet."""

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules that are watched."""
        return self._rules

    def take(self, interval: Interval, load_ns: int | None = None) -> Abort | None:
        """One more interval; `load_ns`: when the full load began, if it has. Returns why the run should end, if it should."""
        merge_counts(self._counters, interval.counters)
        for name, sparse in interval.histograms.items():
            if name in self._wanted:
                self._histograms.setdefault(name, Histogram()).add_sparse(sparse)
        evidence = Evidence(self._histograms, self._counters, windows=self._past(interval, load_ns))
        found: Abort | None = None
        for number, rule in enumerate(self._rules):
            if rule.kind == "throughput" and not rule.window_ns:
                continue  # only the whole steady load says it
            result = check(rule, evidence)
            waits = rule.op in (">", ">=") or (rule.op == "==" and rule.limit > 0)
            lower = not rule.window_ns and rule.kind in ("count", "failed") and waits and not broken_for_good(rule, result)
            self.states[number] = None if result.verdict is Verdict.UNKNOWN or lower else result.verdict is Verdict.PASS
            if result.verdict is not Verdict.FAIL or lower or (rule.kind == "percentile" and not rule.upper):
                self._broken_since.pop(number, None)
                continue
            since = self._broken_since.setdefault(number, interval.t1_ns)
            late = interval.t1_ns - since > self._grace_ns
            at_once = broken_for_good(rule, result) and rule.kind in ("count", "failed")
            if self._abort and found is None and (at_once or late):
                found = Abort(self._texts[number], interval.t1_ns, result.sentence)
        return found

    def _past(self, interval: Interval, load_ns: int | None) -> dict[str, list[WindowResult]]:
        """The windows that are past with this interval."""
        if self._origin_ns is None:
            self._origin_ns = interval.t0_ns
        if self._windows is None and load_ns is not None:
            self._windows = WindowFold(self._rules, begin_ns=load_ns, origin_ns=self._origin_ns)
        if self._windows is None:
            return {}
        self._windows.take(interval)
        return self._windows.results()
