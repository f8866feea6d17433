"""`python -m harness.simulator`: the simulator as a process of its own.

One JSON line on stdout when ready; it ends at SIGTERM, at SIGINT, or when the pipe from its parent closes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

from harness.errors import ExitCode, GuestswarmError, UsageError
from harness.simulator.config import SimConfig
from harness.simulator.dialects import registry
from harness.simulator.engine import Engine
from harness.simulator.files import simulator_table
from harness.simulator.server import Place, Shell, Simulator, loopback, raise_descriptor_limit
from harness.simulator.truth import TruthBuffer, TruthLog

TOKEN_ENV = "GUESTSWARM_SIM_TOKEN"  # noqa: S105
"""The start token, from whoever starts us in the place of one that has ended."""
IDENTITY_ENV = "GUESTSWARM_SIM_IDENTITY"
"""Key and certificates of that one (TLS)."""
LAST_CHANCE_S = 1.5
"""After the parent has gone: how long an orderly end may take."""


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except GuestswarmError as error:
        print(f"guestswarm simulator: {error}", file=sys.stderr)  # noqa: T201
        return int(error.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.simulator", description="The other side of every dialect, on loopback."
    )
    parser.add_argument("--config", type=Path, help="the [simulator] table as .toml or .json")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="loopback address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--control", type=int, default=0, metavar="PORT", help="of the control listener; 0: any free one")
    parser.add_argument("--tls", action="store_true", help="with a certificate authority made for this run (ca.pem in the folder)")
    parser.add_argument("--name", action="append", default=[], metavar="HOST", help="further name in the certificate")
    parser.add_argument("--folder", type=Path, default=Path(), help="for truth.jsonl, ca.pem and a made-up secret")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="where truth goes (default: truth.jsonl in the folder)")
    parser.add_argument("--dialects", default="", help="comma-separated; default: all")
    parser.add_argument("--parent-pipe", action="store_true", help="end when stdin does")
    parser.add_argument(
        "--hand-over", action="store_true", help="tell our TLS key, for one that takes our place (with --parent-pipe)"
    )
    parser.add_argument(
        "--wall-offset", type=int, metavar="NS", help="our wall clock minus the monotonic one (default: as it is now)"
    )
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    return parser


def _run(options: argparse.Namespace) -> int:
    host = loopback(options.bind)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"folder {options.folder} cannot be used: {error.strerror}", where="--folder") from error
    table = simulator_table(options.config) if options.config else {}
    raise_descriptor_limit()
    if options.hand_over and not options.parent_pipe:
        raise UsageError("a key is told to a parent alone", where="--hand-over", hint="It goes with --parent-pipe.")
    identity = os.environ.pop(IDENTITY_ENV, "")
    place = Place(
        options.folder.resolve(), host, options.port, options.tls, tuple(options.name), options.control, options.truth, identity
    )
    return _with_loop(options.loop, _serve(options, table, place))


# uvloop is the default because it costs less and is just as truthful: both loops try the send inside `write()` (see transports.py).
# Measured on 2 cores, 100 sockets, server's CPU: WebSocket round trip 9 us against asyncio's 26 flat out, 38 against 64 at 1,000/s,
# HTTP 55 against 56; under TLS both 55 to 70.
def _with_loop(name: str, work: Coroutine[Any, Any, int]) -> int:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if name == "uvloop":
        try:
            import uvloop

            factory = uvloop.new_event_loop
        except ImportError:  # not on this system: asyncio gives the same answers, at more cost
            pass
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


async def _serve(options: argparse.Namespace, table: dict[str, Any], place: Place) -> int:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    token = os.environ.pop(TOKEN_ENV, "") or secrets.token_urlsafe(32)
    simulator, secret_file = _build(options, table, place, token)
    ready = await simulator.start()
    if options.parent_pipe:
        _watch_parent(loop, stopped.set)
    gc.collect()
    gc.freeze()
    line = {
        "port": ready.port,
        "ca": ready.ca,
        "control": ready.control,
        "token": token,
        "truth": str(ready.truth),
        "secret_file": secret_file,
    }
    if options.hand_over:
        line["identity"] = ready.identity
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    await stopped.wait()
    await simulator.stop()
    return int(ExitCode.PASS)


def _build(options: argparse.Namespace, table: dict[str, Any], place: Place, token: str) -> tuple[Simulator, str | None]:
    """Put shell and engine together. The second is the file with the guests' secret, where we had to make one up."""
    names = tuple(name.strip() for name in options.dialects.split(",") if name.strip())
    if unknown := [name for name in names if name not in registry.specs()]:
        raise UsageError(f"no dialect {unknown[0]!r}", where="--dialects", hint=f"Known: {', '.join(sorted(registry.specs()))}.")
    config = SimConfig.from_table(table)
    secret, secret_file = config.secret(), None
    if not secret:
        secret = secrets.token_urlsafe(24)
        secret_file = str(_write_secret(place.folder / "client-secret", secret))
    offset = time.time_ns() - time.monotonic_ns() if options.wall_offset is None else options.wall_offset
    shell, rows = Shell(offset), TruthBuffer()
    engine = Engine(
        config,
        seed=options.seed,
        outlet=shell,
        truth=TruthLog(rows.write, clock=time.monotonic_ns),
        wall_offset_ns=offset,
        secret=secret,
        dialects=names,
    )
    shell.attach(engine)
    return Simulator(shell, engine, rows, place, token), secret_file


def _write_secret(path: Path, secret: str) -> Path:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)
    return path


def _watch_parent(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> None:
    def watch() -> NoReturn:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        try:
            loop.call_soon_threadsafe(stop)
        except RuntimeError:
            pass
        time.sleep(LAST_CHANCE_S)  # the loop may hang; a simulator without a parent must not outlive it
        os._exit(int(ExitCode.INTERNAL))

    threading.Thread(target=watch, name="parent-pipe", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
