"""Where the level of a series changed: E-divisive over sliding windows with Student's t (metrics.md F6). Pure and deterministic.

The largest energy distance Q names a candidate, t decides, and both halves are searched in turn. Windows keep the search linear in
the length. Then the weakest points are taken out one by one, and their neighbours tested anew over the longer stretches, until
every one that is left is both sure and large enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import special

from harness.drift.model import ChangePoint
from harness.drift.trend import Floats, lag1

WINDOW = 50
P = 0.001
LEAST = 0.05
"""Smallest change, as a share of the level before."""
SHORTEST = 2
"""Values that a level has at least."""
SHORTEST_IN_RUN = 10
"""The same within a run, where a few slow intervals are an incident and no new level."""
_ROUNDING = 1e-9
_ROUNDS = 10
_WEAK = 10.0
"""Candidates may be so much less sure than what is kept: over longer stretches they may yet become so."""
_BAND = 3.68
"""Log-likelihood below the best split that holds the true one in 95 of 100 cases: two random walks that each stay below it,
(1 - exp(-x))^2 = 0.95."""


def energy(values: Sequence[float] | Floats) -> Floats:
    """Q of every split after 2 … n-2 values, by `Q[i]` for the split after i + 2; empty for fewer than four values."""
    x = np.asarray(values, dtype=float)
    n = len(x)
    if n < 2 * SHORTEST:
        return np.empty(0)
    distance = np.abs(x[:, None] - x[None, :])
    sums = np.cumsum(np.cumsum(distance, axis=0), axis=1)
    m = np.arange(SHORTEST, n - SHORTEST + 1)
    k = n - m
    left = sums[m - 1, m - 1]
    both = sums[m - 1, n - 1]  # left to all
    right = sums[-1, -1] - 2 * both + left
    across = both - left
    found: Floats = m * k / n * (2 * across / (m * k) - left / (m * (m - 1)) - right / (k * (k - 1)))
    return found


class _Sums:
    """Sums of a series, so that any stretch of it is tested in the same short time."""

    def __init__(self, x: Floats) -> None:
        self.length = len(x)
        self.centre = float(x.mean())
        self.largest = float(np.abs(x).max())
        y = x - self.centre
        self._one, self._two = np.concatenate(([0.0], np.cumsum(y))), np.concatenate(([0.0], np.cumsum(y * y)))

    def mean(self, a: int, b: int) -> float:
        """Mean of x[a:b]."""
        return self.centre + float(self._one[b] - self._one[a]) / (b - a)

    def squares(self, a: int, b: int) -> float:
        """Squared deviations of x[a:b] from its mean."""
        total = float(self._one[b] - self._one[a])
        return max(float(self._two[b] - self._two[a]) - total * total / (b - a), 0.0)

    def student(self, a: int, split: int, b: int, weight: float = 1.0) -> float:
        """Two-sided p of Student's t with the pooled sample sd, x[a:split] against x[split:b].

        Each value counts as `weight` independent ones, at most 1.
        """
        n, m = (split - a) * weight, (b - split) * weight
        freedom = n + m - 2
        difference = abs(self.mean(a, split) - self.mean(split, b))
        if freedom <= 0 or difference <= _ROUNDING * self.largest:
            return 1.0
        squares = (self.squares(a, split) + self.squares(split, b)) * weight
        if squares <= (_ROUNDING * self.largest) ** 2:  # rounding is no spread
            return 0.0
        return float(2 * special.stdtr(freedom, -difference / math.sqrt(squares / freedom * (1 / n + 1 / m))))

    def change(self, a: int, split: int, b: int) -> float:
        """How much the level changes, as a share of the level before."""
        before, after = self.mean(a, split), self.mean(split, b)
        if abs(before) <= _ROUNDING * self.largest:
            return math.inf if after else 0.0
        return abs(after - before) / abs(before)


def change_points(
    values: Sequence[float | None],
    *,
    window: int = WINDOW,
    p: float = P,
    least: float = LEAST,
    shortest: int = SHORTEST,
    dependent: bool = False,
    step_s: float | None = None,
    start_s: float = 0.0,
) -> list[ChangePoint]:
    """Change points of a series, in order; None and what is not finite is a gap. See `change_points_in_run` for one run's.

    `dependent`: the values follow each other in time and hang together, as intervals of one run do and nights do not. Then each
    counts for less by how much neighbours are alike, and p is divided by the number of windows that were searched.
    """
    known = [number for number, value in enumerate(values) if value is not None and math.isfinite(value)]
    if len(known) < 2 * shortest:
        return []
    x = np.array([values[number] for number in known], dtype=float)
    scale = float(np.abs(x).max()) or 1.0
    x = x / scale
    sums, weight = _Sums(x), 1.0
    found = _candidates(x, window, min(_WEAK * p, 0.05), shortest)
    if dependent:
        p /= max(1.0, 2 * len(x) / window)
    for _ in range(_ROUNDS):
        before = found
        weight = _weight(x, found) if dependent else 1.0  # the fewer points, the more alike are neighbours about their levels
        # What the windows' edges have shifted moves to its best place between its neighbours, and is tested anew.
        found = _settled(x, _kept(sums, found, p, least, shortest, weight))
        found = _kept(sums, found, p, least, shortest, weight)
        if not found or found == before:
            break
    edges = [0, *found, len(x)]
    return [
        _point(x, known, scale, (a, split, b), (a + 1, b), weight, step_s, start_s)
        for a, split, b in zip(edges, found, edges[2:], strict=False)
    ]


def change_points_in_run(
    values: Sequence[float | None],
    *,
    step_s: float,
    start_s: float = 0.0,
    window: int = WINDOW,
    p: float = P,
    least: float = LEAST,
    shortest: int = SHORTEST_IN_RUN,
) -> list[ChangePoint]:
    """Change points within one run, with their times."""
    return change_points(values, window=window, p=p, least=least, shortest=shortest, dependent=True, step_s=step_s, start_s=start_s)


def _weight(x: Floats, splits: Sequence[int]) -> float:
    """How many independent values each is worth, as far as neighbours about their levels are alike (as in AR(1))."""
    r1 = min(max(lag1(_residuals(x, splits).tolist()), 0.0), 0.99)
    return (1 - r1) / (1 + r1)


def locate(
    values: Sequence[float | None],
    begin: int,
    end: int,
    between: tuple[int, int],
    *,
    step_s: float | None = None,
    start_s: float = 0.0,
) -> ChangePoint | None:
    """The best place of the one step that is known to be in values[begin:end], first value at the new level within `between`."""
    known = [n for n in range(begin, end) if (v := values[n]) is not None and math.isfinite(v)]
    x = np.array([values[n] for n in known], dtype=float)
    low, high = (int(np.searchsorted(known, edge)) for edge in between)
    low, high = max(low, SHORTEST), min(high, len(x) - SHORTEST)
    if low > high:
        return None
    scale = float(np.abs(x).max()) or 1.0
    x = x / scale
    split = _best(x, 0, len(x), low, high)
    return _point(x, known, scale, (0, split, len(x)), (low, high), _weight(x, [split]), step_s, start_s)


def _candidates(x: Floats, window: int, p: float, shortest: int) -> list[int]:
    found: set[int] = set()
    start = 0
    while True:
        inside = _divide(x[start : start + window], p, shortest)
        found |= {start + split for split in inside}
        if start + window >= len(x):
            return sorted(found)
        # The next window begins no earlier than the last point found, so that nothing but the newest level is at its begin.
        start += max(window // 2, max(inside, default=0))


def _divide(x: Floats, p: float, shortest: int) -> list[int]:
    if len(x) < 2 * shortest:
        return []
    q = energy(x)
    reach = slice(shortest - SHORTEST, len(q) - (shortest - SHORTEST))
    split = int(np.argmax(q[reach])) + shortest
    if q[split - SHORTEST] <= 0 or _Sums(x).student(0, split, len(x)) > p:
        return []
    return [*_divide(x[:split], p, shortest), split, *(split + inner for inner in _divide(x[split:], p, shortest))]


def _kept(sums: _Sums, splits: list[int], p: float, least: float, shortest: int, weight: float) -> list[int]:
    """Without those that are not sure or not large: the weakest goes first, since that changes what its neighbours part.

    Of two points that lie too near to each other the less sure one goes before all others.
    """
    edges = [0, *splits, sums.length]

    def doubt(k: int) -> float:
        a, split, b = edges[k - 1 : k + 2]
        return sums.student(a, split, b, weight) + (1.0 if min(split - a, b - split) < shortest else 0.0)

    def size(k: int) -> float:
        a, split, b = edges[k - 1 : k + 2]
        return sums.change(a, split, b)

    inner = range(1, len(edges) - 1)
    doubts, sizes = [math.nan, *map(doubt, inner), math.nan], [math.nan, *map(size, inner), math.nan]
    while len(edges) > 2:
        weakest = max(range(1, len(edges) - 1), key=doubts.__getitem__)
        if doubts[weakest] <= p:
            weakest = min(range(1, len(edges) - 1), key=sizes.__getitem__)
            if sizes[weakest] >= least:
                break
        del edges[weakest], doubts[weakest], sizes[weakest]
        for k in (weakest - 1, weakest):  # its neighbours part longer stretches now
            if 0 < k < len(edges) - 1:
                doubts[k], sizes[k] = doubt(k), size(k)
    return edges[1:-1]


def _settled(x: Floats, splits: list[int]) -> list[int]:
    """Each at the best place between its neighbours."""
    edges = [0, *splits, len(x)]
    for number in range(1, len(edges) - 1):
        a, b = edges[number - 1], edges[number + 1]
        low, high = a + SHORTEST, b - SHORTEST
        if low <= high:
            edges[number] = _best(x, a, b, low, high)
    return edges[1:-1]


def _squares(x: Floats, a: int, b: int, low: int, high: int) -> Floats:
    """What two levels leave of x[a:b], for every split from low to high."""
    part = x[a:b] - x[a:b].mean()
    k = np.arange(low - a, high - a + 1)
    before = np.cumsum(part)[k - 1]
    found: Floats = float((part * part).sum()) - before * before * (1 / k + 1 / (len(part) - k))
    return np.maximum(found, 0.0)


def _best(x: Floats, a: int, b: int, low: int, high: int) -> int:
    return low + int(np.argmin(_squares(x, a, b, low, high)))


def _residuals(x: Floats, splits: Sequence[int]) -> Floats:
    return np.concatenate([part - part.mean() for part in np.split(x, splits) if len(part)])


def _point(
    x: Floats,
    known: Sequence[int],
    scale: float,
    place: tuple[int, int, int],
    between: tuple[int, int],
    weight: float,
    step_s: float | None,
    start_s: float,
) -> ChangePoint:
    a, split, b = place
    low, high = max(between[0], a + 1), min(between[1], b - 1)
    squares = _squares(x, a, b, low, high)
    least = float(squares[split - low]) if low <= split <= high else float(squares.min())
    variance = least / max(b - a - 2, 1)
    near = np.flatnonzero(squares - least <= 2 * _BAND * variance / weight)
    first, last = (low + int(near[0]), low + int(near[-1])) if len(near) else (split, split)
    point = ChangePoint(
        known[split],
        known[min(first, split)],
        known[max(last, split)],
        float(x[a:split].mean()) * scale,
        float(x[split:b].mean()) * scale,
        _Sums(x).student(a, split, b, weight),
    )
    if step_s is None:
        return point
    at = [start_s + index * step_s for index in (point.index, point.first, point.last)]
    return msgspec.structs.replace(point, at_s=at[0], first_s=at[1], last_s=at[2])
