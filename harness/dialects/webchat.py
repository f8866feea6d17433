"""The guest's half of webchat: a conversation from look-up to read-back. Messages, socket and REST are the parts below it."""

from __future__ import annotations

from collections.abc import Callable

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
from harness.core.session import Context, Socket
from harness.core.wire import HttpResponse
from harness.dialects.registry import Dialect
from harness.dialects.webchat_frames import decode, decode_skills, leave_frame
from harness.dialects.webchat_link import NORMAL
from harness.dialects.webchat_settings import WebchatSettings
from harness.dialects.webchat_talk import WebchatTalk
from harness.errors import FailureCause

_BUSY = ("queue", "gap", "poll", "catchup", "limited", "send", "length", "rebind")
_LEAVING = ("leave", "leave.reconnect", "leave.limit")


class WebchatSession(WebchatTalk):
    """One webchat guest."""

    def __init__(self, context: Context, settings: WebchatSettings) -> None:
        super().__init__(context, settings)
        self._start_failures = 0
        self._start_backoff = settings.start_backoff()
        self._agent_here = self._chat_begun = self._stalled = False
        self._strangers: list[str] | None = None
        """Skill groups and attribute keys that the tenant does not know; None: nobody has looked."""
        self._barrier = False
        """The server has said that nothing will be stored any more."""
        self._queued_ns = 0
        self._leave_step = ""
        self._forced_cause = ""

    # ---------------------------------------------------------------- beginning
    def _begin_conversation(self, now: int) -> None:
        self._new_conversation()
        self._life += 1
        self._forget_talk()
        self._agent_here = self._chat_begun = self._stalled = self._barrier = False
        self._queued_ns = self._server_ns = self._tries = 0
        self._strangers = None
        self._leave_step = self._forced_cause = ""
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

    def _start_failed(self, now: int, cause: FailureCause) -> None:
        """No conversation came about: pause, longer each time."""
        pause = self._start_backoff.delay(self._start_failures, self.rng)
        self._start_failures += 1
        self._note(now, "start.failed", cause.value)
        self._finish_conversation(now, False, cause.value, pause)

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
        else:
            self._start_sync(now, self._caught_up)
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

    def _chat(self, now: int) -> None:
        """There is an agent and the socket is live."""
        if self.state == "leaving":
            return
        if self._chat_begun:
            self._go(now, "chatting")
        else:
            self._chat_begun = True
            self._start_chatting(now)
        self._pump(now)

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

    def _conversation_lost(self, now: int, cause: str) -> None:
        """The server does not know the conversation (any more): who is leaving reads back what there is, others begin anew."""
        if self._leave_step == "readback":
            return
        if self.state == "leaving":
            self._read_back(now)
            return
        self._note(now, "conversation.lost", cause)
        self._finish_conversation(now, False, cause, self._backoff.delay(0, self.rng))

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

    def _on_down(self, now: int) -> None:
        self._forget_sync()
        if self.state == "leaving":
            if self._leave_step == "closing":
                self._answered(now, "leave", ops.INFO, FailureCause.CONNECTION_CLOSED.value)
                self._leave_step = "confirm"
            self._disarm("leave")
            self._arm("leave.reconnect", now + self.settings.leave_reconnect)
        elif self.state in ("chatting", "queued"):
            self._go(now, "reconnecting")

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

    def _may_reconnect(self, now: int) -> bool:
        if self.state in ("between", "finished") or self._leave_step == "readback":
            return False
        if self.stopping and not self.conversation_id:
            self._abandon(now)
            return False
        if self.state == "leaving":
            self._tries = min(self._tries, self.settings.reconnect_attempts - 1)
        return True

    def _may_rebind(self) -> bool:
        return self.state in ("queued", "chatting") and self._sync is None

    def _on_settled(self, now: int) -> None:
        if self.state == "leaving":
            self._leave_on(now)
        else:
            self._maybe_rebind(now)

    # ---------------------------------------------------------------- leaving
    def _on_stop(self, now: int) -> None:
        self._disarm("between")
        if not self.conversation_id and self.state == "authenticating" and self.phase not in ("routing", "syncing"):
            self._abandon(now)

    def _abandon(self, now: int) -> None:
        """There is no conversation to leave."""
        self._finish_conversation(now, False, FailureCause.INTERRUPTED.value)

    def _begin_leaving(self, now: int) -> None:
        self._go(now, "leaving")
        for name in _BUSY:
            self._disarm(name)
        self._held_send = 0
        if "leave.limit" not in self._timers:
            self._arm("leave.limit", now + self.settings.leave_limit)

    def _leave(self, now: int) -> None:
        if self.state in ("leaving", "finished"):
            return
        if not self.conversation_id:
            self._disarm("between")
            if self.state == "between":
                self._finish_if_done(now)
            else:
                self._abandon(now)
            return
        self._begin_leaving(now)
        self._leave_step = "confirm"
        if self.phase == "live":
            self._leave_on(now)
            return
        self._arm("leave.reconnect", now + self.settings.leave_reconnect)
        if self.phase == "idle":
            self._tries = 0
            self._establish(now)

    def _leave_on(self, now: int) -> None:
        """Once nothing is outstanding: say good-bye."""
        if self.phase != "live" or self._leave_step != "confirm":
            return
        if not self._outstanding():
            self._say_good_bye(now)
        elif "leave" not in self._timers:
            self._arm("leave", now + self.behaviour.confirm_timeout)

    def _say_good_bye(self, now: int) -> None:
        self._leave_step = "closing"
        self._arm("leave", now + self.settings.leave_timeout)
        self._send_timed(now, leave_frame(self.conversation_id))

    def _leave_overdue(self, now: int) -> None:
        if self._leave_step == "confirm" and self.phase == "live":
            self._say_good_bye(now)
        elif self._leave_step == "closing":
            self._answered(now, "leave", ops.FAIL, FailureCause.TIMEOUT.value)
            self._read_back(now)

    def _read_back(self, now: int) -> None:
        """Read the whole conversation once more: what the server holds of it is then certain, if the barrier was seen."""
        self._leave_step = "readback"
        self._quiet()
        self._disarm("leave")
        self._disarm("leave.reconnect")
        self.phase = "reading"
        self._start_sync(now, self._read_back_done, from_start=True)

    def _read_back_done(self, now: int, ok: bool) -> None:
        sync, self._sync = self._sync, None
        whole = ok and sync is not None and sync.pager.complete
        self._shown(now, self.render.thaw(now))
        while self.render.hole:
            self._note(now, "gap.given_up", str(self.render.hole))
            self._shown(now, self.render.give_up(now))
        if not whole:
            self._note(now, "read_back.failed")
        if not self._barrier:
            self._note(now, "leave.unanswered")
        self._finish_conversation(now, whole and self._barrier, self._forced_cause)

    def _leave_took_too_long(self, now: int) -> None:
        self._note(now, "leave.limit")
        self._finish_conversation(now, False, FailureCause.TIMEOUT.value)

    def _finish_conversation(self, now: int, complete: bool, cause: str, pause_ns: int | None = None) -> None:
        """Close the books, end the sockets, go on to the next conversation or to the end."""
        self._life += 1
        self._sync, self._leave_step = None, ""
        for op in self.ops.values():
            if not op.closed:
                self._miss_echo(now, op, FailureCause.INTERRUPTED, ops.INFO)
        self._forget_later()
        for name in [name for name in self._timers if name in _BUSY or name in _LEAVING or name.startswith("confirm:")]:
            self._disarm(name)
        self._cut_link(now, NORMAL, "guest left")
        self._registry.clear()
        self._end_conversation(now, complete, cause)
        self._doubtful.clear()
        self._next_or_finish(now, pause_ns)

    # ---------------------------------------------------------------- timers
    def _on_timer(self, name: str, now: int, due: int) -> None:
        act = _TIMERS.get(name)
        if act is not None:
            act(self, now)
        elif name.startswith("confirm:"):
            self._confirm_overdue(now, int(name[8:]))
        elif not self._on_link_timer(name, now):
            self._on_shared_timer(name, now, due)


_TIMERS: dict[str, Callable[[WebchatSession, int], None]] = {
    "queue": WebchatSession._queue_overdue,
    "gap": WebchatSession._gap_overdue,
    "poll": WebchatSession._poll,
    "limited": WebchatSession._pump,
    "catchup": WebchatSession._check,
    "leave": WebchatSession._leave_overdue,
    "leave.reconnect": WebchatSession._read_back,
    "leave.limit": WebchatSession._leave_took_too_long,
}

DIALECT = Dialect(
    name="webchat",
    published=False,
    transport="websocket",
    correlation="echo",
    bases=("api", "login", "webchat"),
    settings=WebchatSettings,
    session=WebchatSession,
    sources=("seed 002",),
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
)
