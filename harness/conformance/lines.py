"""What lies between a virtual guest and the engine: one-way pipes, WebSockets, HTTP lanes with one exchange at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.core.wire import HttpRequest

if TYPE_CHECKING:
    from harness.conformance.world import Guest, World


class Pipe:
    """One direction of one connection: FIFO with a delay per unit."""

    __slots__ = ("last", "world")

    def __init__(self, world: World) -> None:
        self.world, self.last = world, 0

    def send(self, act: Callable[[int], None]) -> None:
        """Let something arrive at the other end, after all that was sent before."""
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
