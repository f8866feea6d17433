"""The books of a guest's conversations: numbering, pacing, outcomes. One `Closed` for each seq, one `Arrived` for each copy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from harness.core import ops
from harness.core.asking import Asking
from harness.core.guest import Context, Op
from harness.core.marker import mark, read_marker
from harness.core.pace import Pace
from harness.core.pacing import Pacer
from harness.core.stamps import believable
from harness.core.wire import Finished, SendText
from harness.errors import FailureCause

_BREAKS = {cause.value: cause for cause in FailureCause if cause is not FailureCause.INTERRUPTED}
"""Ends of a conversation that break off what it still waited for; other words tell what the guest did."""
_FILLER = "Could you please have a look at the order that I placed last week, it has not arrived yet and I would like to know why. "


class Talk(Asking, ABC):
    """The middle layer of a session: messages and conversations, whatever carries them."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.behaviour = context.behaviour
        self.state = "arriving"
        self.conversation = 0
        """Ordinal of the slot's current conversation; part of the label."""
        self.continued = 0
        """Labels that only went on with the conversation before (renewed, registered anew): none of those that are wanted."""
        self.conversation_id = ""
        self.ops: dict[int, Op] = {}
        """Messages of this conversation that still wait for something, by seq."""
        self.stopping = self.closing = self.finished = False
        self.listing = True
        """Whether the dialect can read a conversation back."""
        self.scripted = True
        """False where a user's own Locust tasks decide what is said."""
        self._left_by_plan = False
        """The guest has begun to leave because its time was over, or the run's: what it still waits for is cut off by us."""
        self._broken_by: FailureCause | None = None
        """What broke the conversation off that was no plan of the guest's, known before the books are closed."""
        self._next_seq = 1
        self._last_key = 0
        self._free_ns = 0
        self._by_key: dict[int, Op] = {}
        self._pacer = Pacer(context.behaviour, context.rng)
        self.pace = Pace(self.behaviour.send_rate, max(self.behaviour.send_burst, 1)) if self.behaviour.send_rate > 0 else None
        """The limit of messages that the guest keeps by itself, or one that it shares with others. None: there is none."""
        self._paced: deque[tuple[int, int]] = deque()
        """Messages that are held back for that: when they may leave, and when they were due."""
        self._seen_agent: dict[int, str] = {}
        self.listener: Callable[[str, int], None] | None = None
        """Told (`reply` | `confirmed` | `chatting` | `ended`, seq) for user tasks that wait."""
        self._spoken = type(self).__module__.rpartition(".")[2]
        self._clock = f"{self._spoken} message"
        """What the stamps of messages are called: dialects may be served by machines whose clocks differ."""

    @abstractmethod
    def _begin_conversation(self, now: int) -> None:
        """Start (again) from credentials to a conversation; call `_new_conversation` for its label."""

    @abstractmethod
    def _transmit(self, now: int, op: Op) -> None:
        """Put a message on its way; `op.attempts` was raised already."""

    @abstractmethod
    def _leave(self, now: int) -> None:
        """End the conversation in the protocol's way, read back, `_end_conversation`, close sockets. Works without one."""

    # ---------------------------------------------------------------- why it ends
    def _leave_by_plan(self, now: int) -> None:
        """Leave because the guest's own time is over, or the run's; one that is leaving already has its reason."""
        self._plan_to_leave()
        self._leave(now)

    def _plan_to_leave(self) -> None:
        self._left_by_plan = self._left_by_plan or self.state != "leaving"

    def _broken_off(self, cause: FailureCause) -> None:
        """Something else than the guest's plan cuts the conversation off; the first cause stands until `_mended`.

        What we interrupt ourselves, as a shell does that gives a guest up, is nothing else.
        """
        if cause is not FailureCause.INTERRUPTED:
            self._broken_by = self._broken_by or cause

    def _mended(self) -> None:
        """It goes on after all."""
        self._broken_by = None

    def _why_unanswered(self, cause: str) -> tuple[str, FailureCause]:
        """Outcome and cause of a reply still awaited when the conversation ends with `cause`.

        Cut off by us, and so of unknown length, only where the guest left as it had planned and nothing broke the leave.
        """
        broken = _BREAKS.get(cause) or self._broken_by
        if broken is not None:
            return ops.FAIL, broken
        if self._left_by_plan or cause == FailureCause.INTERRUPTED.value:
            return ops.INFO, FailureCause.INTERRUPTED
        return ops.FAIL, FailureCause.SESSION_CLOSED

    # ---------------------------------------------------------------- frames
    def _send(self, conn: int, text: str, key: int = 0) -> None:
        op = self._by_key.get(key)
        if op is not None:
            op.handed += 1
        super()._send(conn, text, key)

    def _withdraw(self) -> None:
        """Messages that the shell has not taken yet do not leave any more; of what it has, nobody knows whether it will."""
        kept = []
        for output in self._outbox:
            op = self._by_key.get(output.key) if isinstance(output, SendText) else None
            if op is None:
                kept.append(output)
            else:
                op.handed -= 1
        self._outbox[:] = kept

    # ---------------------------------------------------------------- books: conversations and messages
    def _go(self, now: int, state: str) -> None:
        if state != self.state:
            self.context.observer.record(ops.State(now, self.label, self.state, state))
            self.state = state

    def _new_conversation(self) -> None:
        """A new label; seqs start at 1 again."""
        self.conversation += 1
        self.label = f"{self.context.slot}-{self.conversation}"
        self.conversation_id = ""
        self.ops = {}
        self._by_key = {}
        self._next_seq = 1
        self._free_ns = 0
        self._seen_agent = {}
        self._left_by_plan = False
        self._broken_by = None

    def _start_chatting(self, now: int) -> None:
        """An agent is there: pace messages and limit the conversation's length."""
        self._go(now, "chatting")
        if self.listener:
            self.listener("chatting", 0)
        if self.stopping:
            return
        self._arm("length", now + self.behaviour.session_length.sample(self.rng))
        if self.scripted:
            self._arm("send", self._pacer.begin(now))

    def _on_shared_timer(self, name: str, now: int, due: int) -> None:
        if name == "send":
            self._on_send_due(now, due)
        elif name == "own.pace":
            self._pace_allows(now)
        elif name.startswith("reply:"):
            self._reply_missed(now, int(name[6:]))
        elif name == "length":
            self._leave_by_plan(now)
        elif name == "between":
            self._begin_conversation(now)

    def _can_speak(self) -> bool:
        """Whether a message may leave now; a dialect narrows it (socket ready, not in resync)."""
        return self.state == "chatting"

    def _on_send_due(self, now: int, due: int) -> None:
        if self.stopping or self.state in ("leaving", "between", "finished"):
            return
        if self.behaviour.pacing == "schedule":
            self._arm("send", self._pacer.next(due))
            waiting = len(self._paced) + sum(not op.confirmed for op in self.ops.values())
            if not self._can_speak() or waiting >= self.behaviour.max_in_flight:
                self.context.observer.record(ops.Noted(now, self.label, "send.dropped"))
                return
            self._speak_in_time(now, due)
        elif self._can_speak():
            self._speak_in_time(now, due)
        else:
            self._held_send = due  # the dialect calls `_resume_sending` once it can

    _held_send: int = 0

    def _resume_sending(self, now: int) -> None:
        """The way is free again: send what was due meanwhile, its intended instant unchanged (the wait was the server's doing)."""
        self._free_ns = now
        if self._held_send and not self.stopping:
            due, self._held_send = self._held_send, 0
            self._speak_in_time(now, due)

    def _speak_in_time(self, now: int, due: int) -> None:
        """Say it now, or as soon as the guest's own pace allows; it was meant for `due` all the same."""
        wait = 0 if self.pace is None else self.pace.book(now)
        if wait or self._paced:
            self._paced.append((now + wait, due))
            self._arm("own.pace", self._paced[0][0])
        else:
            self._speak(now, due)

    def _pace_allows(self, now: int) -> None:
        """The pace lets one more go. What cannot be said now is held as if it were due now."""
        if not self._paced or self.stopping or self.state in ("leaving", "between", "finished"):
            self._paced.clear()
            return
        _, due = self._paced.popleft()
        if self._can_speak():
            self._free_ns = now  # its waiting was the guest's own doing, not the generator's
            self._speak(now, due)
        elif self.behaviour.pacing == "schedule":
            self.context.observer.record(ops.Noted(now, self.label, "send.dropped"))
        else:
            self._held_send = due
        if self._paced:
            self._arm("own.pace", max(self._paced[0][0], now))

    def _speak(self, now: int, intended: int, text: str = "") -> Op:
        """Number, mark and journal a message, then transmit it."""
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        self._last_key += 1
        body = text or (_FILLER * (self.behaviour.text_bytes // len(_FILLER) + 1))[: self.behaviour.text_bytes].rstrip()
        op = Op(
            self.label,
            seq,
            self._last_key,
            f"{self.context.run}-{self.label}-{seq}",
            mark(body, self.context.run, self.label, seq),
            intended,
            self._free_ns,
        )
        self.ops[seq] = op
        self._by_key[op.key] = op
        self._arm(f"reply:{seq}", now + self.behaviour.reply_timeout)
        self._attempt(now, op)
        return op

    def _attempt(self, now: int, op: Op) -> None:
        """One (more) attempt at a message; the row is written before the bytes may leave."""
        op.attempts += 1
        self.context.observer.record(ops.Invoked(now, op.label, op.seq, op.attempts, op.intended_ns, len(op.text)))
        self._transmit(now, op)

    def _confirm(self, now: int, op: Op, via: str, measure: str = "") -> None:
        """The server has the message. `measure` (`ack`, `echo`) is timed only when that very confirmation came."""
        if op.confirmed or op.closed:
            return
        op.confirmed = op.closed = True
        sent = op.sent_ns or now
        if measure:
            self.context.observer.record(
                ops.Sample(now, op.label, measure, ops.OK, "", op.intended_ns, sent, now, op.free_ns, str(op.seq), "")
            )
        self.context.observer.record(ops.Closed(now, op.label, op.seq, ops.OK, "", op.intended_ns, sent, op.attempts, via))
        if self.listener:
            self.listener("confirmed", op.seq)
        self._forget_if_done(op)

    def _fail(
        self, now: int, op: Op, cause: FailureCause, measure: str = "", outcome: str = ops.FAIL, via: str = "refusal"
    ) -> None:
        """The message certainly did not get there (`fail`), or nobody knows (`info`)."""
        if op.closed:
            return
        op.closed = True
        if self.pace is not None and cause is FailureCause.RATE_LIMITED:
            self.pace.empty(now)
        sent = op.sent_ns or now
        if measure:
            self.context.observer.record(
                ops.Sample(now, op.label, measure, outcome, cause.value, op.intended_ns, sent, now, op.free_ns, str(op.seq), "")
            )
        self.context.observer.record(
            ops.Closed(now, op.label, op.seq, outcome, cause.value, op.intended_ns, op.sent_ns, op.attempts, via)
        )
        if outcome == ops.FAIL and not op.replied:  # replied: its exchange is over already, the next one may be under way
            op.replied = True
            self._disarm(f"reply:{op.seq}")
            self._exchange_over(now)
        self._forget_if_done(op)

    def _arrive(self, now: int, text: str, channel: str, epoch: int, mid: str, server_ns: int, via: str) -> tuple[str, int] | None:
        """One copy of a message was read: journal it, settle the reply it brings. Returns (direction, seq), None without marker."""
        marker = read_marker(text)
        if marker is None or marker.run != self.context.run:
            self._note(now, "message.unmarked")
            return None
        clock, sent, server_ns = "", 0, believable(server_ns)
        if server_ns:
            clock = self._clock
            op = self.ops.get(marker.seq) if marker.direction == ops.GUEST and marker.label == self.label else None
            if op is not None and op.attempts == 1:  # the copy of a message that was sent twice may be the earlier one
                sent = op.sent_ns
        self.context.observer.record(
            ops.Arrived(
                now, marker.label, marker.direction, marker.seq, marker.re, channel, epoch, mid, server_ns, via, clock, sent
            )
        )
        if marker.label != self.label:
            return None
        if marker.direction == ops.AGENT:
            if server_ns and channel == ops.PUSH and marker.seq not in self._seen_agent:
                lag = server_ns - self.context.wall_offset_ns
                self.context.observer.record(
                    ops.Sample(now, self.label, "event.lag", ops.OK, "", lag, lag, now, 0, f"a.{marker.seq}", "")
                )
            self._seen_agent.setdefault(marker.seq, mid)
            if marker.re:
                self._replied(now, marker.re)
        return marker.direction, marker.seq

    def _replied(self, now: int, seq: int) -> None:
        op = self.ops.get(seq)
        if op is None or op.replied:
            return
        op.replied = True
        self._disarm(f"reply:{seq}")
        self.context.observer.record(
            ops.Sample(now, op.label, "reply", ops.OK, "", op.intended_ns, op.sent_ns or now, now, op.free_ns, str(seq), "")
        )
        if self.listener:
            self.listener("reply", seq)
        self._exchange_over(now)
        self._forget_if_done(op)

    def _reply_missed(self, now: int, seq: int) -> None:
        op = self.ops.get(seq)
        if op is None or op.replied:
            return
        op.replied = True  # a later reply is still journalled as an arrival, but is no success
        self.context.observer.record(
            ops.Sample(
                now,
                op.label,
                "reply",
                ops.FAIL,
                FailureCause.REPLY_TIMEOUT.value,
                op.intended_ns,
                op.sent_ns or now,
                now,
                op.free_ns,
                str(seq),
                "",
            )
        )
        if self.listener:
            self.listener("reply", seq)
        self._exchange_over(now)
        self._forget_if_done(op)

    def _exchange_over(self, now: int) -> None:
        if (
            self.behaviour.pacing == "think"
            and self.scripted
            and not self.stopping
            and self.state not in ("leaving", "between", "finished")
        ):
            self._free_ns = 0
            self._arm("send", self._pacer.next(now))

    def _forget_if_done(self, op: Op) -> None:
        if op.closed and op.replied:
            self.ops.pop(op.seq, None)
            self._by_key.pop(op.key, None)

    def _end_conversation(self, now: int, complete: bool, cause: str = "") -> None:
        """Close the books of the current conversation: whatever is still open is of unknown outcome."""
        for name in [name for name in self._timers if name in ("send", "length", "own.pace") or name.startswith("reply:")]:
            del self._timers[name]
        self._held_send = 0
        self._paced.clear()
        self._withdraw()
        outcome, why = self._why_unanswered(cause)
        for op in list(self.ops.values()):
            if not op.replied and op.sent_ns:
                op.replied = True
                self.context.observer.record(
                    ops.Sample(
                        now,
                        op.label,
                        "reply",
                        outcome,
                        why.value,
                        op.intended_ns,
                        op.sent_ns,
                        now,
                        op.free_ns,
                        str(op.seq),
                        "",
                    )
                )
            op.replied = True
            if not op.closed:
                # Never handed over is known not to be there; otherwise nobody knows, unless the read-back was complete.
                settled = complete or not (op.sent_ns or op.handed)
                self._fail(
                    now,
                    op,
                    FailureCause.NOT_STORED if op.sent_ns and complete else FailureCause.INTERRUPTED,
                    outcome=ops.FAIL if settled else ops.INFO,
                    via="listing" if op.sent_ns and complete else "end",
                )
        self.ops.clear()
        self._by_key.clear()
        if self.conversation_id or self._next_seq > 1:
            self.context.observer.record(
                ops.Ended(now, self.label, self.conversation_id, complete, cause, self.listing, self._spoken)
            )
        if self.listener:
            self.listener("ended", 0)
        self.conversation_id = ""

    def _next_or_finish(self, now: int, pause_ns: int | None = None) -> None:
        """After a conversation: pause and begin the next one, or finish."""
        limit = self.behaviour.conversations
        if self.stopping or (limit and self.conversation - self.continued >= limit):
            self.closing = True
            self._finish_if_done(now)
            return
        self._go(now, "between")
        self._arm("between", now + (self.behaviour.between.sample(self.rng) if pause_ns is None else pause_ns))

    def _finish_if_done(self, now: int) -> None:
        if self.closing and not self.finished and not self.conversation_id and not self.sockets and not self._pending:
            self.finished = True
            self._timers.clear()
            self._go(now, "finished")
            self._outbox.append(Finished())
