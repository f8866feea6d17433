"""`[capacity]`: how `guestswarm capacity` searches. Without the table the defaults hold, and the loads follow from `[guests]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from harness.config.spelling import DurationField, NumberField, ShareField, Table
from harness.core.spread import seconds
from harness.search.plan import CapacityPlan, StepLimits

_PLAN = CapacityPlan(first=1, most=1)
_LIMITS = StepLimits()


def _above_0(value: float) -> float:
    if value <= 0:
        raise ValueError("must be above 0")
    return value


def _above_0s(value: int) -> int:
    if value <= 0:
        raise ValueError("must be above 0s")
    return value


def _above_1(value: float) -> float:
    if value <= 1:
        raise ValueError("must be above 1")
    return value


_Load = Annotated[NumberField, AfterValidator(_above_0)]
_Length = Annotated[DurationField, AfterValidator(_above_0s)]


class CapacityTable(Table):
    """The search for the highest load at which all rules hold. Loads are guests, or arrivals/s if the scenario has those."""

    first: Annotated[_Load | None, Field(description="First load. Default: a quarter of what [guests] says.")] = None
    most: Annotated[
        _Load | None,
        Field(description="No more than that is tried. Default: 16 times what [guests] says (or plan), or what is approved."),
    ] = None
    growth: Annotated[
        NumberField, AfterValidator(_above_1), Field(description="While nothing breaks, the next load is so many times the last.")
    ] = _PLAN.growth
    tolerance: Annotated[
        ShareField, AfterValidator(_above_0), Field(description="Bisection ends where (high - low) / high is no more than that.")
    ] = _PLAN.tolerance
    repeats: Annotated[int, Field(ge=1, le=99, description="Loads at the edge are run up to so many times ...")] = _PLAN.repeats
    needed: Annotated[int, Field(ge=1, le=99, description="... and so many of the runs decide.")] = _PLAN.needed
    precision: Annotated[
        ShareField,
        AfterValidator(_above_0),
        Field(description="Steps are repeated until the interval reaches no further than that share to either side ..."),
    ] = _PLAN.precision
    extra: Annotated[int, Field(ge=0, le=999, description="... but no more than so many times.")] = _PLAN.extra
    step_min: Annotated[_Length, Field(description="Shortest step, counted from the ramp's end.")] = seconds(_LIMITS.step_min_s)
    step_max: Annotated[_Length, Field(description="Longest ordinary step.")] = seconds(_LIMITS.step_max_s)
    samples: Annotated[
        int, Field(ge=100, le=10_000_000, description="Samples of each percentile rule in a step, if step_max allows.")
    ] = _LIMITS.samples
    cycles: Annotated[
        NumberField, AfterValidator(_above_0), Field(description="A step lasts so many times the response and think time.")
    ] = _LIMITS.cycles
    warm_up: Annotated[
        DurationField | None,
        Field(description="Left out at the begin of each step. Default: found by MSER-5, no more than a fifth of the step."),
    ] = None
    ramp_per_s: Annotated[
        _Load | None, Field(description="Guests who come per second, evenly. Default: as fast as count comes in [load] ramp.")
    ] = None
    confirm: Annotated[bool, Field(description="End with a longer run at what the answer promises.")] = _PLAN.confirm
    confirm_factor: Annotated[
        NumberField, AfterValidator(_above_0), Field(description="How many times longer than an ordinary step.")
    ] = _PLAN.confirm_factor
    confirms: Annotated[int, Field(ge=1, le=9, description="Longer runs at most: one that breaks corrects the answer.")] = (
        _PLAN.confirms
    )
    errors: Annotated[ShareField, Field(description="A greater share of failed operations breaks a step.")] = _LIMITS.errors
    achieved: Annotated[ShareField, Field(description="A lesser share of the planned load breaks a step.")] = _LIMITS.achieved
    plan: Annotated[_Load | None, Field(description="The load that is planned: how much room there is beside it.")] = None
    within: Annotated[_Length, Field(description="Begin no step that would end later than that after the start.")] = seconds(
        4 * 3600
    )

    @model_validator(mode="after")
    def _sane(self) -> CapacityTable:
        if self.needed > self.repeats:
            raise ValueError(f"needed ({self.needed}) cannot be more than repeats ({self.repeats})")
        if self.step_max < self.step_min:
            raise ValueError("step_max cannot be shorter than step_min")
        if self.first is not None and self.most is not None and self.most < self.first:
            raise ValueError(f"most ({self.most:g}) cannot be less than first ({self.first:g})")
        return self
