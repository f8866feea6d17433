"""Every sign of health, each tripped by a defect that was planted: no check that cannot fail, and none that always does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.journal.records import SEND_DELAY
from harness.metrics.histogram import Histogram
from harness.report.build import build_model
from harness.report.fold import HEALTH_WINDOW_NS, Damage, Measured
from harness.report.health import LIMITS, Books, health_lines
from harness.report.model import HealthLine
from harness.verdicts.lattice import Verdict
from tests.report.history import leave, webchat, write_run

S = 10**9
STEADY = (0, 6 * HEALTH_WINDOW_NS)
CALM: dict[str, float] = {
    "wall_ns": 10 * S,
    "loop.turns": 100,
    "loop.busy_ns": 2 * S,
    "loop.blocked": 0,
    "cpu_ns": 2 * S,
    "runqueue_ns": 0,
    "host.ticks": 1000,
    "host.steal_ticks": 0,
    "pressure.max": 1.0,
    "gc.pause_ns": 0,
    "gc.pause_ns.max": 0,
    "cgroup.periods": 100,
    "cgroup.throttled": 0,
    "net.listen_drops": 0,
    "net.receive_drops": 0,
    "open_files.max": 100,
    "open_files.limit.max": 1000,
    "ports.used.max": 100,
    "ports.range.max": 1000,
    "open_files.refused": 0,
    "ports.exhausted": 0,
    "journal.errors": 0,
    "clock.wall_steps": 0,
    "clock.suspensions": 0,
    "little.messages.area_ns": 10.0 * S,
    "little.messages.spent_ns": 10.0 * S,
    "little.messages.done": 100,
    "little.replies.area_ns": 10.0 * S,
    "little.replies.spent_ns": 10.0 * S,
    "little.replies.done": 100,
    "little.guests.area_ns": 100.0 * S,
    "little.guests.spent_ns": 10.0 * S,
    "little.guests.done": 90,
}
COUNTERS = {"messages|invoked": 1000, "guests.arrived": 100}
BOOKS = Books(width=0.05, workers=2, think_ns=S, stay_ns=60 * S)


def measured(
    planted: dict[str, float] | None = None,
    *,
    counters: dict[str, int] | None = None,
    delay_us: int = 100,
    damage: Damage | None = None,
    windows: int = 6,
) -> Measured:
    """A minute of two calm workers; one of them has the defect."""
    by_worker = {
        "w1": {n * HEALTH_WINDOW_NS: dict(CALM) for n in range(6)},
        "w2": {n * HEALTH_WINDOW_NS: {**CALM, **((planted or {}) if n < windows else {})} for n in range(6)},
    }
    whole: dict[str, float] = {}
    merged: dict[int, dict[str, float]] = {}
    for worker in by_worker.values():
        for at, window in worker.items():
            for into in (whole, merged.setdefault(at, {})):
                for name, value in window.items():
                    into[name] = max(into.get(name, value), value) if name.endswith(".max") else into.get(name, 0) + value
    delays = Histogram.of([100] * 980 + [delay_us] * 20)
    return Measured(
        ["w1", "w2"],
        0,
        6 * HEALTH_WINDOW_NS,
        S,
        {**COUNTERS, **(counters or {})},
        {SEND_DELAY: delays},
        {},
        {},
        0,
        [],
        whole,
        "all",
        damage or Damage(),
        None,
        merged,
        health_workers=by_worker,
    )


def lines_of(given: Measured, *, books: Books = BOOKS, limits: dict[str, Any] | None = None) -> dict[str, HealthLine]:
    return {line.name: line for line in health_lines(given, limits or {}, rules=True, steady=STEADY, books=books)}


def over(lines: dict[str, HealthLine]) -> set[str]:
    return {line.name for line in lines.values() if line.ok is False}


def test_a_calm_run_trips_nothing_and_everything_is_measured() -> None:
    lines = lines_of(measured())
    assert over(lines) == set()
    assert [line.name for line in lines.values() if line.value is None] == []


DECIDE: list[tuple[str, dict[str, Any], Books]] = [
    ("send delay p99", {"delay_us": 60_000}, BOOKS),
    ("bracket width", {}, BOOKS._replace(width=0.31)),
    ("loop busy", {"planted": {"loop.busy_ns": 9.5 * S}}, BOOKS),
    ("sent/planned", {"counters": {"noted|send.dropped": 20}}, BOOKS),
    ("workers lost", {}, BOOKS._replace(workers=3)),
    ("workers lost", {"damage": Damage(unended=["w2"])}, BOOKS),
    ("workers lost", {"damage": Damage(torn=["w2"])}, BOOKS),
    ("guests come/planned", {"counters": {"noted|arrival.dropped": 5}}, BOOKS),
    ("refused by the system", {"planted": {"open_files.refused": 1}}, BOOKS),
    ("refused by the system", {"planted": {"ports.exhausted": 1}}, BOOKS),
    ("journal errors", {"planted": {"journal.errors": 1}}, BOOKS),
    ("Little's law, messages", {"planted": {"little.messages.spent_ns": 9.0 * S}}, BOOKS),
    ("Little's law, replies", {"planted": {"little.replies.area_ns": 12.0 * S}}, BOOKS),
]
WARN: list[tuple[str, dict[str, float]]] = [
    ("Little's law, guests", {"little.guests.done": 20}),
    ("loop rather busy", {"loop.busy_ns": 7.5 * S}),
    ("blocked loop turns", {"loop.blocked": 1}),
    ("waiting for a CPU", {"runqueue_ns": 0.6 * S}),
    ("longest GC pause", {"gc.pause_ns.max": 21_000_000}),
    ("GC share", {"gc.pause_ns": 0.11 * S}),
    ("CPU", {"cpu_ns": 8.6 * S}),
    ("steal", {"host.steal_ticks": 21}),
    ("CPU pressure", {"pressure.max": 11.0}),
    ("CPU throttled", {"cgroup.throttled": 2}),
    ("dropped by the kernel", {"net.listen_drops": 1}),
    ("dropped by the kernel", {"net.receive_drops": 1}),
    ("open files", {"open_files.max": 901}),
    ("local ports", {"ports.used.max": 901}),
    ("wall clock steps", {"clock.wall_steps": 1}),
    ("machine suspended", {"clock.suspensions": 1}),
]


@pytest.mark.parametrize(("name", "defect", "books"), DECIDE, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(DECIDE)])
def test_a_planted_defect_that_decides(name: str, defect: dict[str, Any], books: Books) -> None:
    lines = lines_of(measured(**defect), books=books)
    assert name in over(lines)
    assert lines[name].decides
    assert over(lines) <= {name, "late sends", "loop rather busy"}, "and nothing else is blamed"


@pytest.mark.parametrize(("name", "defect"), WARN, ids=[f"{n}-{i}" for i, (n, _) in enumerate(WARN)])
def test_a_planted_defect_that_warns(name: str, defect: dict[str, float]) -> None:
    lines = lines_of(measured(defect))
    assert name in over(lines)
    assert not lines[name].decides


def test_late_sends_are_a_share() -> None:
    assert lines_of(measured(delay_us=60_000))["late sends"].value == pytest.approx(0.02)


def test_every_limit_belongs_to_a_sign_that_is_tested() -> None:
    tested = {name for name, *_ in DECIDE} | {name for name, _ in WARN} | {"late sends"}
    assert tested == set(lines_of(measured()))
    assert len(LIMITS) == len(tested) - 2, "Little's law has one limit for three"


@pytest.mark.parametrize(
    "name", ["waiting for a CPU", "longest GC pause", "GC share", "CPU", "steal", "CPU pressure", "CPU throttled"]
)
def test_circumstances_that_last_decide_where_the_bracket_is_wide(name: str) -> None:
    defect = dict(next(one for sign, one in WARN if sign == name))
    defect = {key: value if key.endswith(".max") else 2.2 * value for key, value in defect.items()}  # two workers share a window
    wide = BOOKS._replace(width=0.2)
    assert lines_of(measured(defect), books=wide)[name].decides
    assert not lines_of(measured(defect), books=BOOKS)[name].decides
    assert not lines_of(measured(defect, windows=0), books=wide)[name].decides


def test_limits_are_those_of_the_scenario() -> None:
    lines = lines_of(measured({"loop.busy_ns": 9.5 * S}), limits={"loop_busy": 0.97})
    assert (lines["loop busy"].ok, lines["loop busy"].limit, lines["loop busy"].default) == (True, 0.97, 0.9)
    lines = lines_of(measured(), books=BOOKS._replace(width=0.5), limits={"bracket": 0.6})
    assert lines["bracket width"].ok


def test_an_idle_drain_does_not_make_up_for_an_overloaded_minute() -> None:
    given = measured({"loop.busy_ns": 9.5 * S})
    for worker in given.health_workers.values():
        for n in range(6, 60):
            worker[n * HEALTH_WINDOW_NS] = {"wall_ns": 10.0 * S, "loop.turns": 9.0, "loop.busy_ns": 0.0}
    given.health = {**given.health, "wall_ns": 1200.0 * S}
    assert not lines_of(given)["loop busy"].ok


def test_a_worker_that_left_no_journal_makes_the_run_unknown(tmp_path: Path) -> None:
    guests = [leave(webchat(slot), (1, 2, 3), (1, 2, 3)) for slot in (1, 2)]
    folder = write_run(tmp_path / "two", guests, split=True, workers=2)
    assert build_model(folder).verdict is Verdict.PASS
    folder = write_run(tmp_path / "three", guests, split=True, workers=3)
    model = build_model(folder)
    assert model.verdict is Verdict.UNKNOWN
    assert model.reasons[0].text == "The generator cannot be believed: workers lost was 1, the limit is 0."
