"""The measured part of a model: totals and percentiles in the report's own terms."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from fractions import Fraction
from typing import Any

from harness.core.ops import MEASURES
from harness.journal.records import ONE_WAY, SPANS, Example, merge_examples, parts
from harness.metrics.censored import censored, failures, is_cut_wait
from harness.metrics.histogram import HIGHEST, Histogram
from harness.metrics.one_way import KINDS, SourceClock
from harness.report.fold import Measured
from harness.report.identities import Identities
from harness.report.model import Anomaly, ById, ClockLine, Figures, Guests, Measures, OneWayLine, Percentiles
from harness.verdicts.check import anomaly_counts, order_interval

_SHARES = (Fraction(1, 2), Fraction(9, 10), Fraction(95, 100), Fraction(99, 100), Fraction(999, 1000))
_NAMES = ("p50", "p90", "p95", "p99", "p999")
_TIMED = ("service", "response", "delay")
_LOWS = tuple(f"{kind}_low" for kind in ("service", "response"))
_KINDS = (*_TIMED, *_LOWS, "span", *KINDS)
_BEYOND = 10
"""A percentile is printed only with so many samples beyond it."""


def at_share(histogram: Histogram, share: Fraction) -> float | None:
    """A percentile in milliseconds of a histogram of microseconds; None with fewer than ten samples beyond it."""
    value = histogram.percentile(share) if histogram.count * (1 - share) >= _BEYOND else None
    if value is None or histogram.count - histogram.overflow < math.ceil(share * histogram.count):
        return None  # the last: it is one of those beyond the range, so nobody knows how long
    return value / 1000


def percentiles(histogram: Histogram, low: Histogram | None = None) -> Percentiles:
    """The report's percentiles of a histogram of microseconds. `low` is the same without what the generator may have added."""
    values = p50, p90, p95, p99, p999 = tuple(at_share(histogram, share) for share in _SHARES)
    top = histogram.high if histogram.overflow else histogram.top  # as the percentiles: the upper end of its bucket
    added = {}
    if low is not None:
        whole = low.count == histogram.count  # else the loop was not watched all the time, and there is no bound
        for name, share, value in zip(_NAMES, _SHARES, values, strict=True):
            least = low.least(share) if whole and value is not None else None
            added[name] = None if value is None or least is None else round(max(value - least / 1000, 0.0), 3)
    return Percentiles(
        histogram.count,
        p50,
        p90,
        p95,
        p99,
        p999,
        None if top is None else top / 1000,
        {name: interval(histogram, share) for name, share in zip(_NAMES, _SHARES, strict=True)},
        added,
        histogram.overflow,
        histogram.negative,
    )


def interval(histogram: Histogram, share: Fraction) -> tuple[float | None, float | None]:
    """The 95 % interval of a percentile in milliseconds; an end is None where nothing bounds it."""
    low, high = order_interval(histogram, share)
    # A value beyond the range bounds nothing from above: it is only known to be longer.
    open_end = high is None or (high >= HIGHEST and histogram.overflow > 0)
    return None if low is None else low / 1000, None if open_end or high is None else high / 1000


def figures(measured: Measured, manifest: dict[str, Any], *, complete: bool) -> Figures:
    """Everything measured, in the report's terms."""
    return Figures(
        complete,
        _guests(measured, manifest, complete),
        {name: measured.count(f"messages|{name}") for name in ("invoked", "attempts", "ok", "fail", "info")},
        _measures(measured),
        _anomalies(measured),
        _failures(measured),
        censored(measured.counters),
        {name: measured.counters[name] for name in sorted(measured.counters)},
        {name: round(value, 6) for name, value in sorted(measured.health.items())},
        _by_id(measured.identities) if measured.identities is not None else {},
        *_clocks(measured, manifest),
    )


def _clocks(measured: Measured, manifest: dict[str, Any]) -> tuple[list[ClockLine], OneWayLine]:
    """The server's clocks, seen from the wall clock of the run's anchor."""
    found = measured.one_way
    if found is None:
        return [], OneWayLine("none", "", 0)
    anchor = manifest.get("anchor") or {}
    known = "wall_ns" in anchor and "monotonic_ns" in anchor
    wall_ns = int(anchor["wall_ns"]) - int(anchor["monotonic_ns"]) if known else None
    lines = [_clock(one, wall_ns) for one in found.sources]
    return lines, OneWayLine(found.state, found.why, found.faults, found.without)


def _clock(one: SourceClock, wall_ns: int | None) -> ClockLine:
    def ahead(offset_ns: int | None) -> float | None:
        return None if offset_ns is None or wall_ns is None else _ms(offset_ns - wall_ns)

    offset = one.offset
    return ClockLine(
        one.source,
        one.state,
        one.answers,
        one.both,
        one.grain_ns / 1e6,
        _ms(one.quick_ns),
        ahead(offset.low_ns),
        ahead(offset.middle_ns),
        ahead(offset.high_ns),
        _ms(one.half_ns),
        _ms(one.drift_ns),
        _ms(one.gap_ns) if one.gap_ns else None,
        one.messages,
        one.left_out,
        one.faults,
        {kind: percentiles(histogram) for kind, histogram in one.histograms.items()},
    )


def _ms(ns: int | None) -> float | None:
    return None if ns is None else round(ns / 1e6, 6)


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
        if measure not in MEASURES or len(rest) != 2 or rest[1] not in _KINDS or not histogram.count:
            continue
        outcome, kind = rest
        if is_cut_wait(measure, outcome):
            continue
        merged.setdefault((measure, "ok" if outcome == "ok" else "failed", kind), Histogram()).merge(histogram)
    found: Measures = {}
    for measure in MEASURES:
        kinds = KINDS if measure in ONE_WAY else ("span",) if measure in SPANS else _TIMED
        for outcome in ("ok", "failed"):
            cells = {}
            for kind in kinds:
                if (found_one := merged.get((measure, outcome, kind))) is not None:
                    low = merged.get((measure, outcome, f"{kind}_low"))
                    bounded = kind in ("service", "response") and outcome == "ok"
                    cells[kind] = percentiles(found_one, (low or Histogram()) if bounded else None)
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
    for by_cause in failures(measured.counters).values():
        causes.update(by_cause)
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
