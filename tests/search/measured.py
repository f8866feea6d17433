"""What a step measures, from the requests of a queue that was played: what the command does with a step's journal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.metrics.steady import mser
from harness.search.steps import RuleShare, StepResult
from tests.search.queues.played import Played

BLOCKS = 20
FAILED = "reply.failed rate <= 0.1 %"


def percentile_rule(share: float, limit_s: float) -> str:
    return f"reply.response p{share * 100:g} <= {limit_s * 1000:.0f} ms"


def measured(
    played: Played,
    load: float,
    *,
    share: float,
    limit_s: float,
    begin_s: float,
    end_s: float,
    think_s: float | None,
) -> StepResult:
    """From `begin_s` (all guests have come) to `end_s`. What began so late that it cannot be judged yet is left out."""
    takes = np.minimum(played.ended, 2 * end_s) - played.began
    window = (played.began >= begin_s) & (played.began < end_s - limit_s)
    found = mser(np.minimum(takes, end_s - played.began)[window & ~played.refused].tolist())
    cut = 0 if found is None else found.cut
    answered = np.flatnonzero(window & ~played.refused)
    if cut and answered.size > cut:
        begin_s = float(played.began[answered[cut]])
        window &= played.began >= begin_s
    edges = np.linspace(begin_s, end_s - limit_s, BLOCKS + 1)
    place = np.clip(np.searchsorted(edges, played.began, side="right") - 1, 0, BLOCKS - 1)
    good = window & ~played.refused
    every, within = _counts(place, good), _counts(place, good & (takes <= limit_s))
    all_of, failed = _counts(place, window), _counts(place, window & played.refused)
    rules = (
        RuleShare(percentile_rule(share, limit_s), share, tuple(zip(within, every, strict=True))),
        RuleShare(FAILED, 0.999, tuple((n - f, n) for n, f in zip(all_of, failed, strict=True)), point=True),
    )
    ended = (played.ended >= begin_s) & (played.ended < end_s)
    finished = takes[good & (played.ended < end_s)]
    length = end_s - begin_s
    return StepResult(
        load=load,
        length_s=length,
        rules=rules,
        errors=sum(failed),
        operations=sum(all_of),
        achieved=1.0,
        in_flight=_in_flight(played, begin_s, end_s),
        throughput=float(ended.sum()) / length,
        response_s=float(finished.mean()) if finished.size else None,
        think_s=think_s,
        percentile_s=float(np.quantile(takes[good], share)) if good.any() else None,
    )


def _counts(place: NDArray[np.int_], chosen: NDArray[np.bool_]) -> list[int]:
    return [int(count) for count in np.bincount(place[chosen], minlength=BLOCKS)]


def _in_flight(played: Played, begin_s: float, end_s: float) -> tuple[float, ...]:
    """Means of equal spans: time spent by each instant, from sorted beginnings and ends."""
    instants = np.linspace(begin_s, end_s, BLOCKS + 1)
    began, ended = np.sort(played.began), np.sort(played.ended)

    def spent(times: NDArray[np.float64]) -> NDArray[np.float64]:
        before = np.searchsorted(times, instants)
        sums = np.concatenate(([0.0], np.cumsum(np.where(np.isfinite(times), times, 0.0))))
        return before * instants - sums[before]

    area = spent(began) - spent(ended)
    return tuple(float(x) for x in np.diff(area) / np.diff(instants))
