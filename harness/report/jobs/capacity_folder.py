"""What a capacity search leaves in its folder beside the runs of its steps: the plan in the manifest, a line per step."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import RunFolderError
from harness.runs.folder import free_reserve
from harness.search.plan import CapacityPlan
from harness.search.steps import Step

STEPS = "steps.jsonl"
RUNS = "steps"
"""Folder of the steps' own runs."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class StepLine(msgspec.Struct, frozen=True):
    """A line of `steps.jsonl`: a step with its decision, and what the search itself does not ask for."""

    step: Step
    messages_per_s: float | None
    """Guests' messages sent per second, in the steady part."""
    beyond: list[str]
    """What of it lies beyond the calibrated load of this machine."""
    refused: int = 0
    """Answers "too many", in the steady part: a rate limit shapes what was measured."""


def append_step(folder: Path, line: StepLine) -> None:
    """Write a line down, whole. Raises RunFolderError where it cannot be written; the space kept in reserve is used first."""
    path = Path(folder) / STEPS
    data = msgspec.json.encode(line) + b"\n"
    before = path.stat().st_size if path.is_file() else 0
    try:
        try:
            _append(path, data)
        except OSError as error:
            if error.errno not in _FULL or not free_reserve(folder):
                raise
            with path.open("r+b") as out:
                out.truncate(before)
            _append(path, data)
    except OSError as error:
        raise RunFolderError(f"cannot write it: {error.strerror or error}", where=str(path)) from None


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as out:
        out.write(data)
        out.flush()


def read_steps(folder: Path) -> tuple[list[StepLine], int]:
    """The steps that were done, and how many lines cannot be read (the last one of a search that was killed)."""
    path = Path(folder) / STEPS
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        raise RunFolderError(f"cannot read it: {error.strerror or error}", where=str(path)) from None
    found, bad = [], 0
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=StepLine))
        except (msgspec.DecodeError, UnicodeDecodeError):
            bad += 1
    return found, bad


def read_plan(manifest: Mapping[str, Any]) -> CapacityPlan:
    """The plan of a search, from its manifest. Raises RunFolderError where there is none."""
    job = manifest.get("job")
    try:
        return msgspec.convert(job["plan"] if isinstance(job, Mapping) else None, CapacityPlan)
    except (msgspec.ValidationError, KeyError):
        raise RunFolderError("the manifest holds no plan of a capacity search", where=str(manifest.get("id") or "")) from None
