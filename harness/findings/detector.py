"""What looks for findings: witnesses take the rows they ask for, detectors say in the end what was seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from harness.core import ops
from harness.findings.bins import Wave
from harness.findings.model import Example, Finding, Severity

SECOND = 1_000_000_000
MS = 1_000_000


def slot_of(label: str) -> str:
    """The guest whose conversation this is."""
    return label.partition("-")[0]


def _rounded(evidence: Mapping[str, int | float]) -> dict[str, int | float]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in evidence.items()}


def is_exchange(row: ops.Sample) -> bool:
    """Whether the sample is an HTTP exchange, and not a frame's answer or a span."""
    return bool(row.endpoint) and not row.endpoint.startswith("WS ")


class Tally:
    """How often, with how many guests, and which occurrence came first (of equal instants the lower label)."""

    __slots__ = ("count", "first", "guests")

    def __init__(self) -> None:
        self.count = 0
        self.guests: set[str] = set()
        self.first: tuple[int, str] | None = None

    def hit(self, at_ns: int, label: str, times: int = 1) -> None:
        """It happened here."""
        self.count += times
        self.guests.add(slot_of(label))
        here = (at_ns, label)
        if self.first is None or here < self.first:
            self.first = here

    def add(self, other: Tally) -> None:
        """All of the other's as well."""
        self.count += other.count
        self.guests |= other.guests
        if other.first is not None and (self.first is None or other.first < self.first):
            self.first = other.first

    def __bool__(self) -> bool:
        return self.count > 0


class Extent:
    """Least and greatest of some values."""

    __slots__ = ("high", "low", "number")

    def __init__(self) -> None:
        self.number = 0
        self.low = self.high = 0

    def add(self, value: int) -> None:
        """One more."""
        self.low = min(self.low, value) if self.number else value
        self.high = max(self.high, value) if self.number else value
        self.number += 1

    @property
    def width(self) -> int:
        """From the least to the greatest."""
        return self.high - self.low


class Witness:
    """Takes rows and remembers what detectors of one family need. Memory is bounded by the guests that are at work.

    `notes`, `samples` and `rows` say which rows it takes: notes by name, samples by measure, the others by type.
    """

    notes: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    rows: tuple[type, ...] = ()

    def take(self, row: Any) -> None:
        """Take one row; those of one guest come in the order in which they were written, guests in any order."""

    def over(self, slot: str) -> None:
        """The guest is finished: forget what was kept for it."""


class Detector(Witness, ABC):
    """One finding: what it is called, and whether it was seen."""

    id: str
    """Kebab-case, and for ever: reports are compared by it."""
    title: str
    severity: Severity
    cause: str
    advice: str
    source: str
    """Where the trap is described."""
    seen_ns: int = 0
    """When the example happened, once there is a finding."""

    @abstractmethod
    def finish(self) -> Finding | None:
        """What was seen, after the last row."""

    def found(
        self, tally: Tally, evidence: Mapping[str, int | float], *, certainty: str = "", cause: str = "", advice: str = ""
    ) -> Finding | None:
        """The finding of this tally; None if it is empty."""
        if tally.first is None:
            return None
        self.seen_ns, label = tally.first
        return Finding(
            self.id,
            self.title,
            self.severity,
            tally.count,
            len(tally.guests),
            _rounded(evidence),
            Example(label, []),
            cause or self.cause,
            advice or self.advice,
            certainty,
        )

    def found_waves(
        self, waves: Sequence[Wave], evidence: Mapping[str, int | float] | None = None, *, certainty: str = ""
    ) -> Finding | None:
        """The finding of what many guests did at once; None without any wave. Guests are those of the fullest."""
        if not waves:
            return None
        fullest = max(waves, key=lambda wave: wave.number)
        tally = Tally()
        for wave in waves:
            tally.hit(*wave.first)
        shown = {"waves": len(waves), "most_at_once": fullest.number, "share_of_those_around": fullest.number / fullest.near}
        found = self.found(tally, {**shown, **(evidence or {})}, certainty=certainty)
        if found is not None:
            found.guests = fullest.number
        return found
