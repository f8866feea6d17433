"""Capacity searches whose steps are made up: a target that keeps its rule up to a given load, and a folder of one search."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec

from harness.report.jobs.capacity_folder import StepLine, append_step
from harness.search.capacity import CapacityController, CapacityPlan, StepLimits
from harness.search.steps import RuleShare, StepResult
from tests.report.history import manifest

RULE = "reply.response p95 < 600 ms"
BLOCKS = 24
THINK_S = 0.8


def world(load: float, limit: float = 130.0, *, samples: int = 2400, healthy: bool = True, rule: str = RULE) -> StepResult:
    """What a step at `load` measures where the rule holds up to `limit`: the odds of missing it grow as a power of the load."""
    missed = 1 / (1 + 19 * (limit / load) ** 15)
    kept = round(samples * (1 - missed))
    each = samples // BLOCKS
    blocks, left = [], kept
    for number in range(BLOCKS):  # shortfalls come in turns, so that blocks vary a little
        here = min(each, max(0, round(left / (BLOCKS - number)) + (1 if number % 2 else -1) * (missed > 0.002)), left)
        blocks.append((here, each))
        left -= here
    response = 0.2 + 0.25 * (load / limit) ** 6
    per_s = load / (response + THINK_S)
    middle = 0.6 * (load / limit) ** 1.2
    return StepResult(
        load,
        samples / per_s,
        rules=(RuleShare(rule, 0.95, tuple(blocks)),),
        operations=2 * samples,
        achieved=1.0,
        in_flight=tuple(load * 0.2 + math.sin(n) for n in range(BLOCKS)),
        generator_healthy=healthy,
        generator="" if healthy else "the generator was over its limits: send delay p99",
        throughput=per_s,
        response_s=response,
        think_s=THINK_S,
        present=load,
        percentile_s=middle,
        percentile_low_s=middle * 0.96,
        percentile_high_s=middle * 1.05,
        reference=f"run-{load:g}",
    )


def plan(**changes: Any) -> CapacityPlan:
    known: dict[str, Any] = {"first": 40.0, "most": 640.0, "cycle_s": 1.0, "limits": StepLimits(step_min_s=10)}
    return CapacityPlan(**{**known, **changes})


def search_folder(
    folder: Path,
    *,
    limit: float = 130.0,
    healthy_to: float = 1e9,
    steps: int = 99,
    ended: str = "finished",
    stopped: str = "",
    rule: str = RULE,
    beyond: list[str] | None = None,
    asked: CapacityPlan | None = None,
    **changes: Any,
) -> Path:
    """A folder as `guestswarm capacity` leaves it, without the runs of its steps."""
    folder.mkdir(parents=True)
    controller = CapacityController(asked or plan())
    while len(controller.steps) < steps and (order := controller.next_step()) is not None:
        controller.update(world(order.load, limit, healthy=order.load <= healthy_to, rule=rule))
        append_step(folder, StepLine(controller.steps[-1], 99.5, list(beyond or ()) if order.load > limit else []))
    job = {"kind": "capacity", "plan": msgspec.to_builtins(controller.plan), "stopped": stopped, "doomed": controller.doomed_reason}
    written = manifest(slo=[rule], ended=ended, job=job, id=folder.name, **changes)
    (folder / "manifest.json").write_text(json.dumps(written))
    return folder
