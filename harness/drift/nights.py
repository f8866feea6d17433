"""Tonight against the nights before it: the night is the unit, not the request (metrics.md F5). Pure.

Requests of one night hang together, and nights differ by themselves: with thousands of requests any two nights are "different". So
a metric of a night is one number, and what is normal is learnt from the nights before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import fmean, median, stdev

import msgspec
from scipy import special, stats

LAST = 14
"""Good nights that are looked back on."""
FEWEST = 7
P = 0.01
LEAST = 0.05
"""Smallest change against the median of the nights before, as a share of it."""
NOISY = 0.10
"""Sd of the logarithms above which a night says nothing about a change."""
_LEAST, _MOST = 1e-12, 1e15
BAND = 0.98
"""Share of unchanged nights that fall within the predictive band."""


class NightState(StrEnum):
    """What a metric of a night came to."""

    REGRESSION = "REGRESSION"
    IMPROVED = "IMPROVED"
    UNCHANGED = "UNCHANGED"
    NOISY = "NOISY"
    """The nights before differ so much among themselves that a change would not be seen."""
    NO_BASELINE = "NO BASELINE"
    """Too few nights before."""
    NO_VALUE = "NO VALUE"
    """Tonight has none: too few samples for this percentile, perhaps."""


GRAVITY = {
    NightState.REGRESSION: 0,
    NightState.NOISY: 1,
    NightState.NO_VALUE: 2,
    NightState.NO_BASELINE: 3,
    NightState.IMPROVED: 4,
    NightState.UNCHANGED: 5,
}


class Metric(msgspec.Struct, frozen=True):
    """What is compared."""

    name: str
    """Such as `echo.response p95`, `messages.rate`."""
    unit: str
    floor: float
    """Absolute change below which nothing is said, in its unit."""
    higher_is_worse: bool = True


class NightVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a night. Values are in the metric's unit."""

    metric: Metric
    state: NightState
    value: float | None
    nights: int
    """Good nights that it is held against."""
    median: float | None = None
    change: float | None = None
    """Against the median, as a share of it."""
    low: float | None = None
    high: float | None = None
    """The predictive band: where an unchanged night falls in 98 of 100 cases."""
    sd: float | None = None
    """Of the logarithms."""
    t: float | None = None
    p: float | None = None
    """One-sided, for a change to the worse; 1 - p is that for the better."""
    detectable: float | None = None
    """The change that would be found with 80 % power on the first night, as a share."""


def judge_metric(metric: Metric, before: Sequence[float | None], tonight: float | None, *, fewest: int = FEWEST) -> NightVerdict:
    """Tonight's value against those of the good nights before it, the newest last. At most the last 14 count.

    The test is one of predictive t on logarithms; what is not above 0 has none and counts as missing.
    """
    known = [value for value in before if value is not None and _usable(value)][-LAST:]
    m = len(known)
    if tonight is None or not _usable(tonight):
        return NightVerdict(metric=metric, state=NightState.NO_VALUE, value=None, nights=m, median=median(known) if known else None)
    if m < max(fewest, 2):
        return NightVerdict(metric=metric, state=NightState.NO_BASELINE, value=tonight, nights=m)
    logs = [math.log(value) for value in known]
    mean, sd = fmean(logs), stdev(logs)
    middle = math.exp(median(logs))
    change = tonight / middle - 1
    width = sd * math.sqrt(1 + 1 / m)
    away = math.log(tonight) - mean
    t = away / width if width > 0 else math.copysign(math.inf, away) if abs(away) > 1e-12 else 0.0
    worse = t if metric.higher_is_worse else -t
    p = float(special.stdtr(m - 1, -worse)) if math.isfinite(worse) else 0.0 if worse > 0 else 1.0
    reach = float(special.stdtrit(m - 1, (1 + BAND) / 2)) * width
    state = NightState.UNCHANGED
    if sd > NOISY:
        state = NightState.NOISY
    elif abs(change) > LEAST and abs(tonight - middle) > metric.floor:
        harmful = (change > 0) == metric.higher_is_worse
        if harmful and p < P:
            state = NightState.REGRESSION
        elif not harmful and 1 - p < P:
            state = NightState.IMPROVED
    return NightVerdict(
        metric=metric,
        state=state,
        value=tonight,
        nights=m,
        median=middle,
        change=change,
        low=math.exp(mean - reach),
        high=math.exp(mean + reach),
        sd=sd,
        t=t if math.isfinite(t) else math.copysign(1e9, t),
        p=p,
        detectable=math.expm1(_smallest(m) * sd),
    )


def _usable(value: float) -> bool:
    """Whether it has a logarithm, and is a figure of anything: not what a damaged file says."""
    return _LEAST <= value <= _MOST


def judge_night(
    metrics: Sequence[Metric],
    before: Mapping[str, Sequence[float | None]],
    tonight: Mapping[str, float | None],
    *,
    fewest: int = FEWEST,
) -> list[NightVerdict]:
    """All metrics of a night, the gravest first.

    With many metrics one of them is off by chance every few nights. So a change must also survive control of the false discovery
    rate over the night (Benjamini-Hochberg, q = 0.01); what does not is unchanged.
    """
    found = [judge_metric(metric, before.get(metric.name, ()), tonight.get(metric.name), fewest=fewest) for metric in metrics]
    tested = [one for one in found if one.p is not None and one.state is not NightState.NOISY]
    sure: set[str] = set()
    for harmful in (True, False):
        ps = [one.p if harmful else 1 - one.p for one in tested if one.p is not None]
        if ps:
            adjusted = stats.false_discovery_control([min(max(p, 0.0), 1.0) for p in ps])
            wanted = NightState.REGRESSION if harmful else NightState.IMPROVED
            pairs = zip(tested, adjusted, strict=True)
            sure |= {one.metric.name for one, p in pairs if float(p) < P and one.state is wanted}
    settled = [
        msgspec.structs.replace(one, state=NightState.UNCHANGED)
        if one.state in (NightState.REGRESSION, NightState.IMPROVED) and one.metric.name not in sure
        else one
        for one in found
    ]
    order = {metric.name: place for place, metric in enumerate(metrics)}
    return sorted(settled, key=lambda one: (GRAVITY[one.state], order[one.metric.name]))


def _smallest(m: int) -> float:
    """Smallest change found with 80 % power by m nights, in sd: the t that decides, and what 4 of 5 unchanged nights exceed."""
    return float(special.stdtrit(m - 1, 1 - P) + special.stdtrit(m - 1, 0.8)) * math.sqrt(1 + 1 / m)


class CountVerdict(msgspec.Struct, frozen=True):
    """A count of correctness: not a matter of statistics, any increase over the accepted number fails."""

    name: str
    tonight: int | None
    accepted: int | None
    """None: nothing was accepted yet."""

    @property
    def worse(self) -> bool:
        """Whether there are more than were accepted."""
        return self.tonight is not None and self.accepted is not None and self.tonight > self.accepted


def judge_counts(names: Sequence[str], tonight: Mapping[str, int | None], accepted: Mapping[str, int]) -> list[CountVerdict]:
    """The counts of a night against the accepted numbers, those that grew first."""
    found = [CountVerdict(name, tonight.get(name), accepted.get(name)) for name in names]
    return sorted(found, key=lambda one: not one.worse)
