"""Sliding log (L, W) held against a trace: for every L, the windows that agree with all answers (metrics.md E1)."""

from __future__ import annotations

import numpy as np

from harness.search.limits.finding import Candidate, Interval
from harness.search.limits.trace import Evidence, Floats


def _spans(seen: Evidence, limit: int, counts_refused: bool) -> tuple[Floats, Floats]:
    """Per acceptance, W is at most this; per refusal, W is more than this (inf: cannot be)."""
    low, up = seen.spent(counts_refused)
    before, at_most = seen.orders(counts_refused)
    yes_up, no_low = seen.up[seen.ok], seen.low[~seen.ok]
    late = before >= limit
    longest = np.full(len(yes_up), np.inf)
    longest[late] = yes_up[late] - low[before[late] - limit]
    shortest = np.full(len(no_low), np.inf)
    full = at_most >= limit
    shortest[full] = no_low[full] - up[at_most[full] - limit]
    return longest, shortest


def fit_log(seen: Evidence, *, counts_refused: bool = False) -> Candidate:
    """The best log, with all limits and windows that agree with every answer (or, if none does, the one that errs least)."""
    most = int(seen.ok.sum()) if not counts_refused else len(seen.ok)
    agreeing: list[tuple[int, float, float]] = []
    best = (len(seen.ok) + 1, 1, 1.0)
    for limit in range(1, most + 1):
        longest, shortest = _spans(seen, limit, counts_refused)
        high, low = float(longest.min(initial=np.inf)), max(0.0, float(shortest.max(initial=0.0)))
        if low < high and np.isfinite(high):
            agreeing.append((limit, low, high))
        elif not agreeing:
            windows = np.unique(longest[np.isfinite(longest)])
            if not len(windows):
                continue
            down, top = np.sort(longest), np.sort(shortest)
            wrong = np.searchsorted(down, windows, side="left") + len(top) - np.searchsorted(top, windows, side="left")
            at = int(np.argmin(wrong))
            if wrong[at] < best[0]:
                best = (int(wrong[at]), limit, float(windows[at]))
    if not agreeing:
        wrong_least, limit, window = best
        return _candidate(counts_refused, wrong_least, seen, (limit, limit), (window, window))
    limits = [limit for limit, _, _ in agreeing]
    return _candidate(
        counts_refused,
        0,
        seen,
        (min(limits), max(limits)),
        (min(low for _, low, _ in agreeing), max(high for _, _, high in agreeing)),
    )


def _candidate(counts_refused: bool, wrong: int, seen: Evidence, limit: tuple[int, int], window: tuple[float, float]) -> Candidate:
    rate = Interval(limit[0] / window[1] if window[1] else 0.0, limit[1] / window[0] if window[0] else np.inf)
    return Candidate(
        "sliding_log", counts_refused, wrong, len(seen.ok), rate, None, Interval(*map(float, limit)), Interval(*window)
    )
