"""HTTP/1.1 as a guest's lane speaks it: one connection per origin, one exchange at a time, and never a silent second try.

The parser is geventhttpclient's; the layer above it is not used, because it re-sends a request on a kept-alive connection
that turned out dead, and a message sent twice by the instrument would be charged to the server. A connection that is found
closed *before* a byte was written is replaced without a word.
"""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import ssl
import time

import gevent
from gevent.monkey import get_original
from geventhttpclient.response import HTTPParseError, HTTPResponse

from harness.core.wire import HttpFailure, HttpRequest, HttpResponse
from harness.errors import FailureCause
from harness.swarm.guard import ConnectError, Stream, local_address
from harness.swarm.network import Network, Origin, head

_poll = get_original("select", "poll")
_BLOCK = 64 * 1024
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Answer(HTTPResponse):
    """Feeds on bytes until `response` is there. Interim answers are passed over; what follows the answer spoils the connection."""

    def __init__(self, method: str, max_head: int, max_body: int) -> None:
        super().__init__(method=method)
        self.response: HttpResponse | None = None
        self.reusable = False
        self.oversize = False
        self._room_head, self._max_body = max_head, max_body

    def take(self, data: bytes) -> None:
        """More bytes; empty at end of file. Raises HTTPParseError."""
        if not self.headers_complete:
            self._room_head -= len(data)
            if self._room_head < 0 and self.response is None:
                raise HTTPParseError("the head does not end")
        try:
            self.feed(data)
        except HTTPParseError:
            if self.response is None:
                raise
            self.reusable = False

    def _on_message_begin(self) -> None:
        if self.response is not None:
            self.reusable = False
        super()._on_message_begin()

    def _on_body(self, buf: bytearray) -> None:
        if len(self._body_buffer) + len(buf) > self._max_body:
            self.oversize = True
            return
        super()._on_body(buf)

    def _on_message_complete(self) -> None:
        super()._on_message_complete()
        status = self.get_code()
        if self.response is not None or status < 200:
            return
        headers: dict[str, str] = {}
        for name, value in self.items():
            key, text = name.lower(), value if isinstance(value, str) else ", ".join(value)
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        self.response = HttpResponse(status, headers, bytes(self._body_buffer))
        self.reusable = self.should_keep_alive()


def is_quiet(stream: Stream) -> bool:
    """Whether an idle connection has neither bytes nor an end waiting to be read: only then it can carry a request."""
    descriptor = stream.fileno()
    if descriptor < 0:
        return False
    poll = _poll()
    poll.register(descriptor, 1)  # POLLIN; errors are always told
    return not poll.poll(0)


class Lane:
    """Connections of one lane of one guest. Not to be used by two greenlets at a time."""

    __slots__ = ("_kept", "_network", "_sock", "end_ns")

    def __init__(self, network: Network) -> None:
        self._network = network
        self._kept: dict[Origin, Stream] = {}
        self._sock: Stream | None = None
        self.end_ns = 0
        """When the last byte of the last answer had been read."""

    def exchange(self, request: HttpRequest) -> HttpResponse | HttpFailure:
        """Carry out one exchange within its time-out; sets `start_ns` and `local`. Never raises for anything a server does."""
        if self._network.ceiling is not None:
            self._network.ceiling.wait()
        bound = gevent.Timeout(max(request.timeout_ns, 1) / 1e9)
        bound.start()
        try:
            return self._exchange(request)
        except gevent.Timeout as struck:
            if struck is not bound:
                raise
            cause = FailureCause.TIMEOUT if request.start_ns else FailureCause.CONNECT_TIMEOUT
            return HttpFailure(cause.value, bool(request.start_ns))
        finally:
            bound.close()
            self._drop()

    def close(self) -> None:
        """Close every connection."""
        self._drop()
        for stream in self._kept.values():
            stream.close()
        self._kept.clear()

    def _drop(self) -> None:
        """Close the connection in use, unless it was put back."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _exchange(self, request: HttpRequest) -> HttpResponse | HttpFailure:
        network = self._network
        try:
            origin = network.origin(request.base)
            headers = request.headers
            if request.body or request.method in _WITH_BODY:
                headers = [*headers, ("Content-Length", str(len(request.body)))]
            data = head(request.method, origin, request.path, headers) + b"\r\n" + request.body
        except ConnectError as error:
            return HttpFailure(error.cause.value, False)
        except ValueError:
            return HttpFailure(FailureCause.MALFORMED.value, False)
        stream = self._sock = self._kept.pop(origin, None)
        if stream is not None and not is_quiet(stream):
            self._drop()
            stream = None
        if stream is None:
            try:
                stream = self._sock = network.connect(origin, request.timeout_ns / 1e9)
            except ConnectError as error:
                return HttpFailure(error.cause.value, False)
        request.local = local_address(stream)
        answer = Answer(request.method, network.limits.max_head, network.limits.max_body)
        request.start_ns = time.monotonic_ns()
        written, whole = self._write(stream, data, origin.tls)
        cause = self._read(stream, answer)
        if answer.response is not None and not answer.oversize:
            if answer.reusable and whole:
                self._kept[origin], self._sock = stream, None
            return answer.response
        if not whole:
            cause = FailureCause.WRITE_FAILED
        return HttpFailure((cause or FailureCause.OVERSIZE).value, written)

    @staticmethod
    def _write(stream: Stream, data: bytes, tls: bool) -> tuple[bool, bool]:
        """Whether any byte may have left, and whether all did."""
        try:
            sent = stream.send(data)
        except OSError:
            return tls, False
        try:
            if sent < len(data):
                stream.sendall(data[sent:])
        except OSError:
            return True, False
        return True, True

    def _read(self, stream: Stream, answer: Answer) -> FailureCause | None:
        """Read one answer, also after a failed write: what was sent before a connection broke is still there to be read."""
        while answer.response is None:
            try:
                data = stream.recv(_BLOCK)
            except ssl.SSLError:
                return FailureCause.TLS
            except OSError:
                return FailureCause.CONNECTION_RESET
            self.end_ns = time.monotonic_ns()
            try:
                answer.take(data)
            except HTTPParseError:
                return FailureCause.MALFORMED if data else FailureCause.CONNECTION_CLOSED
            if answer.oversize:
                return FailureCause.OVERSIZE
            if not data and answer.response is None:
                return FailureCause.CONNECTION_CLOSED
        return None
