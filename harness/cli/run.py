"""`guestswarm run SCENARIO`: the thin parent of a run.

It validates, makes the run folder, starts simulator and load child by exec, shows progress, passes signals on, and at the end
lets a report child judge what was written. It opens no socket to a target and loads no gevent.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_urlsafe
from types import FrameType
from typing import TYPE_CHECKING, Any

from harness.cli.options import add_load_options, add_scenario_options, read_target
from harness.cli.plan import run_plan, tell
from harness.cli.terminal import Terminal
from harness.config import Scenario, check_authorised
from harness.config.local import is_local
from harness.config.secret import resolve
from harness.core.credentials import Secret
from harness.errors import ExitCode, GuestswarmError, RunFolderError
from harness.runs.calibration import cite
from harness.runs.folder import create_run, read_manifest, update_manifest, write_json
from harness.runs.manifest import CLIENT_SECRET_ENV, CONTROL_TOKEN_ENV, RESOLVED, LoadOrder, SimulatorAddress, new_manifest
from harness.runs.process import Child, ChildLines, death_tie, first_line, spawn, stop
from harness.runs.simulated import SIM_SECRET_ENV, SimulatorControl, SimulatorProcess

if TYPE_CHECKING:
    from harness.cli.progress import Progress  # the screen's libraries are loaded only for a run
    from harness.report.live_view import LiveRule

LOAD_COMMAND = (sys.executable, "-m", "harness.swarm.child")
REPORT_COMMAND = (sys.executable, "-m", "harness.cli.main", "report")
LOAD_LOG = "load.log"
_GRACE_S = 60.0
_LOOK_S = 0.25
"""Beyond everything that is planned: how long the load child may take before it is ended from outside."""
_SECOND_SIGNAL_S = 3.0
_REPORT_S = 900.0
_VERDICTS = frozenset(ExitCode) - {ExitCode.USAGE, ExitCode.UNREACHABLE, ExitCode.NOT_AUTHORISED}
_BEFORE_LOAD = (ExitCode.USAGE, ExitCode.UNREACHABLE, ExitCode.NOT_AUTHORISED)


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser("run", parents=[common], help="run a scenario: load, drain, verdict, report")
    add_scenario_options(parser)
    add_load_options(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run it; the exit code is the verdict's, or says why there is none."""
    with Signals() as signals:
        scenario, simulated = read_target(args)
        if args.dry_run:
            return tell(run_plan("run", scenario, simulated=simulated), scenario, terminal, simulated=simulated)
        authorise(scenario, simulated=simulated)
        secret = client_secret(scenario, simulated)
        folder = args.folder = run_folder(scenario, args.runs, simulated=simulated, more={"tls": True} if args.tls else None)
        run = RunProcesses(scenario, folder, terminal, signals, secret, live_rules(scenario))
        return run.carry_out(simulated=simulated, tls=args.tls, resolved=folder / RESOLVED, runs=args.runs)


# ------------------------------------------------------------------ before
def foreign_hosts(scenario: Scenario) -> tuple[str, ...]:
    """Hosts of the target that are not this machine, judged by address. No name server is asked: that would be a packet already."""
    return tuple(host for host in scenario.hosts() if not is_local(host))


def authorise(scenario: Scenario, *, simulated: bool) -> None:
    """Raises NotAuthorisedError where the target is not this machine and no approval covers it now."""
    if not simulated:
        check_authorised(scenario, foreign_hosts(scenario), datetime.now(UTC))


def run_folder(
    scenario: Scenario, runs: Path, *, simulated: bool, more: Mapping[str, Any] | None = None, calibrations: Path | None = None
) -> Path:
    """A new folder under `runs` with the manifest and the scenario as it was resolved.

    `more` goes into the manifest as well; `calibrations`: where the machine's calibration is, if not in `runs`.
    """
    folder = create_run(runs, scenario.name, {**manifest_of(scenario, simulated, calibrations or runs), **(more or {})})
    write_json(folder / RESOLVED, scenario.resolved())
    return folder


def live_rules(scenario: Scenario) -> list[LiveRule]:
    """The rules as the live view shows them, in the scenario's order; a percentile stands in its measure's row."""
    from harness.report.live import MEASURES
    from harness.report.live_view import LiveRule
    from harness.verdicts.slo import parse

    rules = []
    for rule in map(parse, scenario.slo):
        text, measure = rule.show(), ""
        if rule.kind == "percentile" and rule.part == "response" and rule.subject in MEASURES:
            text, measure = text.removeprefix(f"{rule.subject}.response "), rule.subject
        rules.append(LiveRule(text, None, measure))
    return rules


def client_secret(scenario: Scenario, simulated: bool) -> Secret:
    """The target's client secret. A simulator never gets the real one: it gets what its own table says, or a made-up one."""
    if not simulated:
        return scenario.client_secret() or Secret("")
    credentials = scenario.simulator.get("credentials")
    given = credentials.get("client_secret") if isinstance(credentials, dict) else None
    if isinstance(given, str) and given:
        return resolve(given, environ=os.environ, folder=scenario.folder, where="simulator.credentials.client_secret")
    return Secret(token_urlsafe(24))


def manifest_of(scenario: Scenario, simulated: bool, runs: Path) -> dict[str, Any]:
    """A run's manifest, with the calibration of this machine that is found in `runs`."""
    cited = cite(runs)
    made = new_manifest(
        scenario=scenario.resolved(),
        seed=scenario.seed,
        dialects=list(scenario.mix),
        simulated=simulated,
        guests_planned=scenario.guests.planned,
        ramp_ns=scenario.load.ramp,
        duration_ns=scenario.load.duration,
        loss_wait_ns=scenario.loss_wait_ns,
        slo=scenario.slo,
        health=scenario.health,
        authorisation=scenario.authorisation.model_dump(mode="json") if scenario.authorisation else None,
    )
    return made if cited is None else {**made, "calibration": cited}


# ------------------------------------------------------------------ signals
class Signals:
    """SIGINT and SIGTERM are ours from the first line: counted here, passed on to the load child once there is one."""

    def __init__(self) -> None:
        self.first = 0
        self.count = 0
        self.child: Child | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.first = self.first or number
        self.count += 1
        if self.child is not None:
            self.pass_on(self.child)

    def attach(self, child: Child) -> None:
        """From now on signals go to this child, also one that came a moment too early for it."""
        self.child = child
        if self.count:
            self.pass_on(child)

    def pass_on(self, child: Child) -> None:
        """Tell the child what we were told. The process may have ended meanwhile."""
        try:
            child.send_signal(self.first)
        except ProcessLookupError:
            pass

    @property
    def told(self) -> bool:
        """Whether we were told to end."""
        return self.count > 0

    @property
    def word(self) -> str | None:
        """How a run that was told to end has ended."""
        return {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}.get(signal.Signals(self.first)) if self.first else None

    @property
    def exit_code(self) -> int:
        """128 and the number of the first signal."""
        return 128 + self.first


# ------------------------------------------------------------------ the run
@dataclass(frozen=True, slots=True)
class Driven:
    """A simulated run that was driven and not judged: what the load child's end was, and the simulator's own figures."""

    status: int
    simulator: dict[str, Any]


def drive(
    scenario: Scenario,
    runs: Path,
    terminal: Terminal,
    signals: Signals,
    *,
    simulated: bool = True,
    tls: bool = False,
    more: Mapping[str, Any] | None = None,
    calibrations: Path | None = None,
) -> tuple[Path, Driven]:
    """One run without a report, in a folder under `runs`. Returns the folder and how the run ended.

    `more` goes into its manifest as well; `calibrations`: where the machine's calibration is, if not in `runs`.
    Raises NotAuthorisedError, and what the load child refused to begin for.
    """
    authorise(scenario, simulated=simulated)
    secret = client_secret(scenario, simulated)
    folder = run_folder(scenario, runs, simulated=simulated, more=more, calibrations=calibrations)
    run = RunProcesses(scenario, folder, terminal, signals, secret)
    progress = run.progress("simulated" if simulated else ", ".join(scenario.hosts()))
    figures: dict[str, Any] = {}
    try:
        with run.with_simulator(simulated=simulated, tls=tls) as address:
            LoadOrder(str(folder / RESOLVED), {}, address).write(folder)
            status = run.load(progress)
            if run.simulator is not None and run.simulator.running:
                figures = SimulatorControl(run.simulator.control, run.simulator.token).health()
    finally:
        progress.finish()
    run.told_before_load(status, progress)
    run.note_end(status)
    return folder, Driven(status, figures)


@dataclass
class RunProcesses:
    """Simulator, load child and report child of one run, from their start to their end."""

    scenario: Scenario
    folder: Path
    terminal: Terminal
    signals: Signals
    secret: Secret
    rules: Sequence[LiveRule] = ()
    """The scenario's rules and how they stand, for the live view."""
    simulator: SimulatorProcess | None = field(default=None, init=False)
    simulator_lost: bool = field(default=False, init=False)
    """It ended before its time; the load child was told to end for that reason."""

    @property
    def drain_s(self) -> float:
        """The longest that a planned end takes."""
        load = self.scenario.load
        return (load.settle + self.scenario.loss_wait_ns + load.drain) / 1e9

    def progress(self, where: str) -> Progress:
        """What shows how it goes."""
        from harness.cli.progress import Progress

        scenario = self.scenario
        return Progress(
            self.terminal,
            self.load_s,
            scenario.guests.planned,
            name=scenario.name,
            dialects=list(scenario.mix),
            where=where,
            drain_s=self.drain_s,
            rules=self.rules,
        )

    # ---- what another kind of run does otherwise
    @property
    def load_s(self) -> float:
        """Ramp and full load."""
        load = self.scenario.load
        return (load.ramp + load.duration) / 1e9

    def order(self, resolved: Path, address: SimulatorAddress | None) -> LoadOrder:
        """What the load child is told."""
        return LoadOrder(str(resolved), {}, address)

    def start_simulator(self, tls: bool) -> SimulatorProcess:
        """Start it; also in the place of one that has ended."""
        table = simulator_process_table(self.scenario)
        secret_env = {SIM_SECRET_ENV: self.secret.reveal()}
        return SimulatorProcess.start(table, self.folder, seed=self.scenario.seed, tls=tls, secret_env=secret_env)

    def simulator_ended(self, progress: Progress, now_s: float) -> bool:  # noqa: ARG002
        """It has, before its time. Returns whether the run must end for that."""
        progress.say("The simulator has ended; the run cannot go on.")
        return True

    def take(self, line: Mapping[str, Any]) -> None:
        """A line of the load child has come."""

    def tick(self, now_s: float) -> None:
        """A few times a second, while there is load."""

    # ---- from its start to its end
    def carry_out(self, *, simulated: bool, tls: bool, resolved: Path, runs: Path) -> int:
        """All of it; returns the exit code."""
        where = "simulated" if simulated else ", ".join(self.scenario.hosts())
        progress = self.progress(where)
        progress.begin(f"{self.scenario.name} · {', '.join(self.scenario.mix)} · {where} · {self.scenario.guests.planned} guests")
        try:
            with self.with_simulator(simulated=simulated, tls=tls) as address:
                self.order(resolved, address).write(self.folder)
                status = self.load(progress)
        except GuestswarmError:
            self._note_end("failed")
            raise
        finally:
            progress.finish()
        if code := self.told_before_load(status, progress):
            return code
        told = self.signals.told
        self.note_end(status)
        code = report_child(self.folder, runs, self.terminal, self.signals)
        if told and code != ExitCode.INTERNAL:
            return self.signals.exit_code
        return int(ExitCode.INTERNAL) if status == ExitCode.INTERNAL else code

    @contextmanager
    def with_simulator(self, *, simulated: bool, tls: bool) -> Iterator[SimulatorAddress | None]:
        """With the simulator's process, where there is to be one."""
        if not simulated:
            yield None
            return
        self.simulator = self.start_simulator(tls)
        try:
            yield SimulatorAddress(self.simulator.port, self.simulator.control, self.simulator.ca)
        finally:
            self.simulator.stop()

    def load(self, progress: Progress) -> int:
        """The load child from start to end; returns its exit status."""
        if self.signals.told:
            return 0
        env = {**os.environ, CLIENT_SECRET_ENV: self.secret.reveal()}
        env.pop(SIM_SECRET_ENV, None)
        if self.simulator is not None:
            env[CONTROL_TOKEN_ENV] = self.simulator.token
        child = spawn([*LOAD_COMMAND, str(self.folder)], env=env, errors=self.folder / LOAD_LOG)
        self.signals.attach(child)
        try:
            self._watch(child, progress)
        finally:
            self.signals.child = None
            status = stop(child, gentle_s=2.0, firm_s=0.5) if self.signals.count > 1 else stop(child)
        return status

    def _watch(self, child: Child, progress: Progress) -> None:
        """Read the child's lines until it ends, within a time that everything planned fits into."""
        from harness.cli.progress import read_line

        drain_s = self.drain_s
        deadline = time.monotonic() + self.load_s + drain_s + _GRACE_S
        told = 0
        with closing(ChildLines(child)) as lines:
            while True:
                now = time.monotonic()
                if self.signals.count > told:
                    told = self.signals.count
                    patience = drain_s + _GRACE_S if told == 1 else _SECOND_SIGNAL_S
                    deadline = min(deadline, now + patience)
                    progress.notice(self._drain_notice(drain_s) if told == 1 else "Stopping at once.", now)
                if now > deadline:
                    progress.say("The load child does not end: ended from outside.")
                    return
                gone = self.simulator is not None and not self.simulator.running and not told
                if gone and self.simulator_ended(progress, now):
                    told = 1
                    self.simulator_lost = True
                    deadline = min(deadline, now + drain_s + _GRACE_S)
                    child.terminate()
                if (come := lines.read(_LOOK_S)) is None:
                    return
                for raw in come:
                    if (line := read_line(raw)) is not None:
                        progress.take(line, time.monotonic())
                        self.take(line)
                progress.tick(time.monotonic())
                self.tick(time.monotonic())

    def _drain_notice(self, drain_s: float) -> str:
        again = "Ctrl-C again" if self.signals.first == signal.SIGINT else "A second signal"
        return f"Draining, up to {drain_s:.0f} s. {again} stops at once."

    def told_before_load(self, status: int, progress: Progress) -> int:
        """The code of a run that ended before there was any load, with its message; 0 if there is something to judge."""
        if self.signals.first and not list(self.folder.glob("journal-*.bin")):
            self._note_end(self.signals.word or "interrupted")
            self.terminal.note("Stopped before there was any load.")
            return self.signals.exit_code
        if status in _BEFORE_LOAD:
            error = progress.error or {}
            refused = GuestswarmError(
                str(error.get("what") or first_line(self.folder / LOAD_LOG) or "the load could not begin"),
                where=str(error.get("where") or ""),
                hint=str(error.get("hint") or ""),
            )
            refused.exit_code = ExitCode(status)
            self._note_end(
                {ExitCode.UNREACHABLE: "unreachable", ExitCode.NOT_AUTHORISED: "not_authorised"}.get(refused.exit_code, "failed")
            )
            raise refused
        if status:
            said = (progress.error or {}).get("what") or first_line(self.folder / LOAD_LOG)
            self.terminal.note(f"The load child ended with status {status}: {said or 'it said nothing'}")
            self.terminal.note(f"  its own words are in {self.folder / LOAD_LOG}")
        return 0

    def note_end(self, status: int) -> None:
        """Say in the manifest how it ended, where the load child did not get to."""
        self._note_end("simulator_lost" if self.simulator_lost else self.signals.word or self._word(status))

    @staticmethod
    def _word(status: int) -> str:
        return "finished" if status == 0 else "killed" if status < 0 else "failed"

    def _note_end(self, word: str) -> None:
        """Say how it ended, where the load child did not get to; that the simulator was lost, we know better."""
        try:
            if read_manifest(self.folder).get("ended") is None or self.simulator_lost:
                update_manifest(self.folder, {"ended": word})
        except RunFolderError as error:  # no space any more: the journal still says what there was
            self.terminal.note(f"guestswarm: {error}")


def report_child(folder: Path, runs: Path, terminal: Terminal, signals: Signals) -> int:
    """Rebuild the run from its journal in a process of its own; that one says the verdict, and on the last line the path."""
    argv = [*REPORT_COMMAND, str(folder), "--runs", str(runs)]
    argv += ["--json"] * terminal.json + ["--no-color"] * (not terminal.color)
    before = signals.count
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=death_tie())  # noqa: S603
    deadline = time.monotonic() + _REPORT_S
    while True:
        try:
            code = child.wait(0.25)
            if code in _VERDICTS:
                return code
            terminal.note(f"The report ended with status {code}; make it again: guestswarm report {folder}")
            return int(ExitCode.UNKNOWN)
        except subprocess.TimeoutExpired:
            stopped = signals.count > before
            if stopped or time.monotonic() > deadline:
                child.kill()
                child.wait()
                terminal.note(f"The report was not finished; make it later: guestswarm report {folder}")
                return signals.exit_code if stopped else int(ExitCode.UNKNOWN)


def simulator_process_table(scenario: Scenario) -> Mapping[str, Any]:
    """The simulator's table, with the client id that the guests will use."""
    table = dict(scenario.simulator)
    credentials = dict(table.get("credentials") or {})
    if scenario.target.client_id:
        credentials.setdefault("client_id", scenario.target.client_id)
    credentials.pop("client_secret", None)
    return {**table, "credentials": credentials} if credentials else table
