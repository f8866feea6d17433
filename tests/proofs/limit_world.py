"""Virtual time between a prober and a limiter: delays both ways, a second user if there is one, and nobody else."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass
from typing import Any

from harness.search.limits.finding import Finding
from harness.search.limits.plan import Done, ProbePlan, Send, WaitUntil
from harness.search.limits.prober import Prober
from tests.proofs.limiters import Limiter, Wire


@dataclass
class Told:
    """How the limiter tells the wait: `none`, `seconds` (rounded up), `date`, or a lie of so many seconds."""

    form: str = "none"
    lie_s: float | None = None

    def value(self, limiter: Limiter, now_ns: int) -> float | None:
        if self.form == "none":
            return None
        if self.lie_s is not None:
            return self.lie_s
        return float(math.ceil(limiter.wait_s(now_ns)))


@dataclass(frozen=True)
class Accidents:
    """What goes wrong on the way, drawn for each request: server errors, and requests that are never answered."""

    errors: float
    lost: float
    counted: float = 0.5
    """Share of both that the limiter has let in and counted before they went wrong."""
    seed: int = 0

    def draw(self, fate: random.Random) -> tuple[str, bool]:
        """`error`, `lost`, or nothing that goes wrong; and whether the limiter sees it."""
        drawn, counted = fate.random(), fate.random() < self.counted
        wrong = "error" if drawn < self.errors else "lost" if drawn < self.errors + self.lost else ""
        return wrong, counted or not wrong


@dataclass
class Walk:
    """What came of one probe."""

    finding: Finding
    prober: Prober
    peak_per_s: int


def walk(
    limiters: list[Limiter],
    plan: ProbePlan,
    rng: random.Random,
    jitter_ms: float,
    *,
    rival_per_s: float = 0.0,
    told: Told | None = None,
    sigma: float = 0.5,
    server_offset_ns: int | None = None,
    spurious: frozenset[int] = frozenset(),
    accidents: Accidents | None = None,
) -> Walk:
    """Probe until it is done. The limiter's clock starts at a random moment.

    `spurious`: these requests are refused by somebody on the way, and the limiter never sees them.
    """
    told = told or Told()
    fate = random.Random(f"accidents {accidents.seed}") if accidents is not None else None
    wire = Wire(rng, jitter_ms, sigma)
    offset = server_offset_ns if server_offset_ns is not None else rng.randrange(10**12)
    now = rng.randrange(10**9)
    prober = Prober(plan, now)
    events: list[tuple[int, int, str, Any]] = []
    serial = 0

    def push(at: int, kind: str, what: Any = None) -> None:
        nonlocal serial
        serial += 1
        heapq.heappush(events, (at, serial, kind, what))

    def ask(at: int) -> bool:
        return _all(limiters, at + offset)

    if rival_per_s:
        push(now + round(rng.expovariate(rival_per_s) * 1e9), "rival")
    sent: list[int] = []
    while True:
        action = prober.next(now)
        if isinstance(action, Done):
            break
        if isinstance(action, Send):
            prober.on_sent(action.n, now)
            sent.append(now)
            push(now + wire.delay(), "arrive", action.n)
            continue
        assert isinstance(action, WaitUntil)
        assert action.at_ns > now
        if not events or events[0][0] > action.at_ns:
            now = action.at_ns
            continue
        at, _, kind, what = heapq.heappop(events)
        now = max(now, at)
        if kind == "rival":
            ask(at)
            push(at + round(rng.expovariate(rival_per_s) * 1e9), "rival")
        elif kind == "arrive":
            wrong, counted = accidents.draw(fate) if accidents is not None and fate is not None else ("", True)
            good = what not in spurious and counted and ask(at)
            if wrong == "lost":
                continue
            if wrong and (good or not counted):  # what the limiter refuses it answers itself
                push(at + wire.delay(), "broken", what)
                continue
            value = None if good else told.value(limiters[0], at + offset)
            push(at + wire.delay(), "answer", (what, good, value))
        elif kind == "broken":
            prober.on_lost(what, now)
        else:
            n, good, value = what
            prober.on_answer(n, now, good, value, "date" if told.form == "date" else "seconds")
    return Walk(prober.finding(), prober, _peak(sent))


def _all(limiters: list[Limiter], at: int) -> bool:
    return all(one.accept(at) for one in limiters)


def _peak(sent: list[int]) -> int:
    best = first = 0
    for last, at in enumerate(sent):
        while at - sent[first] >= 10**9:
            first += 1
        best = max(best, last - first + 1)
    return best
