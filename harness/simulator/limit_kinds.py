"""What a limit counts with: token bucket, fixed window, sliding window (a log), sliding counter, and things open at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from harness.simulator.spelling import SECOND

if TYPE_CHECKING:
    from harness.simulator.limiters import LimitSpec

FROM_FIRST = -1
"""`LimitSpec.phase` of a fixed window that begins with the first request after the last one's end."""


class Limiter(Protocol):
    """One count."""

    def ask(self, now: int) -> int:
        """Take one unit: 0, or in how many ns the next one is possible."""

    def give_back(self) -> None:
        """The unit that was taken just now is not used: another limit has refused."""

    def idle(self, now: int) -> bool:
        """Is it as good as new, so that it may be forgotten?"""


class TokenBucket:
    """Accepts while there are tokens; one comes back each 1/rate, up to `burst`."""

    __slots__ = ("_burst", "_count_refused", "_rate", "_stamp", "_tokens")

    def __init__(self, spec: LimitSpec, now: int) -> None:
        self._rate, self._burst, self._count_refused = spec.rate, float(spec.burst), spec.count_refused
        self._tokens, self._stamp = self._burst, now

    def ask(self, now: int) -> int:
        """Take a token."""
        self._tokens = min(self._burst, self._tokens + (now - self._stamp) * self._rate)
        self._stamp = now
        if self._tokens >= 1.0 - 1e-9:
            self._tokens -= 1.0
            return 0
        if self._count_refused:
            self._tokens = max(-self._burst, self._tokens - 1.0)
        return max(1, math.ceil((1.0 - self._tokens) / self._rate))

    def give_back(self) -> None:
        """Put the token back."""
        self._tokens += 1.0

    def idle(self, now: int) -> bool:
        """Full again?"""
        return self._tokens + (now - self._stamp) * self._rate >= self._burst


class FixedWindow:
    """Accepts `burst` per window. Windows begin at multiples of their length, put off by `phase`, or with a first request.

    What is refused cannot count: the next window knows nothing of this one.
    """

    __slots__ = ("_begins", "_first", "_limit", "_used", "_window")

    def __init__(self, spec: LimitSpec, now: int) -> None:
        self._window, self._limit, self._first = spec.window, spec.burst, spec.phase == FROM_FIRST
        self._begins = now if self._first else now - (now - spec.phase) % spec.window
        self._used = 0

    def ask(self, now: int) -> int:
        """Take one of the window's."""
        since = now - self._begins
        if since >= self._window:
            self._begins = now if self._first else now - since % self._window
            self._used = 0
        if self._used < self._limit:
            self._used += 1
            return 0
        return self._begins + self._window - now

    def give_back(self) -> None:
        """Leave it to another."""
        self._used -= 1

    def idle(self, now: int) -> bool:
        """Has a new window begun?"""
        return now - self._begins >= self._window


class SlidingWindow:
    """Accepts while fewer than `burst` were taken within the last window: a log of them."""

    __slots__ = ("_count_refused", "_limit", "_taken", "_window")

    def __init__(self, spec: LimitSpec, now: int) -> None:  # noqa: ARG002
        self._window, self._limit, self._count_refused = spec.window, spec.burst, spec.count_refused
        self._taken: deque[int] = deque(maxlen=spec.burst)

    def ask(self, now: int) -> int:
        """Take one."""
        taken = self._taken
        while taken and taken[0] <= now - self._window:
            taken.popleft()
        full = len(taken) >= self._limit
        wait = taken[0] + self._window - now if full else 0
        if not full or self._count_refused:
            taken.append(now)  # when full, the oldest falls out: the window slides on
        return wait

    def give_back(self) -> None:
        """Strike the last one out."""
        self._taken.pop()

    def idle(self, now: int) -> bool:
        """Is the window empty?"""
        return not self._taken or self._taken[-1] <= now - self._window


class SlidingCounter:
    """Two counters instead of a log: this window's, and the last one's by the part of it that is still within one length.

    Accepts while `this + last * (1 - part of this window that is gone) < burst`. Windows begin as fixed ones do.
    """

    __slots__ = ("_begins", "_count_refused", "_last", "_limit", "_this", "_window")

    def __init__(self, spec: LimitSpec, now: int) -> None:
        self._window, self._limit, self._count_refused = spec.window, spec.burst, spec.count_refused
        self._begins = now - (now - max(spec.phase, 0)) % spec.window
        self._last = self._this = 0

    def ask(self, now: int) -> int:
        """Take one."""
        passed = (now - self._begins) // self._window
        if passed > 0:
            self._last = self._this if passed == 1 else 0
            self._this = 0
            self._begins += passed * self._window
        left = self._window - (now - self._begins)
        # In whole numbers: this * window + last * left < burst * window
        if self._this * self._window + self._last * left < self._limit * self._window:
            self._this += 1
            return 0
        wait = self._wait(left)
        if self._count_refused:
            self._this += 1
        return wait

    def _wait(self, left: int) -> int:
        """Until one is accepted if nothing else comes."""
        free = self._limit - self._this
        if free > 0:  # within this window, as the last one fades
            return max(1, left - (free * self._window - 1) // self._last)
        # In the next window this one is the last: it has to have faded far enough.
        return left + self._window - (self._limit * self._window - 1) // self._this

    def give_back(self) -> None:
        """Leave it to another."""
        self._this -= 1

    def idle(self, now: int) -> bool:
        """Have both windows passed?"""
        return now - self._begins >= 2 * self._window


class Concurrency:
    """Accepts while fewer than `burst` are open. Nobody knows when one ends: the wait is a second, for want of better."""

    __slots__ = ("_limit", "open")

    def __init__(self, spec: LimitSpec, now: int) -> None:  # noqa: ARG002
        self._limit = spec.burst
        self.open = 0

    def ask(self, now: int) -> int:  # noqa: ARG002
        """One more."""
        if self.open >= self._limit:
            return SECOND
        self.open += 1
        return 0

    def give_back(self) -> None:
        """It has ended."""
        self.open -= 1

    def idle(self, now: int) -> bool:  # noqa: ARG002
        """Is nothing open?"""
        return self.open == 0


KINDS: dict[str, Callable[[LimitSpec, int], Limiter]] = {
    "token_bucket": TokenBucket,
    "fixed_window": FixedWindow,
    "sliding_window": SlidingWindow,
    "sliding_counter": SlidingCounter,
    "concurrency": Concurrency,
}
ALIASES = {"sliding_log": "sliding_window"}
CONCURRENCY = "concurrency"
