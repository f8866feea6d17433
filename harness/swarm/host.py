"""The host of runs in Locust's own process: one run for each test that is started, drained and judged when it is stopped."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import atexit
import logging
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import gevent
from gevent.event import Event

from harness.config import Scenario, check_authorised, load_scenario
from harness.config.secret import resolve
from harness.core.credentials import Secret
from harness.dialects.registry import all_dialects
from harness.errors import ExitCode, GuestswarmError, ScenarioError
from harness.runs.process import death_tie
from harness.runs.folder import create_run, read_manifest, update_manifest, write_json
from harness.runs.manifest import RESOLVED, SimulatorAddress, new_manifest
from harness.runs.simulated import SIM_SECRET_ENV, SimulatorControl, SimulatorProcess
from harness.swarm.dispatcher import Dispatch
from harness.swarm.load import LoadRun, Plan, network_of
from harness.swarm.statistics import Statistics
from harness.swarm.user import GuestUser

log = logging.getLogger("guestswarm")
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def beside(locustfiles: str) -> str:
    """The scenario that goes with a locustfile: `scenarios/NAME.toml` beside `NAME.py`; empty where there is none."""
    for name in locustfiles.split(","):
        path = Path(name.strip())
        scenario = path.parent / "scenarios" / f"{path.stem}.toml"
        if scenario.is_file():
            return str(scenario)
    return ""


class Host:
    """A local runner's process: folder, simulator, guests and verdict are all its own."""

    def __init__(self, environment: Any, runner: Any, web_ui: Any) -> None:
        self.environment, self.runner, self.web_ui = environment, runner, web_ui
        self.options = environment.parsed_options
        self.path = self.options.scenario or beside(str(self.options.locustfile))
        if not self.path:
            raise ScenarioError(
                "no scenario",
                where="--scenario",
                hint="Give --scenario FILE, set GUESTSWARM_SCENARIO, or put scenarios/NAME.toml beside the locustfile NAME.py.",
            )
        self.scenario = load_scenario(self.path, simulate=True)
        self._defaults()
        load_scenario(self.path, {**self._overrides(self.options.num_users), **self._mix()})  # whatever is wrong is said now
        self.word = "finished"
        self.verdict: int | None = None
        self.load: LoadRun | None = None
        self.folder: Path | None = None
        self.simulator: SimulatorProcess | None = None
        self.statistics = Statistics(environment)
        self.dispatch = Dispatch(self.on_loss, self.on_pace)
        self._stopping = self._judging = self._paced = False
        self._drained, self._done = Event(), Event()

    def install(self) -> None:
        """Hook into Locust."""
        events, environment = self.environment.events, self.environment
        environment.dispatcher_class = self.dispatch.dispatcher_class()
        events.test_start.add_listener(self.on_test_start)
        events.test_stopping.add_listener(self.on_test_stopping)
        events.test_stop.add_listener(self.on_test_stop)
        events.quitting.add_listener(self.on_quitting)
        atexit.register(self._end_simulator)
        gevent.signal_handler(signal.SIGINT, self.on_signal, signal.SIGINT)
        gevent.signal_handler(signal.SIGTERM, self.on_signal, signal.SIGTERM)

    def _defaults(self) -> None:
        """What Locust was not told, it takes from the scenario."""
        options, scenario = self.options, self.scenario
        guests, load = scenario.guests.planned, scenario.load
        if options.num_users is None:
            options.num_users = guests
        if options.spawn_rate is None:
            options.spawn_rate = scenario.guests.arrivals_per_s or max(guests / max(load.ramp / 1e9, 0.001), 0.001)
        if not options.run_time:
            options.run_time = -(-(load.ramp + load.duration) // 10**9)  # whole seconds: Locust's page reads no others back
        users = [user for user in self.environment.user_classes if issubclass(user, GuestUser)]
        if any(user.dialect in scenario.mix for user in users):
            for user in users:
                if "weight" not in vars(user):
                    user.weight = scenario.mix.get(user.dialect, 0.0)

    # ---------------------------------------------------------------- one run
    def on_test_start(self, **_: Any) -> None:
        """A run begins: folder, simulator, clock."""
        self.word, self.folder, self.load = "finished", None, None
        self._stopping = self._judging = self._paced = False
        self._drained.clear()
        self._done.clear()
        try:
            self._begin()
        except GuestswarmError as error:
            self._refuse(error)
        except Exception as error:
            log.exception("the run cannot begin")
            self._refuse(GuestswarmError(f"{type(error).__name__}: {error}"))

    def _begin(self) -> None:
        scenario = self.scenario = self._scenario()
        simulated = scenario.simulated
        network = None if simulated else network_of(scenario, None)
        if network is not None:
            foreign = tuple(host for host in scenario.hosts() if not network.guard.is_local(host))
            check_authorised(scenario, foreign, datetime.now(UTC))
        secret = self._secret(simulated)
        folder = self.folder = create_run(Path(self.options.runs), scenario.name, self._manifest(simulated))
        write_json(folder / RESOLVED, scenario.resolved())
        address = self._start_simulator(secret) if simulated else None
        self.dispatch.begin()
        self._begin_load(secret, address)

    def _begin_load(self, secret: Secret, address: SimulatorAddress | None) -> None:
        assert self.folder is not None
        plan = Plan(self.scenario, self.folder, self._run_id(), secret, self._wall_offset(), timed=False)
        load = LoadRun(plan, network_of(self.scenario, address), control=self._control(), say=_tell, tee=self.statistics.tee)
        try:
            load.preflight()
        except GuestswarmError:
            load.discard()
            raise
        self.load = GuestUser.load = load
        load.begin()

    def on_test_stopping(self, **_: Any) -> None:
        """Drain: Locust stops its users only when this has returned, whoever stops it, and however often."""
        if not self._stopping:
            self._stopping = True
            try:
                self._drain()
            finally:
                self._drained.set()
        self._drained.wait()

    def _drain(self) -> None:
        self.dispatch.end()
        if self.load is not None:
            self.load.end(self.word)
            self.load.drain()

    def on_test_stop(self, **_: Any) -> None:
        """The run is over: judge it."""
        if not self._judging:
            self._judging = True
            try:
                self._conclude()
            finally:
                self._done.set()
        self._done.wait()

    def _conclude(self) -> None:
        self._end_simulator()
        self.statistics.fire()
        if self.folder is not None:
            if read_manifest(self.folder).get("ended") is None:
                update_manifest(self.folder, {"ended": self.word})
            self._note_verdict(self._judge(self.folder))
        if self._headless():
            gevent.spawn(self.runner.quit)  # also where Locust would wait for workers that are gone for good

    def on_quitting(self, **_: Any) -> None:
        """The process ends: whatever is on is drained and judged first, and the verdict becomes the exit code."""
        self.runner.stop()
        self._end_simulator()
        self.statistics.stop()
        if self.verdict is not None:
            self.environment.process_exit_code = self.verdict

    def on_signal(self, number: int) -> None:
        """The first signal drains and quits, the second does not wait."""
        if self.word in WORDS.values():
            self.hurry()
            return
        self.word = WORDS[signal.Signals(number)]
        if self.load is not None and not self.load.over:
            self.load.ended = self.word
        log.info("Draining; again stops at once.")
        if number == signal.SIGINT:  # at SIGTERM Locust itself goes on to quit
            gevent.spawn(self._quit)

    def hurry(self) -> None:
        """No more waiting."""
        if self.load is not None:
            self.load.hurry()

    def on_loss(self, worker: str) -> None:
        """A worker is gone."""
        log.error("Worker %s is lost: its guests are not replaced, and the verdict cannot be PASS.", worker)

    def on_pace(self, users: int, per_s: float) -> None:
        """Locust was told how many users there shall be, and how fast; in a run that is on, the manifest says so."""
        if self.load is not None:
            self.load.pace(users, per_s)
        self._keep_pace(users, per_s)

    def _keep_pace(self, users: int, per_s: float) -> None:
        """The first pace of a run is its plan; every later one is a change that the manifest keeps."""
        if self.folder is None:
            return
        if self._paced:
            change = {"at_ns": time.monotonic_ns(), "users": users, "per_s": per_s}
            update_manifest(self.folder, {"changes": [*read_manifest(self.folder).get("changes", []), change]})
        self._paced = True

    # ---------------------------------------------------------------- parts
    def _quit(self) -> None:
        self.runner.quit()
        if self.web_ui is not None:
            self.web_ui.stop()

    def _refuse(self, error: GuestswarmError) -> None:
        sys.stderr.write(f"guestswarm: {error}\n")
        self._end_simulator()
        if self.folder is not None:
            update_manifest(self.folder, {"ended": "failed"})
            self.folder = None
        self._note_verdict(int(error.exit_code))
        gevent.spawn(self._quit if self._headless() else self.runner.stop)

    def _headless(self) -> bool:
        return bool(self.options.headless)

    def _note_verdict(self, code: int) -> None:
        """The process answers with the first verdict that is not PASS."""
        self.verdict = self.verdict or code

    def _overrides(self, guests: int) -> dict[str, Any]:
        """What Locust's options say, in the scenario's terms."""
        options = self.options
        overrides: dict[str, Any] = {}
        open_model = self.scenario.guests.count is None
        if guests:
            overrides["guests.max_guests" if open_model else "guests.count"] = guests
        if guests and options.spawn_rate and not open_model:
            ramp = guests / options.spawn_rate
            overrides["load.ramp"] = f"{round(ramp * 1000)}ms"
            if options.run_time:
                overrides["load.duration"] = f"{round(max(options.run_time - ramp, 1) * 1000)}ms"
        elif open_model and options.spawn_rate:
            overrides["guests.arrivals_per_s"] = float(options.spawn_rate)
        target = self.environment.host
        if target:
            dialects = {user.dialect for user in self.environment.user_classes if issubclass(user, GuestUser)}
            bases = {base for name in dialects for base in all_dialects()[name].bases}
            overrides.update({f"target.urls.{base}": target for base in bases})
        return overrides

    def _scenario(self) -> Scenario:
        """The scenario of the run that begins: what the page or the command line said last is in it."""
        return load_scenario(self.path, {**self._overrides(self.runner.target_user_count), **self._mix()})

    def _mix(self) -> dict[str, Any]:
        """The dialects are those of the user classes."""
        weights: dict[str, float] = {}
        for user in self.environment.user_classes:
            if issubclass(user, GuestUser):
                weights[user.dialect] = weights.get(user.dialect, 0) + (user.fixed_count or user.weight)
        total = sum(weights.values())
        return {"scenario.dialect": "", "guests.mix": {name: weight / total for name, weight in weights.items()}}

    def _secret(self, simulated: bool) -> Secret:
        scenario = self.scenario
        if not simulated:
            return scenario.client_secret() or Secret("")
        given = (scenario.simulator.get("credentials") or {}).get("client_secret")
        if given:
            return resolve(given, environ=os.environ, folder=scenario.folder, where="simulator.credentials.client_secret")
        return Secret(token_urlsafe(24))

    def _manifest(self, simulated: bool) -> dict[str, Any]:
        scenario = self.scenario
        return new_manifest(
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

    def _start_simulator(self, secret: Secret) -> SimulatorAddress:
        assert self.folder is not None
        table = dict(self.scenario.simulator)
        credentials = dict(table.get("credentials") or {})
        if self.scenario.target.client_id:
            credentials.setdefault("client_id", self.scenario.target.client_id)
        credentials.pop("client_secret", None)
        if credentials:
            table["credentials"] = credentials
        self.simulator = SimulatorProcess.start(
            table, self.folder, seed=self.scenario.seed, secret_env={SIM_SECRET_ENV: secret.reveal()}
        )
        return SimulatorAddress(self.simulator.port, self.simulator.control, self.simulator.ca)

    def _end_simulator(self) -> None:
        simulator, self.simulator = self.simulator, None
        if simulator is not None:
            simulator.stop()

    def _control(self) -> SimulatorControl | None:
        return SimulatorControl(self.simulator.control, self.simulator.token) if self.simulator is not None else None

    def _run_id(self) -> str:
        assert self.folder is not None
        return str(read_manifest(self.folder)["run"])

    def _wall_offset(self) -> int:
        assert self.folder is not None
        anchor = read_manifest(self.folder)["anchor"]
        return int(anchor["wall_ns"]) - int(anchor["monotonic_ns"])

    def _judge(self, folder: Path) -> int:
        """The verdict of the report, made by a process of its own from what is on disk."""
        argv = [sys.executable, "-m", "harness.cli.main", "report", str(folder), "--runs", str(self.options.runs)]
        try:
            done = subprocess.run(  # noqa: S603
                argv, stdin=subprocess.DEVNULL, timeout=900, check=False, preexec_fn=death_tie()
            )
            return done.returncode if done.returncode >= 0 else int(ExitCode.UNKNOWN)
        except (OSError, subprocess.TimeoutExpired) as error:
            log.error("The report could not be made: %s", error)
            return int(ExitCode.UNKNOWN)


def _tell(line: dict[str, Any]) -> None:
    """What a run says about itself, for people at a terminal: phases and faults."""
    if line["kind"] == "phase":
        log.info("phase %s", line["phase"])
    elif line["kind"] in ("fault", "error", "note"):
        log.error("%s", line.get("text") or line.get("what"))
