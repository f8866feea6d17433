"""Guests that are used for probing: their own protocol brings them to readiness, then probes use what they know and have open.

A probe bypasses the session (its back-off, its pace), but goes out over the session's own socket, or with its own token.
"""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import gevent

from harness.config import Scenario
from harness.core import ops
from harness.core.credentials import Secret
from harness.core.pacing import Behaviour
from harness.core.probing import Identity, Probes
from harness.core.session import Context, GuestSession, Target
from harness.core.spread import fixed, seconds
from harness.core.wire import HttpRequest, Output
from harness.dialects.registry import Dialect
from harness.swarm.engines.greenlet import GreenletGuest
from harness.swarm.guard import Guard
from harness.swarm.network import Network

_DAY_S = 86_400.0
_LOOK_S = 0.02
OnFault = Callable[[GuestSession, BaseException], object]


class Tap:
    """What a probe wants to hear of a guest. Instants are those of reading."""

    def frame(self, now: int, data: str | bytes) -> None:
        """A frame was read on the current socket."""

    def pong(self, now: int) -> None:
        """A pong was read on the current socket."""

    def down(self, now: int) -> None:
        """The current socket has ended: what waits for an answer waits in vain."""


class _Refusals:
    """An observer that keeps nothing but what a server refused as too much, by endpoint."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, int]] = {}
        """When it was said last, and the wait that was asked for (0: none)."""

    def record(self, row: ops.Row) -> None:
        """Take one row."""
        if isinstance(row, ops.Refused):
            self.found[row.endpoint] = (row.at_ns, row.retry_after_ns)


class ProbeGuest(GreenletGuest):
    """One guest, the requests it has made, and a place to listen at."""

    __slots__ = ("_once", "driver", "probes", "refusals", "seen", "tap")

    def __init__(self, session: GuestSession, network: Network, on_fault: OnFault, probes: Probes, refusals: _Refusals) -> None:
        super().__init__(session, network, on_fault)
        self.probes, self.refusals = probes, refusals
        self.seen: dict[str, HttpRequest] = {}
        self.tap = Tap()
        self._once = False
        self.driver: gevent.Greenlet[..., Any] | None = None

    def begin(self) -> None:
        """Arrive, and be driven from now on."""
        self.start()
        self.driver = gevent.spawn(self.run)

    @property
    def ready(self) -> bool:
        """Whether probes can use it."""
        return not self.finished and bool(self.probes.ready(self.session))

    def wait_ready(self, within_s: float, stopped: Callable[[], bool]) -> bool:
        """Wait until it is ready, no longer than that and not beyond an order to stop."""
        deadline = time.monotonic() + within_s
        while not self.ready:
            if time.monotonic() >= deadline or self.finished or stopped():
                return False
            gevent.sleep(_LOOK_S)
        if not self._once:
            self._once = True
            act = self.probes.once_ready
            if act is not None:
                self.call(lambda now: act(self.session, now))
                gevent.sleep(10 * _LOOK_S)
        return True

    def write(self, text: str, *, fence: bool) -> int:
        """Put a frame on the socket, and with `fence` a ping behind it; returns the instant before, 0: there is no socket."""
        socket = self._sockets.get(getattr(self.session, "_conn", 0))
        if socket is None or not socket.is_open or socket.wire.closing or socket.wire.broken:
            return 0
        at = time.monotonic_ns()
        socket.wire.send(text)
        if fence:
            socket.wire.ping()
        return at

    def end(self) -> None:
        """Give it up without ceremony."""
        self.abandon()
        if self.driver is not None:
            self.driver.kill(block=False)

    # ---------------------------------------------------------------- listening
    def _carry_out(self, output: Output) -> None:
        if isinstance(output, HttpRequest):
            self.seen[output.endpoint] = output
        super()._carry_out(output)

    def _input(self, act: Callable[..., object], now: int, *rest: object) -> None:
        session, tap = self.session, self.tap
        current = bool(rest) and rest[0] == getattr(session, "_conn", 0)
        if current and act == session.on_frame:
            tap.frame(now, rest[1])  # type: ignore[arg-type]
        elif current and act == session.on_pong:
            tap.pong(now)
        elif current and act == session.on_closed:
            tap.down(now)
        super()._input(act, now, *rest)


class Cast:
    """All guests of one dialect that probes use, one for each identity, and those that only hold something open."""

    def __init__(
        self,
        scenario: Scenario,
        dialect: Dialect,
        *,
        networks: dict[int, Network],
        targets: Callable[[Identity], Target],
        run: str,
        wall_offset_ns: int,
        on_fault: OnFault,
        first_slot: int,
    ) -> None:
        assert dialect.probes is not None
        self.scenario, self.dialect = scenario, dialect
        self._settings = scenario.settings(dialect.name)
        self.probes: Probes = dialect.probes(self._settings)
        self._networks, self._targets = networks, targets
        self._run, self._offset, self._on_fault = run, wall_offset_ns, on_fault
        self._slot = first_slot
        self._guests: dict[Identity, ProbeGuest] = {}

    def network(self, identity: Identity) -> Network:
        """The way out with the identity's source address."""
        return self._networks[identity.address]

    def born(self, identity: Identity, more: dict[str, Any] | None = None) -> ProbeGuest:
        """A guest that has not begun; nobody else has its slot."""
        slot, self._slot = self._slot, self._slot + 1
        refusals = _Refusals()
        behaviour = Behaviour(
            session_length=fixed(_DAY_S * 300),
            between=fixed(1.0),
            typing=0.0,
            attachments=0.0,
            reload=0.0,
            reply_timeout=seconds(30),
        )
        rng = Random(f"{self.scenario.seed}/probe/{slot}")
        context = Context(self._run, slot, self._targets(identity), behaviour, refusals, rng, self._offset)
        wanted = {**self.probes.settings, **(more or {})}
        session = self.dialect.session(context, replace(self._settings, **wanted))
        session.scripted = False
        return ProbeGuest(session, self.network(identity), self._on_fault, self.probes, refusals)

    def guest(self, identity: Identity) -> ProbeGuest:
        """The identity's guest, begun; another one where the last has finished."""
        guest = self._guests.get(identity)
        if guest is None or guest.finished:
            guest = self._guests[identity] = self.born(identity)
            guest.begin()
        return guest

    def end(self) -> None:
        """Nobody is needed any more."""
        for guest in self._guests.values():
            guest.end()
        self._guests.clear()


def targets_of(scenario: Scenario, network: Network, clients: list[tuple[str, Secret]]) -> Callable[[Identity], Target]:
    """Where an identity goes and as whom: `clients` are ids and secrets, the target's own first."""
    plain = replace(scenario.session_target(clients[0][1]), bases=network.bases)
    further = scenario.document.ratelimit.deployments

    def target(identity: Identity) -> Target:
        client, secret = clients[identity.credential]
        made = replace(plain, client_id=client, client_secret=secret)
        if identity.deployment:
            name = further[identity.deployment - 1]
            made = replace(made, deployment_id=name, channel_id=name)
        return made

    return target


def networks_of(plain: Network, scenario: Scenario, addresses: tuple[str, ...]) -> dict[int, Network]:
    """A way out for each source address, all under one ceiling and one judge of where they may go."""
    if not addresses:
        return {0: plain}
    approval = None if plain.simulated else scenario.authorisation
    found = {}
    for place, address in enumerate(addresses):
        guard = Guard(approval, sources=(address,))
        found[place] = Network(
            guard, plain.bases, plain.context, limits=plain.limits, ceiling=plain.ceiling, simulated=plain.simulated
        )
    return found
