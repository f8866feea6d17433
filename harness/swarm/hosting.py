"""`locust -f locustfiles/webchat.py`: Locust's own command as the host of runs. Importing this module in a locustfile is all.

The scenario comes by `--scenario` (or GUESTSWARM_SCENARIO); Locust's `-u`, `-r`, `-t` and `--host` beat it where they are
given. Each start of a test (there can be many from the web page) is a run with a folder of its own, each stop drains and
judges it, and the process ends with the verdict's exit code. With `--processes` or `--master` the master owns folder,
simulator and verdict; each worker has its own guests and its own journal in the same folder.
"""

from __future__ import annotations

import locust

import atexit
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import gevent
from gevent.event import Event
from gevent.monkey import get_original
from locust import runners

from harness.config import Scenario, check_authorised, load_scenario
from harness.config.secret import resolve
from harness.core.credentials import Secret
from harness.dialects.registry import all_dialects
from harness.errors import ExitCode, GuestswarmError, ScenarioError
from harness.runs.folder import create_run, read_manifest, update_manifest, write_json
from harness.runs.manifest import RESOLVED, SimulatorAddress, new_manifest
from harness.runs.simulated import SIM_SECRET_ENV, SimulatorControl, SimulatorProcess
from harness.swarm.dispatcher import Dispatch
from harness.swarm.load import LoadRun, Plan, network_of
from harness.swarm.statistics import Statistics
from harness.swarm.user import GuestUser

log = logging.getLogger("guestswarm")
_LOOPBACK = "127.0.0.1"
_HEARTBEAT_S = 10
"""A worker that has not heard from its master for so long stops its guests."""
_WORKERS_READY_S = 30.0
_GRACE_S = 30.0
_LAST_CHANCE_S = 1.5
RUN, READY, DRAIN, DRAINED = "guestswarm_run", "guestswarm_ready", "guestswarm_drain", "guestswarm_drained"
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def add_options(parser: Any, **_: Any) -> None:
    """Our one option, and Locust's addresses on loopback unless somebody asks for more."""
    parser.add_argument(
        "--scenario",
        metavar="FILE",
        default="",
        env_var="GUESTSWARM_SCENARIO",
        include_in_web_ui=False,
        help="guestswarm: the scenario (.toml)",
    )
    parser.add_argument(
        "--runs",
        metavar="DIR",
        default="reports",
        env_var="GUESTSWARM_RUNS",
        include_in_web_ui=False,
        help="guestswarm: where runs land (default: reports)",
    )
    parser.set_defaults(web_host=_LOOPBACK, master_bind_host=_LOOPBACK)


def on_init(environment: Any, runner: Any, web_ui: Any, **_: Any) -> None:
    """Take our place in a Locust process. A wrong scenario ends it before anything is opened."""
    if not any(issubclass(user, GuestUser) for user in environment.user_classes):
        return
    if isinstance(runner, runners.WorkerRunner):
        WorkerHost(environment, runner).install()
        return
    try:
        host = (MasterHost if isinstance(runner, runners.MasterRunner) else Host)(environment, runner, web_ui)
    except GuestswarmError as error:
        sys.stderr.write(f"guestswarm: {error}\n")
        sys.exit(int(error.exit_code))
    host.install()


class Host:
    """A local runner's process: folder, simulator, guests and verdict are all its own."""

    def __init__(self, environment: Any, runner: Any, web_ui: Any) -> None:
        self.environment, self.runner, self.web_ui = environment, runner, web_ui
        self.options = environment.parsed_options
        self.path = self.options.scenario
        if not self.path:
            raise ScenarioError(
                "no scenario", where="--scenario", hint="Give --scenario FILE or set GUESTSWARM_SCENARIO; see locustfiles/scenarios."
            )
        self.scenario = load_scenario(self.path, self._overrides(None), simulate=True)
        self.word = "finished"
        self.verdict: int | None = None
        self.load: LoadRun | None = None
        self.folder: Path | None = None
        self.simulator: SimulatorProcess | None = None
        self.statistics = Statistics(environment)
        self.dispatch = Dispatch(self.on_loss, self.on_pace)
        self._stopping = self._judging = False
        self._drained, self._done = Event(), Event()

    def install(self) -> None:
        """Hook into Locust."""
        self._defaults()
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
            options.run_time = round((load.ramp + load.duration) / 1e9, 3)
        for user in self.environment.user_classes:
            if issubclass(user, GuestUser) and "weight" not in vars(user):
                user.weight = scenario.mix.get(user.dialect, 1.0)

    # ---------------------------------------------------------------- one run
    def on_test_start(self, **_: Any) -> None:
        """A run begins: folder, simulator, clock."""
        self.word, self.folder, self.load = "finished", None, None
        self._stopping = self._judging = False
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
        if self.word in _WORDS.values():
            self.hurry()
            return
        self.word = _WORDS[signal.Signals(number)]
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
        """Locust was told how many users there shall be, and how fast."""
        if self.load is not None:
            self.load.pace(users, per_s)

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

    def _overrides(self, users: int | None) -> dict[str, Any]:
        """What Locust's options say, in the scenario's terms."""
        options = self.options
        overrides: dict[str, Any] = {}
        guests = users or options.num_users
        open_model = getattr(self, "scenario", None) is not None and self.scenario.guests.count is None
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
        scenario = load_scenario(self.path, {**self._overrides(self.runner.target_user_count), **self._mix()})
        return scenario

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
            return subprocess.run(argv, stdin=subprocess.DEVNULL, timeout=900, check=False).returncode  # noqa: S603
        except (OSError, subprocess.TimeoutExpired) as error:
            log.error("The report could not be made: %s", error)
            return int(ExitCode.UNKNOWN)


class MasterHost(Host):
    """A master's process: it owns the run, its workers own the guests."""

    def __init__(self, environment: Any, runner: Any, web_ui: Any) -> None:
        super().__init__(environment, runner, web_ui)
        self._answers: dict[str, dict[str, Any]] = {}
        self._closed: set[str] = set()
        self._workers: list[str] = []
        self._secret_file: Path | None = None

    def install(self) -> None:
        """Hook into Locust."""
        super().install()
        self.runner.register_message(READY, self.on_ready)
        self.runner.register_message(DRAINED, self.on_drained)

    def _begin_load(self, secret: Secret, address: SimulatorAddress | None) -> None:
        """Tell every worker its part, and go on when all have understood."""
        assert self.folder is not None
        runner = self.runner
        self._answers, self._closed = {}, set()
        self._workers = [client.id for client in runner.clients.ready + runner.clients.spawning + runner.clients.running]
        if address is not None:
            self._secret_file = self.folder / ".secret"
            descriptor = os.open(self._secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secret.reveal())
        orders = {
            "folder": str(self.folder.resolve()),
            "run": self._run_id(),
            "wall_offset_ns": self._wall_offset(),
            "simulator": [address.port, address.control, address.ca] if address is not None else None,
            "secret_file": str(self._secret_file.resolve()) if self._secret_file else "",
            "scenario_folder": str(self.scenario.folder.resolve()),
            "workers": len(self._workers),
        }
        control = self._control()
        if control is not None:
            control.begin()
        for number, worker in enumerate(self._workers, 1):
            runner.send_message(RUN, {**orders, "number": number}, client_id=worker)
        try:
            self._await(lambda: len(self._answers) == len(self._workers), _WORKERS_READY_S)
        finally:
            self._forget_secret()
        silent = [worker for worker in self._workers if worker not in self._answers]
        if silent:
            raise GuestswarmError(f"{len(silent)} of {len(self._workers)} workers did not answer", hint="Do they run this locustfile?")
        for answer in self._answers.values():
            if answer["error"]:
                failed = GuestswarmError(str(answer["error"]))
                failed.exit_code = ExitCode(answer["code"])
                raise failed

    def _drain(self) -> None:
        """Let the simulator settle, the workers drain, and hear from each that its journal is closed; then seal."""
        self.dispatch.end()
        if self.folder is None:
            return
        began = time.monotonic_ns()
        control, scenario = self._control(), self.scenario
        if control is not None:
            self._try(control.settle)
        self.runner.send_message(DRAIN, {"word": self.word})
        bound = (scenario.load.settle + scenario.loss_wait_ns + scenario.load.drain) / 1e9 + _GRACE_S
        self._await(lambda: self._living() <= self._closed, bound)
        if control is not None:
            self._try(control.seal)
        missing = [worker for worker in self._workers if worker not in self._closed]
        if missing:
            log.error("%d of %d workers did not close their journals.", len(missing), len(self._workers))
        update_manifest(self.folder, {"phases": {"settle": began, "end": time.monotonic_ns()}, "ended": self.word})

    def hurry(self) -> None:
        """No more waiting."""
        self.runner.send_message(DRAIN, {"word": self.word, "hurry": True})

    def on_ready(self, msg: Any, **_: Any) -> None:
        """A worker has its orders, or says why it cannot carry them out."""
        self._answers[msg.node_id] = msg.data

    def on_drained(self, msg: Any, **_: Any) -> None:
        """A worker has closed its journal: its final word."""
        self._closed.add(msg.node_id)

    def on_pace(self, users: int, per_s: float) -> None:
        """The workers know the pace from the scenario."""

    def _living(self) -> set[str]:
        clients = self.runner.clients
        return {worker for worker in self._workers if worker in clients and clients[worker].state != runners.STATE_MISSING}

    def _forget_secret(self) -> None:
        if self._secret_file is not None:
            self._secret_file.unlink(missing_ok=True)
            self._secret_file = None

    @staticmethod
    def _await(condition: Callable[[], bool], at_most_s: float) -> None:
        deadline = time.monotonic() + at_most_s
        while not condition() and time.monotonic() < deadline:
            gevent.sleep(0.05)

    @staticmethod
    def _try(act: Callable[[], object]) -> None:
        try:
            act()
        except GuestswarmError as error:
            log.error("The simulator does not answer: %s", error)


class WorkerHost:
    """A worker's process: it has guests and a journal, and does what the master says."""

    def __init__(self, environment: Any, runner: Any) -> None:
        self.environment, self.runner = environment, runner
        self.load: LoadRun | None = None
        self.statistics = Statistics(environment)
        self._parent = os.getppid()
        self._told = 0

    def install(self) -> None:
        """Hook into Locust, and mind the master."""
        runners.MASTER_HEARTBEAT_TIMEOUT = _HEARTBEAT_S
        self.runner.register_message(RUN, self.on_run, concurrent=True)
        self.runner.register_message(DRAIN, self.on_drain, concurrent=True)
        self.environment.events.test_stopping.add_listener(self.on_test_stopping)
        self.environment.events.test_start.add_listener(self.on_test_start)
        gevent.signal_handler(signal.SIGINT, self.on_signal, "interrupted")
        gevent.signal_handler(signal.SIGTERM, self.on_signal, "terminated")
        if getattr(self.environment.parsed_options, "processes", None):
            get_original("_thread", "start_new_thread")(self._mind_the_master, ())

    def on_run(self, msg: Any, **_: Any) -> None:
        """Orders for a run."""
        try:
            self._prepare(msg.data)
            answer = {"error": "", "code": 0}
        except GuestswarmError as error:
            answer = {"error": str(error), "code": int(error.exit_code)}
        except Exception as error:
            log.exception("the orders cannot be carried out")
            answer = {"error": f"{type(error).__name__}: {error}", "code": int(ExitCode.INTERNAL)}
        self.runner.send_message(READY, answer)

    def _prepare(self, order: dict[str, Any]) -> None:
        folder = Path(order["folder"])
        simulator = SimulatorAddress(*order["simulator"]) if order["simulator"] else None
        scenario = load_scenario(folder / RESOLVED, simulate=simulator is not None)
        if order["secret_file"]:
            secret = Secret(Path(order["secret_file"]).read_text().strip())
        else:
            # References to files count from where the scenario lies, not from the run folder.
            secret = resolve(
                scenario.target.credentials, environ=os.environ, folder=Path(order["scenario_folder"]), where="target.credentials"
            )
        number, workers = order["number"], order["workers"]
        planned = scenario.guests.planned
        plan = Plan(
            scenario,
            folder,
            order["run"],
            secret,
            order["wall_offset_ns"],
            worker=str(number),
            first_slot=number,
            slot_step=workers,
            guests=max(planned // workers + (number <= planned % workers), 1),
            share=1 / workers,
            last=False,
            timed=False,
        )
        load = LoadRun(plan, network_of(scenario, simulator, share=1 / workers), tee=self.statistics.tee)
        try:
            load.preflight()
        except GuestswarmError:
            load.discard()
            raise
        self.load = GuestUser.load = load
        load.begin()

    def on_test_start(self, **_: Any) -> None:
        """Locust's users come now; the run has begun with the orders."""
        if self.load is None:
            log.error("No orders have come from the master: is the same locustfile running there?")

    def on_drain(self, msg: Any, **_: Any) -> None:
        """Drain, and tell the master when the journal is closed."""
        load = self.load
        if load is None:
            return
        if msg.data.get("hurry"):
            load.hurry()
            return
        load.end(msg.data["word"])
        load.drain()
        self.statistics.fire()
        self.runner.send_message(DRAINED, {"ended": load.ended})

    def on_test_stopping(self, **_: Any) -> None:
        """Also where no word came from the master: the journal is closed in good order."""
        if self.load is not None:
            self.load.drain()

    def on_signal(self, word: str) -> None:
        """A terminal tells all processes at once: drain as the master will say, then wait for its word, but not for ever."""
        self._told += 1
        if self._told > 1:
            if self.load is not None:
                self.load.hurry()
            return
        gevent.spawn(self._end, word)

    def _end(self, word: str) -> None:
        if self.load is not None:
            self.load.end(word)
            self.load.drain()
            gevent.sleep(_GRACE_S)
        self.runner.quit()

    def _mind_the_master(self) -> None:
        """In an OS thread: with `--processes` the master is our parent, and its end is ours."""
        pause = get_original("time", "sleep")
        while os.getppid() == self._parent:
            pause(0.5)
        if self.load is not None:
            self.load.hurry_from_thread()
        pause(_LAST_CHANCE_S)
        os._exit(int(ExitCode.INTERNAL))


def _tell(line: dict[str, Any]) -> None:
    """What a run says about itself, for people at a terminal: phases and faults."""
    if line["kind"] == "phase":
        log.info("phase %s", line["phase"])
    elif line["kind"] in ("fault", "error", "note"):
        log.error("%s", line.get("text") or line.get("what"))


locust.events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]
locust.events.init.add_listener(on_init)  # type: ignore[no-untyped-call]
