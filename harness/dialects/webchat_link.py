"""webchat's socket: open, authenticate, bind to the conversation, keep alive, change tokens, reconnect, circuit breaker.

Phases of the link: `idle` → `token` → `connecting` → `authenticating` → `routing` → `syncing` → `live`; `draining` while a
controlled reconnect waits for the old socket's end, `reading` while a guest that leaves reads back. What a conversation
does with a live link is the next part's matter.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

from harness.core import ops
from harness.core.events import Pinged, QueueAccepted, Ready
from harness.core.http import retry_after_ns
from harness.core.session import Context, Socket
from harness.core.wire import HttpResponse, SocketEnd
from harness.dialects.webchat_frames import auth_frame, ping_frame, pong_frame, routing_frame
from harness.dialects.webchat_rest import WebchatRest
from harness.dialects.webchat_settings import WebchatSettings
from harness.errors import FailureCause

NORMAL, GOING_AWAY, FORCED = 1000, 1001, 4000
"""Close codes of the guest: over or refreshed, reload, given up on."""
_DOUBTFUL = (FailureCause.TIMEOUT.value, FailureCause.ZOMBIE.value, FailureCause.INTERRUPTED.value)

_CAUSES = {cause.value: cause for cause in FailureCause}


class WebchatLink(WebchatRest):
    """The part of a webchat guest that owns sockets."""

    def __init__(self, context: Context, settings: WebchatSettings) -> None:
        super().__init__(context, settings)
        self.phase = "idle"
        self._conn = 0
        """The socket in use; others in `sockets` only wait for their end."""
        self._address = ""
        self._draining = 0
        self._tries = 0
        self._auth_generation = 0
        self._server_ns = 0
        """The latest server time that the guest knows, wall clock."""
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
                "WS " + self.settings.socket_path,
            )
        )

    # ---------------------------------------------------------------- timers
    def _on_link_timer(self, name: str, now: int) -> bool:
        """Whether the timer was one of this part's."""
        if name == "auth":
            self._answered(now, "auth", ops.FAIL, FailureCause.AUTH_TIMEOUT.value)
            self._break_off(now, "auth timeout", FailureCause.AUTH_TIMEOUT)
        elif name == "routing":
            self._answered(now, "routing", ops.INFO, FailureCause.TIMEOUT.value)
            self._break_off(now, "routing timeout", FailureCause.TIMEOUT)
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
        elif name == "rebind":
            self._on_rebind_due(now)
        else:
            return self._on_rest_timer(name, now)
        return True

    def _quiet(self) -> None:
        """Forget every timer of the link."""
        for name in ("auth", "routing", "ping", "pong", "drained", "reconnect", "probe", "rebind"):
            self._disarm(name)

    # ---------------------------------------------------------------- up
    def _establish(self, now: int) -> None:
        """Get a token if need be, then a socket."""
        self._quiet()
        self.phase = "token"
        self._need_token(now, partial(self._connect, self._life), fresh=True)

    def _connect(self, life: int, now: int, ok: bool) -> None:
        if life != self._life or self.phase != "token":
            return
        if not ok:
            if self.conversation_id:
                self._down(now, FailureCause.UNAUTHORISED)
            else:
                self._on_exhausted(now, FailureCause.UNAUTHORISED)
            return
        self.phase = "connecting"
        self._conn = self._open(now, "webchat", self.settings.socket_path, self.settings.connect_timeout)

    def _on_open(self, now: int, conn: int) -> None:
        credential = self.credential
        if conn != self._conn or self.phase != "connecting" or credential is None:
            self._close(conn, NORMAL, "not needed")
            return
        self.phase = "authenticating"
        self._address = self.sockets[conn].address
        self._auth_generation = self._generation
        self._arm("auth", now + self.settings.auth_timeout)
        self._send_timed(now, auth_frame(credential.value.reveal()))

    def _on_open_failed(self, now: int, conn: int, cause: str, response: HttpResponse | None) -> None:
        if conn != self._conn:
            return
        self._conn = 0
        wait = 0
        if response is not None and response.status == 401:
            self._reject_token(self._generation)
        if response is not None and response.status in (429, 503):
            wait = retry_after_ns(
                response.headers.get("retry-after"),
                now + self.context.wall_offset_ns,
                default_ns=0,
                cap_ns=self.settings.retry_after_cap,
            )
        self._down(now, _CAUSES.get(cause, FailureCause.CONNECTION_CLOSED), wait)

    def _on_ready(self, now: int, socket: Socket, event: Ready) -> None:
        if socket.conn != self._conn or self.phase != "authenticating":
            self._note(now, "frame.unexpected", "auth")
            return
        self._disarm("auth")
        socket.ready_ns = now
        self._answered(now, "auth")
        if not self.conversation_id:
            self._server_ns = max(self._server_ns, event.server_ns)
        self._arm_ping(now)
        self.phase = "routing"
        self._arm("routing", now + self.settings.routing_timeout)
        target = self.context.target
        self._before_routing()
        self._send_timed(now, routing_frame(target.skills, target.attributes, self.settings.priority, self.conversation_id))

    def _on_auth_rejected(self, now: int, socket: Socket, code: str) -> None:
        if socket.conn != self._conn or self.phase != "authenticating":
            self._note(now, "frame.unexpected", "auth")
            return
        self._note(now, "auth.rejected", code)
        self._reject_token(self._auth_generation)
        self._answered(now, "auth", ops.FAIL, FailureCause.AUTH_REJECTED.value)
        self._break_off(now, "auth rejected", FailureCause.AUTH_REJECTED, code=NORMAL)

    def _on_routed(self, now: int, socket: Socket, event: QueueAccepted) -> None:
        """The conversation frame: the first answer to routing, later mere news of the status."""
        if socket.conn == self._conn and self.phase == "routing":
            self._disarm("routing")
            self._answered(now, "routing")
            self.phase = "syncing"
            self._bound(now, event)
        elif socket.conn == self._conn and self.phase in ("syncing", "live"):
            self._news(now, event)
        else:
            self._note(now, "frame.unexpected", "conversation")

    def _live(self, now: int) -> None:
        """The stream goes on: the socket is bound and what was missed has been read."""
        self.phase = "live"
        self._tries = 0
        self._end_gap(now, ops.OK, "")
        self._on_live(now)
        self._maybe_rebind(now)

    # ---------------------------------------------------------------- keep-alive
    def _arm_ping(self, now: int) -> None:
        if self.settings.ping_every <= 0:
            return
        spread = self.settings.ping_jitter
        self._arm("ping", now + round(self.settings.ping_every * (1 + self.rng.uniform(-spread, spread))))

    def _ping(self, now: int) -> None:
        self._send(self._conn, ping_frame())
        if "pong" not in self._timers:
            self._arm("pong", now + self.settings.pong_within)
        self._arm_ping(now)

    def _on_ping(self, now: int, socket: Socket, event: Pinged) -> None:
        if socket.ready_ns and not socket.begun_by_guest:
            self._send(socket.conn, pong_frame(event))
        else:
            self._note(now, "ping.unanswered")

    def _on_pong(self, socket: Socket) -> None:
        if socket.conn == self._conn:
            self._disarm("pong")

    # ---------------------------------------------------------------- controlled reconnect
    def _on_new_token(self, now: int) -> None:
        self._maybe_rebind(now)

    def _maybe_rebind(self, now: int) -> None:
        """Change to a socket with the newer token: at once when nothing is outstanding, else after a little patience."""
        if self.phase != "live" or self._auth_generation == self._generation or not self._may_rebind():
            return
        if "rebind" not in self._timers and self._outstanding():
            self._arm("rebind", now + self.settings.refresh_patience)
        elif not self._outstanding():
            self._controlled(now, "refresh.gap", NORMAL, "token refresh")

    def _on_rebind_due(self, now: int) -> None:
        if self.phase == "live" and self._may_rebind():
            self._controlled(now, "refresh.gap", NORMAL, "token refresh")

    def _on_token_expired(self, now: int, socket: Socket) -> None:
        self._note(now, "token.expired")
        if socket.conn != self._conn or self.phase not in ("authenticating", "routing", "syncing", "live"):
            return
        self._reject_token(self._auth_generation)
        if self.phase == "authenticating":
            self._answered(now, "auth", ops.FAIL, FailureCause.TOKEN_EXPIRED.value)
            self._break_off(now, "token expired", FailureCause.TOKEN_EXPIRED, code=NORMAL)
            return
        if self.phase == "routing":
            self._answered(now, "routing", ops.FAIL, FailureCause.TOKEN_EXPIRED.value)
        self._controlled(now, "refresh.gap", NORMAL, "token refresh")

    def _controlled(self, now: int, measure: str, code: int, reason: str) -> None:
        """Close the socket properly, wait for its end (bounded), come back at once."""
        if measure:
            self._begin_gap(now, measure)
        self._quiet()
        conn, self._conn = self._conn, 0
        self._draining, self.phase = conn, "draining"
        self._arm("drained", now + self.settings.old_socket_wait)
        self._close(conn, code, reason)
        self._on_down(now)
        self._need_token(now, _nothing, fresh=True)

    # ---------------------------------------------------------------- down
    def _on_closed(self, now: int, socket: Socket, end: SocketEnd) -> None:
        if socket.begun_by_guest and not end.code and end.cause in _DOUBTFUL:
            self._doubtful.add(socket.conn)
        if socket.conn == self._draining and self.phase == "draining":
            self._draining = 0
            self._establish(now)
        elif socket.conn == self._conn:
            cause = FailureCause.CONNECTION_RESET if end.cause else FailureCause.CONNECTION_CLOSED
            if self.phase == "authenticating":
                self._answered(now, "auth", ops.FAIL, cause.value)
            elif self.phase == "routing":
                self._answered(now, "routing", ops.INFO, cause.value)
            self._conn = 0
            self._down(now, cause)
        else:
            self._on_old_socket_over(now, socket.conn)

    def _break_off(self, now: int, reason: str, cause: FailureCause, *, code: int = FORCED, wait_ns: int = 0) -> None:
        """Give the socket up; its reader goes on until its end."""
        conn, self._conn = self._conn, 0
        self._close(conn, code, reason)
        self._down(now, cause, wait_ns)

    def _down(self, now: int, cause: FailureCause, at_least_ns: int = 0) -> None:
        """There is no usable socket: come back after the back-off, or open the breaker."""
        self._quiet()
        was_live = self.phase in ("live", "syncing")
        self.phase = "idle"
        if not self._may_reconnect(now):
            return
        if self.conversation_id:
            self._begin_gap(now, "reconnect.gap")
        if was_live:
            self._on_down(now)
        if self.state == "rest_only":
            spread = self.settings.probe_jitter
            delay = round(self.settings.probe_every * (1 + self.rng.uniform(-spread, spread)))
            self._arm("probe", now + max(delay, at_least_ns))
            return
        if self._tries >= self.settings.reconnect_attempts:
            self._on_exhausted(now, cause)
            return
        delay = self._backoff.delay(self._tries, self.rng)
        self._tries += 1
        self._arm("reconnect", now + max(delay, at_least_ns))

    def _rest_only(self, now: int) -> None:
        """The circuit breaker opens: poll by REST, probe the socket now and then."""
        self._note(now, "breaker.open")
        self._go(now, "rest_only")
        spread = self.settings.probe_jitter
        self._arm("probe", now + round(self.settings.probe_every * (1 + self.rng.uniform(-spread, spread))))

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
        if self._gap_measure:
            measure, self._gap_measure = self._gap_measure, ""
            self._sample(now, measure, outcome, cause, self._gap_since, self._address)

    # ---------------------------------------------------------------- what the conversation provides
    @abstractmethod
    def _before_routing(self) -> None:
        """A routing frame is about to be sent."""

    @abstractmethod
    def _bound(self, now: int, event: QueueAccepted) -> None:
        """The socket belongs to a conversation now; must end in `_live`."""

    @abstractmethod
    def _news(self, now: int, event: QueueAccepted) -> None:
        """The server said something about the conversation's status."""

    @abstractmethod
    def _on_live(self, now: int) -> None:
        """Frames can be sent (again)."""

    @abstractmethod
    def _on_down(self, now: int) -> None:
        """Frames cannot be sent any more."""

    @abstractmethod
    def _on_old_socket_over(self, now: int, conn: int) -> None:
        """A socket given up earlier has met its end."""

    @abstractmethod
    def _on_exhausted(self, now: int, cause: FailureCause) -> None:
        """As many reconnects as are allowed have failed."""

    @abstractmethod
    def _may_reconnect(self, now: int) -> bool:
        """Whether to come back at all; called once for each time the link went down."""

    @abstractmethod
    def _may_rebind(self) -> bool:
        """Whether a controlled reconnect is welcome now."""

    @abstractmethod
    def _outstanding(self) -> bool:
        """Whether echoes are still due on this socket."""


def _nothing(now: int, ok: bool) -> None:
    """A waiter that only wants the token to be there."""
