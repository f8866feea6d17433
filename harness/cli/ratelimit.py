"""`guestswarm ratelimit SCENARIO`: which limits there are, what client settings keep to them, and the proof of those settings.

A thin parent as that of `run`: a probe child opens the sockets (`harness.swarm.probe_child`) and writes down each request and what
it found out; a report child folds that. Interrupted at any time, what is known so far is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any

from harness.cli.options import add_scenario_options, read_target
from harness.cli.terminal import Terminal
from harness.errors import ExitCode, GuestswarmError, RunFolderError, UsageError

if TYPE_CHECKING:
    from harness.cli.run import Signals
    from harness.config import Scenario
    from harness.core.credentials import Secret
    from harness.runs.manifest import SimulatorAddress
    from harness.runs.process import Child
    from harness.runs.simulated import SimulatorProcess

PROBE_COMMAND = (sys.executable, "-m", "harness.swarm.probe_child")
PROBE_LOG = "probe.log"
_GRACE_S = 60.0
_LOOK_S = 0.25
_STOP_S = 20.0
_SECOND_SIGNAL_S = 3.0
_EVERY_S = 10.0
_CLIENT_ENV = "GUESTSWARM_SIM_CLIENT_"


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "ratelimit", parents=[common], help="find a target's rate limits, recommend client settings, and prove them"
    )
    add_scenario_options(parser)
    parser.add_argument(
        "--endpoint",
        action="append",
        default=[],
        metavar="NAME",
        help='only this, such as "POST /oauth/token" or "webchat: frame message"; again for more ([ratelimit] endpoints)',
    )
    parser.add_argument("--no-verify", action="store_true", help="recommend only ([ratelimit] verify = false)")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """Probe; the exit code is the verdict's, or says why there is none."""
    from harness.cli.plan import tell
    from harness.cli.ratelimit_plan import dry_plan
    from harness.cli.run import Signals, authorise, client_secret
    from harness.config.probed import chosen, without_probes

    with Signals() as signals:
        scenario, simulated = read_target(args, _overrides(args))
        things = chosen(scenario)
        if not things:
            names = ", ".join(without_probes(scenario))
            raise UsageError(f"{names} does not say what of it can be limited", hint="A dialect says so by its `probes`.")
        if args.dry_run:
            return tell(dry_plan(scenario, things, simulated=simulated), scenario, terminal, simulated=simulated)
        authorise(scenario, simulated=simulated)
        secrets = [client_secret(scenario, simulated), *_further_secrets(scenario, simulated)]
        job = _Job.begin(scenario, secrets, args, terminal, signals, simulated=simulated)
        args.folder = job.folder
        return job.carry_out(len(things))


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """What this command's own flags set in `[ratelimit]`."""
    found: dict[str, Any] = {}
    if args.endpoint:
        found["ratelimit.endpoints"] = list(args.endpoint)
    if args.no_verify:
        found["ratelimit.verify"] = False
    return found


def _further_secrets(scenario: Scenario, simulated: bool) -> list[Secret]:
    """Those of `[ratelimit] credentials`, in order. The simulator is never given a real one."""
    from harness.config.secret import resolve
    from harness.core.credentials import Secret

    found = []
    for place, client in enumerate(scenario.document.ratelimit.credentials):
        where = f"ratelimit.credentials[{place}].secret"
        if simulated:
            found.append(Secret(token_urlsafe(24)))
        elif client.secret:
            found.append(resolve(client.secret, environ=os.environ, folder=scenario.folder, where=where))
        else:
            raise UsageError("a target needs it", where=where, hint='Write "env:NAME" or "file:path" and put the secret there.')
    return found


@dataclass(slots=True)
class _Job:
    """One job: its folder, its processes, and how it ended."""

    scenario: Scenario
    secrets: list[Secret]
    runs: Path
    folder: Path
    terminal: Terminal
    signals: Signals
    simulated: bool
    tls: bool
    began_s: float = field(default_factory=time.monotonic)
    simulator: SimulatorProcess | None = field(default=None, init=False)
    error: dict[str, Any] = field(default_factory=dict, init=False)
    """What the child said last before it gave up."""
    simulator_lost: bool = field(default=False, init=False)
    """It ended before its time; the child was told to end for that reason."""
    _said: str = field(default="", init=False)
    _said_s: float = field(default=float("-inf"), init=False)

    @classmethod
    def begin(
        cls,
        scenario: Scenario,
        secrets: list[Secret],
        args: argparse.Namespace,
        terminal: Terminal,
        signals: Signals,
        *,
        simulated: bool,
    ) -> _Job:
        """Make the folder of the job."""
        from harness.cli.run import run_folder

        folder = run_folder(scenario, args.runs, simulated=simulated, more={"job": {"kind": "ratelimit"}})
        return cls(scenario, secrets, args.runs, folder, terminal, signals, simulated, args.tls)

    def carry_out(self, things: int) -> int:
        """Probe, then report. Returns the exit code."""
        from harness.cli.run import report_child
        from harness.runs.manifest import RESOLVED, LoadOrder

        where = "simulated" if self.simulated else ", ".join(self.scenario.hosts())
        self.terminal.note(f"{self.scenario.name} · ratelimit · {', '.join(self.scenario.mix)} · {where} · {things} to probe")
        status = 0
        try:
            with self._with_simulator() as address:
                LoadOrder(str(self.folder / RESOLVED), {}, address).write(self.folder)
                status = self._probe()
        except GuestswarmError:
            self._note_end("failed")
            raise
        self._told_before(status)
        lost = "simulator_lost" if self.simulator_lost else None
        self._note_end(self.signals.word or lost or {0: "finished"}.get(status, "killed" if status < 0 else "failed"))
        told = self.signals.told
        code = report_child(self.folder, self.runs, self.terminal, self.signals)
        if told and code != ExitCode.INTERNAL:
            return self.signals.exit_code
        return int(ExitCode.INTERNAL) if status == ExitCode.INTERNAL else code

    # ---------------------------------------------------------------- processes
    def _with_simulator(self) -> AbstractContextManager[SimulatorAddress | None]:
        return _Simulated(self) if self.simulated else nullcontext(None)

    def _probe(self) -> int:
        """The probe child from start to end; returns its exit status."""
        from harness.runs.manifest import CLIENT_SECRET_ENV, CONTROL_TOKEN_ENV, FURTHER_SECRETS_ENV
        from harness.runs.process import spawn, stop
        from harness.runs.simulated import SIM_SECRET_ENV

        if self.signals.told:
            return 0
        further = json.dumps([secret.reveal() for secret in self.secrets[1:]])
        env = {**os.environ, CLIENT_SECRET_ENV: self.secrets[0].reveal(), FURTHER_SECRETS_ENV: further}
        for name in (SIM_SECRET_ENV, CONTROL_TOKEN_ENV):
            env.pop(name, None)
        child = spawn([*PROBE_COMMAND, str(self.folder)], env=env, errors=self.folder / PROBE_LOG)
        self.signals.attach(child)
        try:
            self._watch(child)
        finally:
            self.signals.child = None
            status = stop(child, gentle_s=2.0, firm_s=0.5) if self.signals.count > 1 else stop(child)
        return status

    def _watch(self, child: Child) -> None:
        """Read the child's lines until it ends, within a time that everything planned fits into."""
        from harness.cli.progress import read_line
        from harness.cli.ratelimit_plan import longest_s
        from harness.config.probed import chosen
        from harness.runs.process import ChildLines

        deadline = time.monotonic() + longest_s(self.scenario, chosen(self.scenario)) + _GRACE_S
        told = 0
        with closing(ChildLines(child)) as lines:
            while True:
                now = time.monotonic()
                if self.signals.count > told:
                    told = self.signals.count
                    deadline = min(deadline, now + (_STOP_S if told == 1 else _SECOND_SIGNAL_S))
                    self.terminal.note("Stopping; what is known so far is reported." if told == 1 else "Stopping at once.")
                if now > deadline:
                    self.terminal.note("The probe child does not end: ended from outside.")
                    return
                if self.simulator is not None and not self.simulator.running and not told:
                    self.terminal.note("The simulator has ended; nothing more can be found out.")
                    told = 1
                    self.simulator_lost = True
                    deadline = min(deadline, now + _STOP_S)
                    child.terminate()
                if (come := lines.read(_LOOK_S)) is None:
                    return
                for raw in come:
                    if (line := read_line(raw)) is not None:
                        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        """One line of the child's."""
        kind = line["kind"]
        if kind == "error":
            self.error = line
        elif kind in ("found", "note"):
            self.terminal.note(f"{self._elapsed()}  {line.get('text', '')}")
        elif kind == "probe":
            what = f"{line.get('place')}/{line.get('of')} {line.get('what')}"
            now = time.monotonic()
            if what != self._said or now - self._said_s >= _EVERY_S:
                self._said, self._said_s = what, now
                sent = f"{line.get('requests', 0):,} sent, {line.get('refused', 0):,} refused"
                self.terminal.note(f"{self._elapsed()}  {what}: {line.get('phase')}, {sent}")

    def _elapsed(self) -> str:
        passed = int(time.monotonic() - self.began_s)
        return f"{passed // 60:02d}:{passed % 60:02d}"

    # ---------------------------------------------------------------- the end
    def _told_before(self, status: int) -> None:
        """Raise what kept the child from probing at all."""
        from harness.runs.process import first_line

        if status in (ExitCode.USAGE, ExitCode.UNREACHABLE, ExitCode.NOT_AUTHORISED):
            refused = GuestswarmError(
                str(self.error.get("what") or first_line(self.folder / PROBE_LOG) or "the probes could not begin"),
                where=str(self.error.get("where") or ""),
                hint=str(self.error.get("hint") or ""),
            )
            refused.exit_code = ExitCode(status)
            self._note_end("failed")
            raise refused
        if status:
            said = self.error.get("what") or first_line(self.folder / PROBE_LOG)
            self.terminal.note(f"The probe child ended with status {status}: {said or 'it said nothing'}")

    def _note_end(self, word: str) -> None:
        from harness.runs.folder import update_manifest

        try:
            update_manifest(self.folder, {"ended": word})
        except RunFolderError as error:
            self.terminal.note(f"guestswarm: {error}")


class _Simulated:
    """With the simulator's process, which knows the further clients by secrets that are made up."""

    def __init__(self, job: _Job) -> None:
        self._job = job

    def __enter__(self) -> SimulatorAddress:
        from harness.cli.run import simulator_process_table
        from harness.runs.manifest import SimulatorAddress
        from harness.runs.simulated import SIM_SECRET_ENV, SimulatorProcess

        job = self._job
        table = dict(simulator_process_table(job.scenario))
        env = {SIM_SECRET_ENV: job.secrets[0].reveal()}
        clients: dict[str, str] = {}
        for place, client in enumerate(job.scenario.document.ratelimit.credentials):
            clients[client.client_id] = f"env:{_CLIENT_ENV}{place}"
            env[f"{_CLIENT_ENV}{place}"] = job.secrets[1 + place].reveal()
        if clients:
            credentials = dict(table.get("credentials") or {})
            table["credentials"] = {**credentials, "clients": {**dict(credentials.get("clients") or {}), **clients}}
        job.simulator = SimulatorProcess.start(table, job.folder, seed=job.scenario.seed, tls=job.tls, secret_env=env)
        return SimulatorAddress(job.simulator.port, job.simulator.control, job.simulator.ca)

    def __exit__(self, *_: object) -> None:
        if self._job.simulator is not None:
            self._job.simulator.stop()
