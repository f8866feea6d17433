"""The one place that opens sockets, and the judge of where they may go.

Loopback needs no permission, and what is loopback is decided by address. Every other host must be named by the scenario's
`[authorisation]` and its window must be open, each time. What is refused is refused before a name is looked up or a packet
leaves: a name that no approval covers is at most looked up in the local hosts file. A name is resolved once per process
and the address found is the address connected, so a name server cannot lead guests elsewhere later. Redirects and URLs
from a server pass here like all others. Proxies of the environment play no part.
"""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import errno
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import cycle
from typing import Protocol, cast

import gevent
from gevent import socket as gsocket
from gevent.lock import BoundedSemaphore

from harness.config import covers, window_left
from harness.config.local import HOSTS_FILE, Address, is_loopback, literal, local_name
from harness.config.tables import AuthorisationTable
from harness.errors import FailureCause, NotAuthorisedError, UsageError

_NO_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_EXHAUSTED = _NO_FILES | {errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}
_WINDOW_CHECK_NS = 1_000_000_000
_FORGET_FAILURE_NS = 5_000_000_000
_BIND_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)


class Stream(Protocol):
    """What the wire needs of a connected socket, plain or TLS (both gevent's)."""

    timeout: float | None

    def send(self, data: bytes) -> int:
        """Write some of it; 0 or BlockingIOError where `timeout` is 0.0 and there is no room."""

    def sendall(self, data: bytes) -> None:
        """Write all of it, waiting as need be."""

    def recv(self, size: int) -> bytes:
        """Read what is there, waiting for the first byte."""

    def fileno(self) -> int:
        """The descriptor."""

    def close(self) -> None:
        """Close it; whoever waits on it is woken with an OSError."""


class ConnectError(Exception):
    """There is no connection; `cause` says why, the text adds what the system said."""

    def __init__(self, cause: FailureCause, detail: str = "") -> None:
        super().__init__(f"{cause.value}: {detail}" if detail else cause.value)
        self.cause = cause


class Guard:
    """Opens every connection of this process. `sources` are local addresses to take turns with (more ports)."""

    def __init__(
        self,
        authorisation: AuthorisationTable | None = None,
        *,
        sources: Sequence[str] = (),
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._authorisation = authorisation
        self._wall = wall
        self._sources: Iterator[str] | None = cycle(sources) if sources else None
        self._found: dict[str, list[Address]] = {}
        self._failed: dict[str, tuple[int, str]] = {}
        self._locks: dict[str, BoundedSemaphore] = {}
        self._window_checked_ns = 0
        self._window_open = False
        self.no_ports = self.no_files = 0
        """Connections that failed for want of local ports (or kernel memory), and of descriptors."""
        self.lookups: dict[str, int] = {}
        """Nanoseconds that each name took to resolve."""

    def judge(self, host: str) -> None:
        """Raise NotAuthorisedError unless guests may go to this host now. Sends nothing."""
        if self.is_local(host):
            return
        if self._authorisation is None:
            raise NotAuthorisedError("it is off this machine and the scenario has no [authorisation]", where=host)
        if not covers(self._authorisation, host):
            raise NotAuthorisedError("the approval does not name this host", where=host, hint="See [authorisation] hosts.")
        if not self._window():
            raise NotAuthorisedError("the approved window is shut now", where=host)

    def is_local(self, host: str) -> bool:
        """Whether a host is this machine, by its address; a name that only a name server knows is not."""
        numeric = literal(host)
        if numeric is not None:
            return is_loopback(numeric)
        addresses = self._local_name(host)
        return bool(addresses) and all(is_loopback(address) for _, address in addresses)

    def open_connection(self, host: str, port: int, *, timeout_s: float, context: ssl.SSLContext | None = None) -> Stream:
        """A connected socket without time-out of its own, TLS included where a context is given. Raises ConnectError."""
        try:
            self.judge(host)
        except NotAuthorisedError as refused:
            raise ConnectError(FailureCause.NOT_AUTHORISED, refused.what) from None
        bound = gevent.Timeout(max(timeout_s, 0.001))
        try:
            with bound:
                sock = self._connect(host, port)
                return self._secure(sock, context, host) if context is not None else cast(Stream, sock)
        except gevent.Timeout as struck:
            if struck is not bound:
                raise
            raise ConnectError(FailureCause.CONNECT_TIMEOUT) from None

    # ---------------------------------------------------------------- judging
    def _local_name(self, host: str) -> list[Address]:
        """What the hosts file says of a name; nothing is sent for it."""
        name = host.lower().rstrip(".")
        if name not in self._found:
            listed = local_name(name, HOSTS_FILE)
            if not listed:
                return []
            self._found[name] = listed
        return self._found[name]

    def _window(self) -> bool:
        now = time.monotonic_ns()
        if now >= self._window_checked_ns + _WINDOW_CHECK_NS or not self._window_checked_ns:
            self._window_checked_ns = now
            self._window_open = self._authorisation is not None and bool(window_left(self._authorisation, self._wall()))
        return self._window_open

    # ---------------------------------------------------------------- doing
    def _resolve(self, host: str) -> list[Address]:
        numeric = literal(host)
        if numeric is not None:
            return [(socket.AF_INET6 if ":" in numeric else socket.AF_INET, numeric)]
        name = host.lower().rstrip(".")
        with self._locks.setdefault(name, BoundedSemaphore(1)):
            if name in self._found:
                return self._found[name]
            now = time.monotonic_ns()
            failed, why = self._failed.get(name, (0, ""))
            if failed and now < failed + _FORGET_FAILURE_NS:
                raise ConnectError(FailureCause.DNS, why)
            try:
                answers = gsocket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                self._failed[name] = (time.monotonic_ns(), str(error))
                raise ConnectError(FailureCause.DNS, str(error)) from None
            self.lookups[name] = time.monotonic_ns() - now
            found = list(dict.fromkeys((int(entry[0]), str(entry[4][0])) for entry in answers))
            self._found[name] = found
            return found

    def _connect(self, host: str, port: int) -> gsocket.socket:
        failure = ConnectError(FailureCause.DNS, "no address")
        for family, address in self._resolve(host):
            try:
                sock = gsocket.socket(family, socket.SOCK_STREAM)
            except OSError as error:
                raise self._failure(error) from None
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._sources is not None and family == socket.AF_INET:
                    sock.setsockopt(socket.IPPROTO_IP, _BIND_NO_PORT, 1)
                    sock.bind((next(self._sources), 0))
                sock.connect((address, port))
                return sock
            except OSError as error:
                sock.close()
                failure = self._failure(error)
            except BaseException:
                sock.close()
                raise
        raise failure

    def _secure(self, sock: gsocket.socket, context: ssl.SSLContext, host: str) -> Stream:
        try:
            return cast(Stream, context.wrap_socket(sock, server_hostname=host))
        except ssl.SSLCertVerificationError as error:
            sock.close()
            raise ConnectError(FailureCause.TLS_VERIFY, error.verify_message) from None
        except (OSError, ValueError) as error:
            sock.close()
            raise ConnectError(FailureCause.TLS, str(error)) from None
        except BaseException:
            sock.close()
            raise

    def _failure(self, error: OSError) -> ConnectError:
        number = error.errno
        if number in _EXHAUSTED:
            if number in _NO_FILES:
                self.no_files += 1
            else:
                self.no_ports += 1
            return ConnectError(FailureCause.PORTS_EXHAUSTED, str(error))
        if isinstance(error, TimeoutError) or number == errno.ETIMEDOUT:
            return ConnectError(FailureCause.CONNECT_TIMEOUT, str(error))
        if number == errno.ECONNRESET:
            return ConnectError(FailureCause.CONNECTION_RESET, str(error))
        return ConnectError(FailureCause.CONNECT_REFUSED, str(error))


def local_address(stream: Stream) -> str:
    """`ip:port` of our end."""
    try:
        name = stream.getsockname()  # type: ignore[attr-defined]
    except OSError:
        return ""
    return f"{name[0]}:{name[1]}"


def check_source(address: str, where: str) -> None:
    """Raise UsageError unless connections can leave from this address. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                return  # such as no port left: a connection will say so
            raise UsageError(f"{address} is not an address of this machine", where=where) from None
