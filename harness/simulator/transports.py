"""What the shell needs to know and do about one TCP connection, below HTTP and WebSocket.

Truth rests on one question: which bytes can the guest still read? Bytes that the kernel has taken are delivered even if the
connection is reset right after (a loopback peer has them in its own receive queue), bytes that still sit in the process are not.
uvloop and asyncio both try the `send(2)` inside `transport.write()`, plain or TLS, so a write that leaves the transport's buffer
empty is a hand-over at that very moment, and the order of writes is the order on the wire. Both loops are held to that by
`tests/simulator/test_server_transport.py`.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import select
import socket
import struct
import sys

if sys.platform != "win32":
    import fcntl

_LINGER_RST = struct.pack("ii", 1, 0)
_RDHUP = getattr(select, "POLLRDHUP", 0)
_SIOCOUTQNSD = 0x894B
LOOKS = 3


def address(transport: asyncio.BaseTransport) -> str:
    """`ip:port` of the guest's end."""
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if name else "?:0"


def descriptor(transport: asyncio.BaseTransport) -> int:
    """The socket's file descriptor, -1 when it is gone."""
    sock = transport.get_extra_info("socket")
    try:
        return int(sock.fileno()) if sock is not None else -1
    except (OSError, ValueError):
        return -1


def peer_gone(transport: asyncio.BaseTransport) -> bool:
    """Has the guest shut its side (FIN or RST), whether or not the loop has read that yet? One `poll(2)`, if the system tells."""
    fd = descriptor(transport)
    if fd < 0:
        return True
    if not _RDHUP:
        return False
    poll = select.poll()
    poll.register(fd, _RDHUP)
    return bool(poll.poll(0))


def unsent(transport: asyncio.BaseTransport) -> int:
    """Bytes that the kernel has taken and not sent (0 where the system does not tell): the guest's side has no room for them."""
    fd = descriptor(transport)
    if fd < 0 or sys.platform != "linux":
        return 0
    size = array.array("i", [0])
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, _SIOCOUTQNSD, size, True)
    return size[0]


class Wire:
    """One accepted connection, plain or TLS."""

    __slots__ = ("peer", "scheme", "transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.peer = address(transport)
        self.scheme = "https" if transport.get_extra_info("ssl_object") is not None else "http"

    @property
    def ending(self) -> bool:
        """Has either side ended it, as far as the loop knows?"""
        return self.transport.is_closing()

    def pending(self) -> bool:
        """Is there anything that a reset now would take away from the guest?

        Under TLS the loop keeps a buffer that it does not show. It holds something only while the kernel's is full, which shows
        here; once the kernel's has run empty the loop refills it within a turn, so `emptied` looks more than once.
        """
        return self.transport.get_write_buffer_size() > 0 or unsent(self.transport) > 0

    async def emptied(self, within_s: float) -> bool:
        """Wait until all that was written has left this side. False: the connection ended first, or the guest does not read."""
        if not self.pending():  # nearly always: the write itself did it
            return not self.ending
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        pause, looks = 0.0005, 0
        while not self.ending and loop.time() < end:
            await asyncio.sleep(pause)  # no event tells when the kernel's own queue runs empty
            pause = min(0.02, pause * 2)
            looks = 0 if self.pending() else looks + 1
            if looks >= LOOKS:
                return True
        return False

    def reset(self) -> None:
        """Close so that the guest sees RST: no lingering, nothing flushed."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RST)
        self.transport.abort()
