"""The nights of a scenario in a row: which of them are the baseline, and where the level changed for good (metrics.md F5-F6). Pure.

A change to the worse stays a regression until somebody accepts it or it is mended: the baseline stops before it. A change to the
better needs nobody's word: it becomes the level to hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from harness.drift.change import change_points
from harness.drift.model import ChangePoint
from harness.drift.nights import (
    FEWEST,
    LAST,
    LEAST,
    CountVerdict,
    Metric,
    NightState,
    NightVerdict,
    judge_counts,
    judge_metric,
    judge_night,
)

WINDOW = 50
SETTLED = 3
"""Nights at a new level before it is called one: until then the nights themselves are judged."""
SURE = 0.0005
"""p of a lasting change that fails by itself, over all metrics together (Bonferroni)."""


class Night(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the scenario, reduced to what nights are compared by."""

    id: str
    started_utc: str
    verdict: str
    """The run's own: PASS, FAIL, UNKNOWN."""
    values: Mapping[str, float | None]
    counts: Mapping[str, int | None]
    fit: str = ""
    """Why it cannot be held against the newest night (another version, another load …); empty: it can."""
    believable: bool = True
    """Whether the run was whole and its generator healthy. Then its verdict is UNKNOWN only by trends within the night that could
    not be told, which say nothing against its level."""
    version: str = ""
    accepted: bool = False
    """Somebody has accepted the level of this night."""
    changes: tuple[str, ...] = ()
    """Series of a soak that were found to move: `STEP rss`, `SUSPECT reply p95` …"""

    @property
    def good(self) -> bool:
        """Whether later nights may be held against it."""
        return not self.fit and self.believable and self.verdict in ("PASS", "UNKNOWN")


class Shift(msgspec.Struct, frozen=True):
    """A lasting change of a metric's level."""

    metric: str
    night: str
    """The first at the new level."""
    place: int
    """Its number in the row of nights."""
    before: float
    after: float
    p: float
    worse: bool
    accepted: bool

    @property
    def change(self) -> float:
        """As a share of the level before."""
        return self.after / self.before - 1 if self.before else 0.0

    @property
    def rebases(self) -> bool:
        """Whether what was before it does not count any more."""
        return self.accepted or not self.worse


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """Tonight in the row of nights."""

    nights: list[Night]
    """In order of time; the last is tonight."""
    baseline: dict[str, list[int]]
    """By metric, numbers of the nights that tonight is held against."""
    verdicts: list[NightVerdict]
    counts: list[CountVerdict]
    shifts: list[Shift]
    repeated: list[str]
    """Series of a soak that were SUSPECT or STEP in two of the last three nights: as bad as a leak."""
    standing: list[Shift]
    """Of each metric the lasting change to the worse that nobody accepted and that still stands. What a single night is too noisy
    to show, many in a row do."""


def trend(metrics: Sequence[Metric], counts: Sequence[str], nights: Sequence[Night], *, fewest: int = FEWEST) -> Trend:
    """Judge the last of these nights (in order of time). Raises ValueError without any."""
    if not nights:
        raise ValueError("no night")
    tonight, before = nights[-1], nights[:-1]
    shifts: list[Shift] = []
    baseline: dict[str, list[int]] = {}
    standing: list[Shift] = []
    for metric in metrics:
        found = _shifts(metric, nights)
        shifts += found
        baseline[metric.name], begin = _baseline(metric, nights, found, fewest)
        still = _standing(metric, found, begin)
        if still is not None and still.p <= SURE / len(metrics):
            standing.append(still)
    values = {name: [before[place].values.get(name) for place in places] for name, places in baseline.items()}
    verdicts = judge_night(metrics, values, tonight.values, fewest=fewest)
    return Trend(
        nights=list(nights),
        baseline=baseline,
        verdicts=verdicts,
        counts=judge_counts(counts, tonight.counts, _accepted(counts, nights, fewest)),
        shifts=sorted(shifts, key=lambda one: (one.place, one.metric)),
        repeated=_repeated(nights),
        standing=standing,
    )


def _shifts(metric: Metric, nights: Sequence[Night]) -> list[Shift]:
    usable = [(place, value) for place, night in enumerate(nights) if _counts(night) and (value := night.values.get(metric.name))]
    found: list[ChangePoint] = change_points([value for _, value in usable], window=WINDOW)
    shifts = []
    for point in found:
        if len(usable) - point.index < SETTLED:
            continue
        place = usable[point.index][0]
        worse = (point.after > point.before) == metric.higher_is_worse
        accepted = any(night.accepted for night in nights[place:])
        shifts.append(Shift(metric.name, nights[place].id, place, point.before, point.after, point.p, worse, accepted))
    return shifts


def _counts(night: Night) -> bool:
    """Whether a night's level is one of this scenario, good or bad."""
    return not night.fit and night.believable


def _baseline(metric: Metric, nights: Sequence[Night], shifts: Sequence[Shift], fewest: int) -> tuple[list[int], int]:
    """Numbers of the nights that the last one is held against, and where the level that is held began, by walking through all.

    A night that was a regression, or stands on a worse level that nobody accepted, is no measure for later ones; nor is one that
    was better, until its level is settled: the mixture of two levels would be too noisy to see anything in.
    """
    begin, worse, better = 0, set[int](), set[int]()
    base: list[int] = []
    for place, night in enumerate(nights):
        for shift in shifts:
            since = sum(nights[n].good for n in range(shift.place, place))
            if begin < shift.place <= place and since >= fewest and _improves(metric, shift, shifts, begin):
                begin = shift.place
                better -= set(range(begin, place))
        base = _measures(metric, nights[:place], shifts, begin, worse | better)
        held = judge_metric(metric, [nights[n].values[metric.name] for n in base], night.values.get(metric.name), fewest=fewest)
        if night.accepted:
            since_begin = [shift for shift in shifts if begin < shift.place <= place]
            if held.state is NightState.REGRESSION or any(shift.worse for shift in since_begin):
                begin = max((shift.place for shift in since_begin), default=place)
                worse -= set(range(begin, len(nights)))
                base = _measures(metric, nights[:place], shifts, begin, worse | better)
        elif held.state is NightState.REGRESSION:
            worse.add(place)
        elif held.state is NightState.IMPROVED:
            better.add(place)
    return base, begin


def _measures(metric: Metric, before: Sequence[Night], shifts: Sequence[Shift], begin: int, out: set[int]) -> list[int]:
    """The last of these nights that are a measure for the next one."""
    end = min((shift.place for shift in shifts if not shift.rebases and shift.place > begin), default=len(before))
    places = [
        n for n in range(begin, min(end, len(before))) if n not in out and before[n].good and before[n].values.get(metric.name)
    ]
    return places[-LAST:]


def _improves(metric: Metric, shift: Shift, shifts: Sequence[Shift], begin: int) -> bool:
    """Whether a level to the better is one to hold: not one that only takes back a part of a loss nobody has accepted."""
    open_ones = [one for one in shifts if begin < one.place < shift.place and not one.rebases]
    return not shift.worse and not (open_ones and _worse(metric, open_ones[0].before, shift.after))


def _worse(metric: Metric, before: float, after: float) -> bool:
    """Whether one level is worse than another by what is looked for at all."""
    harm = after / before if metric.higher_is_worse else before / after if after > 0 else math.inf
    return harm - 1 > LEAST and abs(after - before) > metric.floor


def _standing(metric: Metric, shifts: Sequence[Shift], begin: int) -> Shift | None:
    """The first change to the worse that nobody accepted and that is not mended; `after` is the level of now."""
    first = next((shift for shift in shifts if shift.place > begin and not shift.rebases), None)
    if first is None or not _worse(metric, first.before, shifts[-1].after):
        return None
    return msgspec.structs.replace(first, after=shifts[-1].after)


def _accepted(names: Sequence[str], nights: Sequence[Night], fewest: int) -> dict[str, int]:
    """For each count the number that was accepted: of the night somebody accepted last, else the most of the good nights.

    Once there are enough nights, one with more does not raise the number: else an increase would fail once and never again.
    """
    found: dict[str, int] = {}
    for name in names:
        known: list[int] = []
        given = False
        for night in nights:
            value = night.counts.get(name)
            if value is None or night.fit or (night is nights[-1] and not night.accepted):
                continue
            if night.accepted:
                known, given = [value], True
            elif night.good and not given and (len(known) < fewest or value <= max(known)):
                known = [*known, value][-LAST:]
        if known:
            found[name] = max(known)
    return found


def _repeated(nights: Sequence[Night]) -> list[str]:
    last = [set(night.changes) for night in nights if _counts(night)][-3:]
    series = [{change.partition(" ")[2] for change in found} for found in last]
    if not series:
        return []
    return sorted(name for name in series[-1] if sum(name in found for found in series) >= 2)
