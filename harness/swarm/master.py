"""The host of runs in a Locust master: it owns folder, simulator and verdict, its workers own the guests.

Locust loses the last words of its workers. So orders are answered, the drain is answered when a worker's journal is closed,
and truth is sealed only then; a worker that does not answer is missing from the journals, and the report says so.
"""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from locust import runners

from harness.core.credentials import Secret
from harness.errors import ExitCode, GuestswarmError
from harness.runs.folder import update_manifest
from harness.runs.manifest import SimulatorAddress
from harness.swarm.host import Host

log = logging.getLogger("guestswarm")
RUN, READY, DRAIN, DRAINED = "guestswarm_run", "guestswarm_ready", "guestswarm_drain", "guestswarm_drained"
GRACE_S = 30.0
_WORKERS_READY_S = 30.0


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
        # Who was to be there: a worker that dies before its first word leaves nothing else to be missed by.
        update_manifest(self.folder, {"workers": len(self._workers)})
        for number, worker in enumerate(self._workers, 1):
            runner.send_message(RUN, {**orders, "number": number}, client_id=worker)
        try:
            self._await(lambda: len(self._answers) == len(self._workers), _WORKERS_READY_S)
        finally:
            self._forget_secret()
        silent = [worker for worker in self._workers if worker not in self._answers]
        if silent:
            raise GuestswarmError(
                f"{len(silent)} of {len(self._workers)} workers did not answer", hint="Do they run this locustfile?"
            )
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
        bound = (scenario.load.settle + scenario.loss_wait_ns + scenario.load.drain) / 1e9 + GRACE_S
        self._await(lambda: self._living() <= self._closed, bound)
        missing = [worker for worker in self._workers if worker not in self._closed]
        if control is not None and not missing:  # else there are acts that no journal holds: truth stays unsealed, and uncompared
            self._try(control.seal)
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
        """The workers know the pace from the scenario; the manifest keeps every change."""
        self._keep_pace(users, per_s)

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
