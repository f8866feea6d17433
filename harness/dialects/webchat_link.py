"""webchat's socket: authenticate, bind to the conversation, change tokens, open the circuit breaker.

The phases between the base's `authenticating` and `live` are `routing` and `syncing`; `reading` while a guest that leaves
reads back. What a conversation does with a live link is the next part's matter.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

from harness.core import ops
from harness.core.events import Pinged, QueueAccepted, Ready
from harness.core.link import FORCED, GOING_AWAY, NORMAL
from harness.core.session import Context, Socket
from harness.core.wire import HttpResponse, SocketEnd
from harness.dialects.webchat_frames import auth_frame, ping_frame, pong_frame, routing_frame, typing_frame
from harness.dialects.webchat_rest import WebchatRest
from harness.dialects.webchat_settings import WebchatSettings
from harness.errors import FailureCause

__all__ = ["FORCED", "GOING_AWAY", "NORMAL", "WebchatLink"]


class WebchatLink(WebchatRest):
    """The part of a webchat guest that owns sockets."""

    def __init__(self, context: Context, settings: WebchatSettings) -> None:
        super().__init__(context, settings)
        self._auth_generation = 0

    def _frame_endpoint(self) -> str:
        return "WS " + self.settings.socket_path

    # ---------------------------------------------------------------- timers
    def _on_link_timer(self, name: str, now: int) -> bool:
        if name == "routing":
            self._answered(now, "routing", ops.INFO, FailureCause.TIMEOUT.value)
            self._break_off(now, "routing timeout", FailureCause.TIMEOUT)
        elif name == "rebind":
            self._on_rebind_due(now)
        else:
            return super()._on_link_timer(name, now)
        return True

    def _quiet(self) -> None:
        super()._quiet()
        self._disarm("routing")
        self._disarm("rebind")

    # ---------------------------------------------------------------- up
    def _prepare(self, now: int) -> None:
        self._need_token(now, partial(self._token_there, self._life), fresh=True)

    def _token_there(self, life: int, now: int, ok: bool) -> None:
        if life != self._life or self.phase != "preparing":
            return
        if ok:
            self._connect(now)
        elif self.conversation_id:
            self._down(now, FailureCause.UNAUTHORISED)
        else:
            self._on_exhausted(now, FailureCause.UNAUTHORISED)

    def _socket_target(self) -> tuple[str, str]:
        return "webchat", self.settings.socket_path

    def _wanted(self) -> bool:
        return self.credential is not None

    def _greet(self, now: int, socket: Socket) -> None:  # noqa: ARG002
        credential = self.credential
        assert credential is not None
        self._auth_generation = self._generation
        self._arm("auth", now + self.settings.auth_timeout)
        for _ in range(self.settings.early_frames):
            self._send(self._conn, typing_frame(self.conversation_id))
        self._send_timed(now, auth_frame(credential.value.reveal()))

    def _on_upgrade_refused(self, now: int, response: HttpResponse | None) -> None:  # noqa: ARG002
        if response is not None and response.status == 401:
            self._reject_token(self._generation)

    def _on_ready(self, now: int, socket: Socket, event: Ready) -> None:
        socket.ready_ns = socket.ready_ns or now  # for the books, also where the guest has meanwhile turned to something else
        if socket.conn != self._conn or self.phase != "authenticating":
            self._note(now, "frame.unexpected", "auth")
            return
        self._disarm("auth")
        self._clocked(now, "webchat serverTime", self._stamps.get(self._asked_key, 0), event.server_ns)
        self._answered(now, "auth")
        if not self.conversation_id:
            self._server_ns = max(self._server_ns, event.server_ns)
        self._arm_ping(now)
        self.phase = "routing"
        self._arm("routing", now + self.settings.routing_timeout)
        target = self.context.target
        self._before_routing()
        known = self.conversation_id if self.settings.store_conversation else ""
        self._send_timed(now, routing_frame(target.skills, target.attributes, self.settings.priority, known))

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
        super()._live(now)
        self._maybe_rebind(now)

    # ---------------------------------------------------------------- keep-alive
    def _send_ping(self) -> None:
        self._send(self._conn, ping_frame())

    def _on_ping(self, now: int, socket: Socket, event: Pinged) -> None:
        if socket.ready_ns and not socket.begun_by_guest and self.settings.answer_pings:
            self._send(socket.conn, pong_frame(event))
        else:
            self._note(now, "ping.unanswered")

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
        super()._controlled(now, measure, code, reason)
        self._need_token(now, _nothing, fresh=True)

    # ---------------------------------------------------------------- down
    def _on_lost(self, now: int, socket: Socket, end: SocketEnd, cause: FailureCause) -> None:
        super()._on_lost(now, socket, end, cause)
        if self.phase == "routing":
            self._answered(now, "routing", ops.INFO, cause.value)

    def _rest_only(self, now: int) -> None:
        """The circuit breaker opens: poll by REST, probe the socket now and then."""
        self._note(now, "breaker.open")
        self._go(now, "rest_only")
        spread = self.settings.probe_jitter
        self._arm("probe", now + round(self.settings.probe_every * (1 + self.rng.uniform(-spread, spread))))

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
    def _may_rebind(self) -> bool:
        """Whether a controlled reconnect is welcome now."""


def _nothing(now: int, ok: bool) -> None:
    """A waiter that only wants the token to be there."""
