"""What is asked of a series over a long run, and what came of it (metrics.md F2–F3). Pure data."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

import msgspec

Keep = Literal["minimum", "median"]
"""Value of a block: the minimum of what a collector frees again (memory), the median of what varies to both sides (latency)."""


class State(StrEnum):
    """What a series came to."""

    LEAK = "LEAK"
    """It grows, surely and by more than its budget, and does not level off."""
    STEP = "STEP"
    """It jumped once."""
    SUSPECT = "SUSPECT"
    """It grew and levels off: warm-up or a cache, perhaps."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """A longer run is needed; not a pass."""
    STABLE = "STABLE"
    """Whatever it does is less than its budget."""
    NOT_JUDGED = "NOT JUDGED"
    """Too short, too coarse, or too full of gaps."""


RANK = {
    State.LEAK: 0,
    State.STEP: 1,
    State.SUSPECT: 2,
    State.INCONCLUSIVE: 3,
    State.NOT_JUDGED: 4,
    State.STABLE: 5,
}
"""Gravest first."""


FEWEST_BLOCKS = 8


class LeakRule(msgspec.Struct, frozen=True):
    """The settings of the judgement; the defaults are those of metrics.md F3."""

    drop: float = 0.15
    """Share of the series at its start that is left out: the ramp and the warm-up."""
    blocks: int = 24
    p: float = 0.01
    """One-sided; above it there is no trend."""
    share: float = 0.02
    """Budget over the judged part, as a share of the median, unless the floor is more or a limit says what can be borne."""
    confidence: float = 0.95
    """Of the slope's interval, two-sided."""
    step_ratio: float = 0.8
    """A step, if two levels leave less than this part of the squares that a line leaves."""
    levelling: float = 0.5
    """Levelling off, if the second half is less steep than this part of the first."""
    least_s: float = 6 * 3600.0
    """Shorter series are not judged."""
    coarsest_s: float = 30.0
    """Series of longer steps are not judged."""
    known_blocks: float = 0.8
    """Share of the blocks that must have a value."""
    known_points: float = 0.5
    """Share of a block's points that must be known for it to have one: a minimum of few is no minimum of many."""
    false_discoveries: float = 0.05
    """Expected share of false ones among all series that are said to have a trend (Benjamini-Hochberg)."""

    def __post_init__(self) -> None:
        """Raises ValueError for settings that no series can be judged by."""
        if self.blocks < FEWEST_BLOCKS:
            raise ValueError(f"a trend needs at least {FEWEST_BLOCKS} blocks")
        if not 0 <= self.drop < 1:
            raise ValueError("what is left out at the start is a share from 0 to below 1")
        if not (0 < self.p < 1 and 0 < self.confidence < 1 and 0 < self.false_discoveries < 1):
            raise ValueError("p, confidence and the share of false discoveries lie between 0 and 1")


class Series(msgspec.Struct, frozen=True):
    """One figure over time, in equal steps."""

    name: str
    values: Sequence[float | None]
    """None, and what is not finite, is a gap."""
    step_s: float
    unit: str = ""
    """`bytes`, `ms`, `s`, `share` (0.01 is written 1 %), `/s`, or empty for plain numbers."""
    keep: Keep = "median"
    floor: float = 0.0
    """Least budget over the judged part, in the unit: what nobody minds."""
    limit: float | None = None
    """What the resource can bear at most, in the unit."""
    uptime_s: float | None = None
    """How long it must run without a restart. With a limit this makes the budget: what may be used up in the judged part, if the
    limit is not to be met before."""
    bad: Literal["up", "down"] = "up"
    """Which way is a leak: down for what should stay, such as throughput."""
    start_s: float = 0.0
    """Instant of the first step's begin, in seconds since the run's start."""


class ChangePoint(msgspec.Struct, frozen=True):
    """Where the level of a series changed."""

    index: int
    """First value at the new level."""
    first: int
    last: int
    """Where it can also have been: about 95 of 100 such bands hold the true index."""
    before: float
    after: float
    """Means of the values up to the neighbouring change points."""
    p: float
    at_s: float | None = None
    """Begin of that value's step, in seconds since the run's start; None where no step was given."""
    first_s: float | None = None
    last_s: float | None = None

    @property
    def change(self) -> float | None:
        """As a share of the level before; None if that was 0."""
        return (self.after - self.before) / abs(self.before) if self.before else None


class SeriesVerdict(msgspec.Struct, frozen=True):
    """What one series came to. What is not known is None; times are seconds since the run's start."""

    name: str
    state: State
    sentence: str
    """The finding with its numbers and units."""
    note: str = ""
    """The short form, for a table: when the limit is met, why it is not judged."""
    unit: str = ""
    points: int = 0
    known: int = 0
    """Points that are no gaps."""
    step_s: float = 0.0
    begin_s: float | None = None
    end_s: float | None = None
    """The judged part."""
    median: float | None = None
    """Of the block values."""
    now: float | None = None
    """Where the line through the block values ends."""
    slope_per_h: float | None = None
    slope_low_per_h: float | None = None
    slope_high_per_h: float | None = None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    """Over the judged part, by the slope and the ends of its 95 % interval."""
    budget: float | None = None
    """What the change may be."""
    p: float | None = None
    """One-sided: how often a series without trend goes the bad way as much."""
    q: float | None = None
    """The same adjusted for all series that were judged together."""
    r1: float | None = None
    """Lag-1 autocorrelation of the block values about the line."""
    whitened: bool = False
    """Whether it was so large that the trend was tested on the pre-whitened values."""
    trend: bool = False
    big: bool = False
    blocks: tuple[float | None, ...] = ()
    blocks_s: tuple[float, ...] = ()
    """Middle of each block."""
    step: ChangePoint | None = None
    """Of STEP alone."""
    limit: float | None = None
    limit_at_s: float | None = None
    """When the limit is met at this slope; None: never, or there is no limit."""
    limit_first_s: float | None = None
    limit_last_s: float | None = None
    """The same at the steepest and at the least steep slope of the interval."""

    @property
    def moved(self) -> bool:
        """Whether it is worth a picture."""
        return self.state in (State.LEAK, State.STEP, State.SUSPECT)


def worst(verdicts: Sequence[SeriesVerdict]) -> SeriesVerdict | None:
    """The gravest; among equals the one with the largest change against its budget."""

    def gravity(one: SeriesVerdict) -> tuple[int, float]:
        return RANK[one.state], -abs(one.change or 0.0) / (one.budget or 1.0)

    return min(verdicts, key=gravity, default=None)
