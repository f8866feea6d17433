"""When the simulator was told to misbehave. This shades plots and nothing else: no figure is made from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.report.wording import shown

_S = 1_000_000_000
_MOST = 60
_MAX_NAME = 40


@dataclass(frozen=True, slots=True)
class Windows:
    """Fault windows in seconds since the start, and the faults that were on all the time."""

    spells: list[tuple[float, float, str]]
    throughout: list[str]
    more: int
    """Windows beyond the first ones kept."""


class _Line(msgspec.Struct):
    t: int = 0
    row: str = ""
    id: str = ""
    name: str = ""
    on: bool = False


_line = msgspec.json.Decoder(_Line)


def fault_windows(path: Path, start_ns: int, end_s: float, loaded_s: float) -> Windows:
    """Read the windows from a truth file, sealed or not. A fault that was on for nine tenths of the load shades nothing."""
    opened: dict[str, tuple[int, str]] = {}
    spells: list[tuple[float, float, str]] = []
    throughout: set[str] = set()
    more = 0

    def close(key: str, at: int) -> None:
        nonlocal more
        since, name = opened.pop(key)
        low, high = (since - start_ns) / _S, (at - start_ns) / _S
        if high - low >= 0.9 * loaded_s:
            throughout.add(name)
        elif high < 0 or low > end_s:
            return
        elif len(spells) < _MOST:
            spells.append((max(low, 0.0), min(high, end_s), name))
        else:
            more += 1

    try:
        with path.open("rb") as lines:
            for raw in lines:
                if b'"fault"' not in raw[:120]:
                    continue
                try:
                    line = _line.decode(raw)
                except msgspec.MsgspecError:
                    continue
                if line.row == "fault":
                    key = line.id or line.name
                    if line.on and len(opened) < _MOST:
                        opened.setdefault(key, (line.t, shown(line.name, _MAX_NAME)))
                    elif not line.on and key in opened:
                        close(key, line.t)
    except OSError:
        return Windows([], [], 0)
    for key in list(opened):
        close(key, start_ns + int(end_s * _S))
    return Windows(sorted(spells), sorted(throughout), more)
