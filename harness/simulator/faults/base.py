"""What a fault is: a window of time, a share, and hooks into the engine's acts. All hooks do nothing here."""

# ruff: noqa: ARG002 - hooks that do nothing
from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.wire import HttpResponse

if TYPE_CHECKING:
    from harness.simulator.connections import Conn, Exchange
    from harness.simulator.conversations import Conversation, Message, Plan
    from harness.simulator.engine import Engine, Taken
    from harness.simulator.faults.spec import FaultSpec

Option = tuple[Callable[[Any, str], Any], Any]
"""Reader and default of an option of its own."""


class Fault:
    """Base of all faults. `name` is how plans spell it."""

    name: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Option]] = {}
    direction: ClassVar[str] = "agent"
    """Whose messages it concerns, where the plan does not say: `agent`, `guest` or `both`."""
    impulse: ClassVar[bool] = False
    """Acts at moments (`at`, then each `every`) on whatever is there; otherwise it acts on each unit within its window."""
    needs_window: ClassVar[bool] = False
    """Is it senseless without an end?"""

    def __init__(self, spec: FaultSpec, rng: Random) -> None:
        self.spec, self.rng = spec, rng
        self.share = spec.share
        self.endpoint, self.dialect = spec.endpoint, spec.dialect
        self.of = spec.direction or type(self).direction
        self.active = False

    def option(self, name: str) -> Any:
        """One of its own options."""
        return self.spec.options.get(name, type(self).options[name][1])

    @property
    def acts_at_moments(self) -> bool:
        """Impulse or per unit: killers of connections do both, by what the plan says."""
        return type(self).impulse

    def hit(self) -> bool:
        """Draw whether this unit is one of the share."""
        return self.share >= 1.0 or self.rng.random() < self.share

    def concerns(self, message: Message, conv: Conversation) -> bool:
        """Is this message one of those that the plan means?"""
        return (self.of == "both" or message.direction == self.of) and (not self.dialect or conv.dialect.name == self.dialect)

    def concerns_exchange(self, exchange: Exchange) -> bool:
        """Is this HTTP request one of those that the plan means?"""
        route = exchange.route
        if route is None:
            return False
        if self.endpoint and route.endpoint != self.endpoint:
            return False
        return not self.dialect or (exchange.half is not None and exchange.half.name == self.dialect)

    def concerns_upgrade(self, conn: Conn) -> bool:
        """Is this WebSocket, at its beginning, one of those that the plan means?"""
        return (not self.endpoint or conn.endpoint == self.endpoint) and (not self.dialect or conn.dialect.name == self.dialect)

    # ------------------------------------------------------------ hooks
    def on_start(self, engine: Engine, now: int) -> None:
        """Its window opens."""

    def on_stop(self, engine: Engine, now: int) -> None:
        """Its window closes."""

    def on_moment(self, engine: Engine, now: int) -> None:
        """An impulse is due."""

    def on_guest(self, engine: Engine, now: int, taken: Taken) -> None:
        """A guest's message is about to be stored: may change `taken`."""

    def on_agent(self, engine: Engine, now: int, conv: Conversation) -> str:
        """An agent's message is about to be stored: `""`, `lose` or `twice`."""
        return ""

    def on_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """A message is about to be pushed: may change the plan."""

    def after_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """It was pushed (or was not)."""

    def on_upgrade(self, engine: Engine, now: int, conn: Conn) -> HttpResponse | None:
        """A WebSocket is asked for: an answer refuses it, status 0 cuts it."""
        return None

    def on_open(self, engine: Engine, now: int, conn: Conn) -> None:
        """A WebSocket was accepted."""

    def on_request(self, engine: Engine, now: int, exchange: Exchange) -> bool:
        """A request came in. True: the fault has dealt with it."""
        return False

    def on_answer(self, engine: Engine, now: int, exchange: Exchange, response: HttpResponse) -> HttpResponse | None:
        """An answer is about to go out: give back what goes instead, or None when the fault has dealt with it."""
        return response

    def latency(self, engine: Engine, now: int, ns: int) -> int:
        """The server is about to take `ns` for something."""
        return ns

    def service(self, engine: Engine, now: int, ns: int) -> int:
        """One of the servers is about to work `ns` on something."""
        return ns

    def fails(self, engine: Engine, now: int, conn: Conn) -> bool:
        """A message came over a WebSocket. True: it is answered with an error, and nothing is done about it."""
        return False

    def planted_bytes(self, now: int) -> int:
        """Memory that the server seems to need besides."""
        return 0

    def planted_undelivered(self, now: int) -> int:
        """Messages that seem to wait for their delivery besides."""
        return 0

    def refuses(self, engine: Engine, now: int, endpoint: str) -> int:
        """0, or for how long (ns) a limit of the fault's refuses this."""
        return 0

    def skew_ns(self, now: int) -> int:
        """What is added to the server's timestamps."""
        return 0


HOOKS = (
    "on_guest",
    "on_agent",
    "on_delivery",
    "after_delivery",
    "on_upgrade",
    "on_open",
    "on_request",
    "on_answer",
    "latency",
    "service",
    "fails",
    "planted_bytes",
    "planted_undelivered",
    "refuses",
    "skew_ns",
)


class Killer(Fault):
    """Ends or numbs connections.

    At moments if the plan gives `every`, or `at` with neither a share nor a length; else per delivery and per answer
    (with a `direction` in the plan per delivery only, with an `endpoint` per answer only).
    """

    @property
    def acts_at_moments(self) -> bool:
        """By what the plan says."""
        spec = self.spec
        return spec.every is not None or (not spec.share_given and spec.length is None and spec.at > 0)

    def strike(self, engine: Engine, now: int, conn: Conn) -> None:
        """Do it to a WebSocket."""

    def strike_exchange(self, engine: Engine, now: int, exchange: Exchange) -> bool:
        """Do it to an HTTP exchange. False: it does not concern HTTP."""
        return False

    def on_moment(self, engine: Engine, now: int) -> None:
        """Strike a share of all ready connections, and of all requests that wait for their answer."""
        for conn in list(engine.conns.values()):
            if conn.ready and conn.usable and (not self.dialect or conn.dialect.name == self.dialect) and self.hit():
                engine.act(now, self.name, conn.id)
                self.strike(engine, now, conn)
        for exchange in list(engine.pending.values()):
            if (
                not exchange.done
                and self.concerns_exchange(exchange)
                and self.hit()
                and self.strike_exchange(engine, now, exchange)
            ):
                engine.act(now, self.name, exchange.id)

    def after_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """Per unit: strike the connections that the message went to."""
        if self.acts_at_moments or self.endpoint or not self.concerns(plan.message, plan.conv):
            return
        for conn in plan.conv.dialect.connections(plan.conv):
            if conn.usable and conn.gate is None and self.hit():
                engine.act(now, self.name, conn.id)
                self.strike(engine, now, conn)

    def on_answer(self, engine: Engine, now: int, exchange: Exchange, response: HttpResponse) -> HttpResponse | None:
        """Per unit: strike the exchange."""
        if self.acts_at_moments or self.spec.direction or not self.concerns_exchange(exchange) or not self.hit():
            return response
        if not self.strike_exchange(engine, now, exchange):
            return response
        engine.act(now, self.name, exchange.id)
        return None
