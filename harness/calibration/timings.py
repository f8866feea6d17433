"""What the server did and when, by its own clock (`timing` rows of `truth.jsonl`), beside what the guests timed.

Server and guests read the same monotonic clock of one host, so their stamps can be compared; nothing else is shared.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from harness.core.ops import OK, Row, Sample

HTTP = "http"
ANSWERED = {"echo": "echo", "reply": "reply", "ack": HTTP}
"""Measure -> how truth names it. An echo and a reply are told apart by message, an `ack` is the answer to a request."""


class Timing(msgspec.Struct, frozen=True, gc=False):
    """One thing that came in and was answered, by the server."""

    received_ns: int
    handed_ns: int


class Timings(msgspec.Struct):
    """All of a truth file. `by`: `echo` | `reply` | `http` -> id -> when."""

    by: dict[str, dict[str, Timing]]


class _Line(msgspec.Struct):
    t: int
    row: str
    id: str = ""
    of: str = ""
    received: int = 0


_line = msgspec.json.Decoder(_Line)


def read_timings(path: Path) -> Timings:
    """The timings of a truth file; the first of each id counts. Raises OSError, and ValueError for what is no truth."""
    by: dict[str, dict[str, Timing]] = {"echo": {}, "reply": {}, HTTP: {}}
    with path.open("rb") as lines:
        for raw in lines:
            if b'"row":"timing"' not in raw:
                continue
            line = _line.decode(raw)
            if line.of in by:
                by[line.of].setdefault(line.id, Timing(line.received, line.t))
    return Timings(by)


class Joined(msgspec.Struct, frozen=True, gc=False):
    """One timed thing, as the guest saw it and as the server did."""

    measure: str
    label: str
    seq: int
    """0: told by a request, not by a message."""
    intended_ns: int
    start_ns: int
    end_ns: int
    received_ns: int
    handed_ns: int


class Join(msgspec.Struct):
    """All things that both sides know, and how many only the guests do."""

    rows: list[Joined]
    unknown: dict[str, int]
    """By measure: timed by a guest, and not in the server's record."""


def join_timings(samples: Iterable[Row], timings: Timings, run: str) -> Join:
    """Join what guests timed with success to the server's record, by id."""
    rows: list[Joined] = []
    unknown: dict[str, int] = {}
    for row in samples:
        if type(row) is not Sample or row.outcome != OK or row.measure not in ANSWERED:
            continue
        of = ANSWERED[row.measure]
        by_message = of != HTTP
        found = timings.by[of].get(f"{run}.{row.label}.g.{row.ref}" if by_message else row.ref)
        if found is None:
            unknown[row.measure] = unknown.get(row.measure, 0) + 1
            continue
        seq = int(row.ref) if by_message else 0
        rows.append(
            Joined(
                row.measure,
                row.label,
                seq,
                row.intended_ns,
                row.start_ns,
                row.end_ns,
                found.received_ns,
                found.handed_ns,
            )
        )
    return Join(rows, unknown)
