"""Rate limits: token bucket, fixed window, sliding window; one count per client, address, session, connection, …"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from harness.simulator import spelling
from harness.simulator.spelling import SECOND

SCOPES = ("client", "ip", "session", "connection", "deployment", "organisation")
ALIASES = {"app": "organisation"}
KINDS = ("token_bucket", "fixed_window", "sliding_window")
PRUNE_ABOVE = 4096


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """One entry of `limits`."""

    endpoint: str
    """Template such as `POST /oauth/token`, `frame message` for a frame, or `*`; `|` between several that are counted as one."""
    kind: str
    rate: float
    """Events per ns (token bucket)."""
    burst: int
    """Size of the bucket, or count per window."""
    window: int
    scope: str
    retry_after: str
    """`seconds`, `date`, `none`, or a fixed duration in whole seconds as digits."""
    count_refused: bool


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "endpoint": spelling.text,
    "kind": spelling.choice(*KINDS),
    "rate": spelling.rate,
    "burst": lambda value, where: spelling.whole(value, where, low=1),
    "window": spelling.duration,
    "scope": lambda value, where: _scope(value, where),
    "retry_after": lambda value, where: _retry_after(value, where),
    "count_refused": spelling.flag,
}


def _scope(value: Any, where: str) -> str:
    return str(spelling.choice(*SCOPES)(ALIASES.get(value, value) if isinstance(value, str) else value, where))


def _retry_after(value: Any, where: str) -> str:
    if value is True or value in ("seconds", "date"):
        return "date" if value == "date" else "seconds"
    if value is False or value == "none":
        return "none"
    return str(math.ceil(spelling.duration(value, where) / SECOND))


def read_limits(value: Any, where: str) -> tuple[LimitSpec, ...]:
    """Read the list of limits."""
    if not isinstance(value, list | tuple):
        raise spelling.wrong(where, f"{value!r} is no list of tables")
    return tuple(_read(item, f"{where}[{place}]") for place, item in enumerate(value))


def _read(table: Any, where: str) -> LimitSpec:
    if not isinstance(table, dict):
        raise spelling.wrong(where, f"{table!r} is no table")
    for name in table:
        if name not in _READERS:
            raise spelling.unknown_key(str(name), _READERS, where)
    got = {name: _READERS[name](value, f"{where}.{name}") for name, value in table.items()}
    if "rate" not in got:
        raise spelling.wrong(where, "a limit needs its rate", 'Such as rate = "5/s".')
    kind = got.get("kind", "token_bucket")
    window = got.get("window", SECOND)
    if window <= 0:
        raise spelling.wrong(f"{where}.window", "a window needs a length")
    rate = got["rate"]
    count = max(1, round(rate * (window if kind != "token_bucket" else SECOND)))
    return LimitSpec(
        got.get("endpoint", "*"),
        kind,
        rate,
        got.get("burst", count),
        window,
        got.get("scope", "client"),
        got.get("retry_after", "seconds"),
        got.get("count_refused", False),
    )


class Limiter(Protocol):
    """One count."""

    def ask(self, now: int) -> int:
        """Take one unit: 0, or in how many ns the next one is possible."""

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

    def idle(self, now: int) -> bool:
        """Full again?"""
        return self._tokens + (now - self._stamp) * self._rate >= self._burst


class FixedWindow:
    """Accepts `burst` per window; windows begin at multiples of their length."""

    __slots__ = ("_count_refused", "_limit", "_number", "_used", "_window")

    def __init__(self, spec: LimitSpec, now: int) -> None:
        self._window, self._limit, self._count_refused = spec.window, spec.burst, spec.count_refused
        self._number, self._used = now // spec.window, 0

    def ask(self, now: int) -> int:
        """Take one of the window's."""
        number = now // self._window
        if number != self._number:
            self._number, self._used = number, 0
        if self._used < self._limit:
            self._used += 1
            return 0
        return (number + 1) * self._window - now

    def idle(self, now: int) -> bool:
        """Has a new window begun?"""
        return now // self._window != self._number


class SlidingWindow:
    """Accepts while fewer than `burst` were taken within the last window."""

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

    def idle(self, now: int) -> bool:
        """Is the window empty?"""
        return not self._taken or self._taken[-1] <= now - self._window


_MAKE: dict[str, Callable[[LimitSpec, int], Limiter]] = {
    "token_bucket": TokenBucket,
    "fixed_window": FixedWindow,
    "sliding_window": SlidingWindow,
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, in every way that a limit may count. What is left empty counts as the next wider thing."""

    client: str
    ip: str
    session: str
    organisation: str = "app"
    connection: str = ""
    deployment: str = ""

    def key(self, scope: str) -> str:
        """Its name within a scope."""
        if scope == "connection":
            return self.connection or self.session
        if scope == "deployment":
            return self.deployment or self.organisation
        return str(getattr(self, scope))


class Limits:
    """All limits of the simulator."""

    def __init__(self, specs: tuple[LimitSpec, ...]) -> None:
        self._specs = specs
        self._by_endpoint: dict[str, list[int]] = {}
        self._counts: dict[tuple[int, str], Limiter] = {}
        self._prune_at = PRUNE_ABOVE

    def __bool__(self) -> bool:
        """Is there any?"""
        return bool(self._specs)

    def ask(self, now: int, endpoint: str, caller: Caller) -> tuple[int, str] | None:
        """None: go on. Else the wait in ns and the way to tell it (`retry_after`) of the limit that refuses."""
        if not self._specs:
            return None
        places = self._by_endpoint.get(endpoint)
        if places is None:
            places = [place for place, spec in enumerate(self._specs) if not {"*", endpoint}.isdisjoint(spec.endpoint.split("|"))]
            self._by_endpoint[endpoint] = places
        for place in places:
            spec = self._specs[place]
            key = (place, caller.key(spec.scope))
            count = self._counts.get(key)
            if count is None:
                if len(self._counts) > self._prune_at:
                    self._prune(now)
                count = self._counts[key] = _MAKE[spec.kind](spec, now)
            wait = count.ask(now)
            if wait:
                return wait, spec.retry_after
        return None

    def _prune(self, now: int) -> None:
        self._counts = {key: count for key, count in self._counts.items() if not count.idle(now)}
        self._prune_at = max(PRUNE_ABOVE, 2 * len(self._counts))
