"""What a step of a calibration came to: whether the generator was healthy, what it sent, and how far counts were from truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from harness.calibration.compare import Compared
from harness.report.health import health_lines
from harness.report.model import Model

SIMULATOR_CPU = 0.9
"""Of one core: a simulator busier than that is what limits, not the generator."""


class Step(msgspec.Struct, frozen=True):
    """One load that was tried."""

    guests: int
    healthy: bool
    messages_per_s: float
    """Sent by guests, over the full load; each was confirmed and answered."""
    over: list[str]
    """Signs of health that were over their limits, and what else was wrong."""
    figures: dict[str, float | None]
    """Signs of health by name."""
    simulator_cpu: float | None
    """Of one core, the whole run through."""

    @property
    def limited_by(self) -> str:
        """What was too much, in short."""
        return ", ".join(self.over)


def judge_step(model: Model, guests: int, simulator: Mapping[str, Any]) -> Step:
    """Judge a run by the health limits that every run is judged by, their defaults, and that nothing of it is missing."""
    measured = model.measured
    lines = health_lines(measured, {}, rules=True)
    over = [line.name for line in lines if line.decides and line.ok is False]
    if not model.figures.complete:
        over.append("incomplete")
    peak = model.figures.guests.peak or 0
    if peak < guests:
        over.append(f"only {peak} guests came")
    if any(row.equal is False for row in model.truth):
        over.append("truth not equal")
    return Step(
        guests,
        not over,
        round(sent_per_s(model), 3),
        over,
        {line.name: line.value for line in lines},
        _cpu(simulator),
    )


def sent_per_s(model: Model) -> float:
    """Messages that guests sent a second while all of them were there."""
    phases, sent, ns = model.manifest.get("phases") or {}, 0, 0
    measured = model.measured
    begin, end = int(phases.get("load", measured.first_ns)), int(phases.get("settle", measured.last_ns))
    before = measured.first_ns
    for point in measured.series:
        if before >= begin and point.at_ns <= end:
            sent += point.counters.get("messages|invoked", 0)
            ns += point.at_ns - before
        before = point.at_ns
    return sent / ns * 1e9 if ns else 0.0


def _cpu(simulator: Mapping[str, Any]) -> float | None:
    shell = simulator.get("shell")
    if not isinstance(shell, Mapping) or not shell.get("uptime_s"):
        return None
    return round(float(shell["cpu_s"]) / float(shell["uptime_s"]), 4)


class Count(msgspec.Struct, frozen=True):
    """How often something happened: by the simulator's record, by ours (for certain, and at most), and whether by the same ids."""

    truth: int
    low: int
    high: int
    equal: bool | None

    @property
    def error(self) -> int:
        """How far the truth lies outside of what we say."""
        return max(self.low - self.truth, self.truth - self.high, 0)


def counts_of(model: Model) -> dict[str, Count]:
    """Every row of the truth table that was compared."""
    return {
        row.name: Count(row.expected, row.low, row.high, row.equal)
        for row in model.truth
        if row.expected is not None and row.low is not None and row.high is not None
    }


def worst(compared: Mapping[str, Mapping[str, Compared]]) -> float | None:
    """The greatest error of a percentile of the response, as a share of the truth; the single greatest value (max) is left out."""
    errors = [
        abs(error.error)
        for parts in compared.values()
        for name, error in parts["response"].percentiles.items()
        if name != "max" and error.error is not None
    ]
    return max(errors, default=None)
