"""What a soak came to beside its rules. Pure data; instants are seconds since the begin of the run's first interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from harness.drift.model import ChangePoint, SeriesVerdict


class Followed(msgspec.Struct):
    """One series: what it came to, and enough of it to be drawn."""

    verdict: SeriesVerdict
    resource: str
    """Which family of `[soak]` resources it is of."""
    raw: list[tuple[float, float]] = []
    """Known values, thinned: instant and value."""
    changes: list[ChangePoint] = []
    """Where its level changed, whether or not that is more than its budget."""
    asked: bool = False
    """Whether it is drawn though it did not move."""


class Happening(msgspec.Struct, forbid_unknown_fields=True):
    """What befell the run: a process lost and started anew, a journal file closed, a clock that was set."""

    at_s: float
    kind: str
    text: str


class Alarms(msgspec.Struct, forbid_unknown_fields=True):
    """A spell in which the error budget burnt too fast."""

    begin_s: float
    end_s: float
    rate: float


class Budget(msgspec.Struct, forbid_unknown_fields=True):
    """The error budget."""

    sentence: str
    allowed: float
    bad: int
    total: int
    rate: float | None
    spent: float | None
    exhausted_s: float | None
    alarms: list[Alarms]
    series: list[float] = []
    """Share gone over time, thinned, in equal steps."""


class Storm(msgspec.Struct, forbid_unknown_fields=True):
    """Bursts of one kind of event."""

    what: str
    sentence: str
    events: int
    bursts: int
    share: float
    period_s: float | None
    peak_to_mean: float | None
    counts: list[int] = []
    """Over time, thinned by sums, in equal steps."""


class SoakFigures(msgspec.Struct):
    """All of it."""

    planned_s: float
    load_s: float
    """Of ramp and full load, as far as it came."""
    full_s: float
    """Full load as planned, without the ramp."""
    interval_s: float
    least_s: float
    planned: bool
    """Whether trends were to be judged."""
    series: list[Followed]
    budget: Budget | None
    storms: list[Storm]
    happenings: list[Happening]
    sessions: int
    restarts: int
    """Of the target, where that is the simulator."""
    segments: int
    """Journal files."""
    remarks: list[str]
    false_discoveries: float
    left_out_s: float
    """Beginning of each series that trends leave out."""

    @property
    def verdicts(self) -> list[SeriesVerdict]:
        """What the series came to, in order."""
        return [one.verdict for one in self.series]


def is_soak(manifest: Mapping[str, Any]) -> bool:
    """Whether the run is a soak."""
    job = manifest.get("job")
    return isinstance(job, Mapping) and job.get("kind") == "soak"
