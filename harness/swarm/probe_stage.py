"""What all parts of a probe process share: its order, its journal, its ceilings, how it tells, and guests that are ready."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import msgspec

from harness.config import Scenario
from harness.config.probed import Chosen
from harness.config.ratelimit import RatelimitTable
from harness.core.credentials import Secret
from harness.core.probing import Identity
from harness.search.limits.finding import Finding
from harness.swarm.probe_drive import Halt, Line
from harness.swarm.probe_guests import Cast, ProbeGuest

Say = Callable[[dict[str, Any]], object]
FIRST = Identity()
_FIGURES = (("rate_per_s", "{:.4g}/s"), ("burst", "burst {:g}"), ("limit", "limit {}"), ("window_s", "window {:g} s"))
_TELL_NS = 500_000_000
_FLUSH_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ProbeOrder:
    """What a probe process is told."""

    scenario: Scenario
    folder: Path
    run: str
    clients: list[tuple[str, Secret]]
    """Ids and secrets, the target's own first."""
    wall_offset_ns: int


class Journal:
    """`probes.jsonl`, one line for each request and each thing found out."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO | None = path.open("a", encoding="utf-8")
        self._flushed = 0

    def write(self, line: dict[str, Any]) -> None:
        """Append one line; what is no request is on disk at once."""
        if self._file is None:
            return
        self._file.write(msgspec.json.encode(line, enc_hook=_plain).decode() + "\n")
        now = time.monotonic_ns()
        if line["kind"] != "request" or now - self._flushed > _FLUSH_NS:
            self._flushed = now
            self._file.flush()

    def close(self) -> None:
        """No more lines."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _plain(value: Any) -> Any:
    """A number of numpy's as Python has it."""
    return value.item()


@dataclass(frozen=True, slots=True)
class Place:
    """One thing that is probed, and where it stands among all of them."""

    one: Chosen
    number: int
    """From 1."""
    of: int

    @property
    def name(self) -> str:
        """How people and files name it."""
        return self.one.name


@dataclass(slots=True)
class Stage:
    """Shared by the search, the proofs and the job as a whole."""

    order: ProbeOrder
    table: RatelimitTable
    per_s: float
    """Least of all ceilings, requests and frames/s."""
    journal: Journal
    halt: Halt
    say: Say
    _said_ns: int = field(default=0, init=False)

    def due(self) -> bool:
        """Whether it is time to tell how far it is."""
        return time.monotonic_ns() - self._said_ns >= _TELL_NS

    def tell(self, place: Place, phase: str, requests: int = 0, refused: int = 0, *, now: bool = False) -> None:
        """How far it is, a few times a second at the most; `now`: in any case."""
        if now or self.due():
            self._said_ns = time.monotonic_ns()
            line = {"kind": "probe", "what": place.name, "place": place.number, "of": place.of, "phase": phase}
            self.say({**line, "requests": requests, "refused": refused})

    def line(self, one: Chosen, identity: Identity) -> Line:
        """For the requests of one sender."""
        return Line(self.journal.write, one.name, identity, wall_offset_ns=self.order.wall_offset_ns)

    def found(self, one: Chosen, finding: Finding) -> None:
        """Write down what limit there is."""
        data = finding.as_data()
        self.journal.write({"kind": "finding", "what": one.name, "finding": data})
        figures = [text.format(data[key]) for key, text in _FIGURES if data.get(key) is not None]
        kind = finding.kind.replace("_", " ") + (" from a first request" if finding.anchor == "first_request" else "")
        self.say({"kind": "found", "text": f"{one.name}: {', '.join([kind, *figures])}"})

    def ready(self, one: Chosen, cast: Cast, identity: Identity) -> ProbeGuest | None:
        """The identity's guest, ready for this probe; None: it is not, and that is written down where it is the first one's."""
        guest = cast.guest(identity)
        within_s = self.table.ready_within / 1e9
        if not getattr(one.probe, "prepared", True) or guest.wait_ready(within_s, lambda: bool(self.halt.why)):
            return guest
        if identity == FIRST:
            why = self.halt.why or f"no guest was ready within {within_s:g} s"
            self.journal.write({"kind": "skipped", "what": one.name, "dialect": one.dialect, "why": why})
        return None
