"""Small servers and a scripted session for the tests of the shell."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
from collections.abc import Callable
from random import Random

import gevent

from harness.core.credentials import Secret
from harness.core.ops import Row
from harness.core.pacing import Behaviour
from harness.core.session import Context, GuestSession, Op, Socket, Target
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse, SocketEnd

OPENED: list[Callable[[], object]] = []
"""What to close after the test."""
OK_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def read_request(sock: socket.socket) -> bytes:
    """Head and body of one request; empty at end of file."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def reset(sock: socket.socket) -> None:
    """RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def upgrade(sock: socket.socket) -> bytes:
    """Accept a WebSocket; returns the request."""
    request = read_request(sock)
    key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
        + b"\r\n\r\n"
    )
    return request


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """A server's frame."""
    first = (0x80 if final else 0) | opcode
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


def read_frame(sock: socket.socket) -> tuple[int, bytes]:
    """One frame of a guest: opcode and unmasked payload; (-1, b"") at end of file."""

    def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = sock.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    try:
        first, second = exactly(2)
        assert second & 0x80, "a guest masks"
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", exactly(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", exactly(8))[0]
        mask = exactly(4)
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(exactly(size)))
    except EOFError:
        return -1, b""
    return first & 0x0F, payload


class Rows:
    """An observer that keeps everything."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def record(self, row: Row) -> None:
        self.rows.append(row)


class Scripted(GuestSession):
    """A session whose every input is written down, and which does what a test tells it to."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.log: list[tuple[object, ...]] = []
        self.on: dict[str, object] = {}
        self.stamps: list[int] = []
        self.poisoned = False

    def _did(self, what: str, now: int, *details: object) -> None:
        self.stamps.append(now)
        self.log.append((what, *details))
        if self.poisoned:
            raise RuntimeError("poisoned")
        act = self.on.get(what)
        if act is not None:
            act(now, *details)  # type: ignore[operator]

    def ask(self, now: int, path: str = "/x", *, timeout_ns: int = 2 * 10**9, body: bytes = b"", lane: str = "main") -> HttpRequest:
        return self._request(now, "token", "POST /x", "api", path, self._answered, body=body, timeout_ns=timeout_ns, lane=lane)

    def _answered(self, now: int, request: HttpRequest, outcome: HttpResponse | HttpFailure) -> None:
        self._did("http", now, request, outcome)

    def connect(self, now: int, path: str = "/ws") -> int:
        return self._open(now, "webchat", path, 2 * 10**9)

    def send_text(self, conn: int, text: str, key: int = 0) -> None:
        self._send(conn, text, key)

    def shut(self, conn: int, code: int) -> None:
        self._close(conn, code, "bye")

    def arm(self, name: str, at: int) -> None:
        self._arm(name, at)

    def on_written(self, now: int, key: int) -> None:
        self._did("written", now, key)
        super().on_written(now, key)

    def _begin_conversation(self, now: int) -> None:
        self._new_conversation()
        self._did("begin", now)

    def _transmit(self, now: int, op: Op) -> None:
        self._did("transmit", now, op)

    def _leave(self, now: int) -> None:
        self._did("leave", now)
        self._finish_if_done(now)

    def _on_timer(self, name: str, now: int, due: int) -> None:
        self._did("timer", now, name, due)

    def _on_stop(self, now: int) -> None:
        self._did("stop", now)

    def _on_open(self, now: int, conn: int) -> None:
        self._did("open", now, conn)

    def _on_open_failed(self, now: int, conn: int, cause: str, response: HttpResponse | None) -> None:
        self._did("open_failed", now, conn, cause, response)

    def _on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        self._did("frame", now, conn, data)

    def _on_closed(self, now: int, socket: Socket, end: SocketEnd) -> None:
        self._did("closed", now, socket.conn, end)


def scripted(slot: int = 1) -> tuple[Scripted, Rows]:
    """A session and its observer."""
    rows = Rows()
    target = Target("guestswarm", Secret("s3cr3t"))
    return Scripted(Context("ab12", slot, target, Behaviour(), rows, Random(slot), 0)), rows


def until(condition: object, timeout_s: float = 5.0) -> None:
    """Let greenlets run until the condition holds."""
    with gevent.Timeout(timeout_s):
        while not condition():  # type: ignore[operator]
            gevent.sleep(0.002)
