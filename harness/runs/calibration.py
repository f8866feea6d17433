"""`calibration.json`: what this machine was found to drive, kept beside the runs, and how a run cites it in its manifest."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.runs.folder import write_json
from harness.runs.manifest import versions

CALIBRATION = "calibration.json"
SCHEMA = "guestswarm.calibration/1"
_CITED = ("made_utc", "engine", "mix", "guests", "messages_per_s")
_VERSIONS = ("guestswarm", "locust", "gevent", "websocket-client", "geventhttpclient", "msgspec", "numpy")
"""Of what generates load: another version of these may drive more or less."""


def machine() -> dict[str, Any]:
    """What figures of speed hang on; neither a name nor a path."""
    return {
        "processor": _processor(),
        "cpus": os.cpu_count() or 1,
        "memory_gib": _memory_gib(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions().items() if name in _VERSIONS},
    }


def write_calibration(runs: Path, record: Mapping[str, Any]) -> Path:
    """Put it where later runs find it. Raises RunFolderError where it cannot be written."""
    path = Path(runs) / CALIBRATION
    write_json(path, {"schema": SCHEMA, **record})
    return path


def read_calibration(runs: Path) -> dict[str, Any] | None:
    """The calibration kept beside these runs; None without one, or for one of another version."""
    try:
        value = json.loads((Path(runs) / CALIBRATION).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    usable = isinstance(value, dict) and value.get("schema") == SCHEMA and isinstance(value.get("machine"), dict)
    return value if usable and all(name in value for name in _CITED) else None


def cite(runs: Path, here: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """What a manifest says of the calibration: its findings, and in what the machine differs now. None without one.

    Written when a run begins, so that its report says the same wherever and whenever it is built.
    """
    record = read_calibration(runs)
    if record is None:
        return None
    now, then = here or machine(), record["machine"]
    return {**{name: record[name] for name in _CITED}, "worst": record.get("worst"), "differs": _differences(then, now)}


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = [name.replace("_", " ") for name in now if name != "versions" and then.get(name) != now[name]]
    old, new = then.get("versions"), now.get("versions")
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found += sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> int:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (ValueError, OSError, AttributeError):
        return 0
