"""All models held against one trace, each with what it would need to be true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.search.limits.bucket import fit_bucket
from harness.search.limits.finding import Candidate, Model
from harness.search.limits.firstwindow import fit_first
from harness.search.limits.slidinglog import fit_log
from harness.search.limits.trace import Evidence
from harness.search.limits.windows import fit_counter, fit_fixed, refused_runs

HIGHEST_PER_S = 100.0
CHARGED: tuple[Model, ...] = ("token_bucket", "sliding_log")
"""Those in which refused requests count is thought of before an answer is left out as an accident."""
EVERY: tuple[Model, ...] = ("token_bucket", "fixed_window", "first_window", "sliding_log", "sliding_counter")
"""In this order where several agree."""


@dataclass(frozen=True, slots=True)
class Models:
    """One candidate per model: the variant (refused requests count or not) that errs least."""

    by_model: dict[Model, Candidate]
    spare: int = 0
    """So many answers were left out as accidents, at the most, each standing alone."""

    def fits(self, one: Candidate) -> bool:
        """Does it contradict no more than may be left out?"""
        return one.wrong <= self.spare

    def fitting(self) -> list[Candidate]:
        """Those that contradict nothing. A bucket of no whole size stands back behind any other: sizes are counts.

        Where answers had to be left out, only those that leave out the fewest.
        """
        fits = [one for one in self.by_model.values() if self.fits(one)]
        if self.spare and fits:
            fewest = min(one.wrong for one in fits)
            fits = [one for one in fits if one.wrong == fewest]
        return [one for one in fits if not is_fractional(one)] or fits

    def get(self, model: Model) -> Candidate | None:
        """The candidate of a model, if it fits."""
        return next((one for one in self.fitting() if one.model == model), None)


def is_fractional(one: Candidate) -> bool:
    """A bucket that agrees only with a size that is no whole number."""
    return one.burst is not None and one.burst.low % 1 > 1e-6


def first_run(seen: Evidence) -> int:
    """Acceptances before the first refusal."""
    refused = np.flatnonzero(~seen.ok)
    return int(refused[0]) if len(refused) else len(seen.ok)


def longest_run(seen: Evidence) -> int:
    """Acceptances in a row, at the most."""
    edges = np.flatnonzero(np.concatenate([[True], ~seen.ok, [True]]))
    return int(np.diff(edges).max()) - 1 if len(seen.ok) else 0


def rough_rate(seen: Evidence) -> float:
    """Acceptances/s since the first one that came after a refusal; near the long-run rate once a few came back."""
    refused = np.flatnonzero(~seen.ok)
    back = np.flatnonzero(seen.ok & (np.arange(len(seen.ok)) > refused[0])) if len(refused) else np.array([], dtype=int)
    if len(back) < 2:
        return 0.0
    return float(len(back) - 1) / max(float(seen.mid[-1] - seen.mid[back[0]]), 1e-3)


def counter_windows(seen: Evidence, spare: int = 0) -> tuple[float, float] | None:
    """Where the window of a sliding counter would have to lie: no shorter than the longest time without anything coming back."""
    runs = refused_runs(seen)
    if not len(runs):
        return None
    longest, size = float((runs[:, 1] - runs[:, 0]).max()), max(1, longest_run(seen) if spare else first_run(seen))
    first_refusal = int(np.flatnonzero(~seen.ok)[0])
    if int(seen.ok[first_refusal:].sum()) < 8:
        low = max(longest, size / HIGHEST_PER_S)
        return low, max(4 * longest, size / 0.25, 2 * low)
    window = size / max(rough_rate(seen), 1e-3)
    low = max(longest, 0.2 * window)
    return low, max(2.5 * window, 1.2 * low)


def fit_all(
    seen: Evidence,
    models: tuple[Model, ...] = EVERY,
    *,
    highest_per_s: float = 100.0,
    counting: bool = True,
    charged_alone: bool = False,
    spare: int = 0,
) -> Models:
    """Hold the models against the trace; where none fits, also with refused requests counted (if `counting`)."""
    if charged_alone:
        return Models(_fit(seen, models, highest_per_s, True, spare), spare)
    plain = Models(_fit(seen, models, highest_per_s, False, spare), spare)
    if not counting or plain.fitting() or seen.ok.all():
        return plain
    charged = _fit(seen, tuple(name for name in models if name in CHARGED), highest_per_s, True, spare)
    by_model = {name: min((one, charged.get(name, one)), key=lambda each: each.wrong) for name, one in plain.by_model.items()}
    return Models(by_model, spare)


def explain(seen: Evidence, *, highest_per_s: float, most_spare: int) -> Models:
    """The models as they are; where none fits, with as few answers left out as it takes, `most_spare` at the most."""
    strict = fit_all(seen, highest_per_s=highest_per_s)
    if strict.fitting() or seen.ok.all():
        return strict
    for spare in spares(most_spare):
        models = fit_all(seen, highest_per_s=highest_per_s, counting=False, spare=spare)
        if models.fitting():
            return models
    last = fit_all(seen, ("sliding_counter",), highest_per_s=highest_per_s, charged_alone=True)
    return last if last.fitting() else strict


def spares(most: int) -> list[int]:
    """How many answers to leave out, in the order in which it is tried."""
    return [step for step in (1, 2, 4, 8, 16, 32, 64) if step < most] + ([most] if most else [])


def _fit(seen: Evidence, models: tuple[Model, ...], highest: float, counts_refused: bool, spare: int) -> dict[Model, Candidate]:
    found: dict[Model, Candidate | None] = {}
    if "token_bucket" in models:
        found["token_bucket"] = fit_bucket(seen, counts_refused=counts_refused, rates=(1e-3, highest), spare=spare)
    if "fixed_window" in models and not counts_refused:  # a window that is full is full: whether refusals count cannot be seen
        found["fixed_window"] = fit_fixed(seen, spare=spare)
    if "first_window" in models and not counts_refused:
        found["first_window"] = fit_first(seen, spare=spare)
    if "sliding_log" in models:
        found["sliding_log"] = fit_log(seen, counts_refused=counts_refused, spare=spare)
    windows = counter_windows(seen, spare)
    if "sliding_counter" in models and windows is not None:
        found["sliding_counter"] = fit_counter(seen, windows, counts_refused=counts_refused, spare=spare)
    return {name: one for name, one in found.items() if one is not None}
