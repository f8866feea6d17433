"""HTTP on real connections: requests in to the engine, answers out, and the truth about whether an answer was handed over."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDict

from harness.core.wire import HttpResponse
from harness.simulator.transports import Wire, peer_gone

KEEPALIVE_S = 3600.0
MAX_BODY = 32 * 1024 * 1024
"""Above every limit that a dialect has for its own bodies; what is larger is answered 413 by the shell and never kept."""
DRAIN_S = 30.0
BACKLOG = 4096
TLS_HANDSHAKE_S = 10.0
TLS_SHUTDOWN_S = 1.0

SLOW_HEADER = "x-sim-body-over"
"""Never sent: an answer with this header (nanoseconds) has its body written in pieces over that time."""
SLOW_PIECES = 16

_log = logging.getLogger("guestswarm.simulator.http")
_log.addHandler(logging.NullHandler())
_log.propagate = False  # aiohttp's complaints about garbage from clients are not news here

Handle = Callable[[web.BaseRequest, Wire], Awaitable[web.StreamResponse]]


class HttpServer(web.Server):
    """aiohttp's low-level server, with one `Wire` kept per connection."""

    def __init__(self, handle: Handle, *, max_body: int = MAX_BODY) -> None:
        super().__init__(
            self._serve,
            request_factory=self._request,
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_S,
            access_log=None,
            logger=_log,
        )
        self._handle = handle
        self._max_body = max_body
        self._wires: dict[web.RequestHandler, Wire] = {}
        self._running = asyncio.get_running_loop()

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None) -> asyncio.Server:
        """Open the port; raises OSError when it is taken."""
        return await self._running.create_server(
            self,
            host,
            port,
            backlog=BACKLOG,
            reuse_address=True,
            ssl=context,
            ssl_handshake_timeout=TLS_HANDSHAKE_S if context else None,
            ssl_shutdown_timeout=TLS_SHUTDOWN_S if context else None,
        )

    # aiohttp's book of connections, extended
    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Note the connection."""
        super().connection_made(handler, transport)
        self._wires[handler] = Wire(transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Forget the connection."""
        super().connection_lost(handler, exc)
        self._wires.pop(handler, None)

    @property
    def open_connections(self) -> int:
        """How many TCP connections are open (after TLS)."""
        return len(self._wires)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, self._running, client_max_size=self._max_body)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        wire = self._wires.get(request.protocol)
        if wire is None:
            raise ConnectionResetError
        return await self._handle(request, wire)


class Exchange:
    """One request that the engine has and has not answered yet."""

    __slots__ = ("answer",)

    def __init__(self, answer: asyncio.Future[HttpResponse | None]) -> None:
        self.answer = answer

    def give(self, response: HttpResponse | None) -> bool:
        """Take the engine's answer (None: cut). False when there was one already, or the guest is gone."""
        if self.answer.done():
            return False
        self.answer.set_result(response)
        return True


def header_table(request: web.BaseRequest, wire: Wire) -> dict[str, str]:
    """Headers by lower-case name, repeated ones joined, as RFC 9110 allows; and `:scheme`, which no guest can send."""
    table: dict[str, str] = {":scheme": wire.scheme}
    for name, value in request.headers.items():
        key = name.lower()
        table[key] = f"{table[key]}, {value}" if key in table else value
    return table


def render(response: HttpResponse, date: str) -> web.Response:
    """Make aiohttp's answer of the engine's. Length and connection are HTTP's own matter; `date`: what our clock says."""
    headers: CIMultiDict[str] = CIMultiDict(response.headers)
    headers[hdrs.DATE] = date
    headers.pop(hdrs.CONTENT_LENGTH, None)
    headers.pop(SLOW_HEADER, None)
    close = headers.pop(hdrs.CONNECTION, "").lower() == "close"
    if response.body and hdrs.CONTENT_TYPE not in headers:
        headers[hdrs.CONTENT_TYPE] = "application/json"
    answer = web.Response(status=response.status, body=response.body or None, headers=headers)
    if close:
        answer.force_close()
    return answer


async def _taken(wire: Wire) -> bool:
    if await wire.emptied(DRAIN_S):
        return True
    if not wire.ending:  # the guest does not read: an answer must not stay half written for ever
        wire.reset()
    return False


async def hand_over(request: web.BaseRequest, wire: Wire, response: HttpResponse, date: str) -> tuple[web.StreamResponse, bool]:
    """Write an answer. True: the kernel took all of it while the guest had not shut its side.

    A guest that gives up on a parked poll has often sent its FIN a moment before; asking the kernel first keeps such an answer
    out of the truth, whatever the loop has read so far.
    """
    slow = response.headers.get(SLOW_HEADER)
    answer: web.StreamResponse = render(response, date)
    if wire.ending or peer_gone(wire.transport):
        wire.transport.close()
        return answer, False
    if slow:
        return await _hand_over_slowly(request, wire, response, date, int(slow))
    try:
        await answer.prepare(request)
        await answer.write_eof()
    except ConnectionError:
        return answer, False
    return answer, await _taken(wire)


async def _hand_over_slowly(
    request: web.BaseRequest, wire: Wire, response: HttpResponse, date: str, over_ns: int
) -> tuple[web.StreamResponse, bool]:
    whole = render(response, date)
    answer = web.StreamResponse(status=response.status, headers=whole.headers)
    answer.content_length = len(response.body)
    step = max(1, -(-len(response.body) // SLOW_PIECES))
    pieces = [response.body[at : at + step] for at in range(0, len(response.body), step)]
    try:
        await answer.prepare(request)
        for piece in pieces:
            await asyncio.sleep(over_ns / 1e9 / len(pieces))
            await answer.write(piece)
        await answer.write_eof()
    except ConnectionError:
        return answer, False
    return answer, await _taken(wire)
