"""The vocabulary of I/O: what a guest session may ask its shell for, and what comes back.

The only module of `core` that the simulator may import. Plain data; nobody here opens anything. Paths, headers, bodies and texts
may hold credentials, so that no repr shows them.
All instants are nanoseconds of one monotonic clock, all durations nanoseconds.
"""

from __future__ import annotations

import msgspec


class HttpRequest(msgspec.Struct, gc=False):
    """One HTTP exchange that the guest wants. `id` travels as `X-Request-Id` and joins journal and truth."""

    id: str
    endpoint: str
    """Template such as `POST /api/v2/conversations/{id}/messages`: a closed set, never with an id or a token in it."""
    base: str
    """Which of the target's base URLs: `api`, `login`, `org`, `webchat`, `messaging`, `files`."""
    method: str
    path: str
    """Path and query, percent-encoded."""
    headers: list[tuple[str, str]]
    body: bytes
    timeout_ns: int
    lane: str = "main"
    """Requests of one lane share one connection and are sent strictly one after the other."""
    intended_ns: int = 0
    start_ns: int = 0
    """Set by the shell at the moment before the first byte is written (0: never written)."""
    local: str = ""
    """`ip:port` of the guest's end, set by the shell once connected."""

    def __repr__(self) -> str:
        return f"HttpRequest(id={self.id!r}, endpoint={self.endpoint!r})"


class HttpResponse(msgspec.Struct, gc=False):
    """A whole answer. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"HttpResponse(status={self.status})"


class HttpFailure(msgspec.Struct, gc=False):
    """No answer: `cause` is a value of `FailureCause`; `written` tells if the request may have reached the server."""

    cause: str
    written: bool


class OpenSocket(msgspec.Struct, gc=False):
    """Open WebSocket number `conn` (counted per guest from 1: the epoch) at a base URL's path."""

    conn: int
    request_id: str
    base: str
    path: str
    headers: list[tuple[str, str]]
    timeout_ns: int
    intended_ns: int = 0
    start_ns: int = 0

    def __repr__(self) -> str:
        return f"OpenSocket(conn={self.conn}, request_id={self.request_id!r}, base={self.base!r})"


class SendText(msgspec.Struct, gc=False):
    """Write one text frame. `key` > 0 asks for `session.on_written(now, key)` with the instant before the first byte."""

    conn: int
    text: str
    key: int = 0

    def __repr__(self) -> str:
        return f"SendText(conn={self.conn}, key={self.key})"


class PingSocket(msgspec.Struct, gc=False):
    """Write a ping control frame (RFC 6455 §5.5.2); the pong comes back by `session.on_pong(now, conn)`."""

    conn: int


class CloseSocket(msgspec.Struct, gc=False):
    """Begin the closing handshake: send a close frame, then read on until the peer's close frame or end of file."""

    conn: int
    code: int
    reason: str


class Finished(msgspec.Struct, gc=False):
    """The guest is done; nothing more will be asked for."""


Output = HttpRequest | OpenSocket | SendText | PingSocket | CloseSocket | Finished


class SocketEnd(msgspec.Struct, gc=False):
    """How a WebSocket ended, as its reader saw it.

    `code` and `reason` are the peer's close frame (code 0: none came). `cause` is `""` for a close frame or a clean end of
    file, else a value of `FailureCause`.
    """

    code: int
    reason: str
    cause: str
