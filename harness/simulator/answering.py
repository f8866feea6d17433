"""The engine's HTTP layer: from a handler's answer, through latency and faults, to what the guest got of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from harness.core.wire import HttpResponse
from harness.simulator.config import SimConfig
from harness.simulator.connections import Exchange
from harness.simulator.outlet import Outlet
from harness.simulator.services import Services
from harness.simulator.truth import TruthLog


class Answering(Services):
    """Requests that are open, and their answers."""

    def __init__(self, config: SimConfig, *, seed: int, outlet: Outlet, truth: TruthLog, wall_offset_ns: int, secret: str) -> None:
        super().__init__(config, seed=seed, outlet=outlet, truth=truth, wall_offset_ns=wall_offset_ns, secret=secret)
        self.pending: dict[int, Exchange] = {}
        """Requests without an answer yet."""
        self._handing: dict[int, Exchange] = {}

    # ------------------------------------------------------------ the contract: events
    def on_responded(self, now: int, request: int, handed: bool) -> None:
        """An answer was written; `handed`: all of it reached the guest's side."""
        exchange = self._handing.pop(request, None)
        if exchange is None:
            return
        on_handed, exchange.on_handed = exchange.on_handed, None
        if not handed:
            return
        if self.truth.timings:
            self.truth.timing(now, exchange.id, "http", exchange.received)
        if exchange.status == 429:
            self.truth.row(now, "refused", exchange.id, endpoint=exchange.route.endpoint if exchange.route else exchange.path)
        if on_handed is not None:
            on_handed(now)

    def on_request_gone(self, now: int, request: int) -> None:
        """The guest's connection ended before the answer."""
        if self.waits(now, self.on_request_gone, request):
            return
        self._handing.pop(request, None)
        exchange = self._left(request)
        if exchange is not None and not exchange.done:
            exchange.done = True
            self.timers.cancel(exchange.timer)
            self._call_gone(now, exchange)

    # ------------------------------------------------------------ for halves and faults
    def answer(
        self,
        now: int,
        exchange: Exchange,
        status: int,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        handed: Callable[[int], None] | None = None,
    ) -> None:
        """Answer after the latency of the route's kind. `handed` runs when the whole answer has reached the guest."""
        if exchange.done or exchange.status:
            return
        exchange.status = status
        exchange.on_gone, exchange.on_handed = None, handed
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        response = HttpResponse(status, headers or {}, data)
        route = exchange.route
        lag = self.latency(now, route.latency) if route is not None and route.latency else 0
        if lag > 0:
            exchange.timer = self.timers.at(now + lag, self._release, exchange, response)
        else:
            self._release(now, exchange, response)

    def send(self, now: int, exchange: Exchange, response: HttpResponse) -> None:  # noqa: ARG002
        """Send an answer at once and as it is."""
        if exchange.done:
            return
        exchange.done, exchange.status = True, response.status
        self.timers.cancel(exchange.timer)
        if self._left(exchange.number) is not None:
            self._handing[exchange.number] = exchange
            self.outlet.respond(exchange.number, response)

    def put_off(self, now: int, exchange: Exchange, response: HttpResponse, by: int) -> None:
        """Send an answer later."""
        exchange.timer = self.timers.at(now + by, self.send, exchange, response)

    def cut(self, now: int, exchange: Exchange) -> None:
        """End the connection instead of an answer."""
        if exchange.done:
            return
        exchange.done = True
        self.timers.cancel(exchange.timer)
        if self._left(exchange.number) is not None:
            self.outlet.cut(exchange.number)
            self.truth.row(now, "cut", exchange.id)
        self._call_gone(now, exchange)

    def abandon(self, now: int, exchange: Exchange, limit: int | None) -> bool:
        """Take a request away from its handler for good; it is cut after `limit` (None: the caller answers it)."""
        if exchange.done:
            return False
        exchange.status = exchange.status or 599
        exchange.on_handed = None
        self.timers.cancel(exchange.timer)
        self._call_gone(now, exchange)
        if limit is not None:
            exchange.timer = self.timers.at(now + limit, self.cut, exchange)
        return True

    def may_spoil(self, exchange: Exchange, response: HttpResponse) -> bool:
        """Has this answer a body that can be garbled to some effect?"""
        return response.status == 200 and len(response.body) > 2 and exchange.route is not None

    # ------------------------------------------------------------ inside
    def _left(self, request: int) -> Exchange | None:
        """A request is not open any more."""
        exchange = self.pending.pop(request, None)
        if exchange is not None:
            self.give_back(exchange.held)
        return exchange

    def _release(self, now: int, exchange: Exchange, response: HttpResponse) -> None:
        for fault in self.faults.on_answer:
            changed = fault.on_answer(self.whole, now, exchange, response)
            if changed is None:
                return
            response = changed
        self.send(now, exchange, response)

    @staticmethod
    def _call_gone(now: int, exchange: Exchange) -> None:
        gone, exchange.on_gone, exchange.on_handed = exchange.on_gone, None, None
        if gone is not None:
            gone(now)
