"""The greenlet shell of one guest: a greenlet for each socket, one for each busy HTTP lane, and the driver for its timers.

Whoever read something calls the session with the instant of reading and carries out what the session asks for at once.
Carrying out never waits (frames are written without blocking, exchanges are handed to their lane), so that each call is
atomic under gevent, needs no lock, and the order of outputs is the order on the wire.
"""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event

from harness.core.session import GuestSession
from harness.core.wire import CloseSocket, HttpFailure, HttpRequest, OpenSocket, Output, PingSocket, SendText, SocketEnd
from harness.errors import FailureCause
from harness.swarm.guard import ConnectError
from harness.swarm.http import Lane
from harness.swarm.network import Network
from harness.swarm.ws import GuestSocket

OnFault = Callable[[GuestSession, BaseException], object]
_LAST_ROUNDS = 8


class _Lane:
    """Requests of one lane, and the greenlet that works them off (None: idle)."""

    __slots__ = ("current", "greenlet", "queue", "wire")

    def __init__(self, network: Network) -> None:
        self.wire = Lane(network)
        self.queue: deque[HttpRequest] = deque()
        self.current: HttpRequest | None = None
        self.greenlet: gevent.Greenlet[..., Any] | None = None


class _Socket:
    """One WebSocket and its reader."""

    __slots__ = ("greenlet", "is_open", "wire")

    def __init__(self, wire: GuestSocket) -> None:
        self.wire = wire
        self.is_open = False
        self.greenlet: gevent.Greenlet[..., Any] | None = None


class GreenletGuest:
    """Carries one session. `run` drives it until it has finished; every other method may be called from anywhere."""

    __slots__ = ("_armed", "_lanes", "_network", "_on_fault", "_over", "_sockets", "_wake", "session")

    def __init__(self, session: GuestSession, network: Network, on_fault: OnFault) -> None:
        self.session = session
        self._network, self._on_fault = network, on_fault
        self._lanes: dict[str, _Lane] = {}
        self._sockets: dict[int, _Socket] = {}
        self._wake = Event()
        self._over = Event()
        self._armed = 0
        """Deadline that the driver sleeps until; 0: it does not sleep, -1: it waits for a call."""

    # ---------------------------------------------------------------- life
    @property
    def finished(self) -> bool:
        """Nothing more will happen: the session has finished, was abandoned, or failed."""
        return bool(self._over.is_set())

    def start(self) -> None:
        """The guest arrives."""
        self.call(self.session.start)

    def stop(self) -> None:
        """Speak no more."""
        self.call(self.session.stop)

    def leave(self) -> None:
        """Read back, leave, end sockets, finish: as long as the protocol needs."""
        self.call(self.session.close)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has finished; whether it has."""
        return bool(self._over.wait(timeout_s))

    def run(self) -> None:
        """Drive the timers until the guest has finished."""
        session, wake = self.session, self._wake
        while not self._over.is_set():
            deadline = session.next_deadline()
            now = time.monotonic_ns()
            if deadline is None:
                self._armed = -1
                wake.wait()
            elif deadline > now:
                self._armed = deadline
                wake.wait((deadline - now) / 1e9)
            else:
                gevent.sleep(0)
            self._armed = 0
            wake.clear()
            now = time.monotonic_ns()
            deadline = session.next_deadline()
            if deadline is not None and deadline <= now and not self._over.is_set():
                self.call(session.on_deadline)

    def abandon(self) -> None:
        """Give up on it without I/O: everything under way fails as `interrupted`, and the books are closed."""
        if self._over.is_set():
            return
        requests = [request for lane in self._lanes.values() for request in (lane.current, *lane.queue) if request is not None]
        sockets = [(conn, socket.is_open) for conn, socket in self._sockets.items()]
        self._drop_all()
        session, cause = self.session, FailureCause.INTERRUPTED.value
        try:
            session.close(time.monotonic_ns())
            for _ in range(_LAST_ROUNDS):
                for output in session.outputs():
                    if isinstance(output, HttpRequest):
                        requests.append(output)
                    elif isinstance(output, OpenSocket):
                        sockets.append((output.conn, False))
                if session.finished or not (requests or sockets):
                    break
                for conn, was_open in sockets:
                    if was_open and (books := session.sockets.get(conn)) is not None:
                        books.begun_by_guest = True  # we cut it, and shall never know whether the server had ended it before
                        session.on_closed(time.monotonic_ns(), conn, SocketEnd(0, "", cause))
                    elif conn in session.sockets:
                        session.on_open_failed(time.monotonic_ns(), conn, cause, None)
                for request in requests:
                    session.on_http(time.monotonic_ns(), request, HttpFailure(cause, bool(request.start_ns)))
                requests, sockets = [], []
            session.abandon(time.monotonic_ns())
        except Exception as error:
            self._fault(error)
        self._finish()

    def call(self, act: Callable[[int], object]) -> None:
        """Let the session take an input now, and carry out what follows."""
        self._input(act, time.monotonic_ns())

    # ---------------------------------------------------------------- inputs and outputs
    def _input(self, act: Callable[..., object], now: int, *rest: object) -> None:
        if self._over.is_set():
            return
        try:
            act(now, *rest)
            self._pump()
        except Exception as error:
            self._fault(error)

    def _pump(self) -> None:
        session = self.session
        while outputs := session.outputs():
            for output in outputs:
                self._carry_out(output)
        if self._over.is_set():
            return
        deadline = session.next_deadline()
        if deadline is not None and self._armed and (self._armed < 0 or deadline < self._armed):
            self._wake.set()

    def _carry_out(self, output: Output) -> None:
        if isinstance(output, SendText):
            socket = self._sockets.get(output.conn)
            if socket is not None:
                socket.wire.send(output.text, output.key)
        elif isinstance(output, HttpRequest):
            lane = self._lanes.get(output.lane)
            if lane is None:
                lane = self._lanes[output.lane] = _Lane(self._network)
            lane.queue.append(output)
            if lane.greenlet is None:
                lane.greenlet = gevent.spawn(self._work, lane)
        elif isinstance(output, OpenSocket):
            socket = self._sockets[output.conn] = _Socket(GuestSocket(self._network, self.session.on_written))
            socket.greenlet = gevent.spawn(self._live, socket, output)
        elif isinstance(output, PingSocket):
            socket = self._sockets.get(output.conn)
            if socket is not None:
                socket.wire.ping()
        elif isinstance(output, CloseSocket):
            socket = self._sockets.get(output.conn)
            if socket is not None:
                socket.wire.close(output.code, output.reason)
        else:
            self._finish()

    # ---------------------------------------------------------------- greenlets
    def _work(self, lane: _Lane) -> None:
        """Requests of a lane, strictly one after the other, until there is none."""
        session = self.session
        while lane.queue and not self._over.is_set():
            request = lane.current = lane.queue.popleft()
            outcome: object
            try:
                outcome = lane.wire.exchange(request)
                failed = isinstance(outcome, HttpFailure)
            except Exception as error:
                self._fault(error)
                return
            lane.current = None
            self._input(session.on_http, time.monotonic_ns() if failed else lane.wire.end_ns, request, outcome)
        lane.greenlet = None

    def _live(self, socket: _Socket, request: OpenSocket) -> None:
        """A socket from its opening to its end."""
        session, wire, conn = self.session, socket.wire, request.conn
        try:
            try:
                refusal = wire.open(request)
            except ConnectError as error:
                wire.drop()
                self._sockets.pop(conn, None)
                self._input(session.on_open_failed, time.monotonic_ns(), conn, error.cause.value, None)
                return
            if refusal is not None:
                wire.drop()
                self._sockets.pop(conn, None)
                self._input(session.on_open_failed, wire.read_ns, conn, FailureCause.UPGRADE_REFUSED.value, refusal)
                return
            socket.is_open = True
            self._input(session.on_open, wire.read_ns, conn, wire.address)
            for message in wire.messages():
                if message is None:
                    self._input(session.on_pong, wire.read_ns, conn)
                else:
                    self._input(session.on_frame, wire.read_ns, conn, message)
            wire.drop()
            self._sockets.pop(conn, None)
            self._input(session.on_closed, time.monotonic_ns(), conn, wire.end)
        except Exception as error:
            self._fault(error)

    # ---------------------------------------------------------------- ends
    def _fault(self, error: Exception) -> None:
        """A defect of ours: it costs this guest, never the run."""
        if not self._over.is_set():
            self._on_fault(self.session, error)
            self._finish()

    def _finish(self) -> None:
        self._drop_all()
        self._over.set()
        self._wake.set()

    def _drop_all(self) -> None:
        """End every greenlet but the one that calls, and close every descriptor."""
        me = gevent.getcurrent()
        for lane in self._lanes.values():
            if lane.greenlet is not None and lane.greenlet is not me:
                lane.greenlet.kill(block=False)
            lane.wire.close()
        for socket in self._sockets.values():
            if socket.greenlet is not None and socket.greenlet is not me:
                socket.greenlet.kill(block=False)
            socket.wire.drop()
        self._lanes.clear()
        self._sockets.clear()
