"""The measured part of a model: totals and percentiles in the report's own terms."""

from __future__ import annotations

import hashlib
from collections import Counter
from fractions import Fraction
from typing import Any

from harness.core.ops import MEASURES
from harness.journal.records import SPANS, Example, merge_examples, parts
from harness.metrics.histogram import Histogram
from harness.report.fold import Measured
from harness.report.identities import Identities
from harness.report.model import Anomaly, ById, Figures, Guests, Measures, Percentiles
from harness.verdicts.check import anomaly_counts

_SHARES = (Fraction(1, 2), Fraction(9, 10), Fraction(95, 100), Fraction(99, 100), Fraction(999, 1000))
_BEYOND = 10
"""A percentile is printed only with so many samples beyond it."""


def at_share(histogram: Histogram, share: Fraction) -> float | None:
    """A percentile in milliseconds of a histogram of microseconds; None with fewer than ten samples beyond it."""
    value = histogram.percentile(share) if histogram.count * (1 - share) >= _BEYOND else None
    return None if value is None else value / 1000


def percentiles(histogram: Histogram) -> Percentiles:
    """The report's percentiles of a histogram of microseconds."""
    p50, p90, p95, p99, p999 = (at_share(histogram, share) for share in _SHARES)
    top = histogram.high if histogram.overflow else histogram.top  # as the percentiles: the upper end of its bucket
    return Percentiles(histogram.count, p50, p90, p95, p99, p999, None if top is None else top / 1000)


def figures(measured: Measured, manifest: dict[str, Any], *, complete: bool) -> Figures:
    """Everything measured, in the report's terms."""
    return Figures(
        complete,
        _guests(measured, manifest, complete),
        {name: measured.count(f"messages|{name}") for name in ("invoked", "attempts", "ok", "fail", "info")},
        _measures(measured),
        _anomalies(measured),
        _failures(measured),
        {name: measured.counters[name] for name in sorted(measured.counters)},
        {name: round(value, 6) for name, value in sorted(measured.health.items())},
        _by_id(measured.identities) if measured.identities is not None else {},
    )


def _guests(measured: Measured, manifest: dict[str, Any], complete: bool) -> Guests:
    planned = manifest.get("guests_planned")
    if measured.first_ns < 0:
        return Guests(planned, None, None, None)
    ends = {parts(name)[1]: count for name, count in measured.gauges.items() if parts(name)[0] == "guests"}
    finished = ends.pop("finished", 0)
    return Guests(planned, measured.peak_guests, finished, max(sum(ends.values()), 0) if complete else None)


def _measures(measured: Measured) -> Measures:
    merged: dict[tuple[str, str, str], Histogram] = {}
    for name, histogram in sorted(measured.histograms.items()):
        measure, *rest = parts(name)
        if measure not in MEASURES or len(rest) != 2 or rest[1] not in ("service", "response", "span") or not histogram.count:
            continue
        outcome, kind = rest
        merged.setdefault((measure, "ok" if outcome == "ok" else "failed", kind), Histogram()).merge(histogram)
    found: Measures = {}
    for measure in MEASURES:
        kinds = ("span",) if measure in SPANS else ("service", "response")
        for outcome in ("ok", "failed"):
            cells = {kind: percentiles(merged[key]) for kind in kinds if (key := (measure, outcome, kind)) in merged}
            if cells:
                found.setdefault(measure, {})[outcome] = cells
    return found


def _anomalies(measured: Measured) -> dict[str, Anomaly]:
    """Every kind, those that never occurred too: a true zero is a zero."""

    def ids(*kinds: str) -> list[str]:
        found: list[Example] = []
        for kind in kinds:
            found = merge_examples(found, measured.anomalies.get(kind, []))
        return [name for _, name in found]

    kinds = {"lost": ("lost.definite", "unlisted", "lost.unread"), "disconnects": ("disconnect",)}
    found = {}
    for name, (low, high) in anomaly_counts(measured.counters).items():
        own = kinds.get(name) or (name.replace("duplicated.", "dup_"),)
        found[name] = Anomaly(low, high, ids(*own))
    return found


def _failures(measured: Measured) -> dict[str, int]:
    """Timed things that were not ok, by cause."""
    causes: Counter[str] = Counter()
    for name, count in measured.family("failed").items():
        causes[parts(name)[-1]] += count
    return {cause: causes[cause] for cause in sorted(causes) if causes[cause]}


def _by_id(identities: Identities) -> dict[str, ById]:
    found = {}
    for name, pair in identities.rows.items():
        digest = hashlib.sha256()
        for counts in (pair.definite, pair.possible):
            for one, count in sorted(counts.items()):
                digest.update(f"{one} {count}\n".encode())
            digest.update(b"\n")
        found[name] = ById(pair.definite.total(), pair.possible.total(), digest.hexdigest())
    return found
