"""How many can be open at once: guests are brought to readiness one by one and kept, as `search.limits.concurrency` wants it."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import time
from collections.abc import Callable

import gevent

from harness.core.probing import Answer, HoldProbe, Identity
from harness.search.limits.concurrency import ConcurrencyPlan, ConcurrencyProber
from harness.search.limits.finding import Finding
from harness.search.limits.plan import Done, Open, WaitUntil
from harness.swarm.probe_drive import Halt, Line
from harness.swarm.probe_guests import Cast, ProbeGuest

_LOOK_S = 0.02
_READY_S = 0.2
"""So long a guest has to be ready: what it asks for once it is (a poll) would have been refused by then."""
_CLOSE_S = 5.0
_CLOSED_S = 0.2
"""Until a close counts with the server."""


class Holder:
    """Opens, keeps and closes for one endpoint."""

    def __init__(
        self,
        cast: Cast,
        probe: HoldProbe,
        halt: Halt,
        line_of: Callable[[Identity], Line],
        tick: Callable[[str, int, int], object],
        *,
        within_s: float,
    ) -> None:
        self._cast, self._probe, self._halt, self._line_of, self._tick = cast, probe, halt, line_of, tick
        self._within_s = within_s
        self._held: dict[int, ProbeGuest] = {}
        self._opened = self._refused = 0

    # ---------------------------------------------------------------- one
    def _open(self, identity: Identity, phase: str) -> tuple[bool | None, ProbeGuest | None, float | None]:
        """Bring one guest to readiness: True, or False where it was refused as too much; None: neither. And `Retry-After`."""
        guest = self._cast.born(identity, dict(self._probe.settings))
        began = time.monotonic_ns()
        guest.begin()
        deadline, ready_s = time.monotonic() + self._within_s, 0.0
        accepted: bool | None = None
        while time.monotonic() < deadline and not self._halt.why and not guest.finished:
            gevent.sleep(_LOOK_S)
            if self._probe.endpoint in guest.refusals.found:
                accepted = False
                break
            ready_s = ready_s + _LOOK_S if guest.ready else 0.0
            if ready_s >= _READY_S:
                accepted = True
                break
        at, wait = guest.refusals.found.get(self._probe.endpoint, (time.monotonic_ns(), 0))
        wait_s = None if wait <= 0 else wait / 1e9
        answer = Answer(accepted, 429 if accepted is False else 0, "" if wait_s is None else f"{wait_s:g}")
        self._line_of(identity).write("hold", phase, self._opened, began, at, answer)
        self._opened += 1
        self._refused += accepted is False
        if not accepted:
            guest.end()
        return accepted, guest if accepted else None, wait_s

    def _close(self, n: int) -> None:
        guest = self._held.pop(n, None)
        if guest is not None:
            guest.leave()
            guest.wait(_CLOSE_S)
            guest.end()

    # ---------------------------------------------------------------- the search
    def find(self, plan: ConcurrencyPlan) -> Finding:
        """Carry out what the prober asks for; where a limit is found, as many as it allows stay open."""
        prober = ConcurrencyProber(plan, time.monotonic_ns())
        while True:
            if why := self._halt.why:
                prober.stop(why)
            action = prober.next(time.monotonic_ns())
            if isinstance(action, Done):
                break
            if isinstance(action, WaitUntil):
                self._halt.sleep_until(action.at_ns)
            elif isinstance(action, Open):
                self._answer(prober, action.n)
            elif prober.finding().kind == "concurrency":
                break  # what is open is still needed
            else:
                self._close(action.n)
                prober.on_closed(action.n, time.monotonic_ns())
        return prober.finding()

    def _answer(self, prober: ConcurrencyProber, n: int) -> None:
        accepted, guest, wait_s = self._open(Identity(), "hold")
        self._tick("hold", self._opened, self._refused)
        if accepted is None:
            prober.on_opened(n, time.monotonic_ns(), True)  # as far as anybody knows; what is open then is closed
            prober.stop(self._halt.why or f"number {n + 1} neither opened nor was refused")
            return
        if guest is not None:
            self._held[n] = guest
        prober.on_opened(n, time.monotonic_ns(), accepted, wait_s)

    def vary(self, identity: Identity) -> bool | None:
        """With the limit reached: is another sender let in? None: it could not be told."""
        accepted, guest, _ = self._open(identity, "other")
        if guest is not None:
            guest.end()
            gevent.sleep(_CLOSED_S)
        return accepted

    def turnover(self, times: int) -> tuple[int, int]:
        """Close one and open one, so often; how many openings there were and how many of them were refused."""
        refused = opened = 0
        for _ in range(times):
            if self._halt.why or not self._held:
                break
            n = next(iter(self._held))
            self._close(n)
            gevent.sleep(_CLOSED_S)
            accepted, guest, _ = self._open(Identity(), "at")
            opened += 1
            refused += accepted is False
            if guest is not None:
                self._held[n] = guest
            self._tick("proof", self._opened, self._refused)
        return opened, refused

    def one_more(self) -> bool | None:
        """Whether one above the limit is let in."""
        accepted, guest, _ = self._open(Identity(), "over")
        if guest is not None:
            guest.end()
        return accepted

    def end(self) -> None:
        """Let all go."""
        for guest in self._held.values():
            guest.end()
        self._held.clear()
