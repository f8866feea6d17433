"""A client's own pace: a token bucket that it spends from, so that a server's limit is not met in the first place. Pure.

In any W seconds no more than `burst + rate · W` leave. After a refusal the bucket is emptied, so that whoever was held back does
not come back with all of it at once.
"""

from __future__ import annotations

_S = 10**9


class Pace:
    """At most `rate_per_s` in the long run, and `burst` at once. Instants in nanoseconds; full at first.

    A client is woken a little late each time. As much as `late_ns` of that is made good, or a burst of one would never reach its
    rate: two may then follow each other closer by so much.
    """

    __slots__ = ("_burst", "_most", "_rate", "_stamp", "_tokens")

    def __init__(self, rate_per_s: float, burst: int, now: int = 0, *, late_ns: int = 20_000_000) -> None:
        if rate_per_s <= 0 or burst < 1:
            raise ValueError("a pace needs a rate above 0 and a burst of at least 1")
        self._rate, self._burst = rate_per_s, float(burst)
        self._most = self._burst + min(late_ns / _S * rate_per_s, 0.5)
        self._tokens, self._stamp = self._burst, now

    def _fill(self, now: int) -> None:
        if now > self._stamp:
            self._tokens = min(self._most, self._tokens + (now - self._stamp) / _S * self._rate)
            self._stamp = now

    def wait(self, now: int) -> int:
        """How long until one may leave; 0: at once."""
        self._fill(now)
        missing = 1.0 - self._tokens
        return 0 if missing <= 1e-9 else max(round(missing / self._rate * _S), 1)

    def spend(self, now: int) -> None:
        """One has left."""
        self._fill(now)
        self._tokens -= 1.0

    def book(self, now: int) -> int:
        """Take the next place there is: how long until it; 0: at once. Who shares a pace is served in the order of asking."""
        wait = self.wait(now)
        self._tokens -= 1.0
        return wait

    def empty(self, now: int) -> None:
        """The server has refused: nothing is left of the burst."""
        self._fill(now)
        self._tokens = min(self._tokens, 0.0)
