"""What is wrong with a scenario, said so that it can be put right: where, what, and what to write instead.

Values are repeated only by the parsers of durations and distributions; a key that smells of a secret is never repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from harness.errors import ScenarioError

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to put right."""

    where: str
    """`file:line`, or which flag or variable of the environment said it."""
    key: str
    """Dotted path of the key; empty for the file as a whole."""
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.what) if part)


class BadScenarioError(ScenarioError):
    """A scenario with one or more problems, all of them listed."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            what, where = str(self.problems[0]), ""
        else:
            what = f"{len(self.problems)} problems\n" + "\n".join(f"  {problem}" for problem in self.problems)
            where = source
        super().__init__(what, where=where, hint="guestswarm schema describes every key.")


def suggestion(key: str, known: Iterable[str], elsewhere: Mapping[str, Sequence[str]] | None = None) -> str:
    """The end of a sentence about an unknown key: the nearest known one, or the table that has it."""
    names = sorted(set(known))
    tables = (elsewhere or {}).get(key)
    if tables:
        return f"unknown here; it is a key of {' and '.join(f'[{table}]' for table in tables)}"
    near = get_close_matches(key.lower(), names, n=1, cutoff=0.5)
    if near:
        return f"unknown key; did you mean `{near[0]}`?"
    return f"unknown key; known are {', '.join(names)}" if names else "unknown key; nothing may be written here"


_HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def line_numbers(text: str) -> dict[KeyPath, int]:
    """Line of every table header and every key that begins a line. Good enough to point; keys of inline tables are absent."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault(table + _parts(key[1]), number)
    return lines


def _parts(text: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in _PART.findall(text))


_KINDS = {
    "int_type": "needs a whole number, such as 300",
    "int_from_float": "needs a whole number, such as 300",
    "float_type": "needs a number, such as 0.5",
    "string_type": 'needs text in quotes, such as "first-run"',
    "bool_type": "needs true or false",
    "tuple_type": 'needs a list, such as ["a", "b"]',
    "list_type": 'needs a list, such as ["a", "b"]',
    "dict_type": "needs a table",
    "model_type": "needs a table",
    "model_attributes_type": "needs a table",
    "missing": "must be given",
    "finite_number": "needs a finite number",
}


def say(error: Mapping[str, Any]) -> str:
    """Our words for an error of pydantic's, without the value that caused it."""
    kind, context = str(error["type"]), error.get("ctx") or {}
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    if kind == "literal_error":
        return f"must be {context.get('expected', '')}".replace("'", '"')
    bounds = {"greater_than": "above", "greater_than_equal": "at least", "less_than": "below", "less_than_equal": "at most"}
    if kind in bounds:
        return f"must be {bounds[kind]} {next(iter(context.values()))}"
    if kind in ("string_too_short", "too_short"):
        return "must not be empty"
    return _KINDS.get(kind, str(error["msg"]))
