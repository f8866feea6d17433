"""The server's own reader of the transcripts: guest lines become input, server lines are compared."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

TRANSCRIPTS = Path(__file__).parents[1] / "dialects" / "transcripts"
_HOLE = re.compile(r"<([a-zA-Z0-9]+)(?::([a-zA-Z0-9]+))?>")
_ISOS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_ISOS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def scenes(dialect: str | Path) -> dict[str, list[dict[str, Any]]]:
    """All lines of a transcript (of a dialect that ships, or a file), by scene, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    with (dialect if isinstance(dialect, Path) else TRANSCRIPTS / f"{dialect}.jsonl").open(encoding="utf-8") as file:
        for text in file:
            if text.strip():
                line = json.loads(text)
                found.setdefault(line["scene"], []).append(line)
    return found


class Witness:
    """Names of a scene and what they stand for. `given` are known beforehand."""

    def __init__(self, **given: Any) -> None:
        self.names: dict[str, Any] = dict(given)

    def fill(self, pattern: Any) -> Any:
        """A guest's line with the names put in."""
        if isinstance(pattern, dict):
            return {key: self.fill(value) for key, value in pattern.items()}
        if isinstance(pattern, list):
            return [self.fill(value) for value in pattern]
        if not isinstance(pattern, str):
            return pattern
        whole = _HOLE.fullmatch(pattern)
        if whole:
            return self._value(whole)
        return _HOLE.sub(lambda hole: str(self._value(hole)), pattern)

    def _value(self, hole: re.Match[str]) -> Any:
        name = hole[2] if hole[1] == "int" else hole[1]
        return self.names.get(name, f"some-{name}")

    def check(self, pattern: Any, value: Any, where: str = "$") -> None:
        """A server's line is as the transcript has it; free text of messages may differ but for its marker."""
        if isinstance(pattern, dict):
            assert isinstance(value, dict), where
            assert sorted(pattern) == sorted(value), f"{where}: {sorted(value)} for {sorted(pattern)}"
            for key in pattern:
                self.check(pattern[key], value[key], f"{where}.{key}")
        elif isinstance(pattern, list):
            assert isinstance(value, list), where
            assert len(pattern) == len(value), f"{where}: {value}"
            for place, (one, other) in enumerate(zip(pattern, value, strict=True)):
                self.check(one, other, f"{where}[{place}]")
        elif isinstance(pattern, str) and (hole := _HOLE.fullmatch(pattern)):
            self._bind(hole, value, where)
        elif isinstance(pattern, str) and " [#" in pattern and isinstance(value, str):
            assert value[value.rfind(" [#") :] == pattern[pattern.rfind(" [#") :], f"{where}: {value}"
        elif isinstance(pattern, str) and "|" in pattern:
            assert value in pattern.split("|"), f"{where}: {value}"
        else:
            assert (type(value), value) == (type(pattern), pattern), f"{where}: {value!r} for {pattern!r}"

    def _bind(self, hole: re.Match[str], value: Any, where: str) -> None:
        kind, name = hole[1], hole[2] or hole[1]
        if kind == "int":
            assert type(value) is int, f"{where}: {value!r}"
        elif kind == "isos":
            assert _ISOS.fullmatch(value), f"{where}: {value!r}"
            self.names["isos"] = value
            return
        elif kind == "iso":
            assert _ISO.fullmatch(value), f"{where}: {value!r}"
            self.names["iso"] = value
            return
        elif kind == "isos":
            assert _ISOS.fullmatch(value), f"{where}: {value!r}"
            return
        else:
            assert isinstance(value, str), f"{where}: {value!r}"
            assert value, where
        if name != "any":
            assert self.names.setdefault(name, value) == value, f"{where}: {value!r} is not {self.names[name]!r}"
