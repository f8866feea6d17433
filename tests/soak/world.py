"""Virtual time: guest sessions and the simulator's engine joined by a simulated network, without a socket or a sleep.

The network keeps what TCP keeps: order within a connection, bytes written before a reset stay readable, bytes the server
had not read are gone, and what is written on one connection says nothing about another. One-way delay is drawn per
connection and unit from a seeded generator.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from harness.core.session import GuestSession
from harness.core.wire import (
    CloseSocket,
    Finished,
    HttpFailure,
    HttpRequest,
    HttpResponse,
    OpenSocket,
    SendText,
    SocketEnd,
)

MS = 1_000_000
SECOND = 1_000_000_000


class Pipe:
    """One direction of one connection: FIFO with a delay per unit."""

    __slots__ = ("last", "world")

    def __init__(self, world: World) -> None:
        self.world, self.last = world, 0

    def send(self, act: Callable[[int], None]) -> None:
        at = max(self.world.now + self.world.delay(), self.last + 1)
        self.last = at
        self.world.at(at, act)


class WebSocket:
    """Both ends of one virtual WebSocket."""

    __slots__ = ("address", "conn", "down", "guest", "guest_over", "handle", "server_ended", "server_over", "up")

    def __init__(self, world: World, guest: Guest, conn: int, handle: int, address: str) -> None:
        self.guest, self.conn, self.handle, self.address = guest, conn, handle, address
        self.up, self.down = Pipe(world), Pipe(world)
        self.guest_over = False  # the guest's reader has met the end
        self.server_over = False  # the server has read the guest's close, or ended the connection itself
        self.server_ended = False


class Lane:
    """One HTTP connection of a guest; requests strictly one after the other."""

    __slots__ = ("address", "busy", "pipe_down", "pipe_up", "queue")

    def __init__(self, world: World) -> None:
        self.queue: deque[HttpRequest] = deque()
        self.busy = False
        self.address = ""
        self.pipe_up, self.pipe_down = Pipe(world), Pipe(world)


class Exchange:
    """One HTTP request under way."""

    __slots__ = ("done", "gone", "guest", "lane", "request")

    def __init__(self, guest: Guest, lane: Lane, request: HttpRequest) -> None:
        self.guest, self.lane, self.request = guest, lane, request
        self.done = self.gone = False


class Guest:
    """Shell of one session in virtual time."""

    def __init__(self, world: World, session: GuestSession) -> None:
        self.world, self.session = world, session
        self.lanes: dict[str, Lane] = {}
        self.sockets: dict[int, WebSocket] = {}
        self.armed = -1
        self.finished_ns = 0

    def call(self, act: Callable[[int], None]) -> None:
        """Let the session take one input, then carry out what it asks for."""
        act(self.world.now)
        self.pump()

    def pump(self) -> None:
        while outputs := self.session.outputs():
            for output in outputs:
                self.carry_out(output)
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
        world = self.world
        if isinstance(output, HttpRequest):
            lane = self.lanes.setdefault(output.lane, Lane(world))
            lane.queue.append(output)
            self._next_request(lane)
        elif isinstance(output, OpenSocket):
            self._open(output)
        elif isinstance(output, SendText):
            socket = self.sockets.get(output.conn)
            if socket is not None:
                if output.key:
                    self.session.on_written(world.now, output.key)
                text = output.text
                socket.up.send(lambda now: world.frame_to_server(socket, text))
        elif isinstance(output, CloseSocket):
            socket = self.sockets.get(output.conn)
            if socket is not None:
                code = output.code
                socket.up.send(lambda now: world.close_to_server(socket, code))
        elif isinstance(output, Finished):
            self.finished_ns = world.now

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
                socket.down.send(lambda at: self.call(lambda n: self.session.on_open(n, output.conn, address)))
            elif answer.status == 0:
                socket.down.send(
                    lambda at: self.call(lambda n: self.session.on_open_failed(n, output.conn, "connection_reset", None))
                )
            else:
                socket.down.send(
                    lambda at: self.call(lambda n: self.session.on_open_failed(n, output.conn, "upgrade_refused", answer))
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

    # ------------------------------------------------------------ clock
    def at(self, when: int, act: Callable[[int], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, act))

    def delay(self) -> int:
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
        self._ports += 1
        return f"10.{self._ports >> 24 & 255}.{self._ports >> 16 & 255}.{self._ports >> 8 & 255}:{40000 + (self._ports & 255)}"

    def new_handle(self) -> int:
        self._handles += 1
        return self._handles

    def watch_engine(self) -> None:
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
        if not socket.server_over:
            self.engine.on_frame(self.now, socket.handle, text)
            self.watch_engine()

    def close_to_server(self, socket: WebSocket, code: int) -> None:
        if socket.server_over:
            return
        socket.server_over = True
        # The shell echoes the close before anything else can be written: whatever the engine pushed earlier is already under way.
        socket.down.send(lambda now: self.end_for_guest(socket, SocketEnd(code, "", "")))
        self.engine.on_socket_closed(self.now, socket.handle, "guest", code)
        self.watch_engine()

    def end_for_guest(self, socket: WebSocket, end: SocketEnd) -> None:
        if socket.guest_over:
            return
        socket.guest_over = True
        socket.guest.sockets.pop(socket.conn, None)
        self.sockets.pop(socket.handle, None)
        socket.guest.call(lambda now: socket.guest.session.on_closed(now, socket.conn, end))

    # ------------------------------------------------------------ Outlet: engine to guest
    def push(self, conn: int, text: str) -> bool:
        socket = self.sockets.get(conn)
        if socket is None or socket.server_over:
            return False
        socket.down.send(lambda now: self._frame_to_guest(socket, text))
        return True

    def push_bytes(self, conn: int, data: bytes) -> bool:
        socket = self.sockets.get(conn)
        if socket is None or socket.server_over:
            return False
        socket.down.send(lambda now: self._frame_to_guest(socket, data))
        return True

    def _frame_to_guest(self, socket: WebSocket, data: str | bytes) -> None:
        if not socket.guest_over:
            socket.guest.call(lambda now: socket.guest.session.on_frame(now, socket.conn, data))

    def close(self, conn: int, code: int, reason: str) -> None:
        self._end(conn, SocketEnd(code, reason, ""), code)

    def reset(self, conn: int) -> None:
        self._end(conn, SocketEnd(0, "", "connection_reset"), 0)

    def tear(self, conn: int, text: str) -> None:
        self._end(conn, SocketEnd(0, "", "connection_reset"), 0)

    def _end(self, conn: int, end: SocketEnd, code: int) -> None:
        socket = self.sockets.get(conn)
        if socket is None or socket.server_over:
            return
        socket.server_over = socket.server_ended = True
        socket.down.send(lambda now: self.end_for_guest(socket, end))

        # The engine is told on a turn of its own, as a real shell does.
        def told(now: int) -> None:
            self.engine.on_socket_closed(now, conn, "server", code)
            self.watch_engine()

        self.at(self.now, told)

    def respond(self, request: int, response: HttpResponse) -> None:
        exchange = self.exchanges.pop(request, None)
        if exchange is None:
            return

        def deliver(now: int) -> None:
            if not exchange.done:
                exchange.guest.finish(exchange, response)

        exchange.lane.pipe_down.send(deliver)

        def told(now: int) -> None:
            self.engine.on_responded(now, request, True)
            self.watch_engine()

        self.at(self.now, told)

    def cut(self, request: int) -> None:
        exchange = self.exchanges.pop(request, None)
        if exchange is None:
            return

        def deliver(now: int) -> None:
            if not exchange.done:
                exchange.guest.finish(exchange, HttpFailure("connection_reset", True))

        exchange.lane.pipe_down.send(deliver)
