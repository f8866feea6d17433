"""What the parent writes down before a run and hands to the load child.

The manifest is for readers of the run; the load order is for the child alone. Neither ever holds a secret: those travel in
the child's environment under the names below.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import RunFolderError
from harness.runs.folder import SCHEMA, write_json

CLIENT_SECRET_ENV = "GUESTSWARM_CLIENT_SECRET"  # noqa: S105
"""The client secret, for the load child."""
FURTHER_SECRETS_ENV = "GUESTSWARM_FURTHER_SECRETS"
"""Secrets of `[ratelimit] credentials`, for the probe child: a JSON list in their order."""
CONTROL_TOKEN_ENV = "GUESTSWARM_CONTROL_TOKEN"  # noqa: S105
"""The bearer token of the simulator's control listener, for the load child."""
LOAD_ORDER = "load.json"
RESOLVED = "scenario.json"
_LOAD_SCHEMA = "guestswarm.load/1"
_PACKAGES = ("locust", "gevent", "websocket-client", "geventhttpclient", "msgspec", "pydantic", "numpy", "aiohttp", "uvloop")


@dataclass(frozen=True, slots=True)
class SimulatorAddress:
    """Where the run's simulator listens."""

    port: int
    control: str
    ca: str = ""
    """Path of its `ca.pem`; empty without TLS."""

    @property
    def tls(self) -> bool:
        """Whether guests speak TLS to it."""
        return bool(self.ca)


@dataclass(frozen=True, slots=True)
class Session:
    """One stretch of a run that outlives its load child: numbers go on where the stretch before it ended.

    A run with sessions does not end where its journal cannot be written for a time.
    """

    number: int = 1
    first_slot: int = 1
    """Of its guests: no two sessions of a run share one, so that no message has the id of another."""
    first_interval: int = 0
    first_segment: int = 1
    """Of its journal files."""
    segment_bytes: int = 0
    """Size at which a journal file is closed and the next begun; 0: never."""
    segment_ns: int = 0
    """The same by age."""
    begins: bool = True
    """Whether the simulator is told that the run begins; not by a session that takes the place of one that was lost."""


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """`load.json`: what the load child is to do. The scenario is the resolved one, environment and flags already in it."""

    scenario: str
    """Path of the resolved scenario; `load_scenario` reads it."""
    overrides: dict[str, Any] = field(default_factory=dict)
    simulator: SimulatorAddress | None = None
    session: Session | None = None
    """None: the run is one load child's, from its begin to its end."""

    def write(self, folder: Path) -> Path:
        """Put it into the run folder."""
        path = Path(folder) / LOAD_ORDER
        write_json(path, {"schema": _LOAD_SCHEMA, **asdict(self)})
        return path

    @classmethod
    def read(cls, folder: Path) -> LoadOrder:
        """Raises RunFolderError if the folder holds none."""
        path = Path(folder) / LOAD_ORDER
        try:
            value = json.loads(path.read_text("utf-8"))
            if value["schema"] != _LOAD_SCHEMA:
                raise ValueError("version")
            address, session = value["simulator"], value.get("session")
            return cls(
                value["scenario"],
                dict(value["overrides"]),
                SimulatorAddress(**address) if address else None,
                Session(**session) if session else None,
            )
        except (OSError, ValueError, KeyError, TypeError):
            raise RunFolderError("not a load order of this version", where=str(path)) from None


def take_anchor() -> dict[str, int]:
    """One instant on both clocks; the tightest of a few readings."""
    best = (1 << 62, 0, 0)
    for _ in range(9):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        best = min(best, (after - before, (before + after) // 2, wall))
    return {"monotonic_ns": best[1], "wall_ns": best[2]}


def versions() -> dict[str, str]:
    """Ours and those of the packages that a figure could depend on."""
    found = {"guestswarm": __version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def host() -> dict[str, Any]:
    """The machine, without its name or any path."""
    return {"python": platform.python_version(), "platform": platform.platform(terse=True), "cpus": os.cpu_count() or 1}


def new_manifest(
    *,
    scenario: Mapping[str, Any],
    seed: int,
    dialects: Sequence[str],
    simulated: bool,
    guests_planned: int,
    ramp_ns: int,
    duration_ns: int,
    loss_wait_ns: int,
    slo: Sequence[str],
    health: Mapping[str, Any],
    authorisation: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A manifest of a run that has not begun; `create_run` adds its id."""
    return {
        "schema": SCHEMA,
        "scenario": dict(scenario),
        "seed": seed,
        "dialects": list(dialects),
        "simulated": simulated,
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "anchor": take_anchor(),
        "versions": versions(),
        "host": host(),
        "guests_planned": guests_planned,
        "loss_wait_ns": loss_wait_ns,
        "planned": {"ramp_ns": ramp_ns, "duration_ns": duration_ns},
        "phases": {},
        "ended": None,
        "slo": list(slo),
        "health": dict(health),
        "authorisation": dict(authorisation) if authorisation is not None else None,
    }
