"""The simulator as a child process of a run, and its control listener as a few calls."""

from __future__ import annotations

import http.client
import json
import os
import select
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.errors import GuestswarmError, UnreachableError
from harness.runs.folder import write_json
from harness.runs.process import Child, first_line, spawn, stop

SIM_SECRET_ENV = "GUESTSWARM_SIM_SECRET"  # noqa: S105
SIM_TOKEN_ENV = "GUESTSWARM_SIM_TOKEN"  # noqa: S105
"""The start token of a simulator that takes the place of another."""
SIM_IDENTITY_ENV = "GUESTSWARM_SIM_IDENTITY"
"""Its TLS key and certificates."""
COMMAND = (sys.executable, "-m", "harness.simulator")
_READY_S = 20.0


class SimulatorProcess:
    """`python -m harness.simulator`, ended by the end of its stdin at the latest when we are gone."""

    def __init__(self, child: Child, port: int, ca: str, control: str, token: str, identity: str = "") -> None:
        self._child, self._identity = child, identity
        self.port, self.ca, self.control, self.token = port, ca, control, token

    def __repr__(self) -> str:
        return f"SimulatorProcess(pid={self.pid}, port={self.port})"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it still lives."""
        return self._child.poll() is None

    @classmethod
    def start(
        cls,
        config: Mapping[str, Any],
        folder: Path,
        *,
        seed: int,
        tls: bool = False,
        secret_env: Mapping[str, str] | None = None,
        ready_s: float = _READY_S,
        like: SimulatorProcess | None = None,
        truth: bool = True,
        wall_offset_ns: int | None = None,
    ) -> SimulatorProcess:
        """Start it on free loopback ports with the `[simulator]` table `config`; return once it listens.

        `secret_env` is added to its environment. Truth goes to `truth.jsonl` in `folder`, if `truth`. `like`: a simulator that has
        ended, and whose ports, token and TLS key this one takes over. `wall_offset_ns`: its wall clock minus the monotonic one
        (None: as the machine has it when it starts). Raises GuestswarmError with the
        simulator's own first words if it ends or stays silent.
        """
        folder = Path(folder)
        table, errors = folder / "simulator.json", folder / "simulator.log"
        write_json(table, config)
        argv = [*COMMAND, "--parent-pipe", "--config", str(table), "--folder", str(folder)]
        argv += ["--seed", str(seed)]
        if tls:
            argv += ["--tls", "--hand-over"]
        if wall_offset_ns is not None:
            argv += ["--wall-offset", str(wall_offset_ns)]
        if not truth:
            argv += ["--truth", os.devnull]
        taken_over = {}
        if like is not None:
            argv += ["--port", str(like.port), "--control", str(urlsplit(like.control).port)]
            taken_over[SIM_TOKEN_ENV] = like.token
            if tls:
                taken_over[SIM_IDENTITY_ENV] = like._identity
        child = spawn(argv, env={**os.environ, **(secret_env or {}), **taken_over}, errors=errors)
        try:
            ready = _ready_line(child, ready_s)
            port, control, token = int(ready["port"]), f"http://127.0.0.1:{int(ready['control'])}", str(ready["token"])
            ca, identity = str(ready.get("ca") or ""), str(ready.get("identity") or "")
        except (OSError, ValueError, KeyError, TypeError) as error:
            status = stop(child, gentle_s=1.0)
            silent = str(error) if isinstance(error, (_NotReadyError, OSError)) else "its first line is not a ready line"
            said = first_line(errors) or silent
            raise GuestswarmError(
                f"the simulator did not start: {said}", hint=f"It ended with status {status}; its own words are in {errors}."
            ) from None
        return cls(child, port, ca, control, token, identity)

    def stop(self) -> int:
        """End it within a few seconds, whatever it does."""
        return stop(self._child)


class SimulatorControl:
    """The calls of `/__sim__/`. `control` is the listener's address, `token` the start token."""

    def __init__(self, control: str, token: str, timeout_s: float = 10.0) -> None:
        parts = urlsplit(control if "//" in control else f"//{control}")
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._token, self._timeout_s = token, timeout_s

    def __repr__(self) -> str:
        return f"SimulatorControl({self._host}:{self._port})"

    def health(self) -> dict[str, Any]:
        """How the simulator itself does: loop lag, CPU, open connections."""
        return self._call("GET", "health")

    def counts(self) -> dict[str, Any]:
        """Truth's counts so far."""
        return self._call("GET", "counts")

    def begin(self) -> dict[str, Any]:
        """The run starts now: fault windows count from here."""
        return self._call("POST", "begin")

    def settle(self) -> dict[str, Any]:
        """Agents say nothing new and faults end, so that what is under way can arrive."""
        return self._call("POST", "settle")

    def seal(self) -> dict[str, Any]:
        """Close truth's file; returns its seal."""
        return self._call("POST", "seal")

    def faults(self, plan: Any) -> dict[str, Any]:
        """Replace the fault plan. Raises GuestswarmError with the simulator's words if it does not like it."""
        return self._call("POST", "faults", plan)

    def _call(self, method: str, name: str, body: Any = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            payload = b"" if body is None else json.dumps(body).encode()
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            connection.request(method, f"/__sim__/{name}", payload, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"the simulator's control does not answer: {error}", where=f"/__sim__/{name}") from None
        finally:
            connection.close()
        try:
            value = json.loads(text or b"{}")
        except ValueError:
            value = None
        if answer.status >= 300 or not isinstance(value, dict):
            said = str(value.get("error", "")) if isinstance(value, dict) else ""
            raise GuestswarmError(f"the simulator's control answered {answer.status} {said}".rstrip(), where=f"/__sim__/{name}")
        return value


class _NotReadyError(ValueError):
    """No ready line; the text says why."""


def _ready_line(child: Child, patience_s: float) -> dict[str, Any]:
    assert child.stdout is not None
    line = b""
    deadline = time.monotonic() + patience_s
    while b"\n" not in line:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
            raise _NotReadyError(f"no ready line within {patience_s:g} s")
        chunk = os.read(child.stdout.fileno(), 65536)
        if not chunk:
            raise _NotReadyError("it ended before it was ready")
        line += chunk
    value = json.loads(line.split(b"\n", 1)[0])
    if not isinstance(value, dict):
        raise _NotReadyError("its first line is not a ready line")
    return value
