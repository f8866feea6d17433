"""What a procedure orders, and the book it reads the answers from."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.search.limits.trace import Asked

UNEXPLAINED = "no model explains the answers"
"""Why a procedure ends that has contradicted every model."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Requests at a fixed spacing, open-loop, until the first refusal is back or `most` were sent."""

    phase: str
    spacing_ns: int
    most: int
    at_ns: int = 0


@dataclass(frozen=True, slots=True)
class Ping:
    """One request at a moment."""

    phase: str
    at_ns: int
    most: int = 1
    spacing_ns: int = 0


@dataclass(frozen=True, slots=True)
class Rest:
    """Send nothing until then."""

    phase: str
    until_ns: int


@dataclass(slots=True)
class Ledger:
    """All rows, and the time."""

    now_ns: int
    rows: list[Asked] = field(default_factory=list)
