"""The example of a finding, line by line: what its guest did and saw around that moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from harness.core import ops
from harness.findings.detector import slot_of
from harness.findings.model import MAX_MOMENTS, Finding, Moment

_BEFORE = 12
"""Lines up to the moment; what is left of the twenty comes after it."""
_AFTER = MAX_MOMENTS - _BEFORE
_LONGEST = 80
"""Characters of what others wrote."""
_SILENT = frozenset({"event.lag", "session"})
_MS = 1_000_000


class _Line:
    __slots__ = ("more", "row")

    def __init__(self, row: ops.Row) -> None:
        self.row = row
        self.more = 0
        """Further messages that the same answer brought."""


class _Place:
    __slots__ = ("after", "at_ns", "before", "finding")

    def __init__(self, finding: Finding, at_ns: int) -> None:
        self.finding, self.at_ns = finding, at_ns
        self.before: deque[_Line] = deque(maxlen=_BEFORE)
        self.after: list[_Line] = []

    def take(self, row: ops.Row) -> None:
        """Take one row of its guest."""
        lines = self.before if row.at_ns <= self.at_ns else self.after
        if lines and _is_listed(row) and _is_listed(lines[-1].row) and lines[-1].row.at_ns == row.at_ns:
            lines[-1].more += 1
        elif row.at_ns <= self.at_ns or len(self.after) < _AFTER:
            lines.append(_Line(row))


class Timelines:
    """Takes every row once more, keeps those of the examples' guests near their moments."""

    def __init__(self, findings: Sequence[tuple[Finding, int]]) -> None:
        self._places: dict[str, list[_Place]] = {}
        for finding, at_ns in findings:
            finding.example.timeline.clear()
            self._places.setdefault(slot_of(finding.example.label), []).append(_Place(finding, at_ns))

    def take(self, row: ops.Row) -> None:
        """Take one row."""
        places = self._places.get(slot_of(row.label))
        if places is None or not words(row):
            return
        for place in places:
            place.take(row)

    def tell(self, begin_ns: int) -> None:
        """Write the timelines into the findings."""
        for places in self._places.values():
            for place in places:
                told = place.finding.example.timeline
                for line in [*place.before, *place.after]:
                    more = f", and {line.more} more" if line.more else ""
                    told.append(Moment(round((line.row.at_ns - begin_ns) / _MS, 3), words(line.row) + more))


def _is_listed(row: ops.Row) -> bool:
    return isinstance(row, ops.Arrived) and row.channel == ops.RESYNC


def words(row: ops.Row) -> str:
    """A row in words; "" for one that tells a reader nothing."""
    if isinstance(row, ops.Sample):
        return _sample(row)
    if isinstance(row, ops.Noted):
        if row.what == "misbehaves":
            return ""
        return f"noted {row.what}" + (f" ({row.detail[:_LONGEST]})" if row.detail else "")
    if isinstance(row, ops.Invoked):
        return f"guest sends message {row.seq}" + (f", attempt {row.attempt}" if row.attempt > 1 else "")
    if isinstance(row, ops.Closed):
        return f"message {row.seq}: {row.outcome}" + _why(row.cause) + (f" by {row.via}" if row.outcome == ops.OK else "")
    if isinstance(row, ops.Arrived):
        who = "agent's message" if row.direction == ops.AGENT else "own message"
        how = "read from the listing" if row.channel == ops.RESYNC else "arrives"
        return f"{who} {row.seq} {how}" + (f", answering {row.re}" if row.re else "")
    if isinstance(row, ops.Connection):
        told = f", code {row.code}" if row.code else ""
        return f"socket {row.epoch} over, begun by {row.begun}{told}{_why(row.cause)}"
    if isinstance(row, ops.Refused):
        wait = f", asked to wait {row.retry_after_ns / 1e9:g} s" if row.retry_after_ns else ", no time to wait given"
        return f"refused as too many: {row.endpoint}{wait}"
    if isinstance(row, ops.Ended):
        return "conversation over" + _why(row.cause)
    if isinstance(row, ops.State):
        return f"{row.before} → {row.after}"
    return ""


def _sample(row: ops.Sample) -> str:
    if row.measure in _SILENT:
        return ""
    where = f" {row.endpoint}" if row.endpoint and not row.endpoint.startswith("WS ") else ""
    took = (row.end_ns - row.start_ns) / _MS
    length = f"{took / 1000:.3g} s" if abs(took) >= 1000 else f"{took:.3g} ms"
    return f"{row.measure}{where}: {row.outcome}{_why(row.cause)} after {length}"


def _why(cause: str) -> str:
    return f" ({cause})" if cause else ""
