"""The guest's half of messaging: a registered guest on a socket whose acks have an order and no name.

The socket's token serves once, so whoever loses the socket is registered anew: another guest, conversation and queue place.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from harness.core import ops
from harness.core.events import Delivered, QueueAccepted, RateLimited, SessionEnded, Typing, Unrecognised, Violation
from harness.core.misbehaviour import no_backoff, no_jitter
from harness.core.session import Context, Op, Socket
from harness.core.wire import HttpResponse
from harness.dialects.messaging_acks import Acks, Settled
from harness.dialects.messaging_frames import Acked, Trouble, decode, message_frame, socket_path, typing_frame
from harness.dialects.messaging_probes import probes
from harness.dialects.messaging_settings import MessagingSettings
from harness.dialects.messaging_start import MessagingStart
from harness.dialects.registry import Dialect
from harness.errors import FailureCause

_ANEW = "reconnect"
Answer = Literal["ack", "rate_limited", "refused"]


class MessagingSession(MessagingStart):
    """One messaging guest."""

    _replies_confirm = False  # acks do

    def __init__(self, context: Context, settings: MessagingSettings) -> None:
        super().__init__(context, settings)
        self._acks: Acks[Answer] = Acks()
        self._token_spent = False
        """The socket's token has opened one already."""
        self._drops = 0
        """Registrations in a row that were made because a socket was lost or refused."""
        self._lost = (FailureCause.CONNECTION_CLOSED, 0)
        """Why there is no socket, and how long the server wants the guest to stay away."""
        self._away_ns = 0
        """Since when a guest that chatted has been without a socket; 0: it is not."""
        self._queued_ns = 0
        self._agent_here = self._stalled = self._expecting = self._swallowing = False

    def _secrets(self) -> tuple[str, ...]:
        return super()._secrets() if self._guest is None else (*super()._secrets(), self._guest.token)

    # ---------------------------------------------------------------- beginning
    def _begin_conversation(self, now: int) -> None:
        self._guest = None
        self._acks = Acks()
        self._token_spent = self._agent_here = self._stalled = self._expecting = False
        super()._begin_conversation(now)

    def _queued(self, now: int) -> None:
        self._queued_ns = now
        self._arm("queue", now + self.settings.queue_timeout)

    # ---------------------------------------------------------------- queue
    def _agent_arrived(self, now: int) -> None:
        if self._agent_here or not self.conversation_id:
            return
        self._agent_here = True
        self._disarm("queue")
        if self._stalled:
            self._note(now, "queue.late")
        else:
            self._sample(now, "queue", ops.OK, "", self._queued_ns, self.conversation_id)

    def _queue_overdue(self, now: int) -> None:
        self._stalled = True
        self._sample(now, "queue", ops.FAIL, FailureCause.QUEUE_STALLED.value, self._queued_ns, self.conversation_id)
        self._note(now, "queue.stalled.unexplained")
        if self.rng.random() < self.settings.queue_give_up:
            self._cause = FailureCause.QUEUE_STALLED.value
            self._leave(now)

    # ---------------------------------------------------------------- socket
    def _frame_endpoint(self) -> str:
        return f"WS {self.settings.guests_path}/{{id}}/websocket"

    def _socket_target(self) -> tuple[str, str]:
        guest = self._guest
        assert guest is not None
        return "messaging", socket_path(self.settings.guests_path, guest)

    def _greet(self, now: int, socket: Socket) -> None:
        self._token_spent = True
        if self._away_ns:
            self._end_absence(now, ops.OK, "")
        self._let_in(now, socket)

    def _settle(self, now: int) -> None:
        super()._settle(now)
        self._drops = 0

    def _on_upgrade_refused(self, now: int, response: HttpResponse | None) -> None:
        if response is None or response.status not in (401, 403):
            return
        if self._token_spent:
            self._note(now, "token.reused")
        elif now - self._registered_ns >= self.settings.socket_token_life:
            self._note(now, "token.expired")
        else:
            self._note(now, "auth.rejected", str(response.status))

    def _down(self, now: int, cause: FailureCause, at_least_ns: int = 0) -> None:
        self._lost = (cause, at_least_ns)
        super()._down(now, cause, at_least_ns)

    def _may_reconnect(self, now: int) -> bool:
        if not super()._may_reconnect(now):
            return False
        if not self.settings.register_anew:
            return True
        cause, wait = self._lost
        if self._chat_begun and not self._away_ns:
            self._away_ns = now
        if self.stopping:
            self._finish_conversation(now, cause.value)
        elif self._drops >= self.settings.reconnect_attempts:
            self._on_exhausted(now, cause)
        else:
            pause = max(self._backoff.delay(self._drops, self.rng), wait)
            self._drops += 1
            self._goes_on = True
            self._finish_conversation(now, _ANEW, pause)
        return False

    def _end_absence(self, now: int, outcome: str, cause: str) -> None:
        since, self._away_ns = self._away_ns, 0
        self._sample(now, "reconnect.gap", outcome, cause, since, self._address)

    def _next_or_finish(self, now: int, pause_ns: int | None = None) -> None:
        if self._away_ns and not (self._goes_on and not self.stopping):
            self._end_absence(now, ops.INFO, FailureCause.INTERRUPTED.value)
        super()._next_or_finish(now, pause_ns)

    def _on_down(self, now: int) -> None:
        super()._on_down(now)
        self._forget_acks(now)

    # ---------------------------------------------------------------- frames
    def _on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        socket, event = self.sockets[conn], decode(data, self.settings.max_frame_bytes)
        current = socket.conn == self._conn
        if current and self.settings.reply_restart:
            for seq in self.ops:
                if f"reply:{seq}" in self._timers:
                    self._arm(f"reply:{seq}", now + self.behaviour.reply_timeout)
        if self._expecting:
            self._expecting = False
            if not (isinstance(event, Acked) or (isinstance(event, RateLimited | Trouble) and event.frame == "message")):
                self._note(now, "ack.mistaken", type(event).__name__.lower())
                self._swallowing = True  # the page shows nothing of it; the journal does
        if isinstance(event, Delivered | Typing | QueueAccepted) and current and not self._is_own(event):
            self._agent_arrived(now)
        if isinstance(event, Delivered):
            if event.flaw:
                self._note(now, "message.flawed", event.flaw)
            self._hear(now, socket, event.text, "", 0)
        elif isinstance(event, Acked):
            self._on_answer(now, socket, "ack")
        elif isinstance(event, SessionEnded):
            self._over(now, socket, "closed")
        elif isinstance(event, RateLimited):
            self._limited_by_frame(now, socket, event.frame, event.retry_after_ns, None)
            if event.frame == "message":
                self._on_answer(now, socket, "rate_limited")
        elif isinstance(event, Trouble):
            self._note(now, "error.frame", event.code[:64])
            if event.frame == "message":
                self._on_answer(now, socket, "refused")
        elif isinstance(event, Unrecognised):
            self._note(now, "frame.unknown_type", event.kind)
        elif isinstance(event, Violation):
            self._note(now, f"violation.{event.cause}", event.detail)
        self._swallowing = False
        self._finish_if_done(now)

    def _is_own(self, event: Delivered | Typing | QueueAccepted) -> bool:
        return not isinstance(event, QueueAccepted) and event.sender != "" and event.sender == self._guest_id()

    # ---------------------------------------------------------------- acks
    def _on_answer(self, now: int, socket: Socket, answer: Answer) -> None:
        settled = self._acks.answered(answer, now) if self._written_on(socket) else None
        if settled is None:
            self._note(now, "ack.unexpected")
        else:
            self._settle_messages(now, settled)

    def _written_on(self, socket: Socket) -> bool:
        """Whether the messages that wait were written on this socket; an earlier one's answers went with it."""
        return any(socket.conn in self._written.get(op.seq, ()) for op in self._acks.waiting)

    def _settle_messages(self, now: int, settled: list[Settled[Answer]]) -> None:
        for op in self._acks.missed():
            self._note(now, "ack.missing", str(op.seq))
            self._ack_sample(now, op, ops.FAIL, FailureCause.CONFIRM_TIMEOUT.value, now)
        for one in settled:
            op = one.op
            self._disarm(f"ack:{op.seq}")
            cause = "" if one.answer == "ack" else one.answer
            if one.timed:
                self._ack_sample(now, op, ops.FAIL if cause else ops.OK, cause, one.at_ns)
            if not one.sure:
                continue
            if not cause:
                self._confirm(now, op, "ack")
            elif op.attempts > 1:
                self._note(now, "resend.refused", cause)
            else:
                self._fail(now, op, FailureCause(cause))

    def _ack_sample(self, now: int, op: Op, outcome: str, cause: str, end: int) -> None:
        sent = op.sent_ns or end
        self.context.observer.record(
            ops.Sample(now, op.label, "ack", outcome, cause, op.intended_ns, sent, end, op.free_ns, str(op.seq), "")
        )

    def _ack_overdue(self, now: int, seq: int) -> None:
        op = next((op for op in self._acks.waiting if op.seq == seq), None)
        if op is None:
            return
        if op.sent_ns:
            self._settle_messages(now, self._acks.overdue(seq))
        else:
            self._arm(f"ack:{seq}", now + self.behaviour.confirm_timeout)

    def _forget_acks(self, now: int) -> None:
        """Nothing answers what was written on a socket that is gone."""
        for op in self._acks.waiting:
            self._disarm(f"ack:{op.seq}")
            if op.sent_ns and not self._acks.is_missing(op.seq):
                self._ack_sample(now, op, ops.INFO, FailureCause.INTERRUPTED.value, now)
        self._acks = Acks()

    def _replied(self, now: int, seq: int) -> None:
        if self._swallowing:
            return
        super()._replied(now, seq)
        self._settle_messages(now, self._acks.replied(seq))

    # ---------------------------------------------------------------- saying
    def _transmit(self, now: int, op: Op) -> None:
        super()._transmit(now, op)
        written = self._written.get(op.seq)
        if written and written[-1] == self._conn and all(one is not op for one in self._acks.waiting):
            self._acks.sent(op)
            self._expecting = self.settings.next_frame_is_ack
            self._arm(f"ack:{op.seq}", now + self.behaviour.confirm_timeout)

    def _message_frame(self, op: Op) -> str:
        conversation_id = self.conversation_id
        if self.settings.wrong_conversation_id:
            conversation_id = str(UUID(int=self.rng.getrandbits(128), version=4))
        return message_frame(conversation_id, self._guest_id(), op.text)

    def _typing_frame(self) -> str:
        return typing_frame(self._guest_id())

    def _guest_id(self) -> str:
        return self._guest.guest_id if self._guest is not None else ""

    # ---------------------------------------------------------------- leaving and timers
    def _part(self, now: int, cause: str, pause_ns: int | None) -> None:
        self._forget_acks(now)
        super()._part(now, cause, pause_ns)

    def _on_timer(self, name: str, now: int, due: int) -> None:
        if name == "queue":
            self._queue_overdue(now)
        elif name.startswith("ack:"):
            self._ack_overdue(now, int(name[4:]))
        else:
            super()._on_timer(name, now, due)


DIALECT = Dialect(
    name="messaging",
    probes=probes,
    published=False,
    transport="websocket",
    correlation="fifo_ack",
    bases=("api", "messaging"),
    settings=MessagingSettings,
    session=MessagingSession,
    sources=("Implementing the Guest API to Send and Receive Messages Without the Messenger Widget (seed 004)",),
    transcript="messaging.jsonl",
    measures=("token", "introspect", "guest", "connect", "queue", "ack", "reply", "reconnect.gap"),
    client_faults={
        "no_refresh": {"proactive_refresh": False},
        "no_jitter": no_jitter(MessagingSettings),
        "no_backoff": no_backoff(MessagingSettings),
        "no_keepalive": {"ping_every": 0},
        "reuse_token": {"register_anew": False},
        "next_frame_is_ack": {"next_frame_is_ack": True},
        "wrong_conversation_id": {"wrong_conversation_id": True},
        "typing_flood": {"typing_every": 0, "typing_frames": 20},
        "plain_basic": {"basic_base64": False},
    },
)
