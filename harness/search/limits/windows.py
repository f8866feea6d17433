"""Fixed window (by the clock) and sliding counter held against a trace: what contradicts it is left out until nothing coarse is.

Nothing is left out that any point of a box could explain, so a limiter that is there is not missed, however small its region.
"""

from __future__ import annotations

import numpy as np

from harness.search.limits.finding import Candidate, Interval
from harness.search.limits.phased import Boxes, Counts, PhasedKind
from harness.search.limits.trace import Evidence, Floats, least_window, stand_alone

MOST_BOXES = 1500
"""Followed at once; more of them mean that the trace says little as yet."""
FINE_SHARE = 0.25
"""Boxes are fine enough when they blur a boundary by less than this share of what the jitter does."""
FURTHER = 6
"""Times that boxes are cut beyond that while none of their middles agrees: what agrees may be thin."""
TENTHS_S = 2.0
"""Windows of sliding counters below this are tried in steps of a tenth of a second, above it in whole seconds."""
PHASES = 32


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


def fit_fixed(seen: Evidence, *, spare: int = 0) -> Candidate | None:
    """The best fixed window; None while fewer than two boundaries were seen. `spare`: so many answers may stay unexplained."""
    gaps, runs = boundaries(seen), refused_runs(seen)
    if len(gaps) < 2:
        return None
    lengths = np.sort(runs[:, 1] - runs[:, 0])
    spans = np.sort(gaps[1:, 1] - gaps[:-1, 0])
    least = max(0.05, least_window(seen), float(lengths[-1 - spare]) * 0.999 if len(lengths) > spare else 0.0)
    most = max(float(spans[min(2 * spare, len(spans) - 1)]), least * 1.01)
    edges = np.geomspace(least, most, max(3, min(200, int(np.log(most / least) / 0.01) + 3)))
    gap = gaps[0]
    if spare:  # the first one may be the one that lies
        width = np.minimum(edges[1:], gap[1] - gap[0] + most)
        gap = np.array([gap[0], gap[0] + float(width.max())])
    centre, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    phases = np.linspace(gap[0], gap[1], 9)
    window, phase = (each.ravel() for each in np.meshgrid(centre, (phases[1:] + phases[:-1]) / 2, indexing="ij"))
    half_w = np.repeat(half, 8)
    boxes = Boxes(window, half_w, phase, np.full(len(window), (gap[1] - gap[0]) / 16))
    return _fit(seen, "fixed_window", boxes, False, spare)


def fit_counter(seen: Evidence, windows: tuple[float, float], *, counts_refused: bool = False, spare: int = 0) -> Candidate:
    """The best sliding counter with a window in the range given, of whole seconds (below 2 s: of whole tenths)."""
    low, high = windows
    low = max(low, least_window(seen))
    tenths = np.arange(np.ceil(low * 10 - 1e-6), np.floor(min(high, TENTHS_S - 0.1) * 10 + 1e-6) + 1) / 10
    whole = np.arange(max(TENTHS_S, np.ceil(low - 1e-6)), np.floor(high + 1e-6) + 1)
    lengths = np.concatenate([tenths, whole])
    if not len(lengths):
        lengths = np.array([max(0.1, round((low + high) / 2, 1))])
    window, share = (each.ravel() for each in np.meshgrid(lengths, (np.arange(PHASES) + 0.5) / PHASES, indexing="ij"))
    boxes = Boxes(window, np.zeros(len(window)), share * window, window / (2 * PHASES))
    return _fit(seen, "sliding_counter", boxes, counts_refused, spare)


def _fit(seen: Evidence, kind: PhasedKind, boxes: Boxes, counts_refused: bool, spare: int) -> Candidate:
    counts = Counts(seen, kind, counts_refused)
    fine = max(1e-3, FINE_SHARE * float(np.median(seen.up - seen.low)))
    span = float(seen.up[-1] - seen.low[0])
    nearest = boxes.pick(slice(0, 1)).centres(), 1.0
    further = 0
    while True:
        least, most = counts.margin(boxes, spare=spare, thin=not further)
        fits = most >= least
        best = int(np.argmax(most - least))
        nearest = boxes.pick(slice(best, best + 1)).centres(), float(least[best])
        if not fits.any():
            break
        boxes, least, most = boxes.pick(fits), least[fits], most[fits]
        enough = len(boxes) > MOST_BOXES
        if enough or further or float(boxes.blur(span).max()) <= fine:
            further += 1
            first, last = counts.margin(boxes.centres(), spare=spare)
            agree = last >= first
            if agree.any():
                return _told(seen, kind, counts, boxes.pick(agree), (first[agree], last[agree]), counts_refused, spare)
            if enough or further > FURTHER:
                return _told(seen, kind, counts, boxes, (least, most), counts_refused, spare)
        boxes = boxes.split(span)
    wrong = max(spare + 1, int(counts.wrong_at(*nearest).sum()))
    window = float(nearest[0].window[0])
    return _candidate(kind, counts_refused, wrong, seen, (nearest[1], nearest[1]), (window, window))


def _told(
    seen: Evidence, kind: PhasedKind, counts: Counts, boxes: Boxes, limits: tuple[Floats, Floats], counts_refused: bool, spare: int
) -> Candidate:
    """The figures of what is left. Answers that were left out must each stand alone: what comes in rows is no accident."""
    window = float((boxes.window - boxes.half_window).min()), float((boxes.window + boxes.half_window).max())
    wrong = 0
    if spare:
        middle = int(np.argmax(limits[1] - limits[0]))
        left_out = counts.wrong_at(boxes.pick(slice(middle, middle + 1)).centres(), float(limits[0][middle]))
        wrong = int(left_out.sum()) if stand_alone(left_out) else spare + 1
    return _candidate(kind, counts_refused, wrong, seen, (float(limits[0].min()), float(limits[1].max())), window)


def _candidate(
    kind: PhasedKind, counts_refused: bool, wrong: int, seen: Evidence, limit: tuple[float, float], window: tuple[float, float]
) -> Candidate:
    limit = min(limit[0], len(seen.ok)), min(limit[1], len(seen.ok))  # more than was ever asked is not known
    rate = Interval(limit[0] / window[1], limit[1] / max(window[0], 1e-9))
    return Candidate(
        kind,
        counts_refused,
        wrong,
        len(seen.ok),
        rate,
        None,
        Interval(*map(float, limit)),
        Interval(*map(float, window)),
        anchor="clock" if kind == "fixed_window" else None,
    )
