"""The fault plan as written in a scenario or posted while running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.simulator import spelling
from harness.simulator.faults.catalogue import CATALOGUE


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """One entry of `faults`. Times count from the run's beginning."""

    name: str
    at: int = 0
    length: int | None = None
    """None: to the end of the run."""
    every: int | None = None
    """Impulses repeat at this interval; a window of `for` opens anew at it."""
    share: float = 1.0
    share_given: bool = False
    dialect: str = ""
    endpoint: str = ""
    direction: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


_COMMON = {
    "at": spelling.duration,
    "for": spelling.duration,
    "every": spelling.duration,
    "share": spelling.share,
    "dialect": spelling.text,
    "endpoint": spelling.text,
    "direction": spelling.choice("agent", "guest", "both"),
}


def read_faults(value: Any, where: str = "faults") -> tuple[FaultSpec, ...]:
    """Read a fault plan: a list of tables (or `{faults = [...]}`). Raises SimConfigError, which is a ValueError."""
    if isinstance(value, Mapping) and set(value) == {"faults"}:
        value = value["faults"]
    if not isinstance(value, list | tuple):
        raise spelling.wrong(where, f"{value!r} is no list of faults")
    return tuple(_read(item, f"{where}[{place}]") for place, item in enumerate(value))


def _read(table: Any, where: str) -> FaultSpec:
    if isinstance(table, FaultSpec):
        return table
    if not isinstance(table, Mapping):
        raise spelling.wrong(where, f"{table!r} is no table")
    name = table.get("name")
    kind = CATALOGUE.get(name) if isinstance(name, str) else None
    if kind is None:
        raise spelling.wrong(f"{where}.name", f"{name!r} is no fault", f"Known: {', '.join(sorted(CATALOGUE))}.")
    common: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for key, value in table.items():
        place = f"{where}.{key}"
        if key == "name":
            continue
        if key in _COMMON:
            common[key] = _COMMON[key](value, place)
        elif key in kind.options:
            own[key] = kind.options[key][0](value, place)
        else:
            raise spelling.unknown_key(str(key), {"name", *_COMMON, *kind.options}, where)
    every, length = common.get("every"), common.get("for")
    if every is not None and every <= 0:
        raise spelling.wrong(f"{where}.every", "an interval needs a length")
    if kind.needs_window and not length:
        raise spelling.wrong(where, f"{name} needs a length", 'Such as for = "30s".')
    return FaultSpec(
        str(name),
        common.get("at", 0),
        length,
        every,
        common.get("share", 1.0),
        "share" in common,
        common.get("dialect", ""),
        common.get("endpoint", ""),
        common.get("direction", ""),
        own,
    )
