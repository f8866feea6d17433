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

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

import msgspec

from harness.core import ops
from harness.core.credentials import Secret
from harness.core.http import cause_of_status, retry_after_ns
from harness.core.marker import mark, read_marker
from harness.core.ops import Observer
from harness.core.pacing import Behaviour, Pacer
from harness.core.spread import seconds
from harness.core.wire import CloseSocket, Finished, HttpFailure, HttpRequest, HttpResponse, OpenSocket, Output, SendText, SocketEnd
from harness.errors import FailureCause

_FILLER = "Could you please have a look at the order that I placed last week, it has not arrived yet and I would like to know why. "


@dataclass(frozen=True, slots=True)
class Target:
    """Where the guests go and as whom. Ids are the tenant's own; secrets never show in a repr."""

    client_id: str
    client_secret: Secret
    queue_id: str = ""
    fallback_queue_id: str = ""
    skills: tuple[str, ...] = ()
    origin: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    bases: Mapping[str, str] = field(default_factory=dict)
    """Base URL of each service: what a URL from the server must lie on to be followed."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a session is given at birth; nothing else from outside ever reaches it but calls."""

    run: str
    slot: int
    target: Target
    behaviour: Behaviour
    observer: Observer
    rng: Random
    wall_offset_ns: int
    """Wall clock minus monotonic clock at the run's anchor."""


class Op(msgspec.Struct):
    """One message of the guest, from intention to outcome."""

    label: str
    seq: int
    key: int
    """Unique in the session; travels with `SendText.key` and `HttpRequest` continuations."""
    message_id: str
    text: str
    intended_ns: int
    free_ns: int
    sent_ns: int = 0
    attempts: int = 0
    confirmed: bool = False
    replied: bool = False
    closed: bool = False
    attachment: object = None


class Socket(msgspec.Struct):
    """Books of one WebSocket."""

    conn: int
    request: OpenSocket
    address: str = ""
    opened_ns: int = 0
    ready_ns: int = 0
    sent_code: int = 0
    begun_by_guest: bool = False
    over: bool = False
    refusals: int = 0


def socket_endpoint(path: str) -> str:
    """The template of a WebSocket's path, for rows: without query (it may hold a token) and with `{id}` for ids."""
    parts = path.partition("?")[0].split("/")
    return "GET " + "/".join("{id}" if len(part) > 2 and any(map(str.isdigit, part)) else part for part in parts)


Continuation = Callable[[int, HttpRequest, "HttpResponse | HttpFailure"], None]
Usable = Callable[[bytes], bool]


class GuestSession(ABC):
    """One slot's guest: conversations one after the other. Subclasses speak a dialect."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.behaviour = context.behaviour
        self.rng = context.rng
        self.state = "arriving"
        self.conversation = 0
        """Ordinal of the slot's current conversation; part of the label."""
        self.label = f"{context.slot}-0"
        self.conversation_id = ""
        self.ops: dict[int, Op] = {}
        """Messages of this conversation that still wait for something, by seq."""
        self.sockets: dict[int, Socket] = {}
        self.stopping = self.closing = self.finished = False
        self.scripted = True
        """False where a user's own Locust tasks decide what is said."""
        self._next_seq = 1
        self._last_key = 0
        self._last_conn = 0
        self._last_request = 0
        self._free_ns = 0
        self._by_key: dict[int, Op] = {}
        self._pending: dict[str, tuple[str, Continuation, Usable | None]] = {}
        self._held_until: dict[str, int] = {}
        """By request: when what held it up was over (`Sample.free_ns`)."""
        self._timers: dict[str, int] = {}
        self._outbox: list[Output] = []
        self._pacer = Pacer(context.behaviour, context.rng)
        self._seen_agent: dict[int, str] = {}
        self.listener: Callable[[str, int], None] | None = None
        """Told (`reply` | `confirmed` | `chatting` | `ended`, seq) for user tasks that wait."""

    # ---------------------------------------------------------------- what a shell calls
    def start(self, now: int) -> None:
        """The guest arrives."""
        self.context.observer.record(ops.State(now, self.label, "", "arriving"))
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
        self._leave(now)

    def outputs(self) -> list[Output]:
        """What the shell has to do now, in order; each is given out once."""
        if not self._outbox:
            return []
        out, self._outbox = self._outbox, []
        return out

    def next_deadline(self) -> int | None:
        """When `on_deadline` wants to be called next, or None."""
        return min(self._timers.values()) if self._timers else None

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

    def on_closed(self, now: int, conn: int, end: SocketEnd) -> None:
        """The WebSocket is over: its reader met a close frame, end of file or an error, and read all that came before."""
        socket = self.sockets.pop(conn, None)
        if socket is None:
            return
        socket.over = True
        begun = "server"
        if socket.begun_by_guest:
            begun = "guest" if end.code == socket.sent_code and not end.cause else "contested"
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
    def _begin_conversation(self, now: int) -> None:
        """Start (again) from credentials to a conversation; call `_new_conversation` for its label."""

    @abstractmethod
    def _transmit(self, now: int, op: Op) -> None:
        """Put a message on its way; `op.attempts` was raised already."""

    @abstractmethod
    def _leave(self, now: int) -> None:
        """End the conversation in the protocol's way, read back, `_end_conversation`, close sockets. Works without one."""

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
        elif name.startswith("reply:"):
            self._reply_missed(now, int(name[6:]))
        elif name == "length":
            self._leave(now)
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
            if not self._can_speak() or sum(not op.confirmed for op in self.ops.values()) >= self.behaviour.max_in_flight:
                self.context.observer.record(ops.Noted(now, self.label, "send.dropped"))
                return
            self._speak(now, due)
        elif self._can_speak():
            self._speak(now, due)
        else:
            self._held_send = due  # the dialect calls `_resume_sending` once it can

    _held_send: int = 0

    def _resume_sending(self, now: int) -> None:
        """The way is free again: send what was due meanwhile, its intended instant unchanged (the wait was the server's doing)."""
        self._free_ns = now
        if self._held_send and not self.stopping:
            due, self._held_send = self._held_send, 0
            self._speak(now, due)

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
        self.context.observer.record(
            ops.Arrived(now, marker.label, marker.direction, marker.seq, marker.re, channel, epoch, mid, server_ns, via)
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
        for name in [name for name in self._timers if name in ("send", "length") or name.startswith("reply:")]:
            del self._timers[name]
        self._held_send = 0
        for op in list(self.ops.values()):
            if not op.replied and op.sent_ns:
                op.replied = True
                self.context.observer.record(
                    ops.Sample(
                        now,
                        op.label,
                        "reply",
                        ops.INFO,
                        FailureCause.INTERRUPTED.value,
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
                # Never written is known not to be there; otherwise nobody knows, unless the read-back was complete.
                settled = not op.sent_ns or complete
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
            self.context.observer.record(ops.Ended(now, self.label, self.conversation_id, complete, cause))
        if self.listener:
            self.listener("ended", 0)
        self.conversation_id = ""

    def _next_or_finish(self, now: int, pause_ns: int | None = None) -> None:
        """After a conversation: pause and begin the next one, or finish."""
        limit = self.behaviour.conversations
        if self.stopping or (limit and self.conversation >= limit):
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
            socket.begun_by_guest, socket.sent_code = True, code
            self._outbox.append(CloseSocket(conn, code, reason))

    # ---------------------------------------------------------------- small change
    def _arm(self, name: str, at: int) -> None:
        self._timers[name] = at

    def _disarm(self, name: str) -> None:
        self._timers.pop(name, None)

    def _note(self, now: int, what: str, detail: str = "") -> None:
        self.context.observer.record(ops.Noted(now, self.label, what, detail))

    def _refused(self, now: int, endpoint: str, ref: str, wait_ns: int) -> None:
        self.context.observer.record(ops.Refused(now, self.label, endpoint, ref, max(wait_ns, 0)))
