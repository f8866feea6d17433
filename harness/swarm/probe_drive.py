"""Carry out what a prober of `search.limits` asks for: open-loop, several in flight, with the instants of writing and reading."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import time
from collections.abc import Callable
from typing import Any, Protocol

from gevent.event import Event

from harness.core.http import retry_after_ns
from harness.core.pace import Pace
from harness.core.probing import Answer, Identity
from harness.search.limits.plan import Done, Send, WaitUntil
from harness.search.limits.trace import Form
from harness.swarm.probe_shots import Shooter

Record = Callable[[dict[str, Any]], object]
"""Takes one line of `probes.jsonl`."""
_LOOK_S = 0.25
_MOST_UNANSWERED = 20
"""In a row, of requests that were neither let in nor refused by a limit: more would find out nothing and cost the same."""
_CAP_NS = 3600 * 10**9


class Orders(Protocol):
    """What is asked of a prober of rates (`search.limits.Prober`)."""

    @property
    def phase(self) -> str:
        """Where it is."""

    def next(self, now_ns: int) -> Send | WaitUntil | Done:
        """What to do now."""

    def on_sent(self, n: int, at_ns: int) -> None:
        """Number `n` is on its way."""

    def on_answer(
        self, n: int, received_ns: int, accepted: bool, retry_after_s: float | None = None, form: Form = "seconds"
    ) -> None:
        """Number `n` was let in or refused."""

    def on_lost(self, n: int, at_ns: int) -> None:
        """Number `n` got no answer that says yes or no."""

    def stop(self, reason: str) -> None:
        """It ends here."""


class Halt:
    """Whether to end, and why; looked at by whoever waits."""

    def __init__(self, why_not: Callable[[], str]) -> None:
        self._why_not = why_not
        self._told = ""
        self.wake = Event()

    def tell(self, why: str) -> None:
        """End now."""
        self._told = self._told or why
        self.wake.set()

    @property
    def why(self) -> str:
        """Empty: go on."""
        return self._told or self._why_not()

    def sleep_until(self, at_ns: int) -> bool:
        """Wait until then. False: told to end meanwhile."""
        while not self.why:
            left = (at_ns - time.monotonic_ns()) / 1e9
            if left <= 0:
                return True
            self.wake.wait(min(left, _LOOK_S))
        return False


class Line:
    """What is the same in all lines of one probe."""

    def __init__(self, record: Record, what: str, identity: Identity, *, wall_offset_ns: int) -> None:
        self._record, self._what, self.identity, self._offset = record, what, identity, wall_offset_ns

    def wait_s(self, received_ns: int, answer: Answer) -> tuple[float | None, Form]:
        """What `Retry-After` asks for, counted from the answer, and whether it is a date (whose grid is a second)."""
        text = answer.retry_after.strip()
        if not text:
            return None, "seconds"
        try:
            return float(text), "seconds"
        except ValueError:
            wait = retry_after_ns(text, received_ns + self._offset, default_ns=-1, cap_ns=_CAP_NS)
            return (None, "seconds") if wait < 0 else (wait / 1e9, "date")

    def write(self, part: str, phase: str, n: int, sent_ns: int, received_ns: int, answer: Answer) -> None:
        """One request and its answer."""
        wait, form = self.wait_s(received_ns, answer)
        self._record(
            {
                "kind": "request",
                "what": self._what,
                "part": part,
                "phase": phase,
                "as": [self.identity.credential, self.identity.address, self.identity.deployment, self.identity.session],
                "n": n,
                "sent_ns": sent_ns,
                "received_ns": received_ns,
                "accepted": answer.accepted,
                "status": answer.status,
                "retry_after_s": wait,
                "form": form,
            }
        )


def drive(prober: Orders, shooter: Shooter, halt: Halt, line: Line, tick: Callable[[], object]) -> None:
    """From the prober's first wish to its last; it is stopped where the job is."""
    wake = Event()
    sent: dict[int, tuple[int, str]] = {}
    leaving, unanswered = -1, 0

    def on_sent(n: int, at: int) -> None:
        sent[n] = at, prober.phase
        prober.on_sent(n, at)
        wake.set()

    def on_answer(n: int, at: int, answer: Answer) -> None:
        nonlocal unanswered
        began, phase = sent.pop(n)
        line.write("rate", phase, n, began, at, answer)
        if answer.accepted is None:
            prober.on_lost(n, at)
            unanswered += 1
            if unanswered == _MOST_UNANSWERED:
                last = f"the last was status {answer.status}" if answer.status else "the last had no answer"
                prober.stop(f"{unanswered} in a row were neither let in nor refused by a limit; {last}")
        else:
            unanswered = 0
            wait, form = line.wait_s(at, answer)
            prober.on_answer(n, at, answer.accepted, wait, form)
        wake.set()

    while True:
        if why := halt.why:
            prober.stop(why)
        wake.clear()
        now = time.monotonic_ns()
        action = prober.next(now)
        tick()
        if isinstance(action, Done):
            return
        if isinstance(action, WaitUntil):
            wake.wait(max(min((action.at_ns - now) / 1e9, _LOOK_S), 0.0))
        elif action.n == leaving:
            wake.wait(_LOOK_S)  # it waits for a connection
        else:
            leaving = action.n
            shooter.shoot(action.n, on_sent, on_answer)


def paced(
    pace: Pace, shooter: Shooter, halt: Halt, line: Line, part: str, *, most: int, until_ns: int, drain_ns: int, heed: bool = True
) -> list[tuple[int, int, Answer]]:
    """A client that always has something to send and keeps the pace; what left when, and what came of it.

    `heed`: a refusal empties its bucket; else it presses on.
    """
    found: list[tuple[int, int, Answer]] = []
    sent: dict[int, int] = {}
    idle = Event()

    def on_answer(n: int, at: int, answer: Answer) -> None:
        began = sent.pop(n)
        line.write(part, part, n, began, at, answer)
        found.append((began, at, answer))
        if heed and answer.accepted is False:
            pace.empty(at)
        idle.set()

    n = 0
    while n < most and not halt.why:
        now = time.monotonic_ns()
        if now >= until_ns:
            break
        wait = pace.wait(now)
        if wait:
            halt.sleep_until(now + wait)
            continue
        pace.spend(now)
        shooter.shoot(n, sent.__setitem__, on_answer)
        n += 1
    deadline = time.monotonic_ns() + drain_ns
    while len(found) < n and time.monotonic_ns() < deadline:
        idle.clear()
        idle.wait(_LOOK_S)
    return sorted(found, key=lambda one: one[0])
