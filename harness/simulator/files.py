"""Files of settings, TOML or (by their suffix) JSON, and the `[simulator]` table of one, for whoever starts the simulator."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from harness.errors import UsageError

LARGEST_FILE = 1 << 20


def read_settings(path: Path) -> dict[str, Any]:
    """A file's table, judged by nobody yet. Raises UsageError."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UsageError("is too large for a table of settings", where=str(path))
        text = path.read_text("utf-8-sig")
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path)) from error
    if not isinstance(table, dict):
        raise UsageError("is not a table", where=str(path))
    return table


def simulator_table(path: Path) -> dict[str, Any]:
    """The `[simulator]` table of a file: that of a whole scenario (without one: the default simulator), or the file is the table.

    It is judged by `SimConfig.from_table`. Raises UsageError.
    """
    table = read_settings(path)
    inner = table.get("simulator", {} if "scenario" in table or "guests" in table else table)
    if not isinstance(inner, dict):
        raise UsageError("[simulator] is not a table", where=str(path))
    return inner
