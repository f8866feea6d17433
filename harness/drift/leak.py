"""The leak judgement (metrics.md F3): does a series grow, surely and by more than can be borne, and in which shape. Pure.

Both are needed: a trend that is no accident (Mann-Kendall, on pre-whitened block values where they hang together, and adjusted for
all the series that were looked at), and a least change beyond the budget (the lower end of the Theil-Sen interval). The start is
left out by the plan of the load and never by a warm-up search, which would throw a leak away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np

from harness.drift.change import locate
from harness.drift.model import Keep, LeakRule, Series, SeriesVerdict, State
from harness.drift.saying import say
from harness.drift.trend import Floats, Line, adjusted, lag1, mann_kendall, theil_sen, whitened
from harness.drift.words import length

DEFAULT = LeakRule()
_LEAST_SIDE = 2
"""Blocks on either side of a step."""
_ENDLESS = 1e300
"""What is so large is no figure of anything."""


def judge_series(
    values: Sequence[float | None],
    *,
    step_s: float,
    floor: float = 0.0,
    keep: Keep = "median",
    name: str = "series",
    unit: str = "",
    rule: LeakRule = DEFAULT,
) -> SeriesVerdict:
    """One series by itself; see `judge` for all that can be said of one, and `judge_all` for many."""
    return judge(Series(name, values, step_s, unit, keep, floor), rule)


def judge_all(series: Sequence[Series], rule: LeakRule = DEFAULT) -> list[SeriesVerdict]:
    """All series of a run, in their order, with the false discovery rate controlled over all that can be judged."""
    found = [_measure(one, rule) for one in series]
    judged = [number for number, one in enumerate(found) if one.p is not None]
    for number, q in zip(judged, adjusted([found[number].p or 0.0 for number in judged]), strict=True):
        found[number] = msgspec.structs.replace(found[number], q=q)
    return [_decide(one, verdict, rule) for one, verdict in zip(series, found, strict=True)]


def judge(series: Series, rule: LeakRule = DEFAULT) -> SeriesVerdict:
    """One series, as the only one that was looked at."""
    return judge_all([series], rule)[0]


# ------------------------------------------------------------------ what is measured
def _finite(values: Sequence[float | None]) -> Floats:
    return np.array([value if value is not None and abs(value) < _ENDLESS else math.nan for value in values], dtype=float)


def _scale(x: Floats) -> float:
    """A power of two near the largest value: dividing by it keeps ties, and squares of huge values finite."""
    largest = float(np.nanmax(np.abs(x))) if np.isfinite(x).any() else 0.0
    return 2.0 ** max(min(math.frexp(largest)[1], 1000), -1000) if largest else 1.0


def _whole(series: Series, rule: LeakRule) -> tuple[Floats, float, int]:
    """The values in the sense of the leak (up is bad) and their scale, and how many of them are left out at the start."""
    x = _finite(series.values)
    scale = _scale(x)
    return x / scale * (1 if series.bad == "up" else -1), scale, int(rule.drop * len(x))


def block_values(x: Floats, blocks: int, keep: Keep, known: float = 0.5) -> list[float | None]:
    """Values of equal blocks; None where fewer than this share of the points is known. NaN is a gap."""
    found: list[float | None] = []
    for block in np.array_split(x, blocks):
        there = block[np.isfinite(block)]
        if not len(there) or len(there) < known * len(block):
            found.append(None)
        else:
            found.append(float(there.min() if keep == "minimum" else np.median(there)))
    return found


def _measure(series: Series, rule: LeakRule) -> SeriesVerdict:
    """Everything but the state; without `p` where the series cannot be judged, and then `note` says why."""
    x, scale, first = _whole(series, rule)
    total_s = len(x) * series.step_s
    begin_s, end_s = series.start_s + first * series.step_s, series.start_s + total_s
    empty = SeriesVerdict(
        series.name,
        State.NOT_JUDGED,
        "",
        unit=series.unit,
        points=len(x),
        known=int(np.isfinite(x).sum()),
        step_s=series.step_s,
        begin_s=begin_s,
        end_s=end_s,
        limit=series.limit,
    )
    blocks = block_values(x[first:], rule.blocks, series.keep, rule.known_points)
    at = [number for number, value in enumerate(blocks) if value is not None]
    sign = scale * (1 if series.bad == "up" else -1)
    edges = np.cumsum([0, *(len(part) for part in np.array_split(x[first:], rule.blocks))])
    middles = tuple(begin_s + float(a + b) / 2 * series.step_s for a, b in pairwise(edges))
    shown = tuple(None if value is None else value * sign for value in blocks)
    empty = msgspec.structs.replace(empty, blocks=shown, blocks_s=middles)
    why = ""
    if total_s < rule.least_s * (1 - 1e-9):
        why = f"{length(total_s)} < {length(rule.least_s)}"
    elif series.step_s > rule.coarsest_s * (1 + 1e-9):
        why = f"one value every {length(series.step_s)}, needs one every {length(rule.coarsest_s)}"
    elif not empty.known:
        why = "no values"
    elif len(at) < max(rule.known_blocks * rule.blocks, 2 * _LEAST_SIDE) or len(x) - first < rule.blocks:
        why = f"{rule.blocks - len(at)} of {rule.blocks} blocks have too many gaps"
    if why:
        return msgspec.structs.replace(empty, note=f"not judged: {why}")
    known = np.array([blocks[number] for number in at], dtype=float)
    line = theil_sen(known, at, rule.confidence)
    residuals: list[float | None] = [None] * rule.blocks
    for number, value in zip(at, known, strict=True):
        residuals[number] = float(value - line.value(number))
    r1 = lag1(residuals)
    white = r1 > 1.96 / math.sqrt(len(at))
    p = mann_kendall(whitened(blocks, r1) if white else known).p_up
    judged_s = end_s - begin_s
    median = float(np.median(known))
    now = line.value(rule.blocks - 0.5)
    budget = _budget(series, rule, median * sign, now * sign, judged_s)
    ends = sorted(sign * slope * rule.blocks for slope in (line.low, line.high))
    return msgspec.structs.replace(
        empty,
        median=median * sign,
        now=now * sign,
        slope_per_h=sign * line.slope * rule.blocks * 3600 / judged_s,
        slope_low_per_h=ends[0] * 3600 / judged_s,
        slope_high_per_h=ends[1] * 3600 / judged_s,
        change=sign * line.slope * rule.blocks,
        change_low=ends[0],
        change_high=ends[1],
        budget=budget,
        p=p,
        r1=r1,
        whitened=white,
        big=line.low * rule.blocks * scale > budget,
        **_limit_met(series, line, now, judged_s, rule, scale, end_s),
    )


def _budget(series: Series, rule: LeakRule, median: float, now: float, judged_s: float) -> float:
    """What the series may change by in the judged part: by its limit and the uptime that is asked for, or by share and floor."""
    if series.limit is not None and series.uptime_s:
        room = series.limit - now if series.bad == "up" else now - series.limit
        return max(room, 0.0) * judged_s / series.uptime_s
    return max(rule.share * abs(median), series.floor)


def _limit_met(
    series: Series, line: Line, now: float, judged_s: float, rule: LeakRule, scale: float, end_s: float
) -> dict[str, float | None]:
    """When the limit is met: at the slope, and at the steep and the flat end of its interval."""
    if series.limit is None:
        return {}
    room = (series.limit if series.bad == "up" else -series.limit) - now * scale

    def met(slope: float) -> float | None:
        if room <= 0:
            return end_s
        per_s = slope * scale * rule.blocks / judged_s
        at_s = end_s + room / per_s if per_s > 0 else math.inf
        return at_s if math.isfinite(at_s) else None

    return {"limit_at_s": met(line.slope), "limit_first_s": met(line.high), "limit_last_s": met(line.low)}


# ------------------------------------------------------------------ what it comes to
def _decide(series: Series, found: SeriesVerdict, rule: LeakRule) -> SeriesVerdict:
    low, high, budget = found.change_low, found.change_high, found.budget
    if found.p is None or low is None or high is None or budget is None:
        return say(found, series)
    trend = found.p < rule.p and (found.q is None or found.q <= rule.false_discoveries)
    found = msgspec.structs.replace(found, trend=trend)
    if not (trend and found.big):
        most = high if series.bad == "up" else -low
        # A change of nothing is stable, even where nothing is allowed.
        calm = most < budget or low == high == 0
        return say(msgspec.structs.replace(found, state=State.STABLE if calm else State.INCONCLUSIVE), series)
    x, _, first = _whole(series, rule)
    blocks = block_values(x[first:], rule.blocks, series.keep, rule.known_points)
    state, at = shape(blocks, rule)
    if state is State.STEP:
        edges = np.cumsum([0, *(len(part) for part in np.array_split(x[first:], rule.blocks))])
        # The blocks say between which two the step lies; the points say where.
        low, high = first + int(edges[max(at - 1, 0)]), first + int(edges[min(at + 1, rule.blocks)])
        step = locate(series.values, first, len(x), (low, high), step_s=series.step_s, start_s=series.start_s)
        found = msgspec.structs.replace(found, step=step)
    return say(msgspec.structs.replace(found, state=state), series)


def shape(blocks: Sequence[float | None], rule: LeakRule = DEFAULT) -> tuple[State, int]:
    """Of block values that grow: a step, levelling off, or a leak; and the block at which the best two levels part."""
    at = np.array([number for number, value in enumerate(blocks) if value is not None], dtype=float)
    y = np.array([value for value in blocks if value is not None], dtype=float)
    y = y - y.mean()
    slope = float((at - at.mean()) @ y / ((at - at.mean()) @ (at - at.mean())))
    line = float(((y - slope * (at - at.mean())) ** 2).sum())
    splits = range(_LEAST_SIDE, len(y) - _LEAST_SIDE + 1)
    levels = [float(((y[:k] - y[:k].mean()) ** 2).sum() + ((y[k:] - y[k:].mean()) ** 2).sum()) for k in splits]
    best = int(np.argmin(levels))
    parting = int(at[splits[best]])
    if levels[best] < rule.step_ratio * line:
        return State.STEP, parting
    half = len(blocks) / 2
    early, late = at < half, at >= half
    if early.sum() < _LEAST_SIDE or late.sum() < _LEAST_SIDE:  # gaps took one half: levelling off cannot be seen
        return State.LEAK, parting
    first, second = theil_sen(y[early], at[early]).slope, theil_sen(y[late], at[late]).slope
    return (State.SUSPECT if first <= 0 or second < rule.levelling * first else State.LEAK), parting
