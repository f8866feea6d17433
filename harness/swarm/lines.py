"""What a load process says about an interval, in one small record for a screen. The journal holds the figures themselves."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from harness.journal.records import SEND_DELAY, Interval, SparseHistogram
from harness.metrics.health import merge_health, shares
from harness.metrics.histogram import Histogram, merge_sparse

_WINDOW = 5
"""Intervals that a shown percentile is made of."""
_SHOWN = ("echo", "ack", "reply")
_LATE_US = 40_000


class Telling:
    """Adds up intervals into what is shown."""

    def __init__(self, planned: int) -> None:
        self._planned = planned
        self._guests: dict[str, int] = {}
        self._failed = 0
        self._lost_low = self._lost_high = 0
        self._recent: list[dict[str, SparseHistogram]] = []
        self._shown: dict[str, dict[str, float]] = {"p50_ms": {}, "p99_ms": {}}
        self._health: list[dict[str, float]] = []

    def line(self, interval: Interval) -> dict[str, Any]:
        """The record of one more interval."""
        counters = interval.counters
        for name, change in interval.gauges.items():
            family, _, state = name.partition("|")
            if family == "guests":
                self._guests[state] = self._guests.get(state, 0) + change
        self._failed += sum(count for name, count in counters.items() if name.startswith(("failed|", "messages.failed|")))
        definite = _sum(counters, "lost.definite|", "unlisted|")
        self._lost_low += definite
        self._lost_high += definite + _sum(counters, "lost.unread|")
        self._recent.append({name: one for name, one in interval.histograms.items() if name == SEND_DELAY or _measure(name)})
        self._health = [*self._health[1 - _WINDOW :], interval.health]
        if len(self._recent) >= _WINDOW:
            self._percentiles()
        seconds = max((interval.t1_ns - interval.t0_ns) / 1e9, 1e-9)
        return {
            "kind": "interval",
            "guests": sum(count for state, count in self._guests.items() if state != "finished"),
            "planned": self._planned,
            "sent_per_s": round(counters.get("messages|attempts", 0) / seconds, 1),
            **self._shown,
            "failed": self._failed,
            "lost": [self._lost_low, self._lost_high],
            "generator": self._generator(),
        }

    def _percentiles(self) -> None:
        whole: dict[str, SparseHistogram] = {}
        for histograms in self._recent:
            for name, one in histograms.items():
                whole[name] = merge_sparse(whole[name], one) if name in whole else one
        self._recent.clear()
        self._shown = {"p50_ms": {}, "p99_ms": {}}
        for name, one in whole.items():
            measure = "send_delay" if name == SEND_DELAY else _measure(name)
            histogram = Histogram()
            histogram.add_sparse(one)
            for key, share in (("p50_ms", Fraction(1, 2)), ("p99_ms", Fraction(99, 100))):
                value = histogram.percentile(share)
                if value is not None:
                    self._shown[key][measure] = value / 1000

    def _generator(self) -> str:
        merged: dict[str, float] = {}
        for figures in self._health:
            merge_health(merged, figures)
        share = shares(merged)
        if merged.get("journal.errors"):
            return "journal"
        if merged.get("ports.exhausted") or merged.get("open_files.refused"):
            return "exhausted"
        if share.busy is not None and share.busy > 0.9:
            return "saturated"
        if self._shown["p99_ms"].get("send_delay", 0) > _LATE_US / 1000:
            return "late"
        return "busy" if share.busy is not None and share.busy > 0.7 else "ok"


def _measure(name: str) -> str:
    measure, _, rest = name.partition("|")
    return measure if measure in _SHOWN and rest == "ok|response" else ""


def _sum(counters: dict[str, int], *heads: str) -> int:
    return sum(count for name, count in counters.items() if name.startswith(heads))
