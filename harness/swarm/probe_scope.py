"""Whom a limit counts: the drained probe repeated with one thing about the sender changed, both senders taking turns.

What to change next and what follows from it is `search.limits.scope`'s; here are the senders.
"""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gevent.event import Event

from harness.config.ratelimit import RatelimitTable
from harness.core.probing import Answer, Identity
from harness.search.limits.scope import ORDER, Dimension, Outcome, ScopePlan, ScopeSearch
from harness.swarm.probe_drive import Halt, Line
from harness.swarm.probe_shots import Shooter

_ASKS = 6
_WORDS = {
    "separate": "let in while the first was refused",
    "same": "refused as the first was",
    "unclear": "gave no clear answer",
}


@dataclass(frozen=True, slots=True)
class Turns:
    """What came of both senders' turns while the first was drained."""

    asks: int
    first: int
    """Accepted of the first sender's."""
    other: int
    """Accepted of the other's."""
    took_s: float


def scope_search(able: tuple[str, ...], given: Mapping[str, int], size: float, *, retries: int = 2) -> ScopeSearch:
    """`able`: in what senders of this dialect can differ; `given`: how many of each there are; `size`: what is let in at once."""
    applicable = tuple(name for name in ORDER if name in able)
    available: dict[Dimension, int] = {name: given.get(name, 1) for name in applicable}
    asks = max(min(_ASKS, int(size)), 1)
    return ScopeSearch(ScopePlan(available, asks, retries, applicable, nested=True))


def allowed_meanwhile(rate_per_s: float | None, took_s: float) -> int:
    """How many may have come back in that time anyhow."""
    return math.ceil((rate_per_s or 0.0) * took_s)


def other_identity(dimension: str) -> Identity:
    """The sender that differs from the first in this (and has a session of its own)."""
    return replace(Identity(), **{dimension: 1})


def given(table: RatelimitTable, clients: Sequence[object]) -> dict[str, int]:
    """How many of each thing in which senders can differ the scenario gives."""
    return {
        "session": table.sessions,
        "address": max(len(table.addresses), 1),
        "deployment": 1 + len(table.deployments),
        "credential": len(clients),
    }


def scope_of(search: ScopeSearch, outcomes: Mapping[str, Outcome], anonymous: Collection[str] = ()) -> dict[str, Any]:
    """For the journal. Where a request carries no trace of something (`anonymous`), nobody can tell from outside whether the
    server counts all together or by what it takes everybody for: then a limit that nothing separates is of unknown scope."""
    found = search.answer()
    tried = [{"dimension": name, "result": _WORDS[outcomes[name]]} for name in ORDER if name in outcomes]
    scope, reasons = found.scope, list(found.reasons)
    if anonymous and scope == "organisation":
        scope = "unknown"
        reasons.append(f"it carries no {' and no '.join(sorted(anonymous))}, which could therefore not be varied")
    return {"scope": scope, "why": "; ".join(reasons), "tried": tried}


class ScopeProbe:
    """Drains as the first sender, then lets both take turns."""

    def __init__(self, first: Shooter, line: Line, halt: Halt, *, spacing_ns: int, most: int, patience_ns: int) -> None:
        self._first, self._line, self._halt = first, line, halt
        self._spacing, self._most, self._patience = spacing_ns, most, patience_ns
        self._n = 0

    @property
    def sent(self) -> int:
        """So far, of both senders."""
        return self._n

    def turns(self, asks: int, other: Shooter, other_line: Line) -> Turns | None:
        """None: the first could not be drained, an answer is missing, or it was told to end."""
        return self._take_turns(asks, other, other_line) if self._drain() else None

    def _ask(self, shooter: Shooter, line: Line, phase: str, then: Callable[[Answer], object]) -> None:
        n, self._n = self._n, self._n + 1
        began = time.monotonic_ns()

        def sent(_n: int, at: int) -> None:
            nonlocal began
            began = at

        def answered(_n: int, at: int, answer: Answer) -> None:
            line.write("scope", phase, n, began, at, answer)
            then(answer)

        shooter.shoot(n, sent, answered)

    def _drain(self) -> bool:
        """Send as the first one until it is refused."""
        refused = Event()

        def then(answer: Answer) -> None:
            if answer.accepted is False:
                refused.set()

        for _ in range(self._most):
            if refused.is_set() or self._halt.why:
                break
            self._ask(self._first, self._line, "drain", then)
            refused.wait(self._spacing / 1e9)
        refused.wait(self._patience / 1e9)
        return bool(refused.is_set()) and not self._halt.why

    def _take_turns(self, asks: int, other: Shooter, other_line: Line) -> Turns | None:
        accepted = [0, 0]
        answered = 0
        done = Event()

        def then_of(which: int) -> Callable[[Answer], object]:
            def then(answer: Answer) -> None:
                nonlocal answered
                answered += 1
                accepted[which] += answer.accepted is True
                if answered == 2 * asks:
                    done.set()

            return then

        began = time.monotonic_ns()
        for turn in range(asks):
            self._ask(other, other_line, "other", then_of(1))
            self._halt.sleep_until(time.monotonic_ns() + self._spacing)
            self._ask(self._first, self._line, "first", then_of(0))
            if turn + 1 < asks:
                self._halt.sleep_until(time.monotonic_ns() + self._spacing)
        done.wait(self._patience / 1e9)
        took = (time.monotonic_ns() - began) / 1e9
        return Turns(asks, accepted[0], accepted[1], took) if done.is_set() else None
