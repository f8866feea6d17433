"""Token bucket (r, b) held against a trace: for every r, the b that agree with all answers, in closed form (metrics.md E1, E2)."""

from __future__ import annotations

import math

import numpy as np

from harness.search.limits.finding import Candidate, Interval
from harness.search.limits.trace import Evidence, Floats, stand_alone

GRID = 60
BISECTIONS = 34
FRACTION = 0.2
"""Step of sizes that are no whole numbers."""
BLURRED = 12
"""So many may have been accepted after the first refusal that was seen, because they came out of order."""


class _Bounds:
    """Per rate: which b each answer allows.

    Tokens before request i are the minimum over all starts x of b + r·(t_i - x) - spent(x, t_i). An acceptance says that
    this is >= 1 for every x, a refusal that it is < 1 for some x. Counts and times are taken at the end of their brackets
    that is kinder to the model.
    """

    def __init__(self, seen: Evidence, counts_refused: bool) -> None:
        self._low, self._up = seen.spent(counts_refused)[0], seen.spent(counts_refused, perhaps=True)[1]
        self._before, self._at_most = seen.orders(counts_refused)
        self._yes_low, self._yes_up = seen.low[seen.ok], seen.up[seen.ok]
        self._no_low, self._no_up = seen.low[~seen.ok], seen.up[~seen.ok]
        self._yes_reach = np.searchsorted(self._low, self._yes_low, side="right") - 1
        self._no_reach = np.searchsorted(self._up, self._no_low, side="right") - 1

    def needs(self, rate: Floats) -> Floats:
        """(rates, acceptances): the least b."""
        if not len(self._yes_up):
            return np.zeros((len(rate), 0))
        starts = np.maximum.accumulate(rate[:, None] * self._low - np.arange(len(self._low)), axis=1)
        return np.asarray(self._before + 1 - rate[:, None] * self._yes_up + starts[:, np.maximum(self._yes_reach, 0)])

    def allows(self, rate: Floats) -> Floats:
        """(rates, refusals): the b must be below."""
        # those that cannot be told apart from it in time
        blurred = np.asarray(1.0 + self._at_most - (self._no_reach + 1), dtype=np.float64)
        if not len(self._no_up) or not len(self._up):
            return np.broadcast_to(blurred, (len(rate), len(self._no_up)))
        starts = np.maximum.accumulate(rate[:, None] * self._up - np.arange(len(self._up)), axis=1)
        known = 1 + self._at_most - rate[:, None] * self._no_low + starts[:, np.maximum(self._no_reach, 0)]
        return np.asarray(np.maximum(np.where(self._no_reach >= 0, known, 1.0), blurred))


def _rates(bounds: _Bounds, sizes: Floats, rates: tuple[float, float], dropped: tuple[int, int]) -> tuple[Floats, Floats]:
    """Per size, the rates between which it agrees with all answers but so many acceptances and refusals (low > high: none).

    Both bounds on b fall as r grows: acceptances ask for at least some r, refusals for less than some r, and bisection finds both.
    """
    ends = []
    for asks in (True, False):
        below, above = np.full(len(sizes), rates[0]), np.full(len(sizes), rates[1])
        for _ in range(BISECTIONS):
            middle = np.sqrt(below * above)
            if asks:
                bound = _ranked(bounds.needs(middle), dropped[0], -1.0)
            else:
                bound = _ranked(bounds.allows(middle), dropped[1], 1.0)
            passed = bound <= sizes + 1e-9
            above, below = np.where(passed, middle, above), np.where(passed, below, middle)
        ends.append(above)
    return ends[0], ends[1]


def _ranked(values: Floats, dropped: int, sign: float) -> Floats:
    """Per row the greatest (sign -1) or least (sign 1) after so many were dropped."""
    if values.shape[1] <= dropped:
        return np.full(len(values), sign * np.inf)
    if not dropped:
        return np.asarray(sign * (sign * values).min(axis=1))
    return np.asarray(sign * np.partition(sign * values, dropped, axis=1)[:, dropped])


def fit_bucket(
    seen: Evidence, *, counts_refused: bool = False, rates: tuple[float, float] = (1e-3, 100.0), spare: int = 0
) -> Candidate:
    """The best bucket, with all rates and sizes that agree with every answer (or, if none does, the one that errs least).

    `spare`: so many answers may stay unexplained, if each of them stands alone.
    """
    bounds = _Bounds(seen, counts_refused)
    refused = np.flatnonzero(~seen.ok)
    # the burst may have been cut short by one of the answers that are to be left out
    most = int(seen.ok[: refused[min(spare, len(refused) - 1)]].sum()) + BLURRED if len(refused) else int(seen.ok.sum())
    most += len(seen.lost_low)
    sizes = np.arange(1.0, most + 1)
    low = high = np.array([])
    nearest = 0
    for _ in range(2):  # sizes are whole numbers as a rule; a fraction only near the whole one that comes nearest
        agreeing: list[tuple[float, float, float]] = []
        for dropped in range(spare + 1):
            low, high = _rates(bounds, sizes, rates, (dropped, spare - dropped))
            good = np.flatnonzero((low < high) & (low < rates[1]))
            agreeing += [(float(sizes[at]), float(low[at]), float(high[at])) for at in good]
        if agreeing:
            return Candidate(
                "token_bucket",
                counts_refused,
                _left_out(seen, bounds, agreeing, spare) if spare else 0,
                len(seen.ok),
                Interval(min(one[1] for one in agreeing), max(one[2] for one in agreeing)),
                Interval(min(one[0] for one in agreeing), max(one[0] for one in agreeing)),
            )
        nearest = int(np.argmin(np.log(low) - np.log(high)))
        around = sizes[nearest], low[nearest], high[nearest]
        if spare:
            break
        sizes = np.arange(max(1.0, around[0] - 2), around[0] + 2, FRACTION)
    grid = np.geomspace(max(rates[0], min(around[1], around[2]) * 0.9), min(rates[1], max(around[1], around[2]) * 1.1), GRID)
    return _erring(seen, bounds, grid, counts_refused, spare)


def _left_out(seen: Evidence, bounds: _Bounds, agreeing: list[tuple[float, float, float]], spare: int) -> int:
    """How many answers the best of them contradicts; more than `spare` if they do not stand alone."""
    fewest = spare + 1
    for size, low, high in agreeing:
        rate = np.array([math.sqrt(low * high)])
        wrong = np.zeros_like(seen.ok)
        wrong[seen.ok], wrong[~seen.ok] = bounds.needs(rate)[0] > size + 1e-9, bounds.allows(rate)[0] <= size + 1e-9
        if stand_alone(wrong):
            fewest = min(fewest, int(wrong.sum()))
    return fewest


def _erring(seen: Evidence, bounds: _Bounds, grid: Floats, counts_refused: bool, spare: int) -> Candidate:
    needs, allows = np.sort(bounds.needs(grid), axis=1), np.sort(bounds.allows(grid), axis=1)
    fewest, best = len(seen.ok) + 1, (1.0, 1.0)
    for place, rate in enumerate(grid):
        sizes = np.unique(np.ceil(np.concatenate([needs[place], allows[place]])))
        sizes = sizes[sizes >= 1]
        if not len(sizes):
            continue
        wrong = len(needs[place]) - np.searchsorted(needs[place], sizes + 1e-9, side="right")
        wrong += np.searchsorted(allows[place], sizes, side="right")
        at = int(np.argmin(wrong))
        if wrong[at] < fewest:
            fewest, best = int(wrong[at]), (float(rate), float(sizes[at]))
    fewest = max(fewest, spare + 1)
    return Candidate("token_bucket", counts_refused, fewest, len(seen.ok), Interval(best[0], best[0]), Interval(best[1], best[1]))
