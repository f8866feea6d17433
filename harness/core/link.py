"""A guest on a WebSocket: open it, keep it alive, notice its end, come back with back-off.

Phases of the link: `idle` → `preparing` → `connecting` → `authenticating` → what the dialect adds → `live`; `draining` while a
controlled reconnect waits for the old socket's end. One socket is current (`_conn`); others only wait for their end. What is
needed before a socket, how the guest is let in, and what a conversation does with a live link, are the dialect's matter.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from harness.core import ops
from harness.core.backoff import Backoff
from harness.core.calling import CAUSES, CallingGuest, CallSettings
from harness.core.http import retry_after_ns
from harness.core.session import Context, Socket
from harness.core.spread import Duration, Share, seconds
from harness.core.wire import HttpResponse, PingSocket, SocketEnd
from harness.errors import FailureCause

NORMAL, GOING_AWAY, FORCED = 1000, 1001, 4000
"""Close codes of the guest: over or refreshed, reload, given up on."""
_DOUBTFUL = (FailureCause.TIMEOUT.value, FailureCause.ZOMBIE.value, FailureCause.INTERRUPTED.value)
_TIMERS = ("auth", "ping", "pong", "drained", "reconnect", "probe")


@dataclass(frozen=True, slots=True)
class LinkSettings(CallSettings):
    """How a guest keeps a socket; a dialect's settings inherit these. Durations in nanoseconds."""

    connect_timeout: Duration = seconds(10)
    auth_timeout: Duration = seconds(10)
    """How long the guest waits to be let in, where the dialect answers at all."""
    old_socket_wait: Duration = seconds(2)
    """How long a controlled reconnect waits for the old socket's end (ours)."""
    ping_every: Duration = seconds(20)
    """0: the guest sends no keep-alive, and what lies between may cut the idle socket."""
    ping_jitter: Share = 0.1
    pong_within: Duration = seconds(10)
    answer_pings: bool = True
    """Whether keep-alive questions of the server's (frames of the dialect) are answered."""
    max_frame_bytes: int = 1 << 20
    reconnect_base: Duration = seconds(2)
    reconnect_factor: float = 2.0
    reconnect_jitter: Duration = seconds(1)
    reconnect_cap: Duration = seconds(30)
    reconnect_attempts: int = 5
    """Failed reconnects after which the guest does something else."""
    probe_every: Duration = seconds(30)
    probe_jitter: Share = 0.2

    def reconnect_backoff(self) -> Backoff:
        """Delays before reconnects."""
        return Backoff(self.reconnect_base, self.reconnect_cap, self.reconnect_jitter, self.reconnect_factor)


class LinkedGuest(CallingGuest):
    """The part of a guest that owns sockets."""

    def __init__(self, context: Context, settings: LinkSettings) -> None:
        super().__init__(context, settings)
        self._link_settings = settings
        self.phase = "idle"
        self._conn = 0
        """The socket in use; others in `sockets` only wait for their end."""
        self._address = ""
        self._draining = 0
        self._tries = 0
        self._gap_measure = ""
        self._gap_since = 0
        self._doubtful: set[int] = set()
        """Sockets of which nobody knows whether the server has read all that was written."""
        self._stamps: dict[int, int] = {}
        self._asked_ns = 0
        self._asked_key = 0
        self._backoff = settings.reconnect_backoff()

    # ---------------------------------------------------------------- timed frames
    def on_written(self, now: int, key: int) -> None:
        """As in the base, and for frames that are timed without being messages."""
        if key in self._stamps:
            self._stamps[key] = now
        else:
            super().on_written(now, key)

    def _send_timed(self, now: int, text: str) -> None:
        """Send a frame whose answer is timed; only one at a time is."""
        self._last_key += 1
        self._stamps.clear()
        self._stamps[self._last_key] = 0
        self._asked_key, self._asked_ns = self._last_key, now
        self._send(self._conn, text, self._last_key)

    def _answered(self, now: int, measure: str, outcome: str = ops.OK, cause: str = "") -> None:
        """The answer to the last timed frame came, or will not come."""
        start = self._stamps.get(self._asked_key, 0) or self._asked_ns
        self._stamps.clear()
        self._sample(now, measure, outcome, cause, start, self._address, self._asked_ns)

    def _sample(self, now: int, measure: str, outcome: str, cause: str, start: int, ref: str, intended: int = 0) -> None:
        """Something timed that is no HTTP exchange."""
        self.context.observer.record(
            ops.Sample(
                now,
                self.label,
                measure,
                outcome,
                cause,
                intended or start,
                start,
                now,
                0,
                ref,
                self._frame_endpoint(),
            )
        )

    @abstractmethod
    def _frame_endpoint(self) -> str:
        """`WS /path/template`: how rows name the socket."""

    # ---------------------------------------------------------------- timers
    def _on_link_timer(self, name: str, now: int) -> bool:
        """Whether the timer was one of this part's."""
        if name == "auth":
            self._answered(now, "auth", ops.FAIL, FailureCause.AUTH_TIMEOUT.value)
            self._break_off(now, "auth timeout", FailureCause.AUTH_TIMEOUT)
        elif name == "ping":
            self._ping(now)
        elif name == "pong":
            self._note(now, "zombie")
            self._break_off(now, "zombie", FailureCause.ZOMBIE)
        elif name == "drained":
            self._draining = 0
            self._establish(now)
        elif name in ("reconnect", "probe"):
            self._establish(now)
        else:
            return self._on_rest_timer(name, now)
        return True

    def _quiet(self) -> None:
        """Forget every timer of the link."""
        for name in _TIMERS:
            self._disarm(name)

    # ---------------------------------------------------------------- up
    def _establish(self, now: int) -> None:
        """Get what is needed, then a socket."""
        self._quiet()
        self.phase = "preparing"
        self._prepare(now)

    def _connect(self, now: int) -> None:
        """What is needed is there: open the socket."""
        if self.phase == "preparing":
            self.phase = "connecting"
            base, path = self._socket_target()
            self._conn = self._open(now, base, path, self._link_settings.connect_timeout)

    def _on_open(self, now: int, conn: int) -> None:
        if conn != self._conn or self.phase != "connecting" or not self._wanted():
            self._close(conn, NORMAL, "not needed")
            return
        self.phase = "authenticating"
        self._address = self.sockets[conn].address
        self._greet(now, self.sockets[conn])

    def _wanted(self) -> bool:
        """Whether the socket that has just opened can still be used."""
        return True

    def _on_open_failed(self, now: int, conn: int, cause: str, response: HttpResponse | None) -> None:
        if conn != self._conn:
            return
        self._conn = 0
        wait = 0
        if response is not None and response.status in (429, 503):
            wait = retry_after_ns(
                response.headers.get("retry-after"),
                now + self.context.wall_offset_ns,
                default_ns=0,
                cap_ns=self._link_settings.retry_after_cap,
            )
        life = self._life
        self._on_upgrade_refused(now, response)
        if life == self._life:
            self._down(now, CAUSES.get(cause, FailureCause.CONNECTION_CLOSED), wait)

    def _on_upgrade_refused(self, now: int, response: HttpResponse | None) -> None:
        """The server refused the upgrade (None: there is no answer); the link comes back after this, unless phase says no."""

    # ---------------------------------------------------------------- keep-alive
    def _arm_ping(self, now: int) -> None:
        settings = self._link_settings
        if settings.ping_every > 0:
            spread = settings.ping_jitter
            self._arm("ping", now + round(settings.ping_every * (1 + self.rng.uniform(-spread, spread))))

    def _ping(self, now: int) -> None:
        self._send_ping()
        if "pong" not in self._timers:
            self._arm("pong", now + self._link_settings.pong_within)
        self._arm_ping(now)

    def _send_ping(self) -> None:
        """A protocol-level ping (RFC 6455 §5.5.2); a dialect with frames of its own for that sends those."""
        self._outbox.append(PingSocket(self._conn))

    def _on_pong(self, socket: Socket) -> None:
        if socket.conn == self._conn:
            self._disarm("pong")

    def on_pong(self, now: int, conn: int) -> None:  # noqa: ARG002
        """The socket is alive."""
        socket = self.sockets.get(conn)
        if socket is not None:
            self._on_pong(socket)

    # ---------------------------------------------------------------- controlled reconnect
    def _controlled(self, now: int, measure: str, code: int, reason: str) -> None:
        """Close the socket properly, wait for its end (bounded), come back at once."""
        if measure:
            self._begin_gap(now, measure)
        self._quiet()
        conn, self._conn = self._conn, 0
        self._draining, self.phase = conn, "draining"
        self._arm("drained", now + self._link_settings.old_socket_wait)
        self._close(conn, code, reason)
        self._on_down(now)

    # ---------------------------------------------------------------- down
    def _on_closed(self, now: int, socket: Socket, end: SocketEnd) -> None:
        if socket.begun_by_guest and not end.code and end.cause in _DOUBTFUL:
            self._doubtful.add(socket.conn)
        if socket.conn == self._draining and self.phase == "draining":
            self._draining = 0
            self._establish(now)
        elif socket.conn == self._conn:
            cause = FailureCause.CONNECTION_RESET if end.cause else FailureCause.CONNECTION_CLOSED
            self._on_lost(now, socket, end, cause)
            self._conn = 0
            self._down(now, cause)
        else:
            self._on_old_socket_over(now, socket.conn)

    def _on_lost(self, now: int, socket: Socket, end: SocketEnd, cause: FailureCause) -> None:  # noqa: ARG002
        """The current socket has ended and the guest had not asked for that; `phase` is still what it was."""
        if self.phase == "authenticating" and "auth" in self._timers:
            self._answered(now, "auth", ops.FAIL, cause.value)

    def _break_off(self, now: int, reason: str, cause: FailureCause, *, code: int = FORCED, wait_ns: int = 0) -> None:
        """Give the socket up; its reader goes on until its end."""
        conn, self._conn = self._conn, 0
        self._close(conn, code, reason)
        self._down(now, cause, wait_ns)

    def _down(self, now: int, cause: FailureCause, at_least_ns: int = 0) -> None:
        """There is no usable socket: come back after the back-off, or give up."""
        self._quiet()
        was_up = self.phase in ("live", "syncing")
        self.phase, life = "idle", self._life
        if self.state != "leaving":  # whoever leaves has asked the server to end it
            self._broken_off(cause)
        if not self._may_reconnect(now):
            return
        if self.conversation_id:
            self._begin_gap(now, "reconnect.gap")
        if was_up:
            self._on_down(now)
        if life != self._life:  # the conversation was given up over it
            return
        settings = self._link_settings
        if self.state == "rest_only":
            spread = settings.probe_jitter
            delay = round(settings.probe_every * (1 + self.rng.uniform(-spread, spread)))
            self._arm("probe", now + max(delay, at_least_ns))
            return
        if self._tries >= settings.reconnect_attempts:
            self._held_ns = max(self._held_ns, now + at_least_ns)
            self._on_exhausted(now, cause)
            return
        delay = self._backoff.delay(self._tries, self.rng)
        self._tries += 1
        self._arm("reconnect", now + max(delay, at_least_ns))

    def _cut_link(self, now: int, code: int, reason: str) -> None:
        """End every socket on purpose; nothing follows."""
        self._quiet()
        self.phase, self._draining, self._tries = "idle", 0, 0
        self._conn = 0
        for socket in list(self.sockets.values()):
            if socket.opened_ns:
                self._close(socket.conn, code, reason)
        self._end_gap(now, ops.INFO, FailureCause.INTERRUPTED.value)

    # ---------------------------------------------------------------- gaps
    def _begin_gap(self, now: int, measure: str) -> None:
        if not self._gap_measure:
            self._gap_measure, self._gap_since = measure, now

    def _end_gap(self, now: int, outcome: str, cause: str) -> None:
        if outcome == ops.OK:
            self._mended()
        if self._gap_measure:
            measure, self._gap_measure = self._gap_measure, ""
            self._sample(now, measure, outcome, cause, self._gap_since, self._address)

    # ---------------------------------------------------------------- what a dialect provides
    @abstractmethod
    def _prepare(self, now: int) -> None:
        """Get what a socket needs (token, registration); ends in `_connect`, or in a failed start."""

    @abstractmethod
    def _socket_target(self) -> tuple[str, str]:
        """Base and path (with query) of the socket."""

    @abstractmethod
    def _greet(self, now: int, socket: Socket) -> None:
        """The socket is open: ask to be let in."""

    @abstractmethod
    def _on_down(self, now: int) -> None:
        """Frames cannot be sent any more."""

    def _on_old_socket_over(self, now: int, conn: int) -> None:
        """A socket given up earlier has met its end."""

    @abstractmethod
    def _on_exhausted(self, now: int, cause: FailureCause) -> None:
        """As many reconnects as are allowed have failed."""

    @abstractmethod
    def _may_reconnect(self, now: int) -> bool:
        """Whether to come back at all; called once for each time the link went down."""
