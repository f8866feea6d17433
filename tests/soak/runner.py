"""A whole run in virtual time: guests of one or more dialects, the engine, a journal on disk, sealed truth, the joined table."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from harness.core.credentials import Secret
from harness.core.pacing import Behaviour
from harness.core.session import Context, GuestSession, Target
from harness.dialects.registry import all_dialects
from harness.journal.writer import JournalWriter
from harness.metrics.recorder import Recorder
from harness.report.fold import fold
from harness.report.truth import TruthRow, join, load_truth
from harness.simulator.config import SimConfig
from harness.simulator.engine import Engine
from harness.simulator.truth import TruthLog
from tests.soak.world import SECOND, Guest, World

RUN = "soak"
SECRET = "in-virtual-time"
BASES = {"files": "http://localhost"}
"""What the simulator's answers name where no request says what host it was sent to."""
WALL = 1_700_000_000 * SECOND


@dataclass
class Plan:
    """What to run. Durations in virtual seconds."""

    dialects: tuple[str, ...] = ("webchat", "longpoll")
    guests: int = 50
    seconds: float = 600.0
    ramp: float = 30.0
    seed: int = 1
    loss_wait: float = 60.0
    interval: float = 10.0
    behaviour: Behaviour = field(default_factory=Behaviour)
    settings: dict[str, Any] = field(default_factory=dict)
    simulator: dict[str, Any] = field(default_factory=dict)
    queue: str = "support"
    skills: tuple[str, ...] = ("Billing",)
    tamper: Callable[[World, list[GuestSession], Recorder, Engine], None] | None = None
    """A mutant: breaks one thing before the run begins."""


@dataclass
class Outcome:
    """What came out."""

    rows: list[TruthRow]
    messages: int
    faults: Counter[str]
    counts: dict[str, int]
    journal: Path
    truth: Path
    world: World
    sessions: list[GuestSession]

    def unequal(self) -> set[str]:
        return {row.name for row in self.rows if not row.equal}

    def table(self) -> str:
        lines = [f"{'equal':6} {'row':32} {'truth':>8} {'meas.':>8} {'low':>8} {'high':>8}  ids"]
        for row in self.rows:
            figures = " ".join(f"{value!s:>8}" for value in (row.expected, row.measured, row.low, row.high))
            lines += [f"{row.equal!s:6} {row.name:32} {figures}  {' '.join(row.ids[:4])}"]
        return "\n".join(lines)


def run(plan: Plan, folder: Path) -> Outcome:
    """Run a plan to its seal and join journal and truth."""
    folder.mkdir(parents=True, exist_ok=True)
    world = World(plan.seed)
    start = world.now
    truth_path, journal_path = folder / "truth.jsonl", folder / "journal-0.bin"
    journal_path.unlink(missing_ok=True)
    buffer = io.StringIO()
    truth = TruthLog(buffer.write)
    engine = Engine(
        SimConfig.from_table(plan.simulator), seed=plan.seed, outlet=world, truth=truth, wall_offset_ns=WALL - start, secret=SECRET
    )
    world.engine = engine
    writer = JournalWriter(journal_path, RUN, "0")
    recorder = Recorder(RUN, "0", writer.write, start_ns=start, loss_wait_ns=round(plan.loss_wait * SECOND))
    sessions: list[GuestSession] = []
    dialects = all_dialects()
    for slot in range(1, plan.guests + 1):
        name = plan.dialects[slot % len(plan.dialects)]
        dialect = dialects[name]
        target = Target(
            "guestswarm", Secret(SECRET), queue_id=plan.queue, fallback_queue_id="fallback", skills=plan.skills, bases=BASES
        )
        context = Context(RUN, slot, target, plan.behaviour, recorder, Random(f"{plan.seed}/{slot}"), WALL - start)
        session = dialect.session(context, plan.settings.get(name, dialect.settings()))
        sessions.append(session)
        guest = Guest(world, session)
        world.guests.append(guest)
        arrival = start + round(plan.ramp * SECOND * slot / plan.guests)
        world.at(arrival, lambda now, guest=guest: guest.call(guest.session.start))  # type: ignore[misc]
    if plan.tamper:
        plan.tamper(world, sessions, recorder, engine)
    engine.begin(start)
    world.watch_engine()
    step = round(plan.interval * SECOND)

    def advance(until: int) -> None:
        while world.now < until:
            world.run(min(world.now + step, until))
            recorder.close_interval(world.now)

    end = start + round(plan.seconds * SECOND)
    advance(end)
    for guest in world.guests:
        guest.call(guest.session.stop)
    engine.settle(world.now)
    world.watch_engine()
    advance(world.now + round(plan.loss_wait * SECOND))
    for guest in world.guests:
        guest.call(guest.session.close)
    limit = world.now + 600 * SECOND
    while world.now < limit and not all(session.finished for session in sessions):
        advance(world.now + step)
    recorder.close_interval(world.now, final=True)
    writer.close()
    counts = engine.seal(world.now)
    truth_path.write_text(buffer.getvalue())
    measured = fold([journal_path], run=RUN, by_id=True)
    assert measured.identities is not None
    assert recorder.fault == "", recorder.fault
    loaded = load_truth(truth_path)
    rows = join(measured.identities, loaded)
    faults = Counter(_fault_acts(buffer.getvalue().splitlines()))
    sent = counts.get("messages.sent", 0) + counts.get("messages.delivered", 0)
    return Outcome(rows, sent, faults, counts, journal_path, truth_path, world, sessions)


def _fault_acts(lines: list[str]) -> Iterator[str]:
    import json

    for line in lines:
        row = json.loads(line)
        if row.get("row") == "act":
            yield row["name"]


@contextmanager
def wrapped(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Replace one function by a broken version of itself for the length of a block."""
    original = getattr(owner, name)
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        setattr(owner, name, original)
