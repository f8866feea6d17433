"""What the cases of all dialects are made with."""

from __future__ import annotations

from typing import Any

from harness.core.spread import around, fixed
from tests.findings.bench import Case

LONG = {"session_length": fixed(1000.0)}
BUSY = {**LONG, "think_time": around(3.0, 0.5)}
FEW_TYPING = {"limits": [{"endpoint": "frame typing", "rate": "1/s", "burst": 5, "scope": "session"}]}
"""The limits of a simulator that takes one typing frame a second of each session."""


def case(name: str, dialect: str, expects: str, about: str, **more: Any) -> Case:
    """A case; `expects` are ids with spaces between."""
    return Case(name, dialect, frozenset(expects.split()), about, **more)


def fault(name: str, **more: Any) -> dict[str, Any]:
    """The simulator's table with this one fault."""
    return {"faults": [{"name": name, **more}]}
