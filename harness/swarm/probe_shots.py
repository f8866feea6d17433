"""How one request, upgrade or frame of a probe leaves and how its answer is taken, several in flight: stamps at write and read."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import gevent
import msgspec

from harness.core.probing import Answer, FrameProbe, Identity, RequestProbe, UpgradeProbe, read_response
from harness.core.wire import HttpFailure, OpenSocket
from harness.swarm.guard import ConnectError, Stream
from harness.swarm.http import Lane
from harness.swarm.network import Network
from harness.swarm.probe_guests import Cast, ProbeGuest, Tap
from harness.swarm.ws import GuestSocket

OnSent = Callable[[int, int], object]
"""Told (n, instant before the first byte)."""
OnAnswer = Callable[[int, int, Answer], object]
"""Told (n, instant of reading, what it says)."""
_NEITHER = Answer(None)
_LINGER_S = 1.0


class Shooter(Protocol):
    """Sends probes of one endpoint as one identity."""

    def shoot(self, n: int, on_sent: OnSent, on_answer: OnAnswer) -> None:
        """Send number `n` (from 0) as soon as may be; never waits. Both callbacks come once each, in this order."""

    def end(self) -> None:
        """Nothing more is sent; connections are closed."""


def shooter(cast: Cast, probe: RequestProbe | UpgradeProbe | FrameProbe, identity: Identity, guest: ProbeGuest) -> Shooter:
    """What sends this probe's."""
    table = cast.scenario.document.ratelimit
    if isinstance(probe, RequestProbe):
        return RequestShooter(probe, guest, cast.network(identity), table.connections)
    if isinstance(probe, UpgradeProbe):
        return UpgradeShooter(probe, guest, cast.network(identity))
    return FrameShooter(probe, guest, cast.network(identity), table.settle / 1e9)


# -------------------------------------------------------------------- HTTP
class _ProbeLane(Lane):
    """A lane that tells when it begins to write."""

    __slots__ = ("on_write",)

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.on_write: Callable[[int], object] = lambda _at: None

    def _write(self, stream: Stream, data: bytes, tls: bool) -> tuple[bool, bool]:  # type: ignore[override]
        self.on_write(time.monotonic_ns())
        return Lane._write(stream, data, tls)


class RequestShooter:
    """HTTP exchanges over several connections, the oldest that is free first."""

    def __init__(self, probe: RequestProbe, guest: ProbeGuest, network: Network, connections: int) -> None:
        self._probe, self._guest = probe, guest
        self._free = deque(_ProbeLane(network) for _ in range(connections))
        self._lanes = list(self._free)
        self._waiting: deque[tuple[int, OnSent, OnAnswer]] = deque()
        self._over = False

    def shoot(self, n: int, on_sent: OnSent, on_answer: OnAnswer) -> None:
        """Send number `n`."""
        self._waiting.append((n, on_sent, on_answer))
        if self._free and not self._over:
            gevent.spawn(self._work, self._free.popleft())

    def _work(self, lane: _ProbeLane) -> None:
        while self._waiting and not self._over:
            self._exchange(lane, *self._waiting.popleft())
        self._free.appendleft(lane)  # the one used last is the likeliest to be connected still

    def _exchange(self, lane: _ProbeLane, n: int, on_sent: OnSent, on_answer: OnAnswer) -> None:
        guest, told = self._guest, False

        def written(at: int) -> None:
            nonlocal told
            if not told:
                told = True
                on_sent(n, at)

        request = self._probe.form(guest.session, guest.seen, n + 1)
        lane.on_write = written
        outcome = HttpFailure("", False) if request is None else lane.exchange(request)
        written(time.monotonic_ns())  # for the books, where nothing left
        if isinstance(outcome, HttpFailure):
            on_answer(n, time.monotonic_ns(), _NEITHER)
        else:
            on_answer(n, lane.end_ns, read_response(outcome, self._probe.passes))

    def end(self) -> None:
        """Close every connection."""
        self._over = True
        self._waiting.clear()
        for lane in self._lanes:
            lane.close()


class UpgradeShooter:
    """Upgrades, each on a connection of its own, closed as soon as it is open."""

    def __init__(self, probe: UpgradeProbe, guest: ProbeGuest, network: Network) -> None:
        self._probe, self._guest, self._network = probe, guest, network
        self._over = False

    def shoot(self, n: int, on_sent: OnSent, on_answer: OnAnswer) -> None:
        """Send number `n`."""
        gevent.spawn(self._open, n, on_sent, on_answer)

    def _open(self, n: int, on_sent: OnSent, on_answer: OnAnswer) -> None:
        session: Any = self._guest.session
        context, settings = session.context, session.settings
        name = f"{context.run}.{context.slot}.p{n + 1}"
        headers = [("X-Request-Id", name)]
        if context.target.origin:
            headers.append(("Origin", context.target.origin))
        base, path = session._socket_target()
        wire = GuestSocket(self._network, lambda _at, _key: None)
        on_sent(n, time.monotonic_ns())
        try:
            refusal = wire.open(OpenSocket(n + 1, name, base, path, headers, settings.connect_timeout))
        except ConnectError:
            wire.drop()
            on_answer(n, time.monotonic_ns(), _NEITHER)
            return
        if refusal is not None:
            wire.drop()
            on_answer(n, wire.read_ns, read_response(refusal, self._probe.passes))
            return
        on_answer(n, wire.read_ns, Answer(True, 101))
        wire.close(1000, "probe")
        over = gevent.spawn_later(_LINGER_S, wire.drop)
        for _ in wire.messages():
            pass
        over.kill(block=False)
        wire.drop()

    def end(self) -> None:
        """Those that are open close by themselves."""


# -------------------------------------------------------------------- frames
class _Frame(msgspec.Struct):
    """A frame that waits for its answer."""

    n: int
    on_answer: OnAnswer
    done: bool = False

    def settle(self, at: int, answer: Answer) -> None:
        """It is answered, once."""
        if not self.done:
            self.done = True
            self.on_answer(self.n, at, answer)


class FrameShooter(Tap):
    """Frames on the guest's own socket. A server deals with them in order, so that a pong tells what came before its ping."""

    def __init__(self, probe: FrameProbe, guest: ProbeGuest, network: Network, settle_s: float) -> None:
        self._probe, self._guest, self._network, self._settle_s = probe, guest, network, settle_s
        self._waiting: deque[_Frame] = deque()
        self._named: dict[int, _Frame] = {}
        guest.tap = self

    def shoot(self, n: int, on_sent: OnSent, on_answer: OnAnswer) -> None:
        """Send number `n`."""
        if self._network.ceiling is not None:
            self._network.ceiling.wait()
        guest, probe = self._guest, self._probe
        frame = _Frame(n, on_answer)
        at = guest.write(probe.form(guest.session, n + 1), fence=probe.confirm == "silence") if guest.ready else 0
        on_sent(n, at or time.monotonic_ns())
        if not at:
            frame.settle(time.monotonic_ns(), _NEITHER)
            return
        self._waiting.append(frame)
        self._named[n + 1] = frame

    def frame(self, now: int, data: str | bytes) -> None:
        """An answer, if it is one."""
        answer = self._probe.read(self._guest.session, data)
        if answer is None:
            return
        frame = self._named.get(answer.n) if answer.n else self._oldest()
        if frame is not None:
            frame.settle(now, answer)
            self._named.pop(frame.n + 1, None)
            if self._probe.confirm == "order" and self._waiting and self._waiting[0] is frame:
                self._waiting.popleft()

    def _oldest(self) -> _Frame | None:
        return self._waiting[0] if self._waiting else None

    def pong(self, now: int) -> None:
        """The server has dealt with the frame before the oldest ping."""
        if self._probe.confirm != "silence" or not self._waiting:
            return
        frame = self._waiting.popleft()
        if not frame.done:
            gevent.spawn_later(self._settle_s, self._silent, frame, now)

    def _silent(self, frame: _Frame, at: int) -> None:
        self._named.pop(frame.n + 1, None)
        frame.settle(at, Answer(True))

    def down(self, now: int) -> None:
        """What is under way is lost."""
        waiting, self._waiting = self._waiting, deque()
        self._named.clear()
        for frame in waiting:
            frame.settle(now, _NEITHER)

    def end(self) -> None:
        """Listen no more."""
        if self._guest.tap is self:
            self._guest.tap = Tap()
