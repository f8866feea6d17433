"""Windows with a phase held against a trace: fixed window and sliding counter (metrics.md E1).

Both count per window [phase + kW, phase + (k+1)W); the sliding counter adds the share of the window before that still reaches back.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from harness.search.limits.finding import Candidate, Interval
from harness.search.limits.trace import Evidence, Flags, Floats

PhasedKind = Literal["fixed_window", "sliding_counter"]
CHUNK = 400_000
"""Cells evaluated at once: bounds the memory."""
ZOOMS = 7
HOPELESS = {2: -10.0, 3: -6.0, 4: -4.0}
"""Limits missing after so many zooms with which no further one helps."""
BLUR = 4.0
"""A window is at least so many times the time in which one answer may have been given; else nothing contradicts it."""
BEAM = 16
"""Points that are followed at once."""
GROWTHS = 12
"""Grids around what agrees, at the most."""


class _Counts:
    """Per (W, phase): which limits each answer allows. An acceptance says L > value, a refusal L <= value."""

    def __init__(self, seen: Evidence, kind: PhasedKind, counts_refused: bool, thin: bool) -> None:
        self._low, self._up = seen.spent(counts_refused)
        before, at_most = seen.orders(counts_refused)
        keep = _telling(seen.ok) if thin else np.ones_like(seen.ok)
        yes, no = keep[seen.ok], keep[~seen.ok]
        self._before, self._at_most = before[yes], at_most[no]
        self._yes = seen.low[seen.ok & keep], seen.up[seen.ok & keep]
        self._no = seen.low[~seen.ok & keep], seen.up[~seen.ok & keep]
        self._reaches_back = kind == "sliding_counter"

    def above(self, window: Floats, phase: Floats) -> Floats:
        """(points, acceptances): L is more than this (-1: says nothing)."""
        low, up = self._yes
        width = window[:, None]
        start = phase[:, None] + np.floor((up - phase[:, None]) / width) * width
        value = np.maximum(0.0, self._before - np.searchsorted(self._low, start))
        if self._reaches_back:
            earlier = np.maximum(0.0, np.searchsorted(self._up, start) - np.searchsorted(self._low, start - width))
            value = value + earlier * np.clip(1.0 - (up - start) / width, 0.0, 1.0)
        return np.where(low >= start, value, -1.0)

    def up_to(self, window: Floats, phase: Floats) -> Floats:
        """(points, refusals): L is this at the most (inf: says nothing)."""
        low, up = self._no
        width = window[:, None]
        start = phase[:, None] + np.floor((low - phase[:, None]) / width) * width
        value = np.maximum(0.0, self._at_most - np.searchsorted(self._up, start)).astype(np.float64)
        if self._reaches_back:
            earlier = np.maximum(0.0, np.searchsorted(self._low, start) - np.searchsorted(self._up, start - width))
            value = value + earlier * np.clip(1.0 - (low - start) / width, 0.0, 1.0)
        return np.where(up < start + width, value, np.inf)

    def margin(self, window: Floats, phase: Floats) -> tuple[Floats, Floats]:
        """Per point: least and greatest whole L (greatest < least: none)."""
        cells = max(1, len(self._yes[0]), len(self._no[0]))
        rows = max(1, CHUNK // cells)
        least, most = np.empty(len(window)), np.empty(len(window))
        for at in range(0, len(window), rows):
            part = slice(at, at + rows)
            least[part] = np.floor(self.above(window[part], phase[part]).max(axis=1, initial=0.0) + 1e-9) + 1
            most[part] = np.floor(self.up_to(window[part], phase[part]).min(axis=1, initial=np.inf) + 1e-9)
        return least, most

    def errs(self, window: float, phase: float) -> tuple[int, int]:
        """Fewest wrong answers, and the limit that has them."""
        at = np.array([window]), np.array([phase])
        above, up_to = np.sort(self.above(*at)[0]), np.sort(self.up_to(*at)[0])
        limits = np.unique(np.concatenate([np.floor(above) + 1, np.floor(up_to[np.isfinite(up_to)])]))
        limits = limits[limits >= 1]
        if not len(limits):
            return len(above) + len(up_to), 1
        wrong = len(above) - np.searchsorted(above, limits - 1e-9, side="left") + np.searchsorted(up_to, limits - 1e-9, side="left")
        best = int(np.argmin(wrong))
        return int(wrong[best]), int(limits[best])


def _telling(ok: Flags) -> Flags:
    """The ends of every run of equal answers: within a burst the inner ones say nothing new."""
    keep = np.zeros_like(ok)
    if not len(ok):
        return keep
    starts = np.flatnonzero(np.concatenate([[True], ok[1:] != ok[:-1]]))
    ends = np.concatenate([starts[1:], [len(ok)]])
    for start, end in zip(starts, ends, strict=True):
        keep[start : min(end, start + 2)] = True
        keep[max(start, end - 3) : end] = True
    return keep


def boundaries(seen: Evidence) -> Floats:
    """(n, 2): between a refusal and the acceptance that surely came after it, something came back."""
    found = []
    last: int | None = None
    for at, ok in enumerate(seen.ok):
        if not ok:
            last = at
        elif last is not None and seen.low[at] > seen.up[last]:
            found.append((seen.low[last], seen.up[at]))
            last = None
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def refused_runs(seen: Evidence) -> Floats:
    """(n, 2): from the first to the last of refusals in a row, nothing accepted between: no boundary in there."""
    found: list[tuple[float, float]] = []
    first: int | None = None
    for at, ok in enumerate([*seen.ok, True]):
        if not ok and first is None:
            first = at
        elif ok and first is not None:
            if seen.low[at - 1] > seen.up[first]:
                found.append((seen.up[first], seen.low[at - 1]))
            first = None
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def _misfit(window: Floats, phase: Floats, gaps: Floats, runs: Floats) -> Floats:
    """By how many seconds boundaries miss the gaps they must lie in, and lie in runs where there can be none."""
    off = np.zeros(len(window))
    for low, high in gaps:
        # the boundary nearest to the middle of the gap
        middle = (low + high) / 2
        nearest = phase + np.round((middle - phase) / window) * window
        off += np.maximum(0.0, np.maximum(low - nearest, nearest - high))
    for low, high in runs:
        last = phase + np.floor((high - phase) / window) * window
        off += np.where(last > low, np.minimum(last - low, high - last), 0.0)
    return off


def blurred(seen: Evidence) -> float:
    """The shortest window that can be told, s."""
    return BLUR * float(np.percentile(seen.up - seen.low, 95)) if len(seen.ok) else 0.0


def _grid(windows: Floats, low: float, high: float, count: int) -> tuple[Floats, Floats]:
    phases = np.linspace(low, high, count)
    width, phase = np.meshgrid(windows, phases, indexing="ij")
    return width.ravel(), phase.ravel()


def fit_fixed(seen: Evidence, *, counts_refused: bool = False) -> Candidate | None:
    """The best fixed window; None while fewer than two boundaries were seen."""
    gaps, runs = boundaries(seen), refused_runs(seen)
    if len(gaps) < 2:
        return None
    longest = float((runs[:, 1] - runs[:, 0]).max(initial=max(0.05, blurred(seen))))
    span = float(np.diff(gaps, axis=0).max() + (gaps[:, 1] - gaps[:, 0]).max())
    first = gaps[0]
    windows = np.geomspace(max(0.05, longest * 0.999), max(span, longest * 1.01), 700)
    width, phase = _grid(windows, first[0], first[1], 24)
    step = 0.0
    for _ in range(4):
        off = _misfit(width, phase, gaps, runs)
        good = off <= max(1e-9, float(off.min()) * 1.02)
        w_low, w_high, p_low, p_high = width[good].min(), width[good].max(), phase[good].min(), phase[good].max()
        if good.sum() > 600 and off.min() <= 1e-9:
            break
        edge_w, edge_p = _spacing(width, w_low, w_high), _spacing(phase, p_low, p_high)
        windows = np.linspace(max(blurred(seen), w_low - edge_w), w_high + edge_w, 60)
        step = float(windows[1] - windows[0])
        width, phase = _grid(windows, max(first[0], p_low - edge_p), min(first[1], p_high + edge_p), 30)
    off = _misfit(width, phase, gaps, runs)
    good = np.flatnonzero(off <= 1e-9)
    counts = _Counts(seen, "fixed_window", counts_refused, thin=False)
    if len(good):
        picked = good[np.linspace(0, len(good) - 1, min(len(good), 240)).astype(int)]
        least, most = counts.margin(width[picked], phase[picked])
        fits = most >= least
        if fits.any():
            # the limit is asked of some points; the window of all between them
            inside = width[picked][fits]
            return _candidate(
                "fixed_window",
                counts_refused,
                0,
                seen,
                (least[fits].min(), most[fits].max()),
                (inside.min() - step, inside.max() + step),
            )
        best = picked[int(np.argmax(most - least))]
    else:
        best = int(np.argmin(off))
    wrong, limit = counts.errs(float(width[best]), float(phase[best]))
    wrong = max(wrong, 1)
    return _candidate("fixed_window", counts_refused, wrong, seen, (limit, limit), (float(width[best]), float(width[best])))


def _spacing(values: Floats, low: float, high: float) -> float:
    """Distance from the chosen ones to their neighbours on the grid."""
    distinct = np.unique(values)
    left, right = distinct[distinct < low], distinct[distinct > high]
    return float(max(low - left[-1] if len(left) else 0.0, right[0] - high if len(right) else 0.0, 1e-6))


def fit_counter(seen: Evidence, windows: tuple[float, float], *, counts_refused: bool = False) -> Candidate:
    """The best sliding counter with a window in the range given: zoom until one agrees, then grow to all that do.

    The first thing to come back after the longest silence came after a boundary, unless the burst itself crossed one: so the phase is
    looked for there first, and then everywhere.
    """
    thin = _Counts(seen, "sliding_counter", counts_refused, thin=True)
    whole = _Counts(seen, "sliding_counter", counts_refused, thin=False)
    spans = np.geomspace(*windows, 48)
    width, share = _grid(spans, 0.0, 1.0, 49)
    starts = [(width, share * width)]
    gaps, runs = boundaries(seen), refused_runs(seen)
    if len(gaps) and len(runs):
        silent = runs[int(np.argmax(runs[:, 1] - runs[:, 0]))][1]
        gap = gaps[int(np.argmin(np.abs(gaps[:, 0] - silent)))]
        starts.insert(0, _grid(spans, gap[0], gap[1], 16))
    last: tuple[int, int, float] | None = None
    for width, phase in starts:
        width, phase, slack = _zoomed(thin, width, phase)
        if (slack >= 0).any():
            return _grown(seen, whole, width, phase, slack >= 0, counts_refused)
        best = int(np.argmax(slack))
        wrong, limit = whole.errs(float(width[best]), float(phase[best]))
        last = min(last, (max(wrong, 1), limit, float(width[best]))) if last else (max(wrong, 1), limit, float(width[best]))
    wrong, limit, window = last or (len(seen.ok), 1, windows[0])
    return _candidate("sliding_counter", counts_refused, wrong, seen, (limit, limit), (window, window))


def _zoomed(counts: _Counts, width: Floats, phase: Floats) -> tuple[Floats, Floats, Floats]:
    """Small grids around each of the best points of the grid before, until some agree."""
    least, most = counts.margin(width, phase)
    slack = most - least
    # steps of the first grid, as shares: windows are geometric, phases linear at each window
    step_w = float(np.median(np.diff(np.log(np.unique(width)))))
    step_p = (
        float(np.ptp(phase[np.isclose(width, width[0])]))
        / max(1, len(np.unique(phase[np.isclose(width, width[0])])) - 1)
        / float(width[0])
    )
    local = np.linspace(-1.0, 1.0, 7)
    for level in range(ZOOMS):
        if (slack >= 0).any() or slack.max() < HOPELESS.get(level, -np.inf):
            break
        top = np.argsort(slack)[::-1][: BEAM if level else 3 * BEAM]
        off_w, off_p = (each.ravel() for each in np.meshgrid(local, local, indexing="ij"))
        base_w, base_p = width[top][:, None], phase[top][:, None]
        width, phase = (base_w * np.exp(step_w * off_w)).ravel(), (base_p + base_w * step_p * off_p).ravel()
        step_w, step_p = step_w / 3, step_p / 3
        least, most = counts.margin(width, phase)
        slack = most - least
    return width, phase, slack


def _grown(seen: Evidence, counts: _Counts, width: Floats, phase: Floats, good: Flags, counts_refused: bool) -> Candidate:
    """All points around those that agree which agree as well; the edges of the window are those of the last grid that held them."""
    box = width[good].min(), width[good].max(), phase[good].min(), phase[good].max()
    near = np.isclose(phase, phase[good][0], atol=width[good][0] / 20)
    edge = min(_spacing(width[near], box[0], box[1]), box[1] / 20), min(_spacing(phase, box[2], box[3]), box[1] / 20)
    limits = (0.0, -1.0)
    edge = max(edge[0], 1e-4 * box[1]), max(edge[1], 1e-4 * box[1])
    for _ in range(GROWTHS):
        grid_w = np.linspace(max(1e-3, box[0] - edge[0]), box[1] + edge[0], 22)
        grid_p = np.linspace(box[2] - edge[1], box[3] + edge[1], 22)
        width, phase = (each.ravel() for each in np.meshgrid(grid_w, grid_p, indexing="ij"))
        least, most = counts.margin(width, phase)
        fits = most >= least
        step = float(grid_w[1] - grid_w[0]), float(grid_p[1] - grid_p[0])
        if not fits.any():
            edge = edge[0] / 4, edge[1] / 4
            continue
        limits = float(least[fits].min()), float(most[fits].max())
        box = width[fits].min(), width[fits].max(), phase[fits].min(), phase[fits].max()
        inside = box[0] > grid_w[0] and box[1] < grid_w[-1] and box[2] > grid_p[0] and box[3] < grid_p[-1]
        if inside and fits.sum() >= 40:
            return _candidate("sliding_counter", counts_refused, 0, seen, limits, (box[0] - step[0], box[1] + step[0]))
        grow = 1.0 if not inside else 0.0
        edge = max(step[0], grow * (box[1] - box[0])), max(step[1], grow * (box[3] - box[2]))
    if limits[1] < limits[0]:  # agreed on the thinned trace alone
        wrong, limit = counts.errs(float(width[0]), float(phase[0]))
        return _candidate("sliding_counter", counts_refused, max(wrong, 1), seen, (limit, limit), (float(box[0]), float(box[1])))
    return _candidate("sliding_counter", counts_refused, 0, seen, limits, (float(box[0]) - edge[0], float(box[1]) + edge[0]))


def _candidate(
    kind: PhasedKind, counts_refused: bool, wrong: int, seen: Evidence, limit: tuple[float, float], window: tuple[float, float]
) -> Candidate:
    limit = min(limit[0], len(seen.ok)), min(limit[1], len(seen.ok))  # more than was ever asked is not known
    rate = Interval(limit[0] / window[1], limit[1] / max(window[0], 1e-9))
    return Candidate(
        kind, counts_refused, wrong, len(seen.ok), rate, None, Interval(*map(float, limit)), Interval(*map(float, window))
    )
