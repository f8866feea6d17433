"""What guests and server are done with is freed at once: nothing of ours waits for the cyclic collector.

It is all but off in a load process (`swarm/load.py`), and in a simulator it comes to the old objects only when they have grown
by a quarter. So each cycle would be a leak of many hours, and the holes that it leaves stay in the heap for good.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.conformance.runner import Plan, run
from harness.conformance.scenarios import every_fault
from harness.core.pacing import Behaviour
from harness.core.spread import around, seconds
from harness.simulator.engine import Engine
from tests.conformance.kit import NAMES

SETTLED, ENDED = 15, 55
"""Intervals after which garbage is gathered, and after which it is looked at."""


@pytest.fixture
def gathered() -> Iterator[list[object]]:
    """All that the collector finds goes there instead of away."""
    gc.collect()
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()
    gc.collect()


@pytest.mark.parametrize("faults", [False, True], ids=["quiet", "faults"])
@pytest.mark.parametrize("dialect", NAMES)
def test_nothing_of_ours_waits_for_the_collector(tmp_path: Path, gathered: list[object], dialect: str, faults: bool) -> None:
    behaviour = Behaviour(think_time=around(4, 0.5), session_length=around(60, 0.3), reply_timeout=seconds(10))
    simulator = every_fault(2.0) if faults else {}
    left: Counter[str] = Counter()
    ended = intervals = 0

    def each(_now: int, engine: Engine) -> None:
        nonlocal intervals, ended
        intervals += 1
        if intervals == SETTLED:
            gc.collect()
            gc.disable()
            ended = engine.truth.counts["messages.sent"]
        elif intervals == ENDED:
            ended = engine.truth.counts["messages.sent"] - ended
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            gc.set_debug(0)
            left.update(type(one).__qualname__ for one in gathered if type(one).__module__.startswith("harness."))
            gathered.clear()
            gc.enable()

    plan = Plan(
        dialects=(dialect,),
        guests=12,
        seconds=600,
        interval=10,
        behaviour=behaviour,
        simulator={**simulator, "forget_after": "20s"},
        each=each,
    )
    outcome = run(plan, tmp_path)
    assert not outcome.unequal(), outcome.table()
    assert ended > 300
    assert not left
