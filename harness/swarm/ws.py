"""One WebSocket of a guest, as its reader greenlet lives it.

Frames are websocket-client's; the rest is ours. Its handshake reads byte by byte, keeps a cookie jar for the whole process
and takes a refusal of any size; its `close()` swallows GreenletExit and knows no code but 1000. Here: bytes are read in
blocks and stamped at once, writes never wait in the caller's greenlet, and a close, begun by whichever side, is read to its
end. After a failed write the socket is read on as well: what the server had sent before is still there.
"""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import base64
import hashlib
import hmac
import os
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent.hub import get_hub
from geventhttpclient.response import HTTPParseError
from websocket._abnf import ABNF, frame_buffer

from harness.core.wire import HttpResponse, OpenSocket, SocketEnd
from harness.errors import FailureCause
from harness.swarm.guard import ConnectError, Stream, local_address
from harness.swarm.http import Answer
from harness.swarm.network import Network, head

_BLOCK = 16 * 1024
_TURNS = 64
"""Blocks read in a row before other greenlets get a turn, whatever a server floods us with."""
_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTROL = 0x8
_PROTOCOL_ERROR = 1002
_LENGTH_BITS = 6

OnWritten = Callable[[int, int], object]


class _EndOfFileError(Exception):
    """The peer has shut its side."""


class _ViolationError(Exception):
    """Bytes that are no WebSocket."""


class _Frames(frame_buffer):
    """websocket-client's frame reader with a bound, and without its opinion on close codes and text."""

    def __init__(self, recv: Callable[[int], bytes], skip: Callable[[int], None], limit: int) -> None:
        super().__init__(recv, skip_utf8_validation=True)
        self._skip, self._limit = skip, limit

    def next(self) -> tuple[bool, int, bytes]:
        """One frame: final, opcode, payload; of a payload beyond the limit only its beginning."""
        self.recv_header()
        header: Any = self.header
        final, rsv1, rsv2, rsv3, opcode, masked, bits = header
        if rsv1 or rsv2 or rsv3 or masked or opcode not in ABNF.OPCODES:
            raise _ViolationError
        if opcode & _CONTROL and (not final or bits > 125):
            raise _ViolationError
        self.recv_length()
        length: Any = self.length
        kept = min(length, self._limit)
        payload = self.recv_strict(kept)
        if length > kept:
            self._skip(length - kept)
        self.clear()
        return bool(final), opcode, payload


class _Incoming:
    """What has been read of a socket and not yet taken.

    It knows nothing of its `GuestSocket`: a cycle waits for the collector, which hardly ever runs in a load process.
    """

    __slots__ = ("_at", "_blocks", "_bytes", "read_ns", "stream")

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.read_ns = 0
        self._bytes, self._at, self._blocks = b"", 0, 0

    def block(self) -> bytes:
        """The next bytes as they come, stamped. Raises _EndOfFileError, OSError."""
        stream = self.stream
        if stream is None:
            raise OSError
        self._blocks += 1
        if self._blocks % _TURNS == 0:
            gevent.sleep(0)
        data = stream.recv(_BLOCK)
        self.read_ns = time.monotonic_ns()
        if not data:
            raise _EndOfFileError
        return data

    def put_back(self, data: bytes) -> None:
        """To be taken first."""
        self._bytes, self._at = data, 0

    def take(self, size: int) -> bytes:
        """One byte or more, `size` at most."""
        if self._at >= len(self._bytes):
            self._bytes, self._at = self.block(), 0
        data = self._bytes[self._at : self._at + size]
        self._at += len(data)
        return data

    def skip(self, size: int) -> None:
        """Take as many bytes for nothing."""
        while size > 0:
            size -= len(self.take(min(size, _BLOCK)))


class GuestSocket:
    """Opens, reads and closes. `open` and `messages` belong to the reader greenlet; `send` and `close` to anybody."""

    def __init__(self, network: Network, on_written: OnWritten) -> None:
        self._network, self._on_written = network, on_written
        self._stream: Stream | None = None
        self._incoming = incoming = _Incoming()
        self._frames = _Frames(incoming.take, incoming.skip, network.limits.max_frame)
        self._unsent: deque[tuple[bytes, int]] = deque()
        self._unsent_bytes = 0
        self._flusher: gevent.Greenlet[..., Any] | None = None
        self._linger: Any = None
        self._cause = FailureCause.TIMEOUT
        self.address = ""
        self.end = SocketEnd(0, "", "")
        """How it ended, once `messages` is exhausted."""
        self.closing = self.broken = False

    # ---------------------------------------------------------------- opening
    def open(self, request: OpenSocket) -> HttpResponse | None:
        """None once it is open, else the server's refusal. Raises ConnectError for anything else."""
        network = self._network
        if network.ceiling is not None:
            network.ceiling.wait()
        bound = gevent.Timeout(max(request.timeout_ns, 1) / 1e9)
        bound.start()
        request.start_ns = time.monotonic_ns()
        try:
            refusal = self._open(request)
        except gevent.Timeout as struck:
            if struck is not bound:
                raise
            raise ConnectError(FailureCause.TIMEOUT if self._stream else FailureCause.CONNECT_TIMEOUT) from None
        finally:
            bound.close()
        self._incoming.read_ns = self._incoming.read_ns or time.monotonic_ns()
        return refusal

    @property
    def read_ns(self) -> int:
        """When the block with the end of the last frame was read."""
        return self._incoming.read_ns

    def _open(self, request: OpenSocket) -> HttpResponse | None:
        network = self._network
        key = base64.b64encode(os.urandom(16))
        origin = network.origin(request.base)
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", key.decode()),
            ("Sec-WebSocket-Version", "13"),
            *request.headers,
        ]
        try:
            data = head("GET", origin, request.path, headers) + b"\r\n"
        except ValueError as error:
            raise ConnectError(FailureCause.MALFORMED, str(error)) from None
        stream = self._stream = self._incoming.stream = network.connect(origin, request.timeout_ns / 1e9)
        self.address = local_address(stream)
        try:
            stream.sendall(data)
        except OSError:
            pass  # a refusal may be there to be read all the same
        received = b""
        while b"\r\n\r\n" not in received:
            if len(received) > network.limits.max_head:
                raise ConnectError(FailureCause.MALFORMED, "the head does not end")
            try:
                received += self._incoming.block()
            except _EndOfFileError:
                raise ConnectError(FailureCause.CONNECTION_CLOSED) from None
            except OSError as error:
                raise ConnectError(_cause_of(error)) from None
        top, _, rest = received.partition(b"\r\n\r\n")
        version, _, words = top.partition(b"\r\n")[0].partition(b" ")
        if not version.startswith(b"HTTP/1."):
            raise ConnectError(FailureCause.MALFORMED, "not HTTP")
        if words[:3] != b"101":
            return self._refusal(received)
        if not _accepted(top, key):
            raise ConnectError(FailureCause.MALFORMED, "no proper answer to the upgrade")
        self._incoming.put_back(rest)
        return None

    def _refusal(self, received: bytes) -> HttpResponse:
        limits = self._network.limits
        answer = Answer("GET", limits.max_head + len(received), limits.max_body)
        data: bytes | None = received
        while data is not None:
            try:
                answer.take(data)
            except HTTPParseError:
                raise ConnectError(FailureCause.MALFORMED if data else FailureCause.CONNECTION_CLOSED) from None
            if answer.response is not None:
                return answer.response
            if answer.oversize or not data:
                break
            try:
                data = self._incoming.block()
            except _EndOfFileError:
                data = b""
            except OSError as error:
                raise ConnectError(_cause_of(error)) from None
        raise ConnectError(FailureCause.OVERSIZE if answer.oversize else FailureCause.CONNECTION_CLOSED)

    # ---------------------------------------------------------------- reading
    def messages(self) -> Iterator[str | bytes | None]:
        """Whole messages until the end, each stamped by `read_ns`; None is a pong; `end` says how it ended."""
        cause = ""
        try:
            yield from self._messages()
        except _EndOfFileError:
            # A write that failed has taken the reset's error with it: what reads as an end of file was none.
            cause = FailureCause.CONNECTION_RESET.value if self.broken else ""
        except _ViolationError:
            cause = FailureCause.MALFORMED.value
            self.close(_PROTOCOL_ERROR, "")
            self._drain()
        except OSError as error:
            cause = (self._cause if self._stream is None else _cause_of(error)).value
        if cause:
            self.end = SocketEnd(0, "", cause)

    def _messages(self) -> Iterator[str | bytes | None]:
        parts: list[bytes] = []
        kind, size = 0, 0
        limit = self._network.limits.max_frame
        while True:
            final, opcode, payload = self._frames.next()
            if opcode == ABNF.OPCODE_CLOSE:
                self._peer_closed(payload)
                return
            if opcode == ABNF.OPCODE_PING:
                if not self.closing:
                    self._write(ABNF.OPCODE_PONG, payload, 0)
                continue
            if opcode == ABNF.OPCODE_PONG:
                yield None
                continue
            if (opcode == ABNF.OPCODE_CONT) != bool(kind):
                raise _ViolationError
            if not kind and final:
                yield _decoded(payload, opcode, len(payload) >= limit)
                continue
            kind = kind or opcode
            if size < limit:
                parts.append(payload)
                size += len(payload)
            if final:
                data = b"".join(parts)
                opcode, kind, parts, size = kind, 0, [], 0
                yield _decoded(data, opcode, len(data) >= limit)

    def _peer_closed(self, payload: bytes) -> None:
        code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 0
        self.end = SocketEnd(code, payload[2:].decode("utf-8", "replace"), "")
        if not self.closing:
            self.closing = True
            self._write(ABNF.OPCODE_CLOSE, payload[:2] if 1000 <= code < 5000 and code not in (1004, 1005, 1006, 1015) else b"", 0)

    def _drain(self) -> None:
        """Read what still comes, without sense, until the end or until the linger timer strikes."""
        try:
            while True:
                self._incoming.block()
        except (_EndOfFileError, OSError):
            pass

    # ---------------------------------------------------------------- writing
    def send(self, text: str, key: int = 0) -> None:
        """Write a text frame; never waits, never raises. Dropped once the socket is closing or broken."""
        if not self.closing:
            self._write(ABNF.OPCODE_TEXT, text.encode("utf-8", "replace"), key)

    def ping(self) -> None:
        """Write a ping; never waits, never raises."""
        if not self.closing:
            self._write(ABNF.OPCODE_PING, b"", 0)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; the reader goes on until the peer's, the end of file, or the linger time."""
        if self.closing:
            return
        body = struct.pack("!H", code) + reason.encode("utf-8", "replace")[:123] if code else b""
        self._write(ABNF.OPCODE_CLOSE, body, 0)
        self.closing = True
        self._arm_linger()

    def _write(self, opcode: int, payload: bytes, key: int) -> None:
        stream = self._stream
        if stream is None or self.broken:
            return
        data = ABNF.create_frame(payload, opcode).format()
        if self._unsent:
            self._hold(data, key)
            return
        if key:
            self._on_written(time.monotonic_ns(), key)
        stream.timeout = 0.0
        try:
            sent = stream.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._break()
            return
        finally:
            stream.timeout = None
        if sent < len(data):
            self._hold(data[sent:], 0)

    def _hold(self, data: bytes, key: int) -> None:
        """The server does not read fast enough: a greenlet of its own waits for it."""
        self._unsent_bytes += len(data)
        if self._unsent_bytes > self._network.limits.max_unsent:
            self._break()
            return
        self._unsent.append((data, key))
        if self._flusher is None:
            self._flusher = gevent.spawn(self._flush)

    def _flush(self) -> None:
        try:
            while self._unsent and self._stream is not None:
                data, key = self._unsent[0]
                if key:
                    self._on_written(time.monotonic_ns(), key)
                self._stream.sendall(data)
                self._unsent.popleft()
                self._unsent_bytes -= len(data)
        except OSError:
            self._break()
        finally:
            self._flusher = None

    def _break(self) -> None:
        """A write has failed: write nothing more, and read on, but not for ever."""
        if not self.broken:
            self.broken = True
            self._unsent.clear()
            self._cause = FailureCause.WRITE_FAILED
            self._arm_linger()

    # ---------------------------------------------------------------- ending
    def _arm_linger(self) -> None:
        if self._linger is None:
            self._linger = get_hub().loop.timer(self._network.limits.linger_ns / 1e9)
            self._linger.start(self.drop)

    def drop(self) -> None:
        """Close the descriptor; a reader that waits on it wakes and ends."""
        if self._linger is not None:
            self._linger.stop()
            self._linger.close()
            self._linger = None
        if self._flusher is not None and self._flusher is not gevent.getcurrent():
            self._flusher.kill(block=False)
            self._flusher = None
        stream, self._stream = self._stream, None
        self._incoming.stream = None
        if stream is not None:
            stream.close()


def _decoded(data: bytes, opcode: int, cut: bool) -> str | bytes:
    """Text as text. What claims to be text and is no UTF-8 comes as bytes, so that it is counted for what it is."""
    if opcode != ABNF.OPCODE_TEXT:
        return data
    try:
        return data.decode("utf-8", "replace" if cut else "strict")
    except UnicodeDecodeError:
        return data


def _accepted(top: bytes, key: bytes) -> bool:
    found: dict[bytes, bytes] = {}
    for line in top.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        found[name.strip().lower()] = value.strip()
    expected = base64.b64encode(hashlib.sha1(key + _KEY_SUFFIX, usedforsecurity=False).digest())
    return (
        found.get(b"upgrade", b"").lower() == b"websocket"
        and b"upgrade" in found.get(b"connection", b"").lower()
        and hmac.compare_digest(found.get(b"sec-websocket-accept", b""), expected)
        and not found.get(b"sec-websocket-extensions")
    )


def _cause_of(error: OSError) -> FailureCause:
    return FailureCause.TLS if isinstance(error, ssl.SSLError) else FailureCause.CONNECTION_RESET
