"""How a table of settings is declared and read: a frozen dataclass whose fields carry their readers."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import field, fields
from typing import Any

from harness.simulator import spelling

MS = 1_000_000
MINUTE = 60 * spelling.SECOND


def setting(read: Callable[[Any, str], Any], default: Any) -> Any:
    """A field of a table, with its reader."""
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata={"read": read})
    return field(default=default, metadata={"read": read})


def positive(value: Any, where: str) -> int:
    """Read a whole number of at least 1."""
    return spelling.whole(value, where, low=1)


def length(value: Any, where: str) -> int:
    """Read a duration that is not 0."""
    given = spelling.duration(value, where)
    if given <= 0:
        raise spelling.wrong(where, f"{value!r} is no length of time")
    return given


def read_table(kind: Any, table: object, where: str, others: Mapping[str, Any] | None = None) -> Any:
    """Read a table into its dataclass. A field without a reader is a table itself; `others` are keys that are read elsewhere."""
    if not isinstance(table, Mapping):
        raise spelling.wrong(where, f"{table!r} is no table")
    beside = others or {}
    known = {item.name: item for item in fields(kind) if item.metadata.get("key", True)}
    types = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name in beside:
            continue
        item = known.get(str(name))
        if item is None:
            raise spelling.unknown_key(str(name), {*known, *beside}, where)
        place = f"{where}.{name}"
        read = item.metadata.get("read")
        values[item.name] = read(value, place) if read else read_table(types[item.name], value, place)
    return kind(**values)
