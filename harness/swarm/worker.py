"""A Locust worker: it has guests and a journal, does what the master says, and does not outlive it."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import logging
import os
import signal
from pathlib import Path
from typing import Any

import gevent
from gevent.monkey import get_original
from locust import runners

from harness.config import load_scenario
from harness.config.secret import resolve
from harness.core.credentials import Secret
from harness.errors import ExitCode, GuestswarmError
from harness.runs.manifest import RESOLVED, SimulatorAddress
from harness.swarm.load import LoadRun, Plan, network_of
from harness.swarm.master import DRAIN, DRAINED, GRACE_S, READY, RUN
from harness.swarm.statistics import Statistics
from harness.swarm.user import GuestUser

log = logging.getLogger("guestswarm")
_HEARTBEAT_S = 10
"""A worker that has not heard from its master for so long stops its guests."""
_LAST_CHANCES = 12
"""Tenths of a second that an orphan gets to close its journal in."""


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
            gevent.sleep(GRACE_S)
        self.runner.quit()

    def _mind_the_master(self) -> None:
        """In an OS thread: with `--processes` the master is our parent, and its end is ours."""
        pause = get_original("time", "sleep")
        while os.getppid() == self._parent:
            pause(0.25)
        load = self.load
        if load is not None:
            load.hurry_from_thread()
            chances = _LAST_CHANCES
            while chances and not load.over_and_closed():
                chances -= 1
                pause(0.1)
        os._exit(int(ExitCode.INTERNAL))
