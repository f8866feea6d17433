"""The simulator without sockets: events in, acts out through an `Outlet`, and a row of truth for each of them.

`dialects/base.py` tells what a dialect's half may ask for; the layers below this one are where it finds it. All instants are
monotonic ns.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.core.wire import HttpResponse
from harness.simulator.config import SimConfig
from harness.simulator.connections import Conn, Exchange
from harness.simulator.credentials import Grant
from harness.simulator.dialects import registry
from harness.simulator.dialects.base import DialectHalf
from harness.simulator.faults.spec import read_faults
from harness.simulator.openings import Openings
from harness.simulator.outlet import Outlet
from harness.simulator.routing import Paths
from harness.simulator.talks import Taken, Talks
from harness.simulator.truth import TruthLog

__all__ = ["Engine", "Outlet", "Taken"]


class Engine(Talks):
    """The server. One call at a time; every call returns at once."""

    def __init__(
        self,
        config: SimConfig,
        *,
        seed: int,
        outlet: Outlet,
        truth: TruthLog,
        wall_offset_ns: int,
        secret: str = "",
        dialects: Iterable[str] = (),
    ) -> None:
        """`secret` replaces the configured one; `dialects` names those to serve (none: all)."""
        super().__init__(config, seed=seed, outlet=outlet, truth=truth, wall_offset_ns=wall_offset_ns, secret=secret)
        self._openings = Openings()
        self._start: int | None = None
        self._settled = False
        self.halves: dict[str, DialectHalf] = {}
        self.paths = Paths()
        wanted = frozenset(dialects)
        for name in registry.specs():
            if not wanted or name in wanted:
                half = self.halves[name] = registry.half(name)(self)
                self.paths.add(half)

    # ------------------------------------------------------------ the contract: events
    def begin(self, now: int) -> None:
        """The run starts now: windows of faults count from here."""
        if self._start is None:
            self._start = now
            self.faults.set_plan(now, self.config.faults, now)
        elif not self._settled:
            self._start = now
            self.faults.arm(now, now)

    def on_request(self, now: int, request: int, peer: str, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        """A whole request came in."""
        if self.waits(now, self.on_request, request, peer, method, path, headers, body):
            return
        if self._start is None:
            self.begin(now)
        exchange = Exchange(request, peer, method, path, headers, body, self.arrived)
        self.pending[request] = exchange
        route = self.paths.find(exchange)
        if route is None or exchange.half is None:
            status, code = (405, "method.not.allowed") if self.paths.known(exchange.path) else (404, "not.found")
            self.send(now, exchange, HttpResponse(status, {}, b'{"code":"' + code.encode() + b'"}'))
            return
        for fault in self.faults.on_request:
            if fault.on_request(self, now, exchange):
                return
        if self.limited:
            refusal = self.refusal(now, route.endpoint, exchange.half.caller(now, exchange), exchange.held)
            if refusal is not None:
                wait = self.retry_after(now, refusal)
                self.send(now, exchange, HttpResponse(429, {"retry-after": wait} if wait else {}, route.limited(wait)))
                return
        self.intake.request(now, exchange, route)

    def on_upgrade(self, now: int, conn: int, peer: str, path: str, headers: dict[str, str]) -> HttpResponse | None:
        """A WebSocket is asked for. None accepts it.

        That is answered during a standstill as well, as by a proxy in front; nothing goes over the socket before its end.
        """
        if self._start is None:
            self.begin(now)
        found = self.paths.socket(path.partition("?")[0])
        if found is None:
            return HttpResponse(404, {}, b'{"code":"not.found"}')
        template, params, half = found
        number = self._openings.next(peer)
        made = Conn(conn, peer, number, path, template, params, half)
        for fault in self.faults.on_upgrade:
            refused = fault.on_upgrade(self, now, made)
            if refused is not None:
                return refused
        if self.limited:
            refusal = self.refusal(now, made.endpoint, half.caller(now, made), made.held)
            if refusal is not None:
                wait = self.retry_after(now, refusal)
                self.truth.row(now, "refused", headers.get("x-request-id") or peer, endpoint=made.endpoint)
                return HttpResponse(429, {"retry-after": wait} if wait else {}, half.limited_body.encode())
        if self._still_until:
            self.stall(now, made, self._still_until - now)
        answer = half.on_upgrade(now, made, headers)
        if answer is not None:
            self._open_gate(made)
            self.give_back(made.held)
            return answer
        self._openings.note(peer, number)
        self.conns[conn] = made
        self.middlebox.watch(now, made)
        for fault in self.faults.on_open:
            fault.on_open(self, now, made)
        return None

    def next_deadline(self) -> int | None:
        """When `on_deadline` wants to be called."""
        return self._still_until or self.timers.next()

    def on_deadline(self, now: int) -> None:
        """Do what is due."""
        if self._still_until:
            if now < self._still_until:
                return
            self._go_on(now)
        self.timers.run(now)

    # ------------------------------------------------------------ the contract: control
    def set_faults(self, now: int, plan: Any) -> None:
        """Replace the fault plan (a list of tables). Raises ValueError; then nothing has changed."""
        specs = read_faults(plan)
        if self._start is None:
            self._start = now
        if not self._settled:
            self.faults.set_plan(now, specs, self._start)

    def settle(self, now: int) -> None:
        """All faults end, what they hold is released, agents answer what they have and start nothing."""
        if self._start is None:
            self._start = now
        self._settled = True
        self.agents.settled = True
        self.faults.stop(now)
        if self._still_until:
            self._go_on(now)
        for conn in list(self._gated.values()):
            gate = conn.gate
            if gate is not None:
                self.timers.cancel(gate.timer)
                self._stall_over(now, conn, gate)
        self.deliveries.settle(now)

    def seal(self, now: int) -> dict[str, int]:
        """End the truth: judge what is open, write the last line, give its counts."""
        return self.truth.seal(now)

    def health(self, now: int) -> dict[str, Any]:
        """How much there is of what."""
        return {
            "t": now,
            "conversations": sum(not conv.closed for conv in self.conversations.values()),
            "kept": len(self.conversations),
            "connections": len(self.conns),
            "parked": len(self.pending),
            "stalled": len(self._gated),
            "queue": self.agents.queued,
            "agents_busy": self.agents.busy,
            "backlog": self.deliveries.backlog,
            "undelivered": self.deliveries.undelivered
            + sum(each.planted_undelivered(now) for each in self.faults.planted_undelivered),
            "planted_bytes": sum(fault.planted_bytes(now) for fault in self.faults.planted_bytes),
            **self.intake.health(),
            "timers": self.timers.live,
            "tokens": len(self.credentials),
            "limiters": len(self.limits),
            "streams": len(self.truth.streams),
            "settled": self._settled,
        }

    def counts(self) -> dict[str, int]:
        """Rows of truth so far."""
        return dict(self.truth.counts)

    # ------------------------------------------------------------ tokens
    def revoke(self, now: int, grant: Grant) -> None:
        """A token is good no longer."""
        grant.revoked = True
        for half in self.halves.values():
            half.revoked(now, grant)
