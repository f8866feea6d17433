"""`guestswarm soak SCENARIO`: hours of the same load, which outlive a lost load child, a restarted target and a full disk.

It is one run in one folder, of one or more sessions: each load child that is lost, and each `--resume`, begins another, whose
numbers go on where the one before it ended. The target's own figures are asked for every interval.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.options import add_scenario_options, judge_simulator, read_scenario
from harness.cli.plan import run_plan, tell
from harness.cli.run import (
    LOAD_LOG,
    RunProcesses,
    Signals,
    client_secret,
    foreign_hosts,
    live_rules,
    manifest_of,
    simulator_process_table,
)
from harness.cli.soak_plan import SoakPlan, job_of, make_plan, mapping, rows_of
from harness.cli.terminal import Terminal
from harness.config import Scenario, check_authorised
from harness.core.spread import show_duration
from harness.errors import ExitCode, GuestswarmError, RunFolderError, UsageError
from harness.runs.events import EVENTS, TARGET, Lines
from harness.runs.folder import create_run, find_run, read_manifest, update_manifest, write_json
from harness.runs.manifest import RESOLVED, LoadOrder, Session, SimulatorAddress
from harness.runs.process import first_line
from harness.runs.simulated import SIM_SECRET_ENV, SimulatorControl, SimulatorProcess

if TYPE_CHECKING:
    from harness.cli.progress import Progress

_S = 10**9
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ASK_S = 2.0
"""How long the target may take to tell its figures."""
_AGAIN_S = 10.0
"""After a simulator that could not be started anew: when to try again."""
_QUICK_S = 5.0
_QUICK_LOSSES = 5
"""So many load children in a row that did not last so long are not followed by another."""
_SHORTEST_NS = 2 * _S
"""A lost load child is not started anew for less than that."""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser("soak", parents=[common], help="hours of the same load: leaks, drifts, bad hours")
    add_scenario_options(parser, needed=False)
    parser.add_argument("--for", dest="length", metavar="DURATION", help='full load, such as "5min" or "8h" ([soak] duration)')
    parser.add_argument("--until", metavar="TIME", help='when full load ends: "06:30", or "2026-11-22T06:30"')
    parser.add_argument("--resume", metavar="RUN", help="go on with an interrupted soak, in its own folder")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run it; the exit code is the verdict's."""
    with Signals() as signals:
        if args.resume is not None:
            return _resume(args, terminal, signals)
        if args.scenario is None:
            raise UsageError("name a scenario, or an interrupted soak with --resume", where="soak")
        scenario, plan = _planned(args)
        simulated = args.simulate or scenario.simulated
        if args.tls and not simulated:
            raise UsageError("--tls is for the simulator; a target's URLs say themselves what they speak", where="--tls")
        if args.dry_run:
            told = run_plan("soak", scenario, simulated=simulated)
            told = replaced(told, rows=[*told.rows, *rows_of(plan)], more={**told.more, **mapping(plan)})
            return tell(told, scenario, terminal, simulated=simulated)
        if not simulated:
            check_authorised(scenario, foreign_hosts(scenario), datetime.now(UTC))
        secret = client_secret(scenario, simulated)
        job = {**job_of(plan, scenario.document.soak, scenario.load.ramp), "boot": _boot(), "tls": args.tls}
        folder = create_run(args.runs, scenario.name, {**manifest_of(scenario, simulated, args.runs), "job": job})
        args.folder = folder
        resolved = folder / RESOLVED
        write_json(resolved, scenario.resolved())
        for text in plan.remarks:
            terminal.note(text)
        run = SoakProcesses(scenario, folder, terminal, signals, secret, live_rules(scenario), tls=args.tls)
        run.truth = plan.rows == "all"
        return run.carry_out(simulated=simulated, tls=args.tls, resolved=resolved, runs=args.runs)


def _planned(args: argparse.Namespace) -> tuple[Scenario, SoakPlan]:
    """The scenario as a soak runs it, and the plan."""
    first = read_scenario(args)
    plan = make_plan(first, length=args.length, until=args.until, now=datetime.now(UTC), free=_free(args.runs))
    return read_scenario(args, plan.overrides()), plan


def _free(runs: Path) -> int:
    """Bytes on the disk that the runs lie on."""
    place = Path(runs).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError as error:
        raise RunFolderError(f"cannot tell how much is free: {error.strerror or error}", where=str(runs)) from None


def _boot() -> str:
    """Which start of the machine this is: its monotonic clock counts from there."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


# ------------------------------------------------------------------ going on
def _resume(args: argparse.Namespace, terminal: Terminal, signals: Signals) -> int:
    from harness.config import load_scenario

    if args.scenario is not None:
        raise UsageError("an interrupted soak has its scenario in its folder; leave SCENARIO out", where="--resume")
    folder = find_run(args.runs, args.resume)
    args.folder = folder
    manifest = read_manifest(folder)
    job = manifest.get("job")
    if not isinstance(job, dict) or job.get("kind") != "soak":
        raise UsageError("is not a soak", where=str(folder), hint="--resume goes on with what `guestswarm soak` began.")
    if manifest.get("ended") == "finished":
        raise UsageError("has come to its end already", where=str(folder), hint="Begin a new one.")
    if job.get("boot", "") != _boot():
        raise UsageError(
            "the machine was started anew since, so its clock counts from elsewhere",
            where=str(folder),
            hint="What was gathered stands: guestswarm report. Begin a new soak.",
        )
    simulated = bool(manifest.get("simulated"))
    scenario = load_scenario(folder / RESOLVED, {}, simulate=simulated, validate_simulator=judge_simulator)
    duration = _left(args, scenario, manifest)
    if args.dry_run:
        scenario = load_scenario(folder / RESOLVED, {"load.duration": show_duration(duration)}, simulate=simulated)
        return tell(run_plan("soak", scenario, simulated=simulated), scenario, terminal, simulated=simulated)
    if not simulated:
        check_authorised(scenario, foreign_hosts(scenario), datetime.now(UTC))
    session = next_session(folder, scenario, _number(manifest) + 1)
    planned_s = job["planned_s"] if args.length is None and args.until is None else _elapsed_s(manifest) + duration / _S
    update_manifest(folder, {"ended": None, "job": {"planned_s": max(planned_s, job["planned_s"])}})
    secret = client_secret(scenario, simulated)
    tls = bool(job.get("tls"))
    run = SoakProcesses(scenario, folder, terminal, signals, secret, live_rules(scenario), tls=tls)
    run.truth = False
    run.session, run.duration_ns = session, duration
    put_truth_aside(folder)
    run.events.add(what="resumed", session=session.number)
    return run.carry_out(simulated=simulated, tls=tls, resolved=folder / RESOLVED, runs=folder.parent)


def _number(manifest: Mapping[str, Any]) -> int:
    sessions = manifest.get("sessions")
    return len(sessions) if isinstance(sessions, list) else 1


def _elapsed_s(manifest: Mapping[str, Any]) -> float:
    """Since the soak first began; its folder is of this start of the machine."""
    began: int = manifest["anchor"]["monotonic_ns"]
    return (time.monotonic_ns() - began) / _S


def _left(args: argparse.Namespace, scenario: Scenario, manifest: Mapping[str, Any]) -> int:
    """Full load that is still to come: what was planned ends when it was to end."""
    if args.length is not None or args.until is not None:
        plan = make_plan(scenario, length=args.length, until=args.until, now=datetime.now(UTC), free=_free(args.runs))
        return plan.duration_ns
    left: int = round((manifest["job"]["planned_s"] - _elapsed_s(manifest)) * _S) - scenario.load.ramp
    if left < _SHORTEST_NS:
        raise UsageError("its planned end has passed", where=str(args.folder), hint="Say for how long to go on with --for.")
    return left // _S * _S


def next_session(folder: Path, scenario: Scenario, number: int) -> Session:
    """Where a further session begins: behind everything that the journal holds, and the guests that its last interval may lack."""
    from harness.journal.reader import JournalReader
    from harness.journal.segments import journals, segment_of

    index, arrived, segment = -1, 0, 0
    for path in journals(folder):
        segment = max(segment, segment_of(path)[1])
        for interval in JournalReader(path).intervals():
            index = max(index, interval.index)
            arrived += interval.counters.get("guests.arrived", 0)
    first_slot = 1 + arrived + number * scenario.guests.planned
    return with_segments(Session(number, first_slot, index + 1, segment + 1), scenario)


def put_truth_aside(folder: Path) -> None:
    """A simulator that is started anew knows nothing of what the one before it did: its truth is another's."""
    path = folder / "truth.jsonl"
    number = 1
    while (aside := folder / f"truth.{number}.jsonl").exists():
        number += 1
    try:
        path.rename(aside)
    except OSError:
        return


def with_segments(session: Session, scenario: Scenario) -> Session:
    """The session with the scenario's sizes of journal files."""
    table = scenario.document.soak
    return replaced(session, segment_bytes=table.segment_bytes, segment_ns=table.segment_time)


# ------------------------------------------------------------------ the run
@dataclass
class SoakProcesses(RunProcesses):
    """A run whose load child and simulator are started anew where they are lost."""

    tls: bool = False
    truth: bool = field(default=True, init=False)
    """Whether the simulator's truth is kept."""
    session: Session = field(default_factory=Session, init=False)
    duration_ns: int = field(default=0, init=False)
    """Full load of the session at hand; 0: the scenario's."""
    events: Lines = field(init=False)
    figures: Lines = field(init=False)
    _resolved: Path = field(init=False)
    _address: SimulatorAddress | None = field(default=None, init=False)
    _ask_at: float = field(default=0.0, init=False)
    _start_at: float = field(default=0.0, init=False)
    _until_ns: int = field(default=0, init=False)
    """When full load is to end."""

    def __post_init__(self) -> None:
        self.events, self.figures = Lines(self.folder / EVENTS), Lines(self.folder / TARGET)
        self.session = with_segments(Session(), self.scenario)

    @property
    def load_s(self) -> float:
        """Ramp and full load of the session at hand."""
        return (self.scenario.load.ramp + (self.duration_ns or self.scenario.load.duration)) / _S

    def order(self, resolved: Path, address: SimulatorAddress | None) -> LoadOrder:
        """What the load child is told: the session's numbers, and its length."""
        self._resolved, self._address = resolved, address
        self._until_ns = self._until_ns or time.monotonic_ns() + round(self.load_s * _S)
        overrides = {"load.duration": show_duration(self.duration_ns)} if self.duration_ns else {}
        return LoadOrder(str(resolved), overrides, address, self.session)

    def load(self, progress: Progress) -> int:
        """Load children, one after the other, until the end; not one that is lost as soon as it begins, again and again."""
        quick = 0
        while True:
            self._note_session()
            began = time.monotonic()
            status = super().load(progress)
            quick = quick + 1 if time.monotonic() - began < _QUICK_S else 0
            self.ask(time.monotonic())
            if status >= 0 and status != ExitCode.INTERNAL:
                return status
            said = first_line(self.folder / LOAD_LOG)
            self.events.add(what="worker_lost", status=status, said=said[:200])
            left = self._until_ns - time.monotonic_ns() - self.scenario.load.ramp
            if quick >= _QUICK_LOSSES or self.signals.told or left < _SHORTEST_NS or not list(self.folder.glob("journal-*.bin")):
                return status
            progress.say(f"The load child was lost (status {status}); another one goes on.")
            following = next_session(self.folder, self.scenario, self.session.number + 1)
            self.session = replaced(following, begins=False)
            self.duration_ns = left // _S * _S
            self.order(self._resolved, self._address).write(self.folder)

    def _note_session(self) -> None:
        began = {"number": self.session.number, "began_ns": time.monotonic_ns(), "first_interval": self.session.first_interval}
        try:
            before = read_manifest(self.folder).get("sessions")
            update_manifest(self.folder, {"sessions": [*(before if isinstance(before, list) else []), began]})
        except RunFolderError as error:  # a full disk: the intervals say of which session they are
            self.terminal.note(f"guestswarm: {error}")

    def start_simulator(self, tls: bool) -> SimulatorProcess:
        """Start it, or another one on the same ports."""
        return self._start(tls, like=self.simulator, truth=self.truth)

    def _start(self, tls: bool, *, like: SimulatorProcess | None, truth: bool) -> SimulatorProcess:
        return SimulatorProcess.start(
            simulator_process_table(self.scenario),
            self.folder,
            seed=self.scenario.seed,
            tls=tls,
            secret_env={SIM_SECRET_ENV: self.secret.reveal()},
            like=like,
            truth=truth,
        )

    def simulator_ended(self, progress: Progress, now_s: float) -> bool:
        """Start another one on its ports; the guests find their way back by themselves."""
        if now_s < self._start_at:
            return False
        if not self._start_at:
            self.events.add(what="target_lost")
            progress.say("The simulator has ended; another one takes its place.")
            put_truth_aside(self.folder)
        gone = self.simulator
        assert gone is not None
        self._start_at = now_s + _AGAIN_S
        try:
            self.simulator = self._start(self.tls, like=gone, truth=False)
            SimulatorControl(self.simulator.control, self.simulator.token, _ASK_S).begin()
        except GuestswarmError as error:
            progress.say(f"It could not be started anew: {error.what}")
            return False
        self._start_at = 0.0
        gone.stop()
        self.events.add(what="target_restarted")
        return False

    def take(self, line: Mapping[str, Any]) -> None:
        """What the load child says of its journal belongs to what befell the run."""
        if line["kind"] == "rotated":
            self.events.add(what="rotated", file=str(line.get("file", "")))
        elif line["kind"] == "fault" and line.get("name") == "journal":
            what = "journal_written" if line.get("on") is False else "journal_failed"
            self.events.add(what=what, said=str(line.get("text", "")))

    def tick(self, now_s: float) -> None:
        """Ask the target how it does, every interval."""
        if now_s >= self._ask_at:
            self._ask_at = max(self._ask_at + self.scenario.load.interval / _S, now_s)
            self.ask(now_s)

    def ask(self, now_s: float) -> None:  # noqa: ARG002
        """One line of the target's own figures."""
        simulator = self.simulator
        if simulator is None:
            return
        at_ns = time.monotonic_ns()
        try:
            health = SimulatorControl(simulator.control, simulator.token, _ASK_S).health()
        except GuestswarmError:
            self.figures.add(at_ns, up=False)
            return
        self.figures.add(at_ns, up=True, **target_figures(health, simulator.pid))


def target_figures(health: Mapping[str, Any], pid: int) -> dict[str, float]:
    """What of a simulator's health is followed. Its memory is what it says it needs, else what its process holds."""
    shell = health.get("shell")
    shell = shell if isinstance(shell, Mapping) else {}
    resident = _resident(pid)
    named = {
        "memory_bytes": health.get("memory_bytes", resident),
        "rss_bytes": resident,
        "undelivered": health.get("undelivered"),
        "sockets": health.get("sockets", shell.get("sockets")),
        "connections": shell.get("connections"),
        "cpu_s": shell.get("cpu_s"),
    }
    return {name: value for name, value in named.items() if isinstance(value, int | float)}


def _resident(pid: int) -> int | None:
    """Bytes that a process holds; None where the system does not say."""
    import resource

    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None
