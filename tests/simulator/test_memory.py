"""What the engine holds stays the same over virtual hours of guests who come, talk, are cut off, and go."""

from __future__ import annotations

import gc
import sys
import types
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from harness.conformance.runner import Plan, run
from harness.conformance.world import SECOND, World
from harness.core.pacing import Behaviour
from harness.core.spread import around
from harness.simulator.openings import PORTS, TABLES, Openings
from tests.conformance.kit import NAMES

HOURS = 2.5
EVERY = 300 * SECOND
SHARED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType)
TABLE: dict[str, Any] = {
    "forget_after": "1min",
    "token_life": "4min",
    "credentials": {"refresh_life": "10min"},
    "capacity": {"servers": 4, "service": {"exponential": "40ms"}, "cliff": 3},
    "limits": [
        {"endpoint": "*", "kind": kind, "limit": 500, "window": "10s", "scope": scope}
        for kind in ("fixed_window", "sliding_window", "sliding_counter")
        for scope in ("session", "connection", "ip", "client")
    ]
    + [{"kind": "concurrency", "limit": 50, "scope": "ip"}, {"rate": "100/s", "scope": "session"}],
    "faults": [
        {"name": "reset", "share": 0.01},
        {"name": "stall", "share": 0.01, "length": "5s"},
        {"name": "lose_push", "share": 0.02},
    ],
    "longpoll": {"file_life": "1min"},
    "webmessaging": {"attachment_life": "1min"},
    "engagements": {"token_life": "5min"},
    "guests": {"token_life": "5min"},
}


def held(root: object, *without: object) -> int:
    """Bytes of everything that can be reached from there, code and the objects left out not counted."""
    seen, todo, size = {id(one) for one in without}, [root], 0
    while todo:
        one = todo.pop()
        if id(one) not in seen and not isinstance(one, SHARED):
            seen.add(id(one))
            size += sys.getsizeof(one, 0)
            todo.extend(gc.get_referents(one))
    return size


@pytest.mark.parametrize("name", NAMES)
def test_hours_leave_nothing_behind(name: str, tmp_path: Path) -> None:
    sizes: list[int] = []
    health: list[dict[str, Any]] = []

    def tamper(world: World, sessions: Any, recorder: Any, engine: Any) -> None:
        def look(now: int) -> None:
            # Numbers of connections are never forgotten, and every connection of this network has an address of its own.
            sizes.append(held(engine, world, engine.truth._hash, engine._openings))
            health.append(engine.health(now))
            world.at(now + EVERY, look)

        world.at(world.now + EVERY, look)

    behaviour = Behaviour(
        think_time=around(6.0, 0.5), session_length=around(90.0, 0.5), between=around(5.0, 0.5), reload=0.02, attachments=0.1
    )
    plan = Plan(
        dialects=(name,), guests=8, seconds=HOURS * 3600, behaviour=behaviour, simulator=TABLE, tamper=tamper, compare=False
    )
    found = run(plan, tmp_path)
    assert found.world.engine.health(found.world.now)["served"] > 2000
    third = len(sizes) // 3
    early, late = median(sizes[third : 2 * third]), median(sizes[2 * third :])
    assert late < 1.1 * early, f"{early:.0f} bytes, then {late:.0f}"
    for figure in ("kept", "streams", "tokens", "limiters", "timers", "lines"):
        figures = [each[figure] for each in health]
        assert median(figures[2 * third :]) <= 1.25 * median(figures[third : 2 * third]) + 3, figure


def test_the_numbers_of_connections_are_kept_in_little_space() -> None:
    openings = Openings()
    for peer in ("127.0.0.1:40000", "127.0.0.1:40001", "127.0.0.1:40000", "[::1]:40000", "?:0"):
        openings.note(peer, openings.next(peer))
    assert [openings.next(f"127.0.0.1:{port}") for port in (40000, 40001, 40002)] == [3, 2, 1]
    assert openings.next("[::1]:40000") == 2
    full = held(openings)
    for _ in range(3):
        for port in range(1024, PORTS):
            openings.note(f"127.0.0.1:{port}", openings.next(f"127.0.0.1:{port}"))
    assert held(openings) == full
    for host in range(2 * TABLES):  # beyond, one by one
        openings.note(f"10.0.0.{host}:7", openings.next(f"10.0.0.{host}:7"))
    assert {openings.next(f"10.0.0.{host}:7") for host in range(2 * TABLES)} == {2}
    assert {openings.next(f"10.0.0.{host}:8") for host in range(2 * TABLES)} == {1}
