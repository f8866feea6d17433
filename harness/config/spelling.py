"""How the types of our settings are spelled in a scenario: durations, spreads, shares, sizes, and whole dataclasses of them.

A dialect's settings are a frozen dataclass in a pure room; the table that a scenario may write for it is derived from
that dataclass here, so a new dialect needs no line of this package.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import re
import textwrap
import types
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema, create_model

from harness.core.spread import Spread, parse_duration, parse_spread, show_duration

_YEAR_NS = 366 * 86400 * 10**9
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]i?B|kB|B)\s*\Z")
_SIZES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class Table(BaseModel):
    """A table of a scenario: exact types, no key beyond those that are known."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


# ------------------------------------------------------------------ reading and writing values
def _read_duration(value: object) -> int:
    ns = parse_duration(value)
    if ns > _YEAR_NS:
        raise ValueError(f"{value!r} is longer than a year")
    return ns


def _read_spread(value: object) -> Spread:
    spread = value if isinstance(value, Spread) else parse_spread(value)
    if max(spread.a, spread.b) > _YEAR_NS:
        raise ValueError(f"{value!r} is longer than a year")
    return spread


def spell_spread(spread: Spread) -> Any:
    """The scenario spelling that `parse_spread` reads back to an equal distribution."""
    a, b = show_duration(spread.a), show_duration(spread.b)
    if spread.kind == "fixed":
        return a
    if spread.kind == "uniform":
        return {"uniform": {"min": a, "max": b}}
    return {"lognormal": {"median": a, "p95": b}} if spread.kind == "lognormal" else {"poisson": {"mean": a}}


def _read_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("needs a number")
    return float(value)


def _read_share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError("needs a share from 0 to 1, such as 0.05")
    return float(value)


def _read_size(value: object) -> int:
    if isinstance(value, str) and (found := _SIZE.match(value)):
        return round(float(found[1]) * _SIZES[found[2]])
    raise ValueError('needs a size with its unit, such as "2GiB" (B kB MB GB KiB MiB GiB)')


def show_size(size: int) -> str:
    """The shortest spelling in powers of 1024."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return f"{size}B"


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


# ------------------------------------------------------------------ field types
_DURATION_SCHEMA = {
    "type": "string",
    "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ns|us|µs|ms|s|min|h|d)\s*$",
    "examples": ["250ms", "8s"],
}


def _object(names: tuple[str, ...], schema: dict[str, Any]) -> dict[str, Any]:
    properties = dict.fromkeys(names, schema)
    return {"type": "object", "properties": properties, "required": list(names), "additionalProperties": False}


_SPREAD_KINDS = {"lognormal": ("median", "p95"), "uniform": ("min", "max"), "poisson": ("mean",)}
_SPREAD_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "examples": ["8s", "8s±20%"]},
        *(_object((kind,), _object(names, _DURATION_SCHEMA)) for kind, names in _SPREAD_KINDS.items()),
    ]
}
_SHARE_SCHEMA = {"type": "number", "minimum": 0, "maximum": 1}
_SIZE_SCHEMA = {"type": "string", "examples": ["2GiB"]}

DurationField = Annotated[int, PlainValidator(_read_duration), PlainSerializer(show_duration), WithJsonSchema(_DURATION_SCHEMA)]
SpreadField = Annotated[Spread, PlainValidator(_read_spread), PlainSerializer(spell_spread), WithJsonSchema(_SPREAD_SCHEMA)]
ShareField = Annotated[float, PlainValidator(_read_share), WithJsonSchema(_SHARE_SCHEMA)]
NumberField = Annotated[float, PlainValidator(_read_number), WithJsonSchema({"type": "number"})]
SizeField = Annotated[int, PlainValidator(_read_size), PlainSerializer(show_size), WithJsonSchema(_SIZE_SCHEMA)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


def spelled(annotation: Any) -> Any:
    """The scenario's type for a setting's type. Raises TypeError for one that no scenario can write."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if "duration" in args[1:]:
            return DurationField
        return ShareField if "share" in args[1:] else spelled(args[0])
    if annotation is Spread:
        return SpreadField
    if annotation is float:
        return NumberField
    if annotation is int:
        return Annotated[int, Field(ge=0)]
    if annotation in (bool, str) or origin is Literal:
        return annotation
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return Annotated[tuple[spelled(args[0]), ...], BeforeValidator(_as_tuple)]  # type: ignore[misc]
    if origin is dict and args[0] is str:
        return dict[str, spelled(args[1])]  # type: ignore[misc]
    if origin in (Union, types.UnionType) and len(args) == 2 and type(None) in args:
        return spelled(args[0] if args[1] is type(None) else args[1]) | None
    raise TypeError(f"a scenario has no spelling for {annotation!r}")


def fields_of(cls: type, special: dict[str, Any] | None = None) -> dict[str, Any]:
    """Fields for `pydantic.create_model`, one for each field of a dataclass; `special` replaces types by name."""
    hints = get_type_hints(cls, include_extras=True)
    texts = _docs_of(cls)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        if field.default is not dataclasses.MISSING:
            default: dict[str, Any] = {"default": field.default}
        elif field.default_factory is not dataclasses.MISSING:
            default = {"default_factory": field.default_factory}
        else:
            default = {}
        kind = (special or {}).get(field.name) or spelled(hints[field.name])
        found[field.name] = (kind, Field(description=texts.get(field.name), **default))
    return found


def table_of(cls: type, name: str) -> type[Table]:
    """The table that a scenario writes for a settings dataclass."""
    return create_model(name, __base__=Table, __doc__=inspect.getdoc(cls), **fields_of(cls))


def from_table(cls: type, table: BaseModel) -> Any:
    """The settings themselves."""
    return cls(**{field.name: getattr(table, field.name) for field in dataclasses.fields(cls)})


def _docs_of(cls: type) -> dict[str, str]:
    """Attribute docstrings, which Python throws away, read from the source where there is one."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for before, after in pairwise(body):
        if not isinstance(before, ast.AnnAssign) or not isinstance(before.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            found[before.target.id] = inspect.cleandoc(after.value.value)
    return found
