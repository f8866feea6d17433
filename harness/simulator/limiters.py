"""Rate limits: which there are, whom each counts, and how a refusal is told. `limit_kinds.py` has the counting."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.simulator import limit_kinds, spelling
from harness.simulator.limit_kinds import CONCURRENCY, FROM_FIRST, KINDS, Limiter
from harness.simulator.spelling import SECOND

SCOPES = ("client", "ip", "session", "connection", "deployment", "organisation")
ALIASES = {"app": "organisation", "organization": "organisation"}
PRUNE_EVERY = 60 * SECOND
"""How often counts that are as good as new are forgotten."""
Places = list[Limiter]
"""Counts of things open at once in which one thing has a place: `give_back` of each when it ends."""


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """One entry of `limits`."""

    endpoint: str
    """Template such as `POST /oauth/token`, `frame message` for a frame, or `*`; `|` between several that are counted as one."""
    kind: str
    rate: float
    """Events per ns (token bucket)."""
    burst: int
    """Size of the bucket, count per window, or how many may be open at once."""
    window: int
    scope: str
    retry_after: str
    """`seconds`, `date`, `none`, or a fixed duration in whole seconds as digits: a lie, unless it happens to be right."""
    count_refused: bool
    phase: int = 0
    """How long after the multiples of its length (of the server's monotonic clock) a window begins, or `FROM_FIRST`."""


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "endpoint": spelling.text,
    "kind": lambda value, where: _kind(value, where),
    "rate": spelling.rate,
    "burst": lambda value, where: spelling.whole(value, where, low=1),
    "limit": lambda value, where: spelling.whole(value, where, low=1),
    "window": spelling.duration,
    "scope": lambda value, where: _scope(value, where),
    "retry_after": lambda value, where: _retry_after(value, where),
    "count_refused": spelling.flag,
    "phase": lambda value, where: FROM_FIRST if value == "first" else spelling.duration(value, where),
}


def _kind(value: Any, where: str) -> str:
    known = limit_kinds.ALIASES
    return str(spelling.choice(*KINDS)(known.get(value, value) if isinstance(value, str) else value, where))


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
    kind = got.get("kind", "token_bucket")
    endpoint = got.get("endpoint", "*")
    if "limit" in got and "burst" in got:
        raise spelling.wrong(f"{where}.limit", "it is the same as burst", "Write one of the two.")
    count = got.get("burst", got.get("limit"))
    _check(kind, endpoint, got, count, where)
    window = got.get("window", SECOND)
    rate = got.get("rate") or (count or 1) / window
    return LimitSpec(
        endpoint,
        kind,
        rate,
        count or max(1, round(rate * (window if kind != "token_bucket" else SECOND))),
        window,
        got.get("scope", "client"),
        got.get("retry_after", "none" if kind == CONCURRENCY else "seconds"),
        got.get("count_refused", False),
        got.get("phase", 0),
    )


def _check(kind: str, endpoint: str, got: dict[str, Any], count: int | None, where: str) -> None:
    """Is everything there that a kind needs, and nothing that it cannot have?"""
    if kind == CONCURRENCY:
        if count is None:
            raise spelling.wrong(where, "a limit of what is open at once needs its limit", "Such as limit = 3.")
        if any(name.startswith("frame ") for name in endpoint.split("|")):
            raise spelling.wrong(f"{where}.endpoint", "a frame is not open for any time", 'Name requests, or upgrades: "GET /ws".')
        if senseless := {"rate", "window", "phase", "count_refused"} & got.keys():
            raise spelling.wrong(f"{where}.{min(senseless)}", f"{kind} has none")
        return
    if "rate" not in got and (kind == "token_bucket" or count is None):
        raise spelling.wrong(where, "a limit needs its rate", 'Such as rate = "5/s", or limit and window for a window.')
    if got.get("window", SECOND) <= 0:
        raise spelling.wrong(f"{where}.window", "a window needs a length")
    if got.get("phase") and kind not in ("fixed_window", "sliding_counter"):
        raise spelling.wrong(f"{where}.phase", f"the windows of {kind} begin nowhere")
    if got.get("phase") == FROM_FIRST and kind != "fixed_window":
        raise spelling.wrong(f"{where}.phase", f"the windows of {kind} follow each other without a gap", 'Such as phase = "300ms".')


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
        self._pruned: int | None = None

    def __bool__(self) -> bool:
        """Is there any?"""
        return bool(self._specs)

    def __len__(self) -> int:
        """Counts that are kept."""
        return len(self._counts)

    def ask(self, now: int, endpoint: str, caller: Caller, held: Places | None = None) -> tuple[int, str] | None:
        """None: go on. Else the wait in ns and the way to tell it (`retry_after`) of the limit that refuses for longest.

        What any limit refuses counts at none of the others. `held` gets the counts in which it has a place until it ends; without
        it (a frame) there is nothing that ends, and limits of what is open at once are not asked.
        """
        if not self._specs:
            return None
        taken: Places = []
        opened: Places = []
        refusal: tuple[int, str] | None = None
        for place in self._places(endpoint):
            spec = self._specs[place]
            concurrent = spec.kind == CONCURRENCY
            if concurrent and held is None:
                continue
            count = self._count(now, place, caller.key(spec.scope))
            wait = count.ask(now)
            if not wait:
                taken.append(count)
                if concurrent:
                    opened.append(count)
            elif refusal is None or wait > refusal[0]:
                refusal = wait, spec.retry_after
        if refusal is not None:
            for count in taken:
                count.give_back()
        elif held is not None:
            held += opened
        return refusal

    def _places(self, endpoint: str) -> list[int]:
        places = self._by_endpoint.get(endpoint)
        if places is None:
            places = [place for place, spec in enumerate(self._specs) if not {"*", endpoint}.isdisjoint(spec.endpoint.split("|"))]
            self._by_endpoint[endpoint] = places
        return places

    def _count(self, now: int, place: int, key: str) -> Limiter:
        count = self._counts.get((place, key))
        if count is None:
            if self._pruned is None or now - self._pruned >= PRUNE_EVERY:
                self._counts = {name: kept for name, kept in self._counts.items() if not kept.idle(now)}
                self._pruned = now
            count = self._counts[place, key] = KINDS[self._specs[place].kind](self._specs[place], now)
        return count
