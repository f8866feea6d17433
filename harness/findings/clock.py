"""The server's clock against ours: what the stamps of its answers prove, and what they only suggest."""

from __future__ import annotations

from harness.core import ops
from harness.findings.detector import MS, SECOND, Detector, Extent, Tally, Witness, slot_of
from harness.findings.model import Finding, Severity
from harness.metrics.clock import DRIFT
from harness.metrics.clock import Tally as Answers

APART_NS = 250 * MS
"""Clocks that differ by less do no harm here; half of it is what our own anchor may be off."""
BEHIND_NS = 2500 * MS
"""Where nothing bounds the clock from above: if even the quickest of all messages seems to have been so long under way, the clock
is behind, or all of them were slow. Stamps in whole seconds alone make up one."""
LEAST = 10
"""Messages with a stamp, before the clock is called behind without proof."""
WINDOW_NS = 600 * SECOND
"""Evidence of so long is taken together."""


class _Window:
    __slots__ = ("answers", "guests")

    def __init__(self) -> None:
        self.answers = Answers()
        self.guests = Tally()
        """Answers with both ends known: the earliest is the example, and all of them are concerned."""


class ClockSkew(Detector):
    """Stamps that cannot be by our clock: later than they were read, or earlier than they were asked for."""

    id = "server-clock-skew"
    title = "The server's clock differs from ours"
    severity: Severity = "medium"
    cause = "One of the two clocks is not synchronised; tokens and JWTs are judged by them."
    advice = "Synchronise both; count a token's life by `expires_in` from when it was asked for, not by `exp` and the local clock."
    source = "seed 003 (the guest's clock judges `exp`)"
    notes = ("clock.skew",)
    samples = ("event.lag",)
    rows = (ops.Arrived, ops.Clocked)

    def __init__(self) -> None:
        self._issued, self._slow = Tally(), Tally()
        self._lag = Extent()
        self._windows: dict[tuple[str, int], _Window] = {}
        self._stamped: dict[str, tuple[int, int]] = {}
        """By guest: when its latest stamped message was read, and the stamp."""
        self._anchor: int | None = None
        """Wall clock minus run's clock as the guests had it; the least, where processes differ by a little."""

    def take(self, row: ops.Arrived | ops.Clocked | ops.Sample | ops.Noted) -> None:
        """Take one row."""
        if isinstance(row, ops.Noted):
            self._issued.hit(row.at_ns, row.label)
        elif isinstance(row, ops.Sample):
            self._lagged(row)
        elif isinstance(row, ops.Clocked):
            self._answered(row, row.source, row.grain_ns)
        elif row.server_ns:
            if row.direction == ops.AGENT:
                self._stamped[slot_of(row.label)] = (row.at_ns, row.server_ns)
            self._answered(row, row.clock, 0)

    def _lagged(self, row: ops.Sample) -> None:
        read_ns, stamp_ns = self._stamped.get(slot_of(row.label), (0, 0))
        if read_ns == row.at_ns:
            anchor = stamp_ns - row.start_ns
            self._anchor = anchor if self._anchor is None else min(self._anchor, anchor)
        lag = row.end_ns - row.start_ns
        self._lag.add(lag)
        if lag > BEHIND_NS:
            self._slow.hit(row.at_ns, row.label)

    def _answered(self, row: ops.Arrived | ops.Clocked, source: str, grain_ns: int) -> None:
        key = (source, row.at_ns // WINDOW_NS)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window()
        window.answers.take(row.sent_ns, row.server_ns, row.at_ns, grain_ns)
        window.guests.hit(row.at_ns, row.label)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._stamped.pop(slot, None)

    def finish(self) -> Finding | None:
        """What was seen."""
        proven, ahead, behind, bounded = self._proven()
        evidence: dict[str, int | float] = {
            "ahead_at_least_ms": ahead / MS,
            "behind_at_least_ms": behind / MS,
            "tokens_expired_at_issue": self._issued.count,
        }
        if self._lag.number:
            evidence |= {"messages": self._lag.number, "least_lag_ms": self._lag.low / MS, "greatest_lag_ms": self._lag.high / MS}
        if proven or self._issued:
            doubt = "" if proven else "The server's clock behind and the guest's ahead look alike: only their difference shows."
            proven.add(self._issued)
            return self.found(proven, evidence, certainty=doubt)
        if not bounded and self._lag.number >= LEAST and self._lag.low > BEHIND_NS:
            doubt = "A clock behind ours and a delivery that is always slow look alike: stamps alone cannot tell."
            return self.found(self._slow, evidence, certainty=doubt)
        return None

    def _proven(self) -> tuple[Tally, int, int, bool]:
        """Answers of windows in which the clocks certainly differ, by how much, and whether anything bounds it above."""
        found, most_ahead, most_behind, bounded = Tally(), 0, 0, False
        begin = min((place for _, place in self._windows), default=0)
        for (_, place), window in sorted(self._windows.items()):
            span = window.answers.close()
            if span is None or self._anchor is None:
                continue
            bounded = bounded or span.both > 0
            allowed = APART_NS + (place + 1 - begin) * WINDOW_NS // DRIFT  # our own anchor is as old as the run
            ahead = 0 if span.low_ns is None else span.low_ns - self._anchor
            behind = 0 if span.high_ns is None else self._anchor - span.high_ns - span.grain_ns
            if max(ahead, behind) > allowed:
                found.add(window.guests)
                most_ahead, most_behind = max(most_ahead, ahead), max(most_behind, behind)
        return found, most_ahead, most_behind, bounded


def watchers() -> list[Witness]:
    """The family."""
    return [ClockSkew()]
