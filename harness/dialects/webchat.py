"""The guest's half of webchat: a conversation from look-up to read-back. Messages, socket and REST are the parts below it."""

from __future__ import annotations

from harness.core import ops
from harness.core.events import (
    AuthRejected,
    Delivered,
    Event,
    Pinged,
    Ponged,
    QueueAccepted,
    RateLimited,
    Ready,
    Refusal,
    SessionEnded,
    TokenExpired,
    Typing,
    Unrecognised,
    Violation,
)
from harness.core.misbehaviour import no_backoff, no_jitter
from harness.core.session import Context, Socket
from harness.core.wire import HttpResponse
from harness.dialects.registry import Dialect
from harness.dialects.webchat_frames import decode, decode_skills, leave_frame
from harness.dialects.webchat_link import NORMAL
from harness.dialects.webchat_probes import probes
from harness.dialects.webchat_settings import WebchatSettings
from harness.dialects.webchat_talk import WebchatTalk
from harness.errors import FailureCause


class WebchatSession(WebchatTalk):
    """One webchat guest."""

    _busy = (*WebchatTalk._busy, "queue", "poll", "rebind")

    def __init__(self, context: Context, settings: WebchatSettings) -> None:
        super().__init__(context, settings)
        self._agent_here = self._stalled = False
        self._strangers: list[str] | None = None
        """Skill groups and attribute keys that the tenant does not know; None: nobody has looked."""
        self._queued_ns = 0

    # ---------------------------------------------------------------- beginning
    def _begin_conversation(self, now: int) -> None:
        self._new_conversation()
        self._life += 1
        self._forget_conversation()
        self._agent_here = self._stalled = False
        self._queued_ns = 0
        self._strangers = None
        self._go(now, "authenticating")
        settings = self.settings
        if settings.check_skills and self.context.target.skills:
            self.phase = "lookup"
            path = settings.skills_path
            self._get(now, "lookup", path, path, self._skills_answered, settings.rest_attempts)
        else:
            self._establish(now)

    def _skills_answered(self, now: int, request_id: str, outcome: HttpResponse | None) -> None:
        if not request_id:
            self._start_failed(now, FailureCause.UNAUTHORISED)
            return
        known = decode_skills(outcome.body) if outcome is not None and outcome.status == 200 else None
        if known is None:
            # A mismatch would show as a stalled queue; that the look-up failed is on record already.
            self._note(now, "skills.unchecked")
        elif unknown := self._compare(known):
            self._note(now, "skills.unknown", ", ".join(unknown)[:200])
            self._sample(now, "routing", ops.FAIL, FailureCause.SKILL_UNKNOWN.value, now, request_id)
            self._start_failed(now, FailureCause.SKILL_UNKNOWN)
            return
        self._establish(now)

    def _compare(self, known: frozenset[str]) -> list[str]:
        """Names that do not match to the letter."""
        target, keys = self.context.target, self.settings.attribute_keys
        self._strangers = sorted(set(target.skills) - known) + sorted(set(target.attributes).difference(keys) if keys else ())
        return self._strangers

    def _before_routing(self) -> None:
        self.render.freeze()

    def _bound(self, now: int, event: QueueAccepted) -> None:
        if not self.conversation_id:
            self.conversation_id = event.conversation_id
            self._start_failures = 0
            self._queued_ns = now
            self._floor_ns = self._server_ns
            self._arm("queue", now + self.settings.queue_timeout)
            self._shown(now, self.render.thaw(now))
            self._live(now)
        elif event.conversation_id != self.conversation_id:
            # The server opened another conversation: the context is split, and the old one is out of reach.
            self._note(now, "context.split")
            self._conversation_lost(now, "context_split")
            return
        elif self.settings.resync:
            self._start_sync(now, self._caught_up)
        else:
            self._shown(now, self.render.thaw(now))
            self._live(now)
        if event.connected:
            self._agent_arrived(now)

    def _news(self, now: int, event: QueueAccepted) -> None:
        if event.connected and event.conversation_id == self.conversation_id:
            self._agent_arrived(now)

    def _agent_arrived(self, now: int) -> None:
        if self._agent_here or not self.conversation_id:
            return
        self._agent_here = True
        self._disarm("queue")
        if self._stalled:
            self._note(now, "queue.late")
        else:
            self._sample(now, "queue", ops.OK, "", self._queued_ns, self.conversation_id)
        if self.phase == "live":
            self._chat(now)

    def _queue_overdue(self, now: int) -> None:
        if not self._stalled:
            self._stalled = True
            self._sample(now, "queue", ops.FAIL, FailureCause.QUEUE_STALLED.value, self._queued_ns, self.conversation_id)
            self._explain_stall(now)
        if self.rng.random() < self.settings.queue_give_up:
            self._forced_cause = FailureCause.QUEUE_STALLED.value
            self._leave(now)
        else:
            self._arm("queue", now + self.settings.queue_timeout)

    def _explain_stall(self, now: int) -> None:
        """A wrong name and nobody on shift stall alike; only the canonical names tell which."""
        if self._strangers is not None or not self.context.target.skills:
            self._stall_explained(now)
            return
        path = self.settings.skills_path
        self._get(now, "lookup", path, path, self._stall_looked_up, self.settings.rest_attempts, self._stall_looked_up)

    def _stall_looked_up(self, now: int, request_id: str, outcome: HttpResponse | None) -> None:  # noqa: ARG002
        known = decode_skills(outcome.body) if outcome is not None and outcome.status == 200 else None
        if known is None:
            self._note(now, "queue.stalled.unexplained")
        else:
            self._compare(known)
            self._stall_explained(now)

    def _stall_explained(self, now: int) -> None:
        if self._strangers:
            self._note(now, "queue.stalled.unknown_names", ", ".join(self._strangers)[:200])
        else:
            unchecked = self.context.target.attributes and not self.settings.attribute_keys
            self._note(now, "queue.stalled.nobody_on_shift", "attribute keys not checked" if unchecked else "")

    # ---------------------------------------------------------------- frames
    def _on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        self._on_event(now, self.sockets[conn], decode(data, self.settings.max_frame_bytes))
        self._finish_if_done(now)

    def _on_event(self, now: int, socket: Socket, event: Event) -> None:
        if isinstance(event, Delivered):
            self._message(now, event, ops.PUSH, socket.conn, socket.address)
        elif isinstance(event, Typing):
            if self._is_current(socket, event.conversation_id) and event.sender != "guest":
                self._agent_arrived(now)
        elif isinstance(event, Pinged):
            self._on_ping(now, socket, event)
        elif isinstance(event, Ponged):
            self._on_pong(socket)
        elif isinstance(event, Ready):
            self._on_ready(now, socket, event)
        elif isinstance(event, QueueAccepted):
            self._on_routed(now, socket, event)
        elif isinstance(event, SessionEnded):
            self._on_session_ended(now, socket, event)
        elif isinstance(event, RateLimited):
            self._on_rate_limited(now, socket, event)
        elif isinstance(event, TokenExpired):
            self._on_token_expired(now, socket)
        elif isinstance(event, AuthRejected):
            self._on_auth_rejected(now, socket, event.code)
        elif isinstance(event, Refusal):
            self._on_refusal(now, socket, event)
        elif isinstance(event, Unrecognised):
            self._note(now, "frame.unknown_type", event.kind)
        elif isinstance(event, Violation):
            self._note(now, f"violation.{event.cause}", event.detail)

    def _is_current(self, socket: Socket, conversation_id: str) -> bool:
        """Whether a frame speaks of the present conversation."""
        if not self.conversation_id:
            return False
        return conversation_id == self.conversation_id or (not conversation_id and socket.conn == self._conn)

    def _on_session_ended(self, now: int, socket: Socket, event: SessionEnded) -> None:
        if not self._is_current(socket, event.conversation_id):
            self._note(now, "frame.unexpected", "closed")
            return
        if self._barrier or self._leave_step == "readback":
            return
        self._barrier = True
        if self._leave_step == "closing" and socket.conn == self._conn:
            self._answered(now, "leave")
        else:
            self._note(now, "closed.by_server")
            if self.state != "leaving":
                self._broken_off(FailureCause.SESSION_CLOSED)
            if socket.conn == self._conn and self.phase == "routing":
                self._answered(now, "routing")
        self._begin_leaving(now)
        self._read_back(now)

    def _on_refusal(self, now: int, socket: Socket, event: Refusal) -> None:
        self._note(now, "error.frame", event.code[:64])
        current = socket.conn == self._conn
        if current and self.phase == "authenticating":
            self._on_auth_rejected(now, socket, event.code)
        elif event.code == "CONVERSATION_NOT_FOUND":
            if self._is_current(socket, event.conversation_id):
                if current and self.phase == "routing":
                    self._answered(now, "routing", ops.FAIL, FailureCause.NOT_FOUND.value)
                self._conversation_lost(now, FailureCause.NOT_FOUND.value)
        elif event.message_id:
            self._refuse(now, event.message_id, FailureCause.REFUSED)
        elif current and self.phase == "routing":
            self._answered(now, "routing", ops.FAIL, FailureCause.REFUSED.value)
            self._break_off(now, "routing refused", FailureCause.REFUSED, code=NORMAL)

    # ---------------------------------------------------------------- link up and down
    def _on_live(self, now: int) -> None:
        self._disarm("poll")
        self._disarm("leave.reconnect")
        if self.state == "rest_only":
            self._note(now, "breaker.closed")
        if self.state == "leaving":
            self._leave_on(now)
        elif self._agent_here:
            self._chat(now)
        else:
            self._go(now, "queued")
            self._pump(now)

    def _on_exhausted(self, now: int, cause: FailureCause) -> None:
        if not self.conversation_id:
            self._start_failed(now, cause)
            return
        self._rest_only(now)
        self._poll(now)

    def _poll(self, now: int) -> None:
        if self.state == "rest_only":
            self._arm("poll", now + self._jittered(self.settings.poll_every, self.settings.poll_jitter))
            if self._sync is None and self.phase != "syncing":
                self._start_sync(now, self._checked)

    def _may_rebind(self) -> bool:
        return self.state in ("queued", "chatting") and self._sync is None

    def _on_settled(self, now: int) -> None:
        super()._on_settled(now)
        if self.state != "leaving":
            self._maybe_rebind(now)

    # ---------------------------------------------------------------- leaving
    def _on_stop(self, now: int) -> None:
        self._disarm("between")
        if not self.conversation_id and self.state == "authenticating" and self.phase not in ("routing", "syncing"):
            self._abandon(now)

    def _leave_frame(self) -> str:
        return leave_frame(self.conversation_id)

    def _on_timer(self, name: str, now: int, due: int) -> None:
        if name == "queue":
            self._queue_overdue(now)
        elif name == "poll":
            self._poll(now)
        else:
            super()._on_timer(name, now, due)


DIALECT = Dialect(
    name="webchat",
    probes=probes,
    published=False,
    transport="websocket",
    correlation="echo",
    bases=("api", "login", "webchat"),
    settings=WebchatSettings,
    session=WebchatSession,
    sources=("Architecting Production-Ready Custom Chat Interfaces with the Genesys Cloud Web Messaging WebSocket (seed 002)",),
    transcript="webchat.jsonl",
    measures=(
        "token",
        "connect",
        "auth",
        "routing",
        "queue",
        "echo",
        "reply",
        "event.lag",
        "resync",
        "refresh.gap",
        "reconnect.gap",
        "lookup",
        "leave",
    ),
    client_faults={
        "no_refresh": {"proactive_refresh": False},
        "no_jitter": no_jitter(WebchatSettings),
        "no_resync": {"resync": False},
        "no_backoff": no_backoff(WebchatSettings),
        "blind_resend": {"resend": "blind"},
        "no_keepalive": {"ping_every": 0, "answer_pings": False},
        "forget_conversation": {"store_conversation": False},
        "frames_before_auth": {"early_frames": 3},
        "typing_flood": {"typing_frames": 20},
    },
)
