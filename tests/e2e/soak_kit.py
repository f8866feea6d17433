"""A soak with real processes, and what it may meet: a wall clock that is set, a target that is not on loopback."""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.kit import ROOT, TINY, Run, guestswarm

SHORT = ("--set", "load.interval=250ms", "--set", "load.loss_wait=1500ms", "--quiet")
_SHIM = Path(__file__).with_name("wall_clock.c")


class Soak(Run):
    """`guestswarm soak` instead of `run`."""

    def __init__(
        self, folder: Path, *arguments: object, scenario: Path | None = TINY, env: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.runs = folder / "runs"
        self._out, self._err = folder / "stdout", folder / "stderr"
        named = [scenario] if scenario is not None else []
        argv = guestswarm("soak", *named, "--runs", self.runs, *arguments)
        environ = {**os.environ, **(env or {})}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                argv, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )

    def __enter__(self) -> Soak:
        return self

    def kinds(self) -> list[str]:
        """What befell it, in order."""
        return [one["kind"] for one in self.summary["soak"]["happenings"]]


class WallClock:
    """The wall clock of the processes that are started with `env`; nobody else's is touched."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler for a wall clock that can be set")
        folder.mkdir(parents=True, exist_ok=True)
        library, self._file = folder / "wall_clock.so", folder / "ahead"
        made = subprocess.run(
            [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(_SHIM), "-ldl"], capture_output=True, check=False
        )
        if made.returncode:
            pytest.skip("the wall clock that can be set does not compile here")
        self.env = {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(self._file)}
        self.ahead_ns = 0
        self.step(0)

    def step(self, by_s: float) -> int:
        """Set it forward, or back; returns the monotonic instant."""
        self.ahead_ns += round(by_s * 1e9)
        self._file.touch()
        with self._file.open("r+b", buffering=0) as file:  # in place: it is mapped by all
            at_ns = time.monotonic_ns()
            file.write(struct.pack("=q", self.ahead_ns))
        return at_ns

    def set_to(self, when: datetime) -> int:
        """Let it be `when` from now on."""
        return self.step(when.timestamp() - time.time() - self.ahead_ns / 1e9)

    def now(self) -> datetime:
        """What it says."""
        return datetime.fromtimestamp(time.time() + self.ahead_ns / 1e9, UTC)


def own_address() -> str:
    """An address of this machine that is not loopback, so that guests need an approval for it; nothing is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        found = str(probe.getsockname()[0])
    if found.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    return found


class Relay:
    """Listens on `host` and passes bytes to a loopback port and back; knows when guests last sent anything."""

    def __init__(self, host: str, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server((host, 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self.last_ns = 0
        """Monotonic instant of the last bytes of a guest."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._pass, name="relay", daemon=True)
        self._thread.start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        self._listener.close()

    def _pass(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        pairs: dict[socket.socket, tuple[socket.socket, bool]] = {}
        while not self._over.is_set():
            for key, _ in selector.select(0.1):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                if one is self._listener:
                    guest, _address = one.accept()
                    server = socket.create_connection(self._to)
                    self.connections += 1
                    pairs[guest], pairs[server] = (server, True), (guest, False)
                    selector.register(guest, selectors.EVENT_READ)
                    selector.register(server, selectors.EVENT_READ)
                    continue
                if one not in pairs:  # its other side has ended in this round
                    continue
                other, from_guest = pairs[one]
                try:
                    data = one.recv(1 << 16)
                    if data:
                        other.sendall(data)
                        self.last_ns = time.monotonic_ns() if from_guest else self.last_ns
                        continue
                except OSError:
                    pass
                for side in (one, other):
                    selector.unregister(side)
                    side.close()
                    del pairs[side]
        for side in pairs:
            side.close()
        selector.close()
