"""Storms: reconnects, refreshes or refusals that come in bursts, and whether the bursts keep a period. Pure.

Tokens that were issued together expire together, a proxy closes every socket after the same time: then events pile up at equal
distances. Bursts are told from the ordinary rate first; a period is believed only if so many bursts, thrown at random upon the
same length, hardly ever line up as well. One burst is a burst and has no period.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import stats

from harness.drift.trend import Floats
from harness.drift.words import clock, digits, length

P = 0.01
TIMES = 3.0
"""A burst is so many times the ordinary rate."""
FEWEST = 5
"""Events of a burst's highest step at least."""
REGULAR = 3
"""Bursts that a period needs."""
DRAWS = 2000
_FILLED = 0.7
"""Share of the period's beats that must have a burst: the half of a period would line them up as well."""


class Burst(msgspec.Struct, frozen=True):
    """One burst: neighbouring steps that stand out."""

    at_s: float
    """Where its events lie on average, in seconds since the run's start."""
    begin_s: float
    end_s: float
    events: int
    peak: int
    """Of its highest step."""


class Storms(msgspec.Struct, frozen=True):
    """What the counts of one kind of event say."""

    sentence: str
    events: int
    step_s: float
    usual: float
    """Ordinary events per step."""
    bursts: tuple[Burst, ...] = ()
    share: float = 0.0
    """Of the events that lie in bursts."""
    peak_to_mean: float | None = None
    """Highest step over the mean of all."""
    period_s: float | None = None
    """None: no period can be believed."""
    phase_s: float | None = None
    """First beat of the period, in seconds since the run's start."""
    aligned: float | None = None
    """How well the bursts keep the best period: 1 exactly, 0 not at all."""
    p: float | None = None
    """How often as many random bursts line up as well."""


def storms(
    counts: Sequence[int | None],
    *,
    step_s: float,
    start_s: float = 0.0,
    what: str = "events",
    p: float = P,
    times: float = TIMES,
    fewest: int = FEWEST,
    draws: int = DRAWS,
    seed: int = 1,
) -> Storms:
    """Bursts of events counted in equal steps, and their period. `seed` is for the random bursts they are compared with."""
    there = [count for count in counts if count is not None]
    total = sum(there)
    if not total:
        return Storms(f"No {what}.", 0, step_s, 0.0)
    usual, noise = _usual(there)
    bursts = _bursts(counts, usual, noise, p, times, fewest, step_s, start_s)
    found = Storms(
        "",
        total,
        step_s,
        usual,
        tuple(bursts),
        sum(burst.events for burst in bursts) / total,
        max(there) / (total / len(there)),
    )
    if len(bursts) >= REGULAR:
        found = _timed(found, len(counts) * step_s, start_s, p, draws, seed)
    return msgspec.structs.replace(found, sentence=_sentence(found, what, times))


def _usual(there: Sequence[int]) -> tuple[float, float]:
    """The ordinary count per step, and by how much it varies more than chance would: median and scaled median deviation."""
    x = np.asarray(there, dtype=float)
    middle = float(np.median(x))
    # Rare events have a median of 0: then the mean of what lies below the highest tenth.
    usual = middle or float(np.sort(x)[: max(1, math.floor(0.9 * len(x)))].mean())
    deviation = 1.4826 * float(np.median(np.abs(x - middle)))
    return usual, max(1.0, deviation * deviation / usual) if usual > 0 else 1.0


def _bursts(
    counts: Sequence[int | None],
    usual: float,
    noise: float,
    p: float,
    times: float,
    fewest: int,
    step_s: float,
    start_s: float,
) -> list[Burst]:
    least = max(float(fewest), times * usual, noise * float(stats.poisson.isf(p / len(counts), max(usual, 1e-9) / noise)) + 1)
    # A burst is as long as its neighbours stand out as well, though by less.
    near = usual + 3 * math.sqrt(noise * max(usual, 1.0))
    found: list[Burst] = []
    number = 0
    while number < len(counts):
        if (counts[number] or 0) < least:
            number += 1
            continue
        begin, end = _reach(counts, number, near, -1), _reach(counts, number, near, 1)
        inside = [(step, counts[step] or 0) for step in range(begin, end + 1)]
        events = sum(count for _, count in inside)
        centre = sum((step + 0.5) * count for step, count in inside) / events
        found.append(
            Burst(
                start_s + centre * step_s,
                start_s + begin * step_s,
                start_s + (end + 1) * step_s,
                events,
                max(count for _, count in inside),
            )
        )
        number = end + 1
    return found


def _reach(counts: Sequence[int | None], number: int, near: float, way: int) -> int:
    """The last step that stands out with this one, this way; a gap of one step is bridged."""
    while True:
        nearest = [step for step in (number + way, number + 2 * way) if 0 <= step < len(counts)]
        if nearest and (counts[nearest[0]] or 0) > near:
            number = nearest[0]
        elif len(nearest) == 2 and counts[nearest[0]] is None and (counts[nearest[1]] or 0) > near:
            number = nearest[1]
        else:
            return number


def _timed(found: Storms, total_s: float, start_s: float, p: float, draws: int, seed: int) -> Storms:
    at = np.array([[burst.at_s - start_s for burst in found.bursts]])
    aligned, period, phase = _line_up(at, found.step_s)
    random = np.random.default_rng(seed)
    thrown = np.sort(np.floor(random.uniform(0, total_s / found.step_s, (draws, at.shape[1]))) + 0.5, axis=1) * found.step_s
    chance = (1 + int((_line_up(thrown, found.step_s)[0] >= aligned[0] - 1e-9).sum())) / (draws + 1)
    sure = chance <= p
    return msgspec.structs.replace(
        found,
        aligned=float(aligned[0]),
        p=chance,
        period_s=float(period[0]) if sure else None,
        phase_s=start_s + float(phase[0]) if sure else None,
    )


def _line_up(at: Floats, step_s: float) -> tuple[Floats, Floats, Floats]:
    """For each row of ascending instants: how well they keep the best period, that period, and its first beat.

    Periods are tried from where every burst is a beat up to where some beats have none.
    """
    bursts = at.shape[1]
    span = np.maximum(at[:, -1] - at[:, 0], step_s)
    best = np.full(len(at), -1.0)
    period, phase = np.zeros(len(at)), np.zeros(len(at))
    # Between two trials the phase of the last burst moves by a twelfth of a turn.
    beats = np.arange(bursts - 1.5, (bursts - 1) / _FILLED + 0.5, 1 / 12)
    for beat in beats[beats > 0.5]:
        trial = span / beat
        turns = np.exp(2j * np.pi * at / trial[:, None]).mean(axis=1)
        score = np.abs(turns)
        better = score > best
        best = np.where(better, score, best)
        period = np.where(better, trial, period)
        phase = np.where(better, np.angle(turns) / (2 * np.pi) % 1 * trial, phase)
    return best, period, phase


def _sentence(found: Storms, what: str, times: float) -> str:
    if not found.bursts:
        return f"{found.events:,} {what}, spread evenly: no step stands out by {digits(times)} times."
    share = f"{digits(100 * found.share)} % of {found.events:,} {what}"
    many = f"{len(found.bursts):,} bursts" if len(found.bursts) > 1 else "one burst"
    peak = f"at most {digits(found.peak_to_mean or 0.0)} times the mean"
    if found.period_s is not None:
        return f"{share} came in {many}, one every {length(found.period_s)}, {peak}: what began together comes due together."
    first = f", the first at {clock(found.bursts[0].at_s)}" if len(found.bursts) > 1 else f" at {clock(found.bursts[0].at_s)}"
    return f"{share} came in {many}{first}, {peak}; no period."
