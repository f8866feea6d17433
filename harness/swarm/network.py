"""What the shell of a guest needs to reach a target: addresses, the guard, the TLS context, and bounds."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import re
import ssl
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import gevent
import msgspec

from harness import __version__
from harness.core.spread import seconds
from harness.errors import FailureCause
from harness.swarm.guard import ConnectError, Guard, Stream

AGENT = f"guestswarm/{__version__}"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")
_TARGET = re.compile(r"/[\x21-\x7e]*\Z")


class Limits(msgspec.Struct, frozen=True):
    """Bounds that keep a server from taking our memory or a guest's greenlet."""

    max_head: int = 64 * 1024
    max_body: int = 16 * 1024 * 1024
    max_frame: int = 8 * 1024 * 1024
    """What a WebSocket message has beyond that is read and thrown away."""
    max_unsent: int = 8 * 1024 * 1024
    """Of one WebSocket whose server does not read."""
    linger_ns: int = seconds(30)
    """How long a socket is read after our close frame, or after a failed write."""


class Origin(msgspec.Struct, frozen=True):
    """Where a base URL leads."""

    tls: bool
    host: str
    port: int
    netloc: str
    prefix: str
    """Path of the base URL, without its last slash."""


class Ceiling:
    """At most so many requests a second leave this process, evenly spaced (an approval's `max_requests_per_s`)."""

    def __init__(
        self, per_s: float, clock: Callable[[], int] = time.monotonic_ns, sleep: Callable[[float], None] = gevent.sleep
    ) -> None:
        self._gap_ns = round(1e9 / per_s)
        self._clock, self._sleep = clock, sleep
        self._next_ns = 0

    def wait(self) -> None:
        """Return when the next request may leave."""
        now = self._clock()
        at = max(self._next_ns, now)
        self._next_ns = at + self._gap_ns
        if at > now:
            self._sleep((at - now) / 1e9)


class Network:
    """Shared by all guests of a process."""

    def __init__(
        self,
        guard: Guard,
        bases: Mapping[str, str],
        context: ssl.SSLContext | None = None,
        *,
        limits: Limits | None = None,
        ceiling: Ceiling | None = None,
        simulated: bool = False,
    ) -> None:
        self.guard = guard
        self.simulated = simulated
        """Whether the run's own simulator is there: whatever is asked of it stands in its truth."""
        self.context = context
        self.limits = limits or Limits()
        self.ceiling = ceiling
        self.bases = dict(bases)
        self._origins = {name: read_origin(url) for name, url in bases.items()}

    def origin(self, base: str) -> Origin:
        """Of a base's name, or of a whole URL that a server handed out. Raises ConnectError for anything else."""
        known = self._origins.get(base)
        if known is not None:
            return known
        try:
            return read_origin(base)
        except ValueError as error:
            raise ConnectError(FailureCause.MALFORMED, str(error)) from None

    def connect(self, origin: Origin, timeout_s: float) -> Stream:
        """A connection through the guard. Raises ConnectError."""
        if origin.tls and self.context is None:
            raise ConnectError(FailureCause.TLS, "no TLS context")
        context = self.context if origin.tls else None
        return self.guard.open_connection(origin.host, origin.port, timeout_s=timeout_s, context=context)


def read_origin(url: str) -> Origin:
    """Take a base URL apart. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise ValueError("not a URL of http, https, ws or wss")
    tls = parts.scheme in ("https", "wss")
    usual = 443 if tls else 80
    port = parts.port or usual
    host = parts.hostname
    shown = f"[{host}]" if ":" in host else host
    return Origin(tls, host, port, shown if port == usual else f"{shown}:{port}", parts.path.rstrip("/"))


def head(method: str, origin: Origin, path: str, headers: list[tuple[str, str]]) -> bytes:
    """Head of a request, without its last empty line. Raises ValueError for what would not stay one request.

    Paths and header values hold tokens and ids that a server gave, so a line break in one must not become a header.
    """
    target = origin.prefix + path
    if not _TARGET.match(target) or not _TOKEN.match(method):
        raise ValueError("no request target")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {origin.netloc}", f"User-Agent: {AGENT}"]
    for name, value in headers:
        if not _TOKEN.match(name) or not _VALUE.match(value):
            raise ValueError(f"no header: {name[:40]!r}")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")
