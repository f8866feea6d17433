"""The server's clock against ours, by the stamps of its messages."""

from __future__ import annotations

from harness.core import ops
from harness.findings.detector import MS, Detector, Extent, Tally, Witness
from harness.findings.model import Finding, Severity

AHEAD_NS = 250 * MS
"""A stamp that lies further in our future than this was made by a clock that is ahead: no message arrives before it was stored."""
BEHIND_NS = 2500 * MS
"""If even the quickest of all messages seems to have been so long under way, the clock is behind (or all of them were slow).
Stamps in whole seconds alone make up one."""
MUCH = 2
LEAST = 10
"""Messages with a stamp, before the clock is called behind."""


class ClockSkew(Detector):
    """Stamps that cannot be."""

    id = "server-clock-skew"
    title = "The server's clock differs from ours"
    severity: Severity = "medium"
    cause = "One of the two clocks is not synchronised; tokens and JWTs are judged by them."
    advice = "Synchronise both; count a token's life by `expires_in` from when it was asked for, not by `exp` and the local clock."
    source = "seed 003 (the guest's clock judges `exp`)"
    notes = ("clock.skew",)
    samples = ("event.lag", "echo", "ack")

    def __init__(self) -> None:
        self._ahead, self._any, self._issued = Tally(), Tally(), Tally()
        self._lag = Extent()
        self._round = Extent()
        """From a message's sending to its confirmation, which came the same way."""

    def take(self, row: ops.Sample | ops.Noted) -> None:
        """Take one row."""
        if isinstance(row, ops.Noted):
            self._issued.hit(row.at_ns, row.label)
            return
        lag = row.end_ns - row.start_ns
        if row.measure != "event.lag":
            if row.outcome == ops.OK:
                self._round.add(lag)
            return
        self._lag.add(lag)
        if lag < -AHEAD_NS:
            self._ahead.hit(row.at_ns, row.label)
        elif lag > BEHIND_NS:
            self._any.hit(row.at_ns, row.label)

    def finish(self) -> Finding | None:
        """What was seen."""
        lag = self._lag
        evidence = {
            "messages": lag.number,
            "least_lag_ms": lag.low / MS,
            "greatest_lag_ms": lag.high / MS,
            "tokens_expired_at_issue": self._issued.count,
        }
        if self._ahead or self._issued:
            both = Tally()
            both.add(self._ahead)
            both.add(self._issued)
            doubt = (
                "" if self._ahead else "The server's clock behind and the guest's ahead look alike: only their difference shows."
            )
            return self.found(both, evidence, certainty=doubt)
        if lag.number >= LEAST and lag.low > BEHIND_NS:
            if not self._round.number:
                doubt = "A clock behind ours and a delivery that is always slow look alike: stamps alone cannot tell."
                return self.found(self._any, evidence, certainty=doubt)
            if MUCH * self._round.low < lag.low:  # there and back in a part of the time that one way seems to take
                return self.found(self._any, evidence | {"quickest_confirmation_ms": self._round.low / MS})
        return None


def watchers() -> list[Witness]:
    """The family."""
    return [ClockSkew()]
