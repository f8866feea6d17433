"""A guest whose dialect has nothing to read back from: what was not pushed to it is lost, what nothing confirms stays unknown.

One conversation after the other: prepare (token, registration) → socket → chat → leave. A dialect says how it prepares, what
its frames look like, and how the server's frames map to `_hear`, `_limited_by_frame`, `_over`, `_acked`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.core import ops
from harness.core.backoff import Backoff
from harness.core.link import GOING_AWAY, NORMAL, LinkedGuest, LinkSettings
from harness.core.session import Context, Op, Socket
from harness.core.spread import Duration, seconds
from harness.core.wire import HttpResponse, SocketEnd
from harness.errors import FailureCause

_BUSY = ("queue", "limited", "send", "length", "settled", "leave", "leave.limit", "renew", "lapse")
_LAST_MOMENT = seconds(2)
"""A guest that has said its last word leaves so long before its session would run out."""


@dataclass(frozen=True, slots=True)
class ChatSettings(LinkSettings):
    """Settings that such dialects share. Durations in nanoseconds."""

    start_pause: Duration = seconds(5)
    start_pause_cap: Duration = seconds(60)
    """Pause before another try where no conversation came about: doubled each time up to the cap (ours)."""
    start_jitter: float = 0.5
    settled_after: Duration = seconds(5)
    """A socket must live so long before the count of reconnects starts anew (ours)."""
    typing_every: Duration = seconds(3)
    """Typing frames are not repeated sooner; 0: one goes with every keystroke burst, message or not."""
    typing_frames: int = 1
    """Typing frames for each message that is announced; more than one is a flood."""
    retry_after_default: Duration = seconds(1)
    """Pause after a rate-limit frame that names none."""
    resend: Literal["never", "blind"] = "never"
    """`blind`: after a reconnect, whatever has no reply yet is sent again, unchecked."""
    leave_timeout: Duration = seconds(5)
    """How long the server's close is waited for after the guest's good-bye."""
    leave_limit: Duration = seconds(60)
    """Leaving takes no longer, whatever happens."""

    def start_backoff(self) -> Backoff:
        """Pauses between failed starts."""
        return Backoff(self.start_pause, self.start_pause_cap, proportional=self.start_jitter)


class ChatGuest(LinkedGuest):
    """One guest of a dialect without a listing."""

    _close_reason = "guest left"
    """What the close frame says when a conversation is left."""
    _replies_confirm: ClassVar[bool] = True
    """Whether nothing but the reply tells that a message has arrived."""

    def __init__(self, context: Context, settings: ChatSettings) -> None:
        super().__init__(context, settings)
        self._chat_settings = settings
        self.listing = False
        self._start_failures = 0
        self._start_backoff = settings.start_backoff()
        self._chat_begun = False
        self._over_said = False
        """The server has said that the conversation is over."""
        self._typed_ns = 0
        self._cause = ""
        """Why the conversation that is being left ends; "" where the guest simply goes."""
        self._answered_to = 0
        """Highest seq that a reply of this conversation has quoted."""
        self._goes_on = False
        """The next conversation is what the server makes of a renewal or a reconnect, not another one of the guest's."""
        self._written: dict[int, list[int]] = {}
        """By seq: the sockets on which a message was handed to the shell."""

    # ---------------------------------------------------------------- beginning
    def _begin_conversation(self, now: int) -> None:
        self._new_conversation()
        self._life += 1
        self._chat_begun = self._over_said = False
        self._typed_ns = self._tries = self._answered_to = 0
        self._cause = ""
        self._written.clear()
        self._go(now, "authenticating")
        self._establish(now)

    def _start_failed(self, now: int, cause: FailureCause) -> None:
        """No conversation came about: pause, longer each time."""
        pause = self._not_before(now, self._start_backoff.delay(self._start_failures, self.rng))
        self._start_failures += 1
        self._note(now, "start.failed", cause.value)
        self._finish_conversation(now, cause.value, pause)

    def _let_in(self, now: int, socket: Socket) -> None:
        """The socket can be used from now on; to be called by `_greet`, or once the server has answered."""
        socket.ready_ns = socket.ready_ns or now
        self.phase = "live"
        if self._chat_settings.settled_after:
            self._arm("settled", now + self._chat_settings.settled_after)
        else:
            self._settle(now)
        self._arm_ping(now)
        self._end_gap(now, ops.OK, "")
        if self.state == "leaving":
            self._say_good_bye(now)
            return
        if self._chat_begun:
            self._go(now, "chatting")
        else:
            self._chat_begun = True
            self._start_chatting(now)
        self._pump(now)

    def _settle(self, now: int) -> None:  # noqa: ARG002
        """The socket has lived long enough to count as a success: whatever is counted against the guest starts anew."""
        self._tries = self._start_failures = 0

    # ---------------------------------------------------------------- saying
    def _can_speak(self) -> bool:
        return super()._can_speak() and self.phase == "live" and "limited" not in self._timers

    def _on_send_due(self, now: int, due: int) -> None:
        if not self.stopping and self._can_speak() and self.behaviour.reload and self.rng.random() < self.behaviour.reload:
            if self.behaviour.pacing == "schedule":
                self._arm("send", self._pacer.next(due))
            self._held_send = self._held_send or due
            self._note(now, "reload")
            self._reload(now)
            return
        super()._on_send_due(now, due)

    def _reload(self, now: int) -> None:
        """The page is loaded again; here: nothing was stored, so the guest starts anew."""
        self._renew(now, "reload", GOING_AWAY)

    def _transmit(self, now: int, op: Op) -> None:
        if not self._can_speak():
            return  # `_pump` hands it over once the way is free
        settings = self._chat_settings
        quiet = not self._typed_ns or now - self._typed_ns >= settings.typing_every
        if op.attempts == 1 and quiet and self.rng.random() < self.behaviour.typing:
            self._typed_ns = now
            text = self._typing_frame()
            for _ in range(settings.typing_frames if text else 0):
                self._send(self._conn, text)
        self._written.setdefault(op.seq, []).append(self._conn)
        self._send(self._conn, self._message_frame(op), op.key)

    def _pump(self, now: int) -> None:
        """The way is free: hand over what never left, and what was due meanwhile."""
        if self.phase != "live" or "limited" in self._timers or self.state == "leaving":
            return
        for op in sorted(self.ops.values(), key=lambda op: op.seq):
            if op.closed:
                continue
            written = self._written.get(op.seq)
            if not written or (not op.sent_ns and written[-1] != self._conn):
                self._transmit(now, op)
            elif self._chat_settings.resend == "blind" and written[-1] != self._conn:
                self._note(now, "message.resent")
                self._attempt(now, op)
        if self._can_speak():
            self._resume_sending(now)

    # ---------------------------------------------------------------- hearing
    def _hear(self, now: int, socket: Socket, text: str, mid: str, server_ns: int) -> None:
        """A text message of an agent's."""
        self._arrive(now, text, ops.PUSH, socket.conn, mid, server_ns, socket.address)

    def _replied(self, now: int, seq: int) -> None:
        op = self.ops.get(seq)
        if op is not None and not op.closed:
            self._confirm(now, op, "reply")
        super()._replied(now, seq)
        self._answered_to = max(self._answered_to, seq)

    def _meant(self, socket: Socket) -> Op | None:
        """The message that a refusal is about, where the frame does not say: certain only where one alone can be meant.

        Frames are handled in order: what is older than a message that was answered is not meant, unless it was sent again.
        """
        floor = self._answered_to if self._chat_settings.resend == "never" else 0
        able = [op for op in self.ops.values() if not op.closed and op.sent_ns and op.seq > floor]
        able = [op for op in able if socket.conn in self._written.get(op.seq, ())]
        return able[0] if len(able) == 1 else None

    def _limited_by_frame(self, now: int, socket: Socket, frame: str, retry_after_ns: int, op: Op | None) -> None:
        """The server refused a frame (`message`, `typing`); `op`: the message it was, where that is known."""
        socket.refusals += 1
        self._refused(now, self._frame_endpoint(), f"{socket.address}#{socket.refusals}", retry_after_ns)
        if frame == "typing":
            self._note(now, "typing.limited")
        settings = self._chat_settings
        asked = retry_after_ns if retry_after_ns >= 0 else settings.retry_after_default
        wait = min(asked, settings.retry_after_cap) + round(self.rng.random() * settings.retry_jitter)
        if self.conversation_id and wait:
            self._arm("limited", max(self._timers.get("limited", 0), now + wait))
        if frame != "message" or op is None or op.closed:
            return
        if op.attempts > 1:
            self._note(now, "resend.refused", FailureCause.RATE_LIMITED.value)
        else:
            self._fail(now, op, FailureCause.RATE_LIMITED)

    def _over(self, now: int, socket: Socket, reason: str) -> None:
        """The server says that the conversation is over."""
        if socket.conn != self._conn or self._over_said:
            return
        self._over_said = True
        if self.state == "leaving":
            self._finish_conversation(now, self._cause)
        elif self.conversation_id:
            self._note(now, "closed.by_server", reason[:64])
            self._broken_off(FailureCause.SESSION_CLOSED)
            self._finish_conversation(now, "")

    # ---------------------------------------------------------------- link up and down
    def _on_down(self, now: int) -> None:
        self._disarm("settled")
        if self.state == "chatting":
            self._go(now, "reconnecting")

    def _on_lost(self, now: int, socket: Socket, end: SocketEnd, cause: FailureCause) -> None:
        super()._on_lost(now, socket, end, cause)
        if self.phase == "live" and "settled" in self._timers:
            self._note(now, "closed.early", str(end.code))

    def _on_exhausted(self, now: int, cause: FailureCause) -> None:
        if not self._chat_begun:
            self._start_failed(now, cause)
            return
        self._note(now, "reconnect.exhausted", cause.value)
        self._finish_conversation(now, cause.value)

    def _may_reconnect(self, now: int) -> bool:
        if self.state in ("between", "finished"):
            return False
        if self.state == "leaving":
            self._finish_conversation(now, self._cause)
            return False
        if self.stopping and not self._chat_begun:
            self._finish_conversation(now, FailureCause.INTERRUPTED.value)
            return False
        return True

    # ---------------------------------------------------------------- leaving
    def _on_stop(self, now: int) -> None:
        self._disarm("between")
        if lapses := self._lapses_ns():
            self._arm("lapse", max(now, lapses - min(_LAST_MOMENT, max(lapses - now, 0) // 2)))
        if self.state == "authenticating" and self.phase in ("idle", "preparing") and not self.conversation_id:
            self._finish_conversation(now, FailureCause.INTERRUPTED.value)

    def _leave(self, now: int) -> None:
        if self.state in ("leaving", "finished"):
            return
        if self.state == "between":
            self._disarm("between")
            self._finish_if_done(now)
            return
        self._go(now, "leaving")
        for name in _BUSY:
            self._disarm(name)
        self._held_send = 0
        self._arm("leave.limit", now + self._chat_settings.leave_limit)
        if self.phase == "live":
            self._say_good_bye(now)
        elif self.phase not in ("connecting", "authenticating"):
            self._finish_conversation(now, self._cause)

    def _say_good_bye(self, now: int) -> None:
        """Tell the server, then wait a moment for what it still pushes: what is under way then is read, not lost."""
        text = self._end_frame(self._cause or "Guest ended")
        if text:
            self._send(self._conn, text)
        self._finish_conversation(now, self._cause)

    def _renew(self, now: int, cause: str, code: int = NORMAL) -> None:
        """End this conversation and begin another at once, as a new guest of the server's."""
        if self.phase == "live" and (text := self._end_frame(cause)) and code == NORMAL:
            self._send(self._conn, text)
        self._goes_on = True
        self._plan_to_leave()
        self._finish_conversation(now, cause, 0, code)

    def _next_or_finish(self, now: int, pause_ns: int | None = None) -> None:
        """As in the base; a conversation that only goes on under another label is not one more of those that are wanted."""
        goes_on, self._goes_on = self._goes_on and not self.stopping, False
        if goes_on:
            self.continued += 1
            self._go(now, "between")
            self._arm("between", now + (pause_ns or 0))
        else:
            super()._next_or_finish(now, pause_ns)

    def _finish_conversation(self, now: int, cause: str, pause_ns: int | None = None, code: int = NORMAL) -> None:
        """Close the books once the sockets are over, go on to the next conversation or to the end."""
        self._life += 1
        self._forget_later()
        for name in _BUSY:
            self._disarm(name)
        self._cut_link(now, code, self._close_reason)
        if self.sockets:  # what was on its way when the close began still belongs to this conversation
            self._go(now, "leaving")
            self._disarm("length")
            self._parting = (cause, pause_ns)
            self._arm("parted", now + self._chat_settings.leave_timeout)
            return
        self._part(now, cause, pause_ns)

    _parting: tuple[str, int | None] | None = None

    def on_closed(self, now: int, conn: int, end: SocketEnd) -> None:
        """As in the base; the last socket's end also ends a conversation that is being left."""
        super().on_closed(now, conn, end)
        self._part_if_alone(now)

    def on_open_failed(self, now: int, conn: int, cause: str, response: HttpResponse | None) -> None:
        """As in the base; a socket that never came about is not waited for any longer."""
        super().on_open_failed(now, conn, cause, response)
        self._part_if_alone(now)

    def _part_if_alone(self, now: int) -> None:
        if self._parting is not None and not self.sockets:
            cause, pause = self._parting
            self._part(now, cause, pause)
            self._finish_if_done(now)

    def _part(self, now: int, cause: str, pause_ns: int | None) -> None:
        self._parting = None
        self._disarm("parted")
        by_plan = self._replies_confirm and self._why_unanswered(cause)[0] == ops.INFO
        for op in list(self.ops.values()):
            if not op.closed and op.sent_ns:
                why = FailureCause.UNANSWERED if by_plan and not op.replied else FailureCause.UNCONFIRMED
                self._fail(now, op, why, outcome=ops.INFO, via="end")
        self._end_conversation(now, False, cause)
        self._doubtful.clear()
        self._next_or_finish(now, pause_ns)

    # ---------------------------------------------------------------- timers
    def _on_timer(self, name: str, now: int, due: int) -> None:
        if name == "settled":
            self._settle(now)
        elif name == "limited":
            self._pump(now)
        elif name == "lapse":
            self._leave_by_plan(now)
        elif name == "parted" and self._parting is not None:
            cause, pause = self._parting
            self._part(now, cause, pause)
        elif name == "leave.limit":
            self._note(now, "leave.limit")
            self._finish_conversation(now, FailureCause.TIMEOUT.value)
        elif not self._on_link_timer(name, now):
            self._on_shared_timer(name, now, due)

    # ---------------------------------------------------------------- what a dialect provides
    def _lapses_ns(self) -> int:
        """When the session runs out by itself, so that a guest who renews nothing any more leaves before; 0: never."""
        return 0

    @abstractmethod
    def _message_frame(self, op: Op) -> str:
        """A message on the wire."""

    def _typing_frame(self) -> str:
        """A typing indicator; "": the dialect has none."""
        return ""

    def _end_frame(self, reason: str) -> str:  # noqa: ARG002
        """The guest's good-bye; "": the dialect has none but the close."""
        return ""
