"""Sliding log (L, W) held against a trace: for every L, the windows that agree with all answers (metrics.md E1)."""

from __future__ import annotations

import numpy as np

from harness.search.limits.finding import Candidate, Interval
from harness.search.limits.trace import Evidence, Floats, least_window, stand_alone


def _spans(seen: Evidence, limit: int, counts_refused: bool) -> tuple[Floats, Floats]:
    """Per acceptance, W is at most this; per refusal, W is more than this (inf: cannot be)."""
    low, up = seen.spent(counts_refused)[0], seen.spent(counts_refused, perhaps=True)[1]
    before, at_most = seen.orders(counts_refused)
    yes_up, no_low = seen.up[seen.ok], seen.low[~seen.ok]
    late = before >= limit
    longest = np.full(len(yes_up), np.inf)
    longest[late] = yes_up[late] - low[before[late] - limit]
    shortest = np.full(len(no_low), np.inf)
    full = at_most >= limit
    shortest[full] = no_low[full] - up[at_most[full] - limit]
    return longest, shortest


def fit_log(seen: Evidence, *, counts_refused: bool = False, spare: int = 0) -> Candidate:
    """The best log, with all limits and windows that agree with every answer (or, if none does, the one that errs least).

    `spare`: so many answers may stay unexplained, if each of them stands alone.
    """
    most = (int(seen.ok.sum()) if not counts_refused else len(seen.ok)) + len(seen.lost_low)
    least = least_window(seen)
    agreeing: list[tuple[int, float, float]] = []
    best = (len(seen.ok) + 1, 1, 1.0)
    for limit in range(1, most + 1):
        longest, shortest = _spans(seen, limit, counts_refused)
        down, top = np.sort(longest), np.sort(shortest)[::-1]
        found = False
        for dropped in range(spare + 1):  # so many acceptances, and the rest refusals
            high = float(down[dropped]) if dropped < len(down) else np.inf
            low = max(least, float(top[spare - dropped]) if spare - dropped < len(top) else 0.0)
            if low < high and np.isfinite(high):
                agreeing.append((limit, low, high))
                found = True
        if not found and not agreeing:
            windows = np.unique(longest[np.isfinite(longest)])
            if not len(windows):
                continue
            rising = top[::-1]
            wrong = np.searchsorted(down, windows, side="left") + len(top) - np.searchsorted(rising, windows, side="left")
            at = int(np.argmin(wrong))
            if wrong[at] < best[0]:
                best = (int(wrong[at]), limit, float(windows[at]))
    if not agreeing:
        wrong_least, limit, window = max(spare + 1, best[0]), best[1], best[2]
        return _candidate(counts_refused, wrong_least, seen, (limit, limit), (window, window))
    return _candidate(
        counts_refused,
        _left_out(seen, agreeing, counts_refused, spare) if spare else 0,
        seen,
        (min(one[0] for one in agreeing), max(one[0] for one in agreeing)),
        (min(one[1] for one in agreeing), max(one[2] for one in agreeing)),
    )


def _left_out(seen: Evidence, agreeing: list[tuple[int, float, float]], counts_refused: bool, spare: int) -> int:
    """How many answers the best of them contradicts; more than `spare` if they do not stand alone."""
    fewest = spare + 1
    for limit, low, high in agreeing:
        window = (low + high) / 2
        longest, shortest = _spans(seen, limit, counts_refused)
        wrong = np.zeros_like(seen.ok)
        wrong[seen.ok], wrong[~seen.ok] = longest <= window, shortest >= window
        if stand_alone(wrong):
            fewest = min(fewest, int(wrong.sum()))
    return fewest


def _candidate(counts_refused: bool, wrong: int, seen: Evidence, limit: tuple[int, int], window: tuple[float, float]) -> Candidate:
    rate = Interval(limit[0] / window[1] if window[1] else 0.0, limit[1] / window[0] if window[0] else np.inf)
    return Candidate(
        "sliding_log", counts_refused, wrong, len(seen.ok), rate, None, Interval(*map(float, limit)), Interval(*window)
    )
