"""The nights of a scenario in a row: which of them are the baseline, and where the level changed for good (metrics.md F5-F6). Pure.

A change to the worse stays a regression until somebody accepts it or it is mended: the baseline stops before it. A change to the
better needs nobody's word: it becomes the level to hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from harness.drift.change import change_points
from harness.drift.model import ChangePoint
from harness.drift.nights import (
    FEWEST,
    LAST,
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
    """Whether the run was whole and its generator healthy."""
    version: str = ""
    accepted: bool = False
    """Somebody has accepted the level of this night."""
    changes: tuple[str, ...] = ()
    """Series of a soak that were found to move: `STEP rss`, `SUSPECT reply p95` …"""

    @property
    def good(self) -> bool:
        """Whether later nights may be held against it."""
        return not self.fit and self.believable and self.verdict == "PASS"


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


def trend(metrics: Sequence[Metric], counts: Sequence[str], nights: Sequence[Night], *, fewest: int = FEWEST) -> Trend:
    """Judge the last of these nights (in order of time). Raises ValueError without any."""
    if not nights:
        raise ValueError("no night")
    tonight, before = nights[-1], nights[:-1]
    shifts: list[Shift] = []
    baseline: dict[str, list[int]] = {}
    for metric in metrics:
        found = _shifts(metric, nights)
        shifts += found
        baseline[metric.name] = _baseline(metric, nights, found, fewest)
    values = {name: [before[place].values.get(name) for place in places] for name, places in baseline.items()}
    verdicts = judge_night(metrics, values, tonight.values, fewest=fewest)
    return Trend(
        nights=list(nights),
        baseline=baseline,
        verdicts=verdicts,
        counts=judge_counts(counts, tonight.counts, _accepted(counts, before)),
        shifts=sorted(shifts, key=lambda one: (one.place, one.metric)),
        repeated=_repeated(nights),
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


def _baseline(metric: Metric, nights: Sequence[Night], shifts: Sequence[Shift], fewest: int) -> list[int]:
    """Numbers of the nights that the last one is held against, by walking through all of them.

    A night that was a regression, or stands on a worse level that nobody accepted, is no measure for later ones.
    """
    begin, out = 0, set[int]()
    bad = min((shift.place for shift in shifts if not shift.rebases), default=len(nights))
    base: list[int] = []
    for place, night in enumerate(nights):
        for shift in shifts:
            since = [n for n in range(shift.place, place) if nights[n].good]
            if not shift.worse and begin < shift.place <= place and len(since) >= fewest:
                begin = shift.place
        fine = [n for n in range(begin, place) if nights[n].good and n not in out and not begin <= bad <= n]
        base = [n for n in fine if nights[n].values.get(metric.name)][-LAST:]
        if place == len(nights) - 1:
            break
        held = judge_metric(metric, [nights[n].values[metric.name] for n in base], night.values.get(metric.name), fewest=fewest)
        if night.accepted:
            level = [shift.place for shift in shifts if shift.worse and begin <= shift.place <= place]
            if level or held.state is NightState.REGRESSION:
                begin = max(level, default=place)
                out -= set(range(begin, len(nights)))
        elif held.state is NightState.REGRESSION:
            out.add(place)
    return base


def _accepted(names: Sequence[str], before: Sequence[Night]) -> dict[str, int]:
    """For each count the number that was accepted: of the night somebody accepted last, else the most of the good nights."""
    begin = max((place for place, night in enumerate(before) if night.accepted), default=-1)
    if begin >= 0:
        given = before[begin].counts
        return {name: value for name in names if (value := given.get(name)) is not None}
    found: dict[str, int] = {}
    for night in [night for night in before if night.good][-LAST:]:
        for name in names:
            value = night.counts.get(name)
            if value is not None:
                found[name] = max(found.get(name, 0), value)
    return found


def _repeated(nights: Sequence[Night]) -> list[str]:
    last = [set(night.changes) for night in nights if _counts(night)][-3:]
    series = [{change.partition(" ")[2] for change in found} for found in last]
    if not series:
        return []
    return sorted(name for name in series[-1] if sum(name in found for found in series) >= 2)
