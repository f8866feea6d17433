"""Windows with a phase: what every answer says about the limit, for boxes of (window, phase) at once (metrics.md E1).

Both kinds count per window [phase + kW, phase + (k+1)W); the sliding counter adds the share of the window before that still
reaches back. What is said of a box holds for each of its points, so a box that contradicts itself can be left out for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.search.limits.trace import Evidence, Flags, Floats

PhasedKind = Literal["fixed_window", "sliding_counter"]
FIRST_CHUNK = 24
"""Answers looked at before the first boxes are left out; each further chunk is twice as large."""
CELLS = 400_000
"""Evaluated at once: bounds the memory."""


@dataclass(frozen=True)
class Boxes:
    """Middles and half widths of boxes of windows and phases, s."""

    window: Floats
    half_window: Floats
    phase: Floats
    half_phase: Floats

    def __len__(self) -> int:
        return len(self.window)

    def pick(self, which: Flags | NDArray[np.int64] | slice) -> Boxes:
        """Some of them."""
        return Boxes(self.window[which], self.half_window[which], self.phase[which], self.half_phase[which])

    def centres(self) -> Boxes:
        """Their middles alone."""
        nothing = np.zeros(len(self))
        return Boxes(self.window, nothing, self.phase, nothing)

    def blur(self, span: float) -> Floats:
        """By how much a boundary may be off within a box, up to `span` seconds away, s."""
        return np.asarray(self.half_phase + self.half_window * span / self.window)

    def split(self, span: float) -> Boxes:
        """Each cut in two where it blurs most."""
        by_window = self.half_window * span / self.window > self.half_phase
        half_w, half_p = (
            np.where(by_window, self.half_window / 2, self.half_window),
            np.where(by_window, self.half_phase, self.half_phase / 2),
        )
        off_w, off_p = np.where(by_window, half_w, 0.0), np.where(by_window, 0.0, half_p)
        return Boxes(
            np.concatenate([self.window - off_w, self.window + off_w]),
            np.tile(half_w, 2),
            np.concatenate([self.phase - off_p, self.phase + off_p]),
            np.tile(half_p, 2),
        )


class Counts:
    """Which limits each answer allows: an acceptance says L > value, a refusal L <= value."""

    def __init__(self, seen: Evidence, kind: PhasedKind, counts_refused: bool) -> None:
        self._spent = {True: seen.spent(counts_refused), False: seen.spent(counts_refused, perhaps=True)}
        """What an acceptance had before it at the least, and a refusal at the most."""
        before, at_most = seen.orders(counts_refused)
        self._seen, self._reaches_back = seen, kind == "sliding_counter"
        self._rank = np.zeros(len(seen.ok), dtype=np.float64)
        self._rank[seen.ok], self._rank[~seen.ok] = before, at_most
        telling = telling_answers(seen.ok)
        mixed = np.random.default_rng(5).permutation(len(seen.ok))
        self._order = np.concatenate([mixed[telling[mixed]], mixed[~telling[mixed]]])
        self._telling = int(telling.sum())

    def margin(self, boxes: Boxes, *, spare: int = 0, thin: bool = False) -> tuple[Floats, Floats]:
        """Per box: least and greatest whole L that leave no more than `spare` answers unexplained (greatest < least: none).

        `thin`: by the answers at the ends of runs alone, which leaves out no box that all of them would keep.
        """
        total = self._telling if thin else len(self._order)
        above = np.full((len(boxes), spare + 1), 0.0)
        up_to = np.full((len(boxes), spare + 1), np.inf)
        alive = np.arange(len(boxes))
        first, count = 0, FIRST_CHUNK
        while first < total and len(alive):
            part = self._order[first : min(total, first + count)]
            rows = max(1, CELLS // len(part))
            for at in range(0, len(alive), rows):
                some = alive[at : at + rows]
                self._look(boxes.pick(some), part, some, above, up_to, spare)
            least, most = _limits(above[alive], up_to[alive])
            alive = alive[most >= least]
            first, count = first + len(part), count * 2
        least, most = _limits(above, up_to)
        dead = np.ones(len(boxes), dtype=np.bool_)
        dead[alive] = False
        return least, np.where(dead, least - np.maximum(1.0, least - most), most)

    def wrong_at(self, point: Boxes, limit: float) -> Flags:
        """Which answers (in the order of the evidence) a limiter with this window, phase and limit contradicts."""
        ok = self._seen.ok
        wrong = np.zeros_like(ok)
        for answer in (True, False):
            which = np.flatnonzero(ok == answer)
            if len(which):
                value = self._values(point, which, answer)[0]
                wrong[which] = value >= limit - 1e-9 if answer else value < limit - 1e-9
        return wrong

    def _look(
        self, boxes: Boxes, part: NDArray[np.int64], rows: NDArray[np.int64], above: Floats, up_to: Floats, spare: int
    ) -> None:
        """Keep, per box, the `spare + 1` answers that say most."""
        ok = self._seen.ok[part]
        if ok.any():
            values = np.concatenate([above[rows], self._values(boxes, part[ok], True)], axis=1)
            above[rows] = values.max(axis=1)[:, None] if not spare else -np.partition(-values, spare, axis=1)[:, : spare + 1]
        if not ok.all():
            values = np.concatenate([up_to[rows], self._values(boxes, part[~ok], False)], axis=1)
            up_to[rows] = values.min(axis=1)[:, None] if not spare else np.partition(values, spare, axis=1)[:, : spare + 1]

    def _values(self, boxes: Boxes, which: NDArray[np.int64], accepted: bool) -> Floats:
        """(boxes, answers): what an acceptance says at the least (-1: nothing), a refusal at the most (inf: nothing)."""
        low, up, rank = self._seen.low[which], self._seen.up[which], self._rank[which]
        window, half_w = boxes.window[:, None], boxes.half_window[:, None]
        phase, half_p = boxes.phase[:, None], boxes.half_phase[:, None]
        at = up if accepted else low
        index = np.floor((at - phase) / window)
        start = phase + index * window
        blur = half_p + np.abs(index) * half_w
        # it must surely lie in one window
        inside = (low >= start + blur) & (up < start + window - blur - half_w)
        sign = 1.0 if accepted else -1.0
        early, late = start + sign * blur, start - sign * blur
        own, other = self._spent[accepted] if accepted else self._spent[accepted][::-1]
        value = np.maximum(0.0, rank - np.searchsorted(own, early))
        if self._reaches_back:
            before = early - window + sign * half_w
            earlier = np.maximum(0.0, np.searchsorted(other, late) - np.searchsorted(own, before))
            into = (at - phase) + sign * half_p
            gone = into / np.maximum(1e-9, window - sign * np.sign(into) * half_w) - index
            value = value + earlier * np.clip(1.0 - gone, 0.0, 1.0)
        return np.where(inside, value, -1.0 if accepted else np.inf)


def _limits(above: Floats, up_to: Floats) -> tuple[Floats, Floats]:
    """From the answers that say most, the least and greatest L over all ways of leaving out as many as may be left out."""
    spare = above.shape[1] - 1
    if not spare:
        return np.floor(above[:, 0] + 1e-9) + 1, np.floor(up_to[:, 0] + 1e-9)
    least = np.floor(-np.sort(-above, axis=1) + 1e-9) + 1
    most = np.floor(np.sort(up_to, axis=1) + 1e-9)[:, ::-1]  # as many refusals left out as acceptances were not
    room = most - least
    best = np.argmax(room, axis=1)
    rows = np.arange(len(room))
    agrees = room >= 0
    first = np.where(agrees, least, np.inf).min(axis=1)
    last = np.where(agrees, most, -np.inf).max(axis=1)
    some = agrees.any(axis=1)
    return np.where(some, first, least[rows, best]), np.where(some, last, most[rows, best])


def telling_answers(ok: Flags) -> Flags:
    """The ends of every run of equal answers: within a burst the inner ones say little new."""
    keep = np.zeros_like(ok)
    if not len(ok):
        return keep
    starts = np.flatnonzero(np.concatenate([[True], ok[1:] != ok[:-1]]))
    ends = np.concatenate([starts[1:], [len(ok)]])
    for start, end in zip(starts, ends, strict=True):
        keep[start : min(end, start + 2)] = True
        keep[max(start, end - 3) : end] = True
    return keep
