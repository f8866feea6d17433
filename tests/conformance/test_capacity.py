"""Truth stays equal for every dialect when messages wait for a server, are turned away, or fail, whatever else goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.conformance.any_order import equal
from harness.conformance.runner import Outcome, Plan, run
from harness.conformance.scenarios import every_fault
from harness.core.pacing import Behaviour
from harness.core.spread import around, fixed
from tests.conformance.kit import NAMES

BUSY = {"servers": 2, "service": {"exponential": "500ms"}}
CAPACITIES: dict[str, dict[str, Any]] = {
    "queue": BUSY,
    "cliff": {**BUSY, "cliff": 5},
    "silence": {**BUSY, "cliff": 5, "cliff_answer": "silence", "silence": "25s", "slowdown": 0.1},
    "everything": {"servers": 4, "service": "300ms±50%", "also": ["*", "frame typing"]},
}
DRIFT = [
    {"name": "creep", "by": "100%", "over": "5min", "service": True},
    {"name": "step", "at": "2min", "add": "50ms"},
    {"name": "error_creep", "to": "10%", "over": "4min"},
    {"name": "backlog", "lag": "3s", "over": "4min"},
    {"name": "leak"},
]
THINKING = Behaviour(think_time=around(1.0, 0.5), session_length=around(60.0, 0.5))
FLOOD = Behaviour(pacing="schedule", period=fixed(1.5), max_in_flight=8, session_length=around(60.0, 0.5))


def outcome(name: str, seed: int, capacity: dict[str, Any], folder: Path, *, flood: bool = False) -> Outcome:
    table = every_fault(2.0)
    table["faults"] += DRIFT
    behaviour = FLOOD if flood else THINKING
    plan = Plan(
        dialects=(name,),
        guests=8,
        seconds=240.0,
        seed=seed,
        behaviour=behaviour,
        simulator={**table, "capacity": capacity, "latency": {"echo": "20ms", "send": "30ms"}},
        strict=True,
    )
    found = run(plan, folder)
    equal(found, f"{name}, seed {seed}")
    return found


@pytest.mark.parametrize("flood", [False, True])
@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("name", NAMES)
def test_truth_is_equal_when_messages_wait(name: str, capacity: str, flood: bool, tmp_path: Path) -> None:
    found = outcome(name, 1, CAPACITIES[capacity], tmp_path, flood=flood)
    health = found.world.engine.health(found.world.now)
    assert health["served"] > 50
    if flood and "cliff" in CAPACITIES[capacity]:
        assert health["turned_away"] > 10
    assert found.faults["error_creep"] > 0
    assert found.faults["backlog"] > 0


@pytest.mark.parametrize("seed", range(2, 5))
@pytest.mark.parametrize("name", NAMES)
def test_with_several_seeds(name: str, seed: int, tmp_path: Path) -> None:
    outcome(name, seed, CAPACITIES["cliff"], tmp_path, flood=seed % 2 == 0)
