"""All models held against one trace, each with what it would need to be true."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from harness.search.limits.bucket import fit_bucket
from harness.search.limits.finding import Candidate, Interval, Kind
from harness.search.limits.phased import fit_counter, fit_fixed, refused_runs
from harness.search.limits.slidinglog import fit_log
from harness.search.limits.snap import wholes
from harness.search.limits.trace import Evidence

HIGHEST_PER_S = 100.0
WHOLE_SLACK = 0.002
NO_WHOLE = "its window would be no whole number of seconds"
EVERY: tuple[Kind, ...] = ("token_bucket", "fixed_window", "sliding_log", "sliding_counter")


@dataclass(frozen=True, slots=True)
class Models:
    """One candidate per kind: the variant (refused requests count or not) that errs least."""

    by_kind: dict[Kind, Candidate]

    def fitting(self) -> list[Candidate]:
        """Those that contradict no answer. A bucket of no whole size stands back behind any other: sizes are counts."""
        fits = [one for one in self.by_kind.values() if one.wrong == 0]
        return [one for one in fits if not is_fractional(one)] or fits

    def get(self, kind: Kind) -> Candidate | None:
        """The candidate of a kind, if it fits."""
        return next((one for one in self.fitting() if one.kind == kind), None)


def is_fractional(one: Candidate) -> bool:
    """A bucket that agrees only with a size that is no whole number."""
    return one.burst is not None and one.burst.low % 1 > 1e-6


def _whole_seconds(one: Candidate) -> bool:
    window = one.window_s
    if window is None or window.middle < 2.0:
        return True
    return bool(wholes(Interval(window.low * (1 - WHOLE_SLACK), window.high * (1 + WHOLE_SLACK))))


def first_run(seen: Evidence) -> int:
    """Acceptances before the first refusal."""
    refused = np.flatnonzero(~seen.ok)
    return int(refused[0]) if len(refused) else len(seen.ok)


def rough_rate(seen: Evidence) -> float:
    """Acceptances/s since the first one that came after a refusal; near the long-run rate once a few came back."""
    refused = np.flatnonzero(~seen.ok)
    back = np.flatnonzero(seen.ok & (np.arange(len(seen.ok)) > refused[0])) if len(refused) else np.array([], dtype=int)
    if len(back) < 2:
        return 0.0
    return float(len(back) - 1) / max(float(seen.mid[-1] - seen.mid[back[0]]), 1e-3)


def counter_windows(seen: Evidence) -> tuple[float, float] | None:
    """Where the window of a sliding counter would have to lie: no shorter than the longest time without anything coming back."""
    runs = refused_runs(seen)
    if not len(runs):
        return None
    longest, size = float((runs[:, 1] - runs[:, 0]).max()), max(1, first_run(seen))
    first_refusal = int(np.flatnonzero(~seen.ok)[0])
    if int(seen.ok[first_refusal:].sum()) < 8:
        low = max(longest, size / HIGHEST_PER_S)
        return low, max(4 * longest, size / 0.25, 2 * low)
    window = size / max(rough_rate(seen), 1e-3)
    low = max(longest, 0.2 * window)
    return low, max(2.5 * window, 1.2 * low)


def fit_all(seen: Evidence, kinds: tuple[Kind, ...] = EVERY, *, highest_per_s: float = 100.0, counting: bool = True) -> Models:
    """Hold the kinds against the trace; where none fits, also with refused requests counted (if `counting`)."""
    plain = _fit(seen, kinds, highest=highest_per_s, counts_refused=False)
    if not counting or any(one.wrong == 0 for one in plain.values()) or seen.ok.all():
        return Models(plain)
    charged = _fit(seen, kinds, highest=highest_per_s, counts_refused=True)
    return Models({kind: min((one, charged.get(kind, one)), key=lambda each: each.wrong) for kind, one in plain.items()})


def _fit(seen: Evidence, kinds: tuple[Kind, ...], *, highest: float, counts_refused: bool) -> dict[Kind, Candidate]:
    found: dict[Kind, Candidate | None] = {}
    if "token_bucket" in kinds:
        found["token_bucket"] = fit_bucket(seen, counts_refused=counts_refused, rates=(1e-3, highest))
    if "fixed_window" in kinds and not counts_refused:  # a window that is full is full: whether refusals count cannot be seen
        found["fixed_window"] = fit_fixed(seen)
    if "sliding_log" in kinds:
        found["sliding_log"] = fit_log(seen, counts_refused=counts_refused)
    windows = counter_windows(seen)
    if "sliding_counter" in kinds and windows is not None and not counts_refused:
        one = fit_counter(seen, windows)
        # three free numbers fit much: a window of no whole seconds is taken for an accident
        found["sliding_counter"] = one if _whole_seconds(one) else replace(one, wrong=max(1, one.wrong), why_rejected=NO_WHOLE)
    return {kind: one for kind, one in found.items() if one is not None}
