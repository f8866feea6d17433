"""Virtual time: guest sessions and the simulator's engine joined by a simulated network, without a socket or a sleep.

The network keeps what TCP keeps: order within a connection, bytes written before a reset stay readable, bytes the server
had not read are gone, and what is written on one connection says nothing about another. One-way delay is drawn per
connection and unit from a seeded generator.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

from harness.conformance.lines import Exchange, Lane, Pipe, WebSocket
from harness.core.session import GuestSession
from harness.core.wire import (
    CloseSocket,
    Finished,
    HttpFailure,
    HttpRequest,
    HttpResponse,
    OpenSocket,
    PingSocket,
    SendText,
    SocketEnd,
)

MS = 1_000_000
SECOND = 1_000_000_000


class Guest:
    """Shell of one session in virtual time."""

    def __init__(self, world: World, session: GuestSession) -> None:
        self.world, self.session = world, session
        self.lanes: dict[str, Lane] = {}
        self.sockets: dict[int, WebSocket] = {}
        self.armed = -1
        self.finished_ns = 0
        self.watch: Callable[[GuestSession], None] | None = None
        """Called whenever the session has been let do something."""

    def call(self, act: Callable[[int], None]) -> None:
        """Let the session take one input, then carry out what it asks for."""
        act(self.world.now)
        self.pump()

    def pump(self) -> None:
        """Carry out what the session asks for and watch its next deadline."""
        while outputs := self.session.outputs():
            for output in outputs:
                self.carry_out(output)
        if self.watch is not None:
            self.watch(self.session)
        deadline = self.session.next_deadline()
        if deadline is not None and deadline != self.armed:
            self.armed = deadline
            self.world.at(max(deadline, self.world.now), self._tick)

    def _tick(self, now: int) -> None:
        if self.armed <= now:
            self.armed = -1
        deadline = self.session.next_deadline()
        if deadline is not None and deadline <= now:
            self.session.on_deadline(now)
        self.pump()

    def carry_out(self, output: Any) -> None:
        """One thing that the session asks for."""
        world = self.world
        if isinstance(output, HttpRequest):
            lane = self.lanes.setdefault(output.lane, Lane(world))
            lane.queue.append(output)
            self._next_request(lane)
        elif isinstance(output, OpenSocket):
            self._open(output)
        elif isinstance(output, SendText):
            self._send(output)
        elif isinstance(output, PingSocket):
            self._ping(output)
        elif isinstance(output, CloseSocket):
            self._close(output)
        elif isinstance(output, Finished):
            self.finished_ns = world.now

    def _send(self, output: SendText) -> None:
        socket = self.sockets.get(output.conn)
        if socket is None:
            return
        world, text = self.world, output.text
        if output.key:
            self.session.on_written(world.now, output.key)
        socket.up.send(lambda _: world.frame_to_server(socket, text))

    def _ping(self, output: PingSocket) -> None:
        socket = self.sockets.get(output.conn)
        if socket is not None:
            world = self.world
            socket.up.send(lambda _: world.ping_to_server(socket))

    def _close(self, output: CloseSocket) -> None:
        socket = self.sockets.get(output.conn)
        if socket is not None:
            world, code = self.world, output.code
            socket.up.send(lambda _: world.close_to_server(socket, code))

    def _open(self, output: OpenSocket) -> None:
        world = self.world
        output.start_ns = world.now
        address = world.new_address()
        handle = world.new_handle()
        socket = WebSocket(world, self, output.conn, handle, address)

        def arrive(now: int) -> None:
            answer = world.engine.on_upgrade(now, handle, address, output.path, {k.lower(): v for k, v in output.headers})
            if answer is None:
                world.sockets[handle] = socket
                self.sockets[output.conn] = socket
                socket.down.send(lambda _: self.call(lambda n: self.session.on_open(n, output.conn, address)))
            elif answer.status == 0:
                socket.down.send(
                    lambda _: self.call(lambda n: self.session.on_open_failed(n, output.conn, "connection_reset", None))
                )
            else:
                socket.down.send(
                    lambda _: self.call(lambda n: self.session.on_open_failed(n, output.conn, "upgrade_refused", answer))
                )
            world.watch_engine()

        socket.up.send(arrive)

    def _next_request(self, lane: Lane) -> None:
        if lane.busy or not lane.queue:
            return
        world = self.world
        request = lane.queue.popleft()
        lane.busy = True
        if not lane.address:
            lane.address = world.new_address()
            lane.pipe_up, lane.pipe_down = Pipe(world), Pipe(world)
        request.start_ns, request.local = world.now, lane.address
        exchange = Exchange(self, lane, request)
        handle = world.new_handle()
        address = lane.address

        def arrive(now: int) -> None:
            if exchange.done:
                return
            world.exchanges[handle] = exchange
            headers = {name.lower(): value for name, value in request.headers}
            world.engine.on_request(now, handle, address, request.method, request.path, headers, request.body)
            world.watch_engine()

        def give_up(now: int) -> None:
            if exchange.done:
                return
            self.finish(exchange, HttpFailure("timeout", True))

            def gone(at: int) -> None:
                if world.exchanges.pop(handle, None) is not None:
                    world.engine.on_request_gone(at, handle)
                    world.watch_engine()

            world.at(now + world.delay(), gone)

        lane.pipe_up.send(arrive)
        world.at(world.now + request.timeout_ns, give_up)

    def finish(self, exchange: Exchange, outcome: HttpResponse | HttpFailure) -> None:
        """An exchange is over for the guest."""
        exchange.done = True
        exchange.lane.busy = False
        if isinstance(outcome, HttpFailure):
            exchange.lane.address = ""
        self.call(lambda now: self.session.on_http(now, exchange.request, outcome))
        self._next_request(exchange.lane)


class World:
    """The clock, the network, and the engine's outlet."""

    def __init__(self, seed: int, *, start_ns: int = 1000 * SECOND, delay_ns: tuple[int, int] = (MS // 5, 3 * MS)) -> None:
        self.now = start_ns
        self.rng = Random(f"world/{seed}")
        self.delay_ns = delay_ns
        self.engine: Any = None
        self.guests: list[Guest] = []
        self.sockets: dict[int, WebSocket] = {}
        self.exchanges: dict[int, Exchange] = {}
        self.events = 0
        self._heap: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = 0
        self._handles = 0
        self._ports = 0
        self._engine_armed = -1
        self.ghosts: set[int] = set()
        """Requests and connections of nobody: the engine is told what became of them, no guest is."""
        self.spoil: Callable[[HttpResponse], HttpResponse | HttpFailure] | None = None
        """What becomes of the next answer on its way to a guest."""

    # ------------------------------------------------------------ clock
    def at(self, when: int, act: Callable[[int], None]) -> None:
        """Have something done at an instant; what was asked for first is done first."""
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, act))

    def delay(self) -> int:
        """One-way delay of one unit."""
        low, high = self.delay_ns
        return low + int(self.rng.random() * (high - low))

    def run(self, until: int) -> None:
        """Run every event up to and including `until`."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, _, act = heapq.heappop(heap)
            if when > self.now:
                self.now = when
            self.events += 1
            act(self.now)
        self.now = max(self.now, until)

    def new_address(self) -> str:
        """`ip:port` of a new connection of a guest."""
        self._ports += 1
        return f"10.{self._ports >> 24 & 255}.{self._ports >> 16 & 255}.{self._ports >> 8 & 255}:{40000 + (self._ports & 255)}"

    def new_handle(self) -> int:
        """The engine's number for a connection or request."""
        self._handles += 1
        return self._handles

    def watch_engine(self) -> None:
        """Have the engine called at its next deadline."""
        deadline = self.engine.next_deadline()
        if deadline is not None and deadline != self._engine_armed:
            self._engine_armed = deadline
            self.at(max(deadline, self.now), self._engine_tick)

    def _engine_tick(self, now: int) -> None:
        if self._engine_armed <= now:
            self._engine_armed = -1
        deadline = self.engine.next_deadline()
        if deadline is not None and deadline <= now:
            self.engine.on_deadline(now)
        self.watch_engine()

    # ------------------------------------------------------------ guest to server
    def frame_to_server(self, socket: WebSocket, text: str) -> None:
        """A guest's frame has arrived."""
        if not socket.server_over:
            self.engine.on_frame(self.now, socket.handle, text)
            self.watch_engine()

    def ping_to_server(self, socket: WebSocket) -> None:
        """A guest's ping control frame has arrived; the engine answers it by `pong`, when it pleases."""
        if not socket.server_over:
            self.engine.on_ping(self.now, socket.handle, b"")
            self.watch_engine()

    def close_to_server(self, socket: WebSocket, code: int) -> None:
        """A guest's close frame has arrived."""
        if socket.server_over:
            return
        socket.server_over = True
        # The shell echoes the close before anything else can be written: whatever the engine pushed earlier is already under way.
        socket.down.send(lambda _: self.end_for_guest(socket, SocketEnd(code, "", "")))
        self.engine.on_socket_closed(self.now, socket.handle, "guest", code)
        self.watch_engine()

    def end_for_guest(self, socket: WebSocket, end: SocketEnd) -> None:
        """The guest's reader meets the end."""
        if socket.guest_over:
            return
        socket.guest_over = True
        socket.guest.sockets.pop(socket.conn, None)
        self.sockets.pop(socket.handle, None)
        socket.guest.call(lambda now: socket.guest.session.on_closed(now, socket.conn, end))

    # ------------------------------------------------------------ Outlet: engine to guest
    def push(self, conn: int, text: str) -> bool:
        """Write a text frame."""
        socket = self.sockets.get(conn)
        if socket is None or socket.server_over:
            return False
        socket.down.send(lambda _: self.frame_to_guest(socket, text))
        return True

    def push_bytes(self, conn: int, data: bytes) -> bool:
        """Write a binary frame."""
        socket = self.sockets.get(conn)
        if socket is None or socket.server_over:
            return False
        socket.down.send(lambda _: self.frame_to_guest(socket, data))
        return True

    def pong(self, conn: int, payload: bytes) -> None:  # noqa: ARG002
        """Answer a ping control frame."""
        socket = self.sockets.get(conn)
        if socket is not None and not socket.server_over:
            socket.down.send(lambda _: self._pong_to_guest(socket))

    def _pong_to_guest(self, socket: WebSocket) -> None:
        if not socket.guest_over:
            socket.guest.call(lambda now: socket.guest.session.on_pong(now, socket.conn))

    def frame_to_guest(self, socket: WebSocket, data: str | bytes) -> None:
        """A frame of the server's has arrived."""
        if not socket.guest_over:
            socket.guest.call(lambda now: socket.guest.session.on_frame(now, socket.conn, data))

    def close(self, conn: int, code: int, reason: str) -> None:
        """Begin to close."""
        self._end(conn, SocketEnd(code, reason, ""), code)

    def reset(self, conn: int) -> None:
        """Reset once all that was written is under way."""
        self._end(conn, SocketEnd(0, "", "connection_reset"), 0)

    def tear(self, conn: int, text: str) -> None:  # noqa: ARG002
        """Half a frame, then a reset: the guest's reader sees the reset only."""
        self._end(conn, SocketEnd(0, "", "connection_reset"), 0)

    def _end(self, conn: int, end: SocketEnd, code: int) -> None:
        socket = self.sockets.get(conn)
        if socket is None and conn in self.ghosts:
            self.ghosts.discard(conn)
        elif socket is None or socket.server_over:
            return
        else:
            socket.server_over = socket.server_ended = True
            socket.down.send(lambda _: self.end_for_guest(socket, end))

        # The engine is told on a turn of its own, as a real shell does.
        def told(now: int) -> None:
            self.engine.on_socket_closed(now, conn, "server", code)
            self.watch_engine()

        self.at(self.now, told)

    def respond(self, request: int, response: HttpResponse) -> None:
        """Answer."""
        exchange = self.exchanges.pop(request, None)
        if exchange is None and request not in self.ghosts:
            return
        outcome: HttpResponse | HttpFailure = response
        if exchange is not None and self.spoil is not None:
            spoil, self.spoil = self.spoil, None
            outcome = spoil(response)

        def deliver(_: int) -> None:
            if exchange is not None and not exchange.done:
                exchange.guest.finish(exchange, outcome)

        if exchange is not None:
            exchange.lane.pipe_down.send(deliver)

        def told(now: int) -> None:
            self.engine.on_responded(now, request, True)
            self.watch_engine()

        self.at(self.now, told)

    def cut(self, request: int) -> None:
        """Reset instead of an answer."""
        exchange = self.exchanges.pop(request, None)
        if exchange is None:
            return

        def deliver(_: int) -> None:
            if not exchange.done:
                exchange.guest.finish(exchange, HttpFailure("connection_reset", True))

        exchange.lane.pipe_down.send(deliver)
