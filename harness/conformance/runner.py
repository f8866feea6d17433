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
    return _Play(plan, folder).carry_out()


class _Play:
    """One run: everything that takes part in it, then its hours."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.truth_path, self.journal_path = folder / "truth.jsonl", folder / "journal-0.bin"
        self.journal_path.unlink(missing_ok=True)
        low, high = plan.delay
        self.world = World(plan.seed, delay_ns=(round(low * SECOND), round(high * SECOND)))
        self.start = self.world.now
        self.chosen = plan.subjects or tuple(subject(name) for name in plan.dialects) or subjects()
        self.truth = io.StringIO() if plan.rows == "all" else _Nothing()
        self.engine = self.world.engine = self._served()
        self.writer = JournalWriter(self.journal_path, RUN, "0")
        loss_wait = round(plan.loss_wait * SECOND)
        self.recorder = Recorder(RUN, "0", self.writer.write, start_ns=self.start, loss_wait_ns=loss_wait, rows=plan.rows)
        self.books = Books(self.recorder)
        self.sessions: list[GuestSession] = []
        self.totals: Counter[str] = Counter()

    def carry_out(self) -> Outcome:
        """From the first guest to the joined table."""
        plan, world = self.plan, self.world
        for slot in range(1, plan.guests + 1):
            self._invite(slot, self.chosen[slot % len(self.chosen)])
        if plan.tamper:
            plan.tamper(world, self.sessions, self.recorder, self.engine)
        self.engine.begin(self.start)
        world.watch_engine()
        self._advance(self.start + round(plan.seconds * SECOND))
        self._drain()
        self.recorder.close_interval(world.now, final=True)
        self.writer.close()
        counts = self.engine.seal(world.now)
        if self.recorder.fault:
            raise NonConformance(f"the recorder could not take a row:\n{self.recorder.fault}")
        if plan.strict:
            self.books.settled(self.sessions)
        return self._outcome(counts)

    # ---------------------------------------------------------------- who takes part
    def _served(self) -> Engine:
        table: dict[str, Any] = {}
        for one in self.chosen:
            table |= one.simulator
        engine = Engine(
            SimConfig.from_table({**table, **self.plan.simulator}),
            seed=self.plan.seed,
            outlet=self.world,
            truth=TruthLog(self.truth.write),
            wall_offset_ns=WALL - self.start,
            secret=SECRET,
        )
        serve(engine, self.chosen)
        return engine

    def _invite(self, slot: int, one: Subject) -> None:
        """A guest of that dialect, who comes in its turn."""
        plan, world = self.plan, self.world
        drawn = drawn_faults(plan.client_faults, plan.seed, slot)
        flaws = tuple(name for name in drawn if name in one.dialect.client_faults)
        context = Context(
            RUN,
            slot,
            _target(plan, one),
            plan.behaviour,
            self.books if plan.strict else self.recorder,
            Random(f"{plan.seed}/{slot}"),
            WALL - self.start,
            flaws,
        )
        settings = plan.settings[one.name] if one.name in plan.settings else one.made_settings()
        session = one.dialect.session(context, one.dialect.settings_with(settings, flaws))
        self.sessions.append(session)
        guest = Guest(world, session)
        if plan.strict:
            guest.watch = self.books.agree
        world.guests.append(guest)
        world.at(self.start + round(plan.ramp * SECOND * slot / plan.guests), lambda _: guest.call(guest.session.start))

    # ---------------------------------------------------------------- the hours
    def _advance(self, until: int) -> None:
        """Interval by interval."""
        plan, world, step = self.plan, self.world, round(self.plan.interval * SECOND)
        while world.now < until:
            world.run(min(world.now + step, until))
            self.totals.update(self.recorder.close_interval(world.now).counters)
            if plan.each is not None:
                plan.each(world.now, self.engine)
            if plan.strict:
                self.books.balance()
                self.books.match(self.totals)

    def _drain(self) -> None:
        """Nobody speaks any more, what is late may still come, everybody leaves: the order of a real run's end."""
        world = self.world
        for guest in world.guests:
            guest.call(guest.session.stop)
        self.engine.settle(world.now)
        world.watch_engine()
        self._advance(world.now + round(self.plan.loss_wait * SECOND))
        for guest in world.guests:
            guest.call(guest.session.close)
        limit = world.now + 600 * SECOND
        while world.now < limit and not all(session.finished for session in self.sessions):
            self._advance(world.now + round(self.plan.interval * SECOND))

    # ---------------------------------------------------------------- what came out
    def _outcome(self, counts: dict[str, int]) -> Outcome:
        sent = counts.get("messages.sent", 0) + counts.get("messages.delivered", 0)
        rows: list[TruthRow] = []
        faults: Counter[str] = Counter()
        if self.plan.rows == "all":
            written = self.truth.getvalue()
            self.truth_path.write_text(written)
            rows = self._joined()
            faults.update(_fault_acts(written.splitlines()))
        return Outcome(rows, sent, faults, counts, self.journal_path, self.truth_path, self.world, self.sessions, self.books)

    def _joined(self) -> list[TruthRow]:
        """Journal and truth, both read back from disk. Raises NonConformance for a truth that is not whole."""
        measured = fold([self.journal_path], run=RUN, by_id=True)
        assert measured.identities is not None
        loaded = load_truth(self.truth_path)
        if loaded.state != "sealed":
            raise NonConformance(f"the truth is {loaded.state}: {loaded.detail}")
        return join(measured.identities, loaded) if self.plan.compare else []


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
