"""One WebSocket of a guest on a real connection.

aiohttp reads (framing, fragments, limits, UTF-8); writing is ours, because a push has to answer at once whether the kernel has the
frame, and because close codes, torn frames and resets are exactly what the faults are about.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable

from aiohttp import WebSocketError, WSMsgType, web

from harness.simulator.transports import Wire

MAX_FRAME = 4 * 1024 * 1024
MAX_BUFFERED = 8 * 1024 * 1024
"""A guest that leaves this much unread is cut off: the simulator's memory is bounded."""
CLOSE_WAIT_S = 5.0
RESET_WAIT_S = 10.0
_TEXT, _BINARY, _CLOSE, _PONG = 1, 2, 8, 10
NO_CODE, NO_CLOSE = 1005, 1006


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole frame of a server: final, not masked."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


def close_payload(code: int, reason: str) -> bytes:
    """Body of a close frame; codes that are never on the wire give an empty one."""
    if code in (0, NO_CODE, NO_CLOSE):
        return b""
    return struct.pack("!H", code) + reason.encode()[:123]


class Upgraded(web.WebSocketResponse):
    """Read half of one WebSocket, which reads only.

    aiohttp's farewell at the end of a handler would fail on a connection that `Channel` has closed by then, and the exception,
    which it keeps, would hold all of the connection in a cycle.
    """

    async def write_eof(self) -> None:  # type: ignore[override] # as in the class above: the base of both takes data
        """Nothing: all that is written is `Channel`'s."""


class Channel:
    """Write half and life of one WebSocket; the read half is `read_all`."""

    __slots__ = ("_early", "ended", "number", "overflowed", "sent_code", "wire")

    def __init__(self, number: int, wire: Wire) -> None:
        self.number, self.wire = number, wire
        self.ended = False
        """The engine has ended it (close, reset, tear), or the guest's end was read: nothing more goes either way."""
        self.sent_code = NO_CLOSE
        self.overflowed = False
        self._early: list[bytes] | None = []

    def opened(self) -> None:
        """The 101 is written: what the engine pushed at the upgrade follows it."""
        early, self._early = self._early or [], None
        for data in early:
            self.wire.transport.write(data)

    def push(self, opcode: int, payload: bytes) -> bool:
        """Write one frame. False: the connection is (being) ended."""
        top = self.wire.transport
        if self.ended or top.is_closing():
            return False
        data = frame(opcode, payload)
        if self._early is not None:
            self._early.append(data)
            return True
        if top.get_write_buffer_size() + len(data) > MAX_BUFFERED:
            self.overflowed = self.ended = True
            self.wire.reset()
            return False
        top.write(data)
        return not top.is_closing()

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; the guest has `CLOSE_WAIT_S` to answer."""
        if self.ended:
            return
        self.push(_CLOSE, close_payload(code, reason))
        self.ended, self.sent_code = True, code
        asyncio.get_running_loop().call_later(CLOSE_WAIT_S, self.wire.transport.abort)

    def echo_close(self, code: int) -> None:
        """Answer the guest's close with the guest's own code, then end the connection."""
        if not self.ended:
            self.push(_CLOSE, close_payload(code, ""))
            self.ended = True
        self.wire.transport.close()

    def pong(self, payload: bytes) -> None:
        """Answer a protocol-level ping."""
        self.push(_PONG, payload)

    def tear(self, text: str, run: Callable[[Channel], None]) -> None:
        """Write the first half of a frame, then RST (`run` waits for the write buffer)."""
        if self.ended:
            return
        whole = frame(_TEXT, text.encode())
        half = whole[: max(1, len(whole) // 2)]
        if self._early is not None:
            self._early.append(half)
        elif not self.wire.ending:
            self.wire.transport.write(half)
        self.reset(run)

    def reset(self, run: Callable[[Channel], None]) -> None:
        """RST as soon as all that was pushed has reached the guest's side; at once when it has already."""
        if self.ended:
            return
        self.ended = True
        if self._early is None and not self.wire.pending():
            self.wire.reset()
        else:
            run(self)

    async def reset_when_empty(self) -> bool:
        """Wait, bounded, until all that was pushed has left this side, then RST. False: the guest did not read in time."""
        while self._early is not None:  # the 101 itself is not written yet
            await asyncio.sleep(0)
        clean = await self.wire.emptied(RESET_WAIT_S)
        self.wire.reset()
        return clean


async def read_all(
    ws: Upgraded,
    channel: Channel,
    on_frame: Callable[[int, int, str | bytes], None],
    on_ping: Callable[[int, int, bytes], None],
) -> tuple[str, int]:
    """Give every whole frame and every ping to the engine, in order, until the end: who ended it, and the close code.

    Code 1005: the guest's close frame had none; 1006: no close frame came. Frames that arrive after the engine has ended the
    connection are read and dropped, as by a server that has gone away.
    """
    while True:
        message = await ws.receive()
        now = time.monotonic_ns()
        kind = message.type
        if kind is WSMsgType.TEXT or kind is WSMsgType.BINARY:
            if not channel.ended:
                on_frame(now, channel.number, message.data)
        elif kind is WSMsgType.PING:
            if not channel.ended:
                on_ping(now, channel.number, bytes(message.data))
        elif kind is WSMsgType.CLOSE:
            return "guest", int(message.data or 0) or NO_CODE
        elif kind is WSMsgType.ERROR and isinstance(message.data, WebSocketError):
            return "server", int(message.data.code)  # bytes that are no WebSocket: aiohttp has answered with the code of RFC 6455
        elif kind is not WSMsgType.PONG:  # CLOSED, CLOSING, ERROR: end of file or reset
            return "guest", NO_CLOSE
