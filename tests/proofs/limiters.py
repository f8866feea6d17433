"""Limiters of the proofs: written from metrics.md E1 alone, by their definitions, and slow on purpose.

Not the simulator's code and not the fit's: a proof that shares code with what it proves proves nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction


@dataclass
class Bucket:
    """Tokens = min(b, tokens + r·Δt); accept if there is one. Exact fractions."""

    rate: float
    size: int
    charge_refused: bool = False
    tokens: Fraction = field(init=False)
    at: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        self.tokens = Fraction(self.size)
        self._rate = Fraction(self.rate)

    def accept(self, now_ns: int) -> bool:
        now = Fraction(now_ns, 10**9)
        self.tokens = min(Fraction(self.size), self.tokens + self._rate * (now - self.at))
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return True
        if self.charge_refused:
            self.tokens = max(Fraction(-self.size), self.tokens - 1)
        return False

    def wait_s(self, now_ns: int) -> float:
        return float((1 - self.tokens) / self._rate)


@dataclass
class Fixed:
    """Fewer than L in this window of the grid phase + k·W."""

    limit: int
    window_ns: int
    phase_ns: int
    counts: dict[int, int] = field(default_factory=dict)

    def accept(self, now_ns: int) -> bool:
        key = (now_ns - self.phase_ns) // self.window_ns
        self.counts[key] = self.counts.get(key, 0) + 1
        return self.counts[key] <= self.limit

    def wait_s(self, now_ns: int) -> float:
        return (self.window_ns - (now_ns - self.phase_ns) % self.window_ns) / 1e9


@dataclass
class First:
    """Fewer than L since the window began, which it does with the first request after the last one's end (INCR and EXPIRE)."""

    limit: int
    window_ns: int
    began: int | None = None
    count: int = 0

    def accept(self, now_ns: int) -> bool:
        if self.began is None or now_ns - self.began >= self.window_ns:
            self.began, self.count = now_ns, 0
        self.count += 1
        return self.count <= self.limit

    def wait_s(self, now_ns: int) -> float:
        return (self.window_ns - (now_ns - (self.began or now_ns))) / 1e9


@dataclass
class Log:
    """Fewer than L accepted (or asked, if refused ones are charged) within the last W."""

    limit: int
    window_ns: int
    charge_refused: bool = False
    times: list[int] = field(default_factory=list)

    def accept(self, now_ns: int) -> bool:
        self.times = [one for one in self.times if one > now_ns - self.window_ns]
        good = len(self.times) < self.limit
        if good or self.charge_refused:
            self.times.append(now_ns)
        return good

    def wait_s(self, now_ns: int) -> float:
        live = sorted(self.times)
        return (live[-self.limit] + self.window_ns - now_ns) / 1e9 if len(live) >= self.limit else 0.0


@dataclass
class Counter:
    """cur + prev·(1 - fraction of the window gone) < L."""

    limit: int
    window_ns: int
    phase_ns: int
    charge_refused: bool = False
    counts: dict[int, int] = field(default_factory=dict)

    def accept(self, now_ns: int) -> bool:
        key, into = divmod(now_ns - self.phase_ns, self.window_ns)
        weight = Fraction(self.window_ns - into, self.window_ns)
        if self.counts.get(key, 0) + self.counts.get(key - 1, 0) * weight < self.limit:
            self.counts[key] = self.counts.get(key, 0) + 1
            return True
        if self.charge_refused:
            self.counts[key] = self.counts.get(key, 0) + 1
        return False

    def wait_s(self, now_ns: int) -> float:
        return (self.window_ns - (now_ns - self.phase_ns) % self.window_ns) / 1e9


Limiter = Bucket | Fixed | First | Log | Counter


@dataclass
class Wire:
    """One way: 10 ms and log-normal jitter."""

    rng: random.Random
    jitter_ms: float
    sigma: float = 0.5
    base_ms: float = 10.0

    def delay(self) -> int:
        jitter = self.jitter_ms * self.rng.lognormvariate(0.0, self.sigma) if self.jitter_ms else 0.0
        return round((self.base_ms + jitter) * 1e6)


Answer = tuple[bool, float | None]
Rival = Callable[[int], int]
"""From a moment to the next one at which the second user asks, ns."""
