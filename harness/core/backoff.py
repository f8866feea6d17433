"""Reconnect delays and the circuit breaker: numbers only, the caller owns the clock and the dice."""

from __future__ import annotations

from random import Random

import msgspec


class Backoff(msgspec.Struct, frozen=True):
    """`min(base · factor^attempt + U(0, jitter), cap)`, attempt counted from 0; all in nanoseconds.

    With `proportional` the jitter is ± that share of the delay instead (where the seed gives none and ours must spread).
    """

    base_ns: int
    cap_ns: int
    jitter_ns: int = 0
    factor: float = 2.0
    proportional: float = 0.0

    def delay(self, attempt: int, rng: Random) -> int:
        """Nanoseconds to wait before retry number `attempt` (from 0)."""
        raw = self.base_ns * self.factor ** min(attempt, 62)
        if self.proportional:
            raw *= 1 + rng.uniform(-self.proportional, self.proportional)
        return min(round(raw + rng.uniform(0, self.jitter_ns)), self.cap_ns)
