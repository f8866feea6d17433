"""Asking for I/O: the outbox, the requests under way, the sockets, the timers. Knows nothing of conversations."""

from __future__ import annotations

from harness.core import ops
from harness.core.credentials import redacted
from harness.core.guest import Context, Continuation, Socket, Usable
from harness.core.spread import seconds
from harness.core.stamps import believable
from harness.core.wire import CloseSocket, HttpRequest, OpenSocket, Output, SendText


class Asking:
    """The lowest layer of a session."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.rng = context.rng
        self.label = f"{context.slot}-0"
        self.sockets: dict[int, Socket] = {}
        self._last_conn = 0
        self._last_request = 0
        self._pending: dict[str, tuple[str, Continuation, Usable | None]] = {}
        self._held_until: dict[str, int] = {}
        """By request: when what held it up was over (`Sample.free_ns`)."""
        self._timers: dict[str, int] = {}
        self._outbox: list[Output] = []

    # ---------------------------------------------------------------- what a shell takes
    def outputs(self) -> list[Output]:
        """What the shell has to do now, in order; each is given out once."""
        if not self._outbox:
            return []
        out, self._outbox = self._outbox, []
        return out

    def next_deadline(self) -> int | None:
        """When `on_deadline` wants to be called next, or None."""
        return min(self._timers.values()) if self._timers else None

    # ---------------------------------------------------------------- asking for I/O
    def _request(
        self,
        now: int,
        measure: str,
        endpoint: str,
        base: str,
        path: str,
        go_on: Continuation,
        *,
        body: bytes = b"",
        headers: list[tuple[str, str]] | None = None,
        timeout_ns: int = seconds(10),
        lane: str = "main",
        intended_ns: int = 0,
        free_ns: int = 0,
        usable: Usable | None = None,
    ) -> HttpRequest:
        """Ask for an HTTP exchange; `endpoint` is `METHOD /path/template` and `go_on` is called with its outcome.

        `free_ns` is when the action that held this one up was over (0: none did). A 2xx whose body is not `usable` is a failure of
        cause `malformed`.
        """
        self._last_request += 1
        request_id = f"{self.context.run}.{self.context.slot}.{self._last_request}"
        all_headers = [("X-Request-Id", request_id), *(headers or ())]
        if self.context.target.origin:
            all_headers.append(("Origin", self.context.target.origin))
        request = HttpRequest(
            request_id, endpoint, base, endpoint.partition(" ")[0], path, all_headers, body, timeout_ns, lane, intended_ns or now
        )
        self._pending[request_id] = (measure, go_on, usable)
        if free_ns:
            self._held_until[request_id] = free_ns
        self._outbox.append(request)
        return request

    def _open(self, now: int, base: str, path: str, timeout_ns: int, intended_ns: int = 0) -> int:
        """Ask for a WebSocket; returns its number (the epoch)."""
        self._last_conn += 1
        self._last_request += 1
        request_id = f"{self.context.run}.{self.context.slot}.{self._last_request}"
        headers = [("X-Request-Id", request_id)]
        if self.context.target.origin:
            headers.append(("Origin", self.context.target.origin))
        request = OpenSocket(self._last_conn, request_id, base, path, headers, timeout_ns, intended_ns or now)
        self.sockets[self._last_conn] = Socket(self._last_conn, request)
        self._outbox.append(request)
        return self._last_conn

    def _send(self, conn: int, text: str, key: int = 0) -> None:
        self._outbox.append(SendText(conn, text, key))

    def _close(self, conn: int, code: int, reason: str) -> None:
        """Begin a close; the socket stays in `sockets` until the reader has met its end."""
        socket = self.sockets.get(conn)
        if socket is not None and not socket.begun_by_guest:
            socket.begun_by_guest, socket.sent_code, socket.sent_reason = True, code, reason
            self._outbox.append(CloseSocket(conn, code, reason))

    # ---------------------------------------------------------------- small change
    def _arm(self, name: str, at: int) -> None:
        self._timers[name] = at

    def _disarm(self, name: str) -> None:
        self._timers.pop(name, None)

    def _note(self, now: int, what: str, detail: str = "") -> None:
        detail = redacted(detail, self._secrets()) if detail else ""
        self.context.observer.record(ops.Noted(now, self.label, what, detail))

    def _secrets(self) -> tuple[str, ...]:
        """What must not be in any row, should a server repeat it."""
        return (self.context.target.client_secret.reveal(),)

    def _clocked(self, now: int, source: str, sent_ns: int, server_ns: int, grain_ns: int = 0) -> None:
        """An answer that was asked for at `sent_ns` bears the server's time."""
        if sent_ns and believable(server_ns):
            self.context.observer.record(ops.Clocked(now, self.label, source, sent_ns, server_ns, grain_ns))

    def _refused(self, now: int, endpoint: str, ref: str, wait_ns: int) -> None:
        self.context.observer.record(ops.Refused(now, self.label, endpoint, ref, max(wait_ns, 0)))
