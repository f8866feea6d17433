"""Limits of the generator's own health: their names, defaults, and how a scenario's `[health]` writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from harness.core.spread import parse_duration

LIMITS: dict[str, float] = {
    "send_delay_p99_ms": 40.0,
    "bracket": 0.30,
    "loop_busy": 0.90,
    "achieved_rate": 0.99,
    "workers_lost": 0,
    "arrivals": 0.99,
    "refused_by_system": 0,
    "journal_errors": 0,
    "little": 0.01,
    "late_sends": 0.01,
    "loop_busy_warn": 0.70,
    "loop_blocked": 0,
    "cpu_wait": 0.05,
    "gc_pause_ms": 20.0,
    "gc_share": 0.01,
    "cpu": 0.85,
    "steal": 0.02,
    "pressure": 10.0,
    "cpu_throttled": 0.01,
    "network_drops": 0,
    "open_files": 0.90,
    "local_ports": 0.90,
    "wall_steps": 0,
    "suspensions": 0,
}
"""Limits where the scenario's `[health]` gives none; shares are parts of 1, pressure is in percent."""

_COUNTS = (
    "workers_lost",
    "refused_by_system",
    "journal_errors",
    "loop_blocked",
    "network_drops",
    "wall_steps",
    "suspensions",
)
_PERCENT = ("pressure",)
_SHARE = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\s*\Z", re.ASCII)
WRITTEN = {name.removesuffix("_ms"): name for name in LIMITS}
"""As `[health]` spells a limit: its name in `LIMITS`. Times carry their unit in the value, so not in the name."""


class LimitError(ValueError):
    """A limit that cannot be read; `key` is where."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(what)
        self.key = key


def read_limits(table: Mapping[str, Any]) -> tuple[dict[str, float], list[LimitError]]:
    """The limits of a `[health]` by their names in `LIMITS`, and what is wrong with the others."""
    found: dict[str, float] = {}
    errors = []
    for key, value in table.items():
        try:
            name = _name(key)
            found[name] = _value(name, key, value)
        except LimitError as error:
            errors.append(error)
    return found, errors


def _name(key: str) -> str:
    if key in WRITTEN:
        return WRITTEN[key]
    near = get_close_matches(key.lower(), WRITTEN, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(WRITTEN)}"
    raise LimitError(key, f"unknown limit; {hint}")


def _value(name: str, key: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if name.endswith("_ms"):
        try:
            return parse_duration(value) / 1e6
        except ValueError:
            raise LimitError(key, f'needs a time with its unit, such as "{LIMITS[name]:g}ms"') from None
    if name in _COUNTS:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return float(value)
        raise LimitError(key, "needs a whole number, such as 0")
    percent = _SHARE.match(value) if isinstance(value, str) else None
    if name in _PERCENT:
        if percent and float(percent[1]) <= 100:
            return float(percent[1])
        raise LimitError(key, f'needs percent, such as "{LIMITS[name]:g} %"')
    if percent and float(percent[1]) <= 100:
        return float(percent[1]) / 100
    if number and 0 <= value <= 1:
        return float(value)
    raise LimitError(key, f'needs a share, such as "{LIMITS[name] * 100:g} %" or {LIMITS[name]:g}')
