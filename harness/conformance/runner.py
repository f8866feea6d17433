"""A whole run in virtual time: guests of one or more dialects, the engine, a journal on disk, sealed truth, the joined table."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from harness.conformance.books import Books
from harness.conformance.stage import NonConformance
from harness.conformance.subject import Subject, subject, subjects
from harness.conformance.world import SECOND, Guest, World
from harness.core.credentials import Secret
from harness.core.pacing import Behaviour
from harness.core.session import Context, GuestSession, Target
from harness.dialects.registry import drawn_faults
from harness.journal.writer import JournalWriter
from harness.metrics.recorder import Recorder
from harness.report.fold import fold
from harness.report.truth import TruthRow, join, load_truth
from harness.simulator.config import SimConfig
from harness.simulator.engine import Engine
from harness.simulator.truth import TruthLog

RUN = "soak"
SECRET = "in-virtual-time"  # noqa: S105
ADDRESS = "http://localhost"
"""What the simulator's answers name where no request says what host it was sent to."""
WALL = 1_700_000_000 * SECOND


@dataclass
class Plan:
    """What to run. Durations in virtual seconds."""

    dialects: tuple[str, ...] = ()
    """Names of registered dialects, in turn one for each guest. Empty: all that have both halves."""
    subjects: tuple[Subject, ...] = ()
    """The same as objects, registered or not; instead of `dialects`."""
    guests: int = 50
    seconds: float = 600.0
    ramp: float = 30.0
    seed: int = 1
    loss_wait: float = 60.0
    interval: float = 10.0
    behaviour: Behaviour = field(default_factory=Behaviour)
    settings: dict[str, Any] = field(default_factory=dict)
    client_faults: dict[str, float] = field(default_factory=dict)
    """Share of the guests that do something wrong on purpose, by the fault's name."""
    simulator: dict[str, Any] = field(default_factory=dict)
    target: dict[str, Any] = field(default_factory=dict)
    """Fields of the target that differ from the common ones."""
    delay: tuple[float, float] = (0.0002, 0.003)
    """One-way delay of the network, from and to."""
    strict: bool = False
    """Hold the books against the sessions at every moment."""
    compare: bool = True
    """Join journal and truth. False: what comes and goes is not what the engine did."""
    rows: str = "all"
    """What the journal keeps of op rows. Other than `all` no truth is kept either, and nothing compared: for runs of many hours."""
    each: Callable[[int, Engine], None] | None = None
    """Called at the end of every interval."""
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
    books: Books

    def unequal(self) -> set[str]:
        """Rows in which truth and journal differ."""
        return {row.name for row in self.rows if not row.equal}

    def table(self) -> str:
        """All rows, for a message."""
        lines = [f"{'equal':6} {'row':32} {'truth':>8} {'meas.':>8} {'low':>8} {'high':>8}  ids"]
        for row in self.rows:
            figures = " ".join(f"{value!s:>8}" for value in (row.expected, row.measured, row.low, row.high))
            lines += [f"{row.equal!s:6} {row.name:32} {figures}  {' '.join(row.ids[:4])}"]
        return "\n".join(lines)


def run(plan: Plan, folder: Path) -> Outcome:
    """Run a plan to its seal and join journal and truth."""
    folder.mkdir(parents=True, exist_ok=True)
    low, high = plan.delay
    world = World(plan.seed, delay_ns=(round(low * SECOND), round(high * SECOND)))
    start = world.now
    truth_path, journal_path = folder / "truth.jsonl", folder / "journal-0.bin"
    journal_path.unlink(missing_ok=True)
    buffer = io.StringIO() if plan.rows == "all" else _Nothing()
    truth = TruthLog(buffer.write)
    chosen = plan.subjects or tuple(subject(name) for name in plan.dialects) or subjects()
    table: dict[str, Any] = {}
    for one in chosen:
        table |= one.simulator
    engine = Engine(
        SimConfig.from_table({**table, **plan.simulator}),
        seed=plan.seed,
        outlet=world,
        truth=truth,
        wall_offset_ns=WALL - start,
        secret=SECRET,
    )
    serve(engine, chosen)
    world.engine = engine
    writer = JournalWriter(journal_path, RUN, "0")
    recorder = Recorder(RUN, "0", writer.write, start_ns=start, loss_wait_ns=round(plan.loss_wait * SECOND), rows=plan.rows)
    books = Books(recorder)
    sessions: list[GuestSession] = []
    for slot in range(1, plan.guests + 1):
        one = chosen[slot % len(chosen)]
        drawn = drawn_faults(plan.client_faults, plan.seed, slot)
        flaws = tuple(name for name in drawn if name in one.dialect.client_faults)
        context = Context(
            RUN,
            slot,
            _target(plan, one),
            plan.behaviour,
            books if plan.strict else recorder,
            Random(f"{plan.seed}/{slot}"),
            WALL - start,
            flaws,
        )
        settings = plan.settings[one.name] if one.name in plan.settings else one.made_settings()
        session = one.dialect.session(context, one.dialect.settings_with(settings, flaws))
        sessions.append(session)
        guest = Guest(world, session)
        if plan.strict:
            guest.watch = books.agree
        world.guests.append(guest)
        arrival = start + round(plan.ramp * SECOND * slot / plan.guests)
        world.at(arrival, lambda _, guest=guest: guest.call(guest.session.start))  # type: ignore[misc]
    if plan.tamper:
        plan.tamper(world, sessions, recorder, engine)
    engine.begin(start)
    world.watch_engine()
    step = round(plan.interval * SECOND)
    totals: Counter[str] = Counter()

    def advance(until: int) -> None:
        while world.now < until:
            world.run(min(world.now + step, until))
            totals.update(recorder.close_interval(world.now).counters)
            if plan.each is not None:
                plan.each(world.now, engine)
            if plan.strict:
                books.balance()
                books.match(totals)

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
    if recorder.fault:
        raise NonConformance(f"the recorder could not take a row:\n{recorder.fault}")
    if plan.strict:
        books.settled(sessions)
    sent = counts.get("messages.sent", 0) + counts.get("messages.delivered", 0)
    if plan.rows != "all":
        return Outcome([], sent, Counter(), counts, journal_path, truth_path, world, sessions, books)
    truth_path.write_text(buffer.getvalue())
    measured = fold([journal_path], run=RUN, by_id=True)
    assert measured.identities is not None
    loaded = load_truth(truth_path)
    if loaded.state != "sealed":
        raise NonConformance(f"the truth is {loaded.state}: {loaded.detail}")
    rows = join(measured.identities, loaded) if plan.compare else []
    faults = Counter(_fault_acts(buffer.getvalue().splitlines()))
    return Outcome(rows, sent, faults, counts, journal_path, truth_path, world, sessions, books)


class _Nothing(io.StringIO):
    """Keeps no word."""

    def write(self, text: str) -> int:
        return len(text)


def serve(engine: Engine, chosen: Iterable[Subject]) -> None:
    """Let the engine speak dialects that are not registered, too."""
    for one in chosen:
        if one.half is not None and one.name not in engine.halves:
            half = engine.halves[one.name] = one.half(engine)
            engine.paths.add(half)


def _target(plan: Plan, one: Subject) -> Target:
    given: dict[str, Any] = {
        "client_id": "guestswarm",
        "client_secret": Secret(SECRET),
        "queue_id": "support",
        "channel_id": "channel-1",
        "deployment_id": "deployment-1",
        "fallback_queue_id": "fallback",
        "skills": ("Billing",),
        "bases": dict.fromkeys(("files", *one.dialect.bases), ADDRESS),
    }
    return Target(**{**given, **one.target, **plan.target})


def _fault_acts(lines: list[str]) -> Iterator[str]:
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
