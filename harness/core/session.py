"""A simulated guest without I/O: the part that every dialect shares.

A shell (greenlets, hub callbacks, or virtual time) owns clock and sockets. It calls the `on_*` methods with the instant
`now` (monotonic ns), takes `outputs()` after each call and carries them out, and calls `on_deadline` at `next_deadline()`.
No method blocks or raises for anything a server did. A dialect subclasses this, decodes its frames and answers, and says
what it saw through the protected methods, which keep the books: one `Closed` for each seq, one `Connection` for each
socket, one `Sample` for each timed thing, one `Arrived` for each copy.

Life of a run, from outside: `start` → … → `stop` (speak no more, start no new conversation, go on listening) →
`close` (read back what is missing, leave, end sockets) → `Finished` among the outputs.
"""

from __future__ import annotations

from abc import abstractmethod

from harness.core import ops
from harness.core.guest import Context, Op, Socket, Target, socket_endpoint
from harness.core.http import cause_of_status, date_ns, retry_after_ns
from harness.core.spread import seconds
from harness.core.talk import Talk
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse, SocketEnd
from harness.errors import FailureCause

_DATE_EVERY_NS = seconds(5)
"""A guest looks at an answer's `Date` no more often: many guests together see enough of them."""

__all__ = ["Context", "GuestSession", "Op", "Socket", "Target", "socket_endpoint"]


def _echoed(socket: Socket, end: SocketEnd) -> bool:
    """Whether a close frame answers the guest's own: it bears the same code, and no reason but the guest's."""
    return end.code == socket.sent_code and end.reason in ("", socket.sent_reason) and not end.cause


class GuestSession(Talk):
    """One slot's guest: conversations one after the other. Subclasses speak a dialect."""

    # ---------------------------------------------------------------- what a shell calls
    def start(self, now: int) -> None:
        """The guest arrives."""
        self.context.observer.record(ops.State(now, self.label, "", "arriving"))
        for name in self.context.misbehaves:
            self._note(now, "misbehaves", name)
        self._begin_conversation(now)

    def stop(self, now: int) -> None:
        """Say nothing more and begin no new conversation; keep listening."""
        if self.stopping:
            return
        self.stopping = True
        self._disarm("send")
        self._on_stop(now)

    def close(self, now: int) -> None:
        """Leave: read back what the server still holds, end the conversation and every socket, then finish."""
        self.stop(now)
        if self.closing or self.finished:
            return
        self.closing = True
        self._leave_by_plan(now)

    def on_deadline(self, now: int) -> None:
        """Run every timer that is due."""
        due = sorted((at, name) for name, at in self._timers.items() if at <= now)
        for at, name in due:
            if self._timers.get(name) == at:
                del self._timers[name]
                self._on_timer(name, now, at)

    def on_written(self, now: int, key: int) -> None:
        """The frame that carried `key` is about to be written; `now` is its send instant."""
        op = self._by_key.get(key)
        if op is not None and not op.sent_ns:
            op.sent_ns = now

    def on_http(self, now: int, request: HttpRequest, outcome: HttpResponse | HttpFailure) -> None:
        """The answer to a request, or that there is none. Records the exchange, then goes on where it was asked for."""
        entry = self._pending.pop(request.id, None)
        if entry is None:
            return
        measure, go_on, usable = entry
        start = request.start_ns or now
        if isinstance(outcome, HttpResponse):
            if now >= self._date_due and request.start_ns:
                self._read_date(now, request, outcome)
            cause = cause_of_status(outcome.status)
            if cause is None and usable is not None and not usable(outcome.body):
                cause = FailureCause.MALFORMED
            result, why = (ops.OK, "") if cause is None else (ops.FAIL, cause.value)
            if cause is FailureCause.RATE_LIMITED:
                wait = retry_after_ns(
                    outcome.headers.get("retry-after"), now + self.context.wall_offset_ns, default_ns=-1, cap_ns=seconds(3600)
                )
                self._refused(now, request.endpoint, request.id, wait)
        else:
            result, why = (ops.INFO if outcome.written else ops.FAIL), outcome.cause
        self.context.observer.record(
            ops.Sample(
                now,
                self.label,
                measure,
                result,
                why,
                request.intended_ns or start,
                start,
                now,
                self._held_until.pop(request.id, 0),
                request.id,
                request.endpoint,
                request.local,
            )
        )
        go_on(now, request, outcome)

    _date_due = 0

    def _read_date(self, now: int, request: HttpRequest, answer: HttpResponse) -> None:
        """What the answer's `Date` says of the clock of the host that was asked."""
        stamp = date_ns(answer.headers)
        if stamp:
            self._date_due = now + _DATE_EVERY_NS
            base = self.context.target.bases.get(request.base, request.base)
            host = base.partition("://")[2].partition("/")[0].rpartition("@")[2] or request.base
            self._clocked(now, f"Date of {host}", request.start_ns, stamp, seconds(1))

    def on_open(self, now: int, conn: int, address: str) -> None:
        """The WebSocket is open (101 received)."""
        socket = self.sockets[conn]
        socket.address, socket.opened_ns = address, now
        request = socket.request
        self.context.observer.record(
            ops.Sample(
                now,
                self.label,
                "connect",
                ops.OK,
                "",
                request.intended_ns,
                request.start_ns or now,
                now,
                0,
                address,
                socket_endpoint(request.path),
            )
        )
        self._on_open(now, conn)

    def on_open_failed(self, now: int, conn: int, cause: str, response: HttpResponse | None) -> None:
        """The WebSocket could not be opened; `response` is the server's refusal, if one came."""
        socket = self.sockets.pop(conn)
        request = socket.request
        self.context.observer.record(
            ops.Sample(
                now,
                self.label,
                "connect",
                ops.FAIL,
                cause,
                request.intended_ns,
                request.start_ns or now,
                now,
                0,
                request.request_id,
                socket_endpoint(request.path),
            )
        )
        if response is not None and response.status == 429:
            wait = retry_after_ns(
                response.headers.get("retry-after"), now + self.context.wall_offset_ns, default_ns=-1, cap_ns=seconds(3600)
            )
            self._refused(now, socket_endpoint(request.path), request.request_id, wait)
        self._on_open_failed(now, conn, cause, response)
        self._finish_if_done(now)

    def on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        """One whole frame was read at `now`. Text arrives as `str`, binary as `bytes`. Total: any content is accepted."""
        if conn in self.sockets:
            self._on_frame(now, conn, data)

    def on_pong(self, now: int, conn: int) -> None:
        """A pong control frame was read; of use to those who send pings."""

    def on_closed(self, now: int, conn: int, end: SocketEnd) -> None:
        """The WebSocket is over: its reader met a close frame, end of file or an error, and read all that came before."""
        socket = self.sockets.pop(conn, None)
        if socket is None:
            return
        socket.over = True
        begun = "server"
        if socket.begun_by_guest:
            begun = "guest" if _echoed(socket, end) else "contested"
        self.context.observer.record(
            ops.Connection(
                now, self.label, conn, socket.address, socket.opened_ns, socket.ready_ns, now, begun, end.code, end.cause
            )
        )
        self._on_closed(now, socket, end)
        self._finish_if_done(now)

    def abandon(self, now: int) -> None:
        """The shell gives the guest up and does no more I/O for it: close the books as they are, and finish."""
        if self.finished:
            return
        self.stopping = self.closing = True
        self._pending.clear()
        self.sockets.clear()
        self._end_conversation(now, False, FailureCause.INTERRUPTED.value)
        self._outbox.clear()
        self._finish_if_done(now)

    def say(self, now: int, text: str) -> Op | None:
        """Say something outside the script (a user's Locust task). None while the guest is not chatting."""
        if self.state != "chatting" or self.stopping:
            return None
        return self._speak(now, now, text)

    # ---------------------------------------------------------------- what a dialect provides
    @abstractmethod
    def _on_timer(self, name: str, now: int, due: int) -> None:
        """A timer of the dialect fired; must pass unknown names to `_on_shared_timer`."""

    @abstractmethod
    def _on_stop(self, now: int) -> None:
        """Pacer stopped: cancel what would start a new conversation."""

    @abstractmethod
    def _on_open(self, now: int, conn: int) -> None: ...

    @abstractmethod
    def _on_open_failed(self, now: int, conn: int, cause: str, response: HttpResponse | None) -> None: ...

    @abstractmethod
    def _on_frame(self, now: int, conn: int, data: str | bytes) -> None: ...

    @abstractmethod
    def _on_closed(self, now: int, socket: Socket, end: SocketEnd) -> None: ...
