"""`events.jsonl`: what befell a long run from outside its load child, as its parent saw it. One JSON object a line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EVENTS = "events.jsonl"
TARGET = "target.jsonl"
"""The target's own figures, asked for every interval."""


class Lines:
    """Appends JSON lines. A disk that takes none costs the line, not the run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = 0
        """Lines that could not be written."""

    def add(self, at_ns: int | None = None, **fields: Any) -> None:
        """One line; `at_ns` is the monotonic clock's now unless it is given."""
        line = json.dumps({"at_ns": time.monotonic_ns() if at_ns is None else at_ns, **fields}, separators=(",", ":"))
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.write(descriptor, line.encode() + b"\n")
            finally:
                os.close(descriptor)
        except OSError:
            self.lost += 1


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of such a file, in order; what is torn or none is skipped. None at all without the file."""
    if not Path(path).is_file():
        return
    with Path(path).open("rb") as source:
        for raw in source:
            try:
                value = json.loads(raw)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict) and isinstance(value.get("at_ns"), int):
                yield value
