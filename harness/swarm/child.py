"""`python -m harness.swarm.child RUNFOLDER`: the load process of `guestswarm run`, with Locust as a library.

Its orders are in the folder (`load.json`), its secrets in the environment, its news on stdout (one JSON object a line). It
ends when the load is drained; earlier at SIGINT or SIGTERM (drain first; the second one ends it at once); and within two
seconds of its parent's end, told by the pipe that is its stdin.
"""

from __future__ import annotations

import signal

_EARLY: list[int] = []
if __name__ == "__main__":  # from the first line: importing Locust takes a while
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, lambda number, _frame: _EARLY.append(number))

import locust  # before all others: it patches the standard library

import io
import json
import logging
import os
import resource
import stat
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

import gevent
from gevent.monkey import get_original
from locust.env import Environment
from locust.event import Events

from harness.config import load_scenario
from harness.core.credentials import Secret
from harness.errors import ExitCode, GuestswarmError
from harness.runs.folder import read_manifest
from harness.runs.manifest import CLIENT_SECRET_ENV, CONTROL_TOKEN_ENV, LoadOrder
from harness.runs.simulated import SimulatorControl
from harness.swarm.load import LoadRun, Plan, network_of
from harness.swarm.user import GuestUser, guest_user

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_LAST_CHANCE_S = 1.3
_MAX_LINE = 4000


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the order of a run folder; the exit status says how that went, not what the verdict is."""
    return obey("harness.swarm.child", arguments, _run)


def obey(module: str, arguments: Sequence[str] | None, run: Callable[[Path, Outlet], int]) -> int:
    """What every child process has around its work: one folder on its command line, and errors as news instead of tracebacks."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1:
        sys.stderr.write(f"usage: python -m {module} RUNFOLDER\n")
        return int(ExitCode.USAGE)
    sys.stderr = Unfailing(sys.stderr)
    logging.getLogger("locust").setLevel(logging.ERROR)
    raise_descriptor_limit()
    say = Outlet(1)
    try:
        return run(Path(given[0]), say)
    except GuestswarmError as error:
        say({"kind": "error", "what": error.what, "where": error.where, "hint": error.hint})
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    except Exception as error:
        say({"kind": "error", "what": f"{type(error).__name__}: {error}"})
        sys.stderr.write(traceback.format_exc())
        return int(ExitCode.INTERNAL)


def _run(folder: Path, say: Outlet) -> int:
    order, manifest = LoadOrder.read(folder), read_manifest(folder)
    scenario = load_scenario(order.scenario, order.overrides, simulate=order.simulator is not None)
    anchor = manifest["anchor"]
    plan = Plan(
        scenario,
        folder,
        str(manifest["run"]),
        Secret(os.environ.pop(CLIENT_SECRET_ENV, "")),
        int(anchor["wall_ns"]) - int(anchor["monotonic_ns"]),
        first_slot=order.session.first_slot if order.session else 1,
        session=order.session,
    )
    control = None
    token = os.environ.pop(CONTROL_TOKEN_ENV, "")
    if order.simulator is not None:
        control = SimulatorControl(order.simulator.control, token)
    network = network_of(scenario, order.simulator)
    load = LoadRun(plan, network, control=control, say=say)
    obey_signals(load)
    mind_the_parent(load)
    try:
        load.preflight()
    except GuestswarmError:
        load.discard()
        raise
    return _carry_out(load)


def _carry_out(load: LoadRun) -> int:
    scenario = load.plan.scenario
    GuestUser.load = load
    classes: list[type[locust.User]] = [guest_user(name, share) for name, share in scenario.mix.items()]
    events = Events()  # type: ignore[no-untyped-call]
    runner = Environment(user_classes=classes, events=events).create_local_runner()
    guests = scenario.guests.planned
    load.begin()
    runner.start(guests, spawn_rate=guests)
    load.wait()
    load.drain()
    runner.quit()
    return int(ExitCode.INTERNAL) if load.ended == "failed" else int(ExitCode.PASS)


def raise_descriptor_limit() -> int:
    """As many descriptors as the system lets us have; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass
    return soft


class Outlet:
    """News for the parent. Never waits: a parent that does not read loses lines, not the load its rhythm."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        try:
            self._pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        except OSError:
            self._pipe = False
        if self._pipe:
            os.set_blocking(descriptor, False)

    def __call__(self, line: dict[str, Any]) -> None:
        """Write one line, whole or not at all (a pipe takes up to 4096 bytes at once)."""
        data = json.dumps(line, separators=(",", ":")).encode()
        if len(data) > _MAX_LINE:
            data = json.dumps({**line, "text": str(line.get("text", ""))[:200], "what": str(line.get("what", ""))[:200]}).encode()
        try:
            os.write(self._descriptor, data + b"\n")
        except OSError:
            pass


class Unfailing(io.TextIOBase):
    """Our error stream, which is a file in the run folder: what a full disk does not take is gone, and nobody fails for it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As a stream's, but for the errors."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            pass
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def fileno(self) -> int:
        """The stream's."""
        return self._stream.fileno()


class Stoppable(Protocol):
    """What a load process does, as far as it can be told to end."""

    def told_to_stop(self, word: str) -> None:
        """`interrupted` or `terminated`: drain; told again: at once."""

    def hurry_from_thread(self) -> None:
        """The parent has gone: end now. Called from another thread."""


def obey_signals(load: Stoppable, early: Sequence[int] = _EARLY) -> None:
    """SIGINT and SIGTERM: drain; again: at once. What came before is obeyed as well."""
    for number, word in _WORDS.items():
        gevent.signal_handler(number, load.told_to_stop, word)
    for told in early:
        load.told_to_stop(_WORDS[signal.Signals(told)])


def mind_the_parent(load: Stoppable) -> None:
    """An OS thread that reads our stdin, where that is a pipe: its end is the end of the parent, and of us."""
    try:
        if not stat.S_ISFIFO(os.fstat(0).st_mode):
            return
    except OSError:
        return
    pause = get_original("time", "sleep")

    def watch() -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        try:
            load.hurry_from_thread()
        except Exception:  # noqa: S110 - the hub may be gone already
            pass
        pause(_LAST_CHANCE_S)
        os._exit(int(ExitCode.INTERNAL))

    get_original("_thread", "start_new_thread")(watch, ())


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the journal is closed; whatever threads and greenlets there still are must not hold us up
