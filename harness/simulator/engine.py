"""The simulator without sockets: events in, acts out through an `Outlet`, and a row of truth for each of them.

`dialects/base.py` tells what a dialect's half may ask for. All instants are monotonic ns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Protocol
from urllib.parse import unquote

from harness.core.wire import HttpResponse
from harness.simulator import instants, marker
from harness.simulator.agents import Agents
from harness.simulator.config import SimConfig
from harness.simulator.connections import Conn, Done, Exchange, Gate
from harness.simulator.conversations import AGENT, CLOSED, GUEST, QUEUED, Conversation, Message
from harness.simulator.credentials import Credentials, Grant
from harness.simulator.deliveries import Deliveries
from harness.simulator.dialects.base import DialectHalf, Route
from harness.simulator.dialects.registry import HALVES
from harness.simulator.faults.board import FaultBoard
from harness.simulator.faults.spec import read_faults
from harness.simulator.limiters import Caller, Limits
from harness.simulator.spelling import SECOND
from harness.simulator.timers import Timers
from harness.simulator.truth import Copy, Nonce, Stream, TruthLog


class Outlet(Protocol):
    """What a shell gives the engine. Calls are synchronous and never call back into the engine."""

    def push(self, conn: int, text: str) -> bool:
        """Write a text frame. True: handed whole to the kernel of a readable connection."""

    def push_bytes(self, conn: int, data: bytes) -> bool:
        """Write a binary frame."""

    def close(self, conn: int, code: int, reason: str) -> None:
        """Begin to close; `on_socket_closed` follows."""

    def reset(self, conn: int) -> None:
        """RST as soon as the write buffer is empty; `on_socket_closed` follows."""

    def tear(self, conn: int, text: str) -> None:
        """Write the first half of a frame, then RST; `on_socket_closed` follows."""

    def respond(self, request: int, response: HttpResponse) -> None:
        """Answer; `on_responded` follows."""

    def cut(self, request: int) -> None:
        """RST instead of an answer; nothing follows."""


class Taken:
    """A guest's message on its way into the store. Faults may clear `store` and `confirm`."""

    __slots__ = ("confirm", "conv", "message", "nonce", "store")

    def __init__(self, conv: Conversation, message: Message, nonce: Nonce | None) -> None:
        self.conv, self.message, self.nonce = conv, message, nonce
        self.store = self.confirm = True


class Engine:
    """The server. One call at a time; every call returns at once."""

    def __init__(
        self,
        config: SimConfig,
        *,
        seed: int,
        outlet: Outlet,
        truth: TruthLog,
        wall_offset_ns: int,
        secret: str = "",
        dialects: Iterable[str] = (),
    ) -> None:
        """`secret` replaces the configured one; `dialects` names those to serve (none: all)."""
        self.config, self.outlet, self.truth, self.wall_offset_ns = config, outlet, truth, wall_offset_ns
        self.seed = seed
        self.timers = Timers()
        self.rng = Random(f"{seed}/ids")
        self._latency_rng = Random(f"{seed}/latency")
        self.credentials = Credentials(config.credentials, secret or config.secret(), config.token_life, Random(f"{seed}/tokens"))
        self.agents = Agents(self, config.agents, Random(f"{seed}/agents"))
        self.faults = FaultBoard(self, str(seed))
        self.limits = Limits(config.limits)
        self.deliveries = Deliveries(self)
        self.conversations: dict[str, Conversation] = {}
        self.conns: dict[int, Conn] = {}
        self.pending: dict[int, Exchange] = {}
        """Requests without an answer yet."""
        self._handing: dict[int, Exchange] = {}
        self._gated: dict[int, Conn] = {}
        self._opened: dict[str, int] = {}
        self._start: int | None = None
        self._settled = False
        self._latencies = {name: getattr(config.latency, name) for name in ("token", "guest", "send", "list", "echo", "upload")}
        self.halves: dict[str, DialectHalf] = {}
        self._fixed: dict[tuple[str, str], list[Route]] = {}
        self._holed: dict[tuple[str, int], list[tuple[tuple[str, ...], Route]]] = {}
        self._paths: dict[str, DialectHalf] = {}
        wanted = tuple(dialects)
        for name, half_type in HALVES.items():
            if not wanted or name in wanted:
                self._register(half_type(self))

    # ------------------------------------------------------------ the contract: events
    def begin(self, now: int) -> None:
        """The run starts now: windows of faults count from here."""
        if self._start is None:
            self._start = now
            self.faults.set_plan(now, self.config.faults, now)
        elif not self._settled:
            self._start = now
            self.faults.arm(now, now)

    def on_request(self, now: int, request: int, peer: str, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        """A whole request came in."""
        if self._start is None:
            self.begin(now)
        exchange = Exchange(request, peer, method, path, headers, body, now)
        self.pending[request] = exchange
        route, other_method = self._find(exchange)
        if route is None:
            status, code = (405, "method.not.allowed") if other_method else (404, "not.found")
            self.send(now, exchange, HttpResponse(status, {}, b'{"code":"' + code.encode() + b'"}'))
            return
        exchange.route = route
        for fault in self.faults.on_request:
            if fault.on_request(self, now, exchange):
                return
        if self.config.limits or self.faults.refuses:
            refusal = self.refusal(now, route.endpoint, self._caller(now, exchange))
            if refusal is not None:
                wait = self.retry_after(now, refusal)
                self.send(now, exchange, HttpResponse(429, {"retry-after": wait} if wait else {}, route.limited_body.encode()))
                return
        route.handler(now, exchange)

    def on_responded(self, now: int, request: int, handed: bool) -> None:
        """An answer was written; `handed`: all of it reached the guest's side."""
        exchange = self._handing.pop(request, None)
        if exchange is None or not handed:
            return
        if exchange.status == 429:
            self.truth.row(now, "refused", exchange.id, endpoint=exchange.route.endpoint if exchange.route else exchange.path)
        if exchange.on_handed is not None:
            exchange.on_handed(now)

    def on_request_gone(self, now: int, request: int) -> None:
        """The guest's connection ended before the answer."""
        self._handing.pop(request, None)
        exchange = self.pending.pop(request, None)
        if exchange is not None and not exchange.done:
            exchange.done = True
            self.timers.cancel(exchange.timer)
            self._call_gone(now, exchange)

    def on_upgrade(self, now: int, conn: int, peer: str, path: str, headers: dict[str, str]) -> HttpResponse | None:
        """A WebSocket is asked for. None accepts it."""
        if self._start is None:
            self.begin(now)
        half = self._paths.get(path.partition("?")[0])
        if half is None:
            return HttpResponse(404, {}, b'{"code":"not.found"}')
        number = self._opened.get(peer, 0) + 1
        made = Conn(conn, peer, number, path, half)
        for fault in self.faults.on_upgrade:
            refused = fault.on_upgrade(self, now, made)
            if refused is not None:
                return refused
        if self.config.limits or self.faults.refuses:
            endpoint = f"GET {path.partition('?')[0]}"
            refusal = self.refusal(now, endpoint, Caller(self.config.credentials.client_id, made.ip, peer, "app"))
            if refusal is not None:
                wait = self.retry_after(now, refusal)
                self.truth.row(now, "refused", headers.get("x-request-id") or peer, endpoint=endpoint)
                return HttpResponse(429, {"retry-after": wait} if wait else {}, b'{"code":"too.many.requests"}')
        answer = half.on_upgrade(now, made, headers)
        if answer is not None:
            return answer
        self._opened[peer] = number
        self.conns[conn] = made
        for fault in self.faults.on_open:
            fault.on_open(self, now, made)
        return None

    def on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        """A whole frame of the guest's."""
        known = self.conns.get(conn)
        if known is None or known.ended:
            return
        known.moved = now
        gate = known.gate
        if gate is None:
            known.dialect.on_frame(now, known, data)
        elif not gate.deaf:
            gate.intake.append(data)

    def on_socket_closed(self, now: int, conn: int, by: str, code: int) -> None:  # noqa: ARG002
        """The connection is over."""
        known = self.conns.pop(conn, None)
        if known is None:
            return
        known.gone = True
        if by == "server" and known.ready:
            self.truth.row(now, "disconnects", known.id, fault=known.ended or "protocol")
        gate = known.gate
        if gate is not None:
            self._drop_output(now, gate)
            if gate.deaf or by == "server":
                self._open_gate(known)
        self._unbind(now, known)
        known.dialect.on_gone(now, known)

    def next_deadline(self) -> int | None:
        """When `on_deadline` wants to be called."""
        return self.timers.next()

    def on_deadline(self, now: int) -> None:
        """Do what is due."""
        self.timers.run(now)

    # ------------------------------------------------------------ the contract: control
    def set_faults(self, now: int, plan: Any) -> None:
        """Replace the fault plan (a list of tables). Raises ValueError; then nothing has changed."""
        specs = read_faults(plan)
        if self._start is None:
            self._start = now
        if not self._settled:
            self.faults.set_plan(now, specs, self._start)

    def settle(self, now: int) -> None:
        """All faults end, what they hold is released, agents answer what they have and start nothing."""
        if self._start is None:
            self._start = now
        self._settled = True
        self.agents.settled = True
        self.faults.stop(now)
        for conn in list(self._gated.values()):
            gate = conn.gate
            if gate is not None:
                self.timers.cancel(gate.timer)
                self._stall_over(now, conn, gate)
        self.deliveries.settle(now)

    def seal(self, now: int) -> dict[str, int]:
        """End the truth: judge what is open, write the last line, give its counts."""
        return self.truth.seal(now)

    def health(self, now: int) -> dict[str, Any]:
        """How much there is of what."""
        return {
            "t": now,
            "conversations": sum(not conv.closed for conv in self.conversations.values()),
            "kept": len(self.conversations),
            "connections": len(self.conns),
            "parked": len(self.pending),
            "stalled": len(self._gated),
            "queue": self.agents.queued,
            "agents_busy": self.agents.busy,
            "backlog": self.deliveries.backlog,
            "timers": self.timers.live,
            "tokens": len(self.credentials),
            "settled": self._settled,
        }

    def counts(self) -> dict[str, int]:
        """Rows of truth so far."""
        return dict(self.truth.counts)

    # ------------------------------------------------------------ HTTP, for the halves
    def answer(
        self,
        now: int,
        exchange: Exchange,
        status: int,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        handed: Callable[[int], None] | None = None,
    ) -> None:
        """Answer after the latency of the route's kind. `handed` runs when the whole answer has reached the guest."""
        if exchange.done or exchange.status:
            return
        exchange.status = status
        exchange.on_gone, exchange.on_handed = None, handed
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        response = HttpResponse(status, headers or {}, data)
        route = exchange.route
        lag = self.latency(now, route.latency) if route is not None and route.latency else 0
        if lag > 0:
            exchange.timer = self.timers.at(now + lag, self._release, exchange, response)
        else:
            self._release(now, exchange, response)

    def send(self, now: int, exchange: Exchange, response: HttpResponse) -> None:  # noqa: ARG002
        """Send an answer at once and as it is."""
        if exchange.done:
            return
        exchange.done, exchange.status = True, response.status
        self.timers.cancel(exchange.timer)
        if self.pending.pop(exchange.number, None) is not None:
            self._handing[exchange.number] = exchange
            self.outlet.respond(exchange.number, response)

    def put_off(self, now: int, exchange: Exchange, response: HttpResponse, by: int) -> None:
        """Send an answer later."""
        exchange.timer = self.timers.at(now + by, self.send, exchange, response)

    def cut(self, now: int, exchange: Exchange) -> None:
        """End the connection instead of an answer."""
        if exchange.done:
            return
        exchange.done = True
        self.timers.cancel(exchange.timer)
        if self.pending.pop(exchange.number, None) is not None:
            self.outlet.cut(exchange.number)
            self.truth.row(now, "cut", exchange.id)
        self._call_gone(now, exchange)

    def abandon(self, now: int, exchange: Exchange, limit: int | None) -> bool:
        """Take a request away from its handler for good; it is cut after `limit` (None: the caller answers it)."""
        if exchange.done:
            return False
        exchange.status = exchange.status or 599
        exchange.on_handed = None
        self.timers.cancel(exchange.timer)
        self._call_gone(now, exchange)
        if limit is not None:
            exchange.timer = self.timers.at(now + limit, self.cut, exchange)
        return True

    def may_spoil(self, exchange: Exchange, response: HttpResponse) -> bool:
        """Has this answer a body that can be garbled to some effect?"""
        return response.status == 200 and len(response.body) > 2 and exchange.route is not None

    def latency(self, now: int, kind: str) -> int:
        """Draw how long that kind of work takes now."""
        ns = int(self._latencies[kind].sample(self._latency_rng))
        for fault in self.faults.latency:
            ns = fault.latency(self, now, ns)
        return ns

    # ------------------------------------------------------------ limits
    def refusal(self, now: int, endpoint: str, caller: Caller) -> tuple[int, str] | None:
        """None: go on. Else how long to wait and how to say it."""
        for fault in self.faults.refuses:
            wait = fault.refuses(self, now, endpoint)
            if wait:
                return wait, "seconds"
        return self.limits.ask(now, endpoint, caller)

    def retry_after(self, now: int, refusal: tuple[int, str]) -> str:
        """Value of `Retry-After`; "" where there is to be none."""
        wait, how = refusal
        if how == "none":
            return ""
        if how == "date":
            return instants.http_date(self.wall_ms(now + wait) + 999)
        return how if how.isdigit() else str(-(-wait // SECOND))

    def refuse_frame(self, conn: Conn, endpoint: str) -> Done:
        """What to do when the error frame of a limit was pushed: note it in the truth."""

        def done(now: int, ok: bool) -> None:
            if ok:
                conn.refused += 1
                self.truth.row(now, "refused", f"{conn.id}#{conn.refused}", endpoint=endpoint)

        return done

    # ------------------------------------------------------------ sockets, for the halves and the faults
    def push(self, now: int, conn: Conn, data: str | bytes, copy: Copy | None = None, done: Done | None = None) -> None:
        """Write a frame. Once it is known (later, if the connection stalls) `copy` is noted and `done(now, ok)` called."""
        gate = conn.gate
        conn.moved = now
        if conn.ended or conn.gone:
            ok = False
        elif gate is not None:
            gate.output.append((data, copy, done))
            return
        elif isinstance(data, str):
            ok = self.outlet.push(conn.handle, data)
        else:
            ok = self.outlet.push_bytes(conn.handle, data)
        if ok and copy is not None:
            self.truth.pushed(now, copy, conn.id, conn.id)
        if done is not None:
            done(now, ok)

    def ready(self, now: int, conn: Conn) -> Done:  # noqa: ARG002
        """`done` for the frame that lets the guest in."""

        def done(now: int, ok: bool) -> None:  # noqa: ARG001
            if ok:
                conn.ready = True

        return done

    def end(self, now: int, conn: Conn, fault: str, *, how: str = "close", code: int = 1011, reason: str = "") -> None:
        """End a connection: `how` is `close` or `reset`; `fault` is the reason's name in the truth."""
        if not self._leave(now, conn, fault):
            return
        if how == "reset":
            self.outlet.reset(conn.handle)
        else:
            self.outlet.close(conn.handle, code, reason)

    def tear(self, now: int, conn: Conn, text: str, fault: str, message: Message) -> None:
        """End a connection inside a frame."""
        if self._leave(now, conn, fault):
            of = "messages.delivered" if message.direction == AGENT else "messages.returned"
            self.truth.row(now, "torn", message.unit, of=of)
            self.outlet.tear(conn.handle, text)

    def stall(self, now: int, conn: Conn, length: int, deaf: str = "") -> None:
        """Let nothing flow for a time. `deaf`: name of the fault that loses what comes in and ends with a reset."""
        if conn.gate is None and conn.usable:
            gate = conn.gate = Gate(deaf=bool(deaf))
            gate.fault = deaf
            self._gated[conn.handle] = conn
            gate.timer = self.timers.at(now + length, self._stall_over, conn, gate)

    def bind(self, now: int, conn: Conn, conv: Conversation) -> None:  # noqa: ARG002
        """From now on this connection, the newest, gets the conversation's pushes."""
        if not conn.usable:
            return
        if conn.conv is not None and conn.conv is not conv and conn.conv.bound is conn:
            conn.conv.bound = None
        conn.conv = conv
        conv.bound = conn
        self.timers.cancel(conv.away)
        conv.away = None

    # ------------------------------------------------------------ conversations, for the halves
    def open(
        self, now: int, half: DialectHalf, cid: str, *, routable: bool, priority: int = 0, data: Any = None, why: str = ""
    ) -> Conversation:
        """Begin a conversation and put it into the queue; `why` names what is wrong with its routing, where something is."""
        conv = Conversation(cid, half, now, routable=routable, priority=priority)
        conv.data = data
        self.conversations[cid] = conv
        self._queue(now, conv, why)
        return conv

    def reroute(self, now: int, conv: Conversation, *, routable: bool) -> None:
        """Routing was changed before an agent came."""
        if conv.state == QUEUED and not conv.routable and routable:
            conv.routable = True
            self._queue(now, conv)

    def take(self, now: int, conv: Conversation, text: str, mid: str, sender_id: str, sender_name: str, data: Any = None) -> Taken:
        """Store a guest's message, unless a fault wants otherwise. The conversation must not be closed."""
        mark = marker.read(text)
        stream: Stream | None = None
        nonce: Nonce | None = None
        if mark is not None and mark[1] == "g":
            stream = conv.stream = self._join(conv, mark[0])
            nonce = stream.guest_nonce(mark[2])
        if mid in conv.copies and not self.config.server_stores_resend:
            earlier = next((m for m in reversed(conv.messages) if m.id == mid), None)
            if earlier is not None:
                return Taken(conv, earlier, earlier.copy.nonce)
        stamp = conv.stamp(self.stamp_ms(now))
        message = Message(mid, GUEST, sender_id, sender_name, text, stamp, conv.copy_of(mid, stamp, nonce))
        message.data = data
        taken = Taken(conv, message, nonce)
        for fault in self.faults.on_guest:
            fault.on_guest(self, now, taken)
        if not taken.store:
            message.phantom = True
            return taken
        conv.append(message)
        if nonce is not None:
            first = not nonce.stored
            self.truth.guest_stored(now, nonce)
            if first:
                self.agents.heard(now, conv, nonce.seq)
        return taken

    def confirmed(self, now: int, taken: Taken) -> None:
        """The confirmation of a guest's message was handed over by other means than a push of the message."""
        if taken.message.phantom and taken.nonce is not None:
            self.truth.guest_confirmed_unstored(now, taken.nonce)

    def phantom_done(self, message: Message) -> Done:
        """`done` for the push of a message that was never stored."""

        def done(now: int, ok: bool) -> None:
            if ok and message.copy.nonce is not None:
                self.truth.guest_confirmed_unstored(now, message.copy.nonce)

        return done

    def deliver(self, now: int, conv: Conversation, message: Message, lag: int = 0) -> None:
        """Push a message to the guest, through the faults."""
        self.deliveries.deliver(now, conv, message, lag)

    def agent_says(self, now: int, conv: Conversation, answers: int, *, immune: bool = False) -> None:
        """An agent's message, in the stream of the guest's latest."""
        stream = conv.stream
        if stream is None or conv.closed:
            return
        verdict = ""
        if not immune:
            for fault in self.faults.on_agent:
                verdict = fault.on_agent(self, now, conv)
                if verdict:
                    break
        nonce = stream.next_agent_nonce()
        text = self.agents.text(marker.write(stream.key, nonce.seq, answers), nonce.seq)
        if verdict == "lose":
            nonce.fault = "lose_all"
            self.act(now, "lose_all", nonce.id)
            self.truth.agent_stored(now, nonce)
            self.agents.speak_further(now, conv, immune=True)
            return
        if verdict == "twice":
            self.act(now, "duplicate_store", nonce.id)
        for _ in range(2 if verdict == "twice" else 1):
            mid = self.new_id("msg")
            stamp = conv.stamp(self.stamp_ms(now))
            message = Message(mid, AGENT, conv.agent_id, conv.agent_name, text, stamp, conv.copy_of(mid, stamp, nonce))
            conv.append(message)
            self.truth.agent_stored(now, nonce)
            self.deliver(now, conv, message)

    def close(self, now: int, conv: Conversation, *, by: str = "guest") -> None:
        """End a conversation: what is under way goes out, the agent stops, the guest is told, nothing follows."""
        if conv.closed:
            return
        self.deliveries.release(now, conv)
        self.timers.cancel(conv.away)
        conv.away = None
        conv.state = CLOSED
        self.agents.withdraw(now, conv)
        self.truth.row(now, "ended", conv.id, by=by)
        conv.dialect.closed(now, conv)
        self.timers.at(now + self.config.forget_after, self._forget, conv)

    def listed(self, now: int, messages: Iterable[Message], via: str) -> None:
        """A listing with these messages was handed over."""
        for message in messages:
            if not message.copy.seen:
                self.truth.listed(now, message.copy, via)

    def handed_push(self, now: int, message: Message, key: str, via: str) -> None:
        """An event with this message was handed over in a poll's answer; `key` names the TCP connection."""
        self.truth.pushed(now, message.copy, key, via)

    def guest_left(self, now: int, conv: Conversation) -> None:
        """The guest is not connected any more: maybe the conversation is closed after a time."""
        if self.config.auto_close > 0 and not conv.closed and conv.away is None:
            conv.away = self.timers.at(now + self.config.auto_close, self._auto_close, conv)

    def guest_back(self, conv: Conversation) -> None:
        """The guest is there."""
        self.timers.cancel(conv.away)
        conv.away = None

    # ------------------------------------------------------------ small services
    def wall_ms(self, now: int) -> int:
        """The wall clock, in ms."""
        return (now + self.wall_offset_ns) // 1_000_000

    def stamp_ms(self, now: int) -> int:
        """The wall clock as the server believes it."""
        ms = self.wall_ms(now)
        for fault in self.faults.skew_ms:
            ms += fault.skew_ms(now)
        return ms

    def new_id(self, kind: str) -> str:
        """A new id such as `msg_1f…`."""
        return f"{kind}_{self.rng.getrandbits(64):016x}"

    def new_uuid(self) -> str:
        """A new random UUID (version 4)."""
        text = f"{self.rng.getrandbits(128):032x}"
        variant = "89ab"[int(text[16], 16) & 3]
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"

    def act(self, now: int, fault: str, unit: str) -> None:
        """A fault has done something to a unit."""
        self.truth.row(now, "act", unit, name=fault)

    def revoke(self, now: int, grant: Grant) -> None:
        """A token is good no longer."""
        grant.revoked = True
        for half in self.halves.values():
            half.revoked(now, grant)

    def routable(self, skills: Iterable[str]) -> bool:
        """Are all these skills known to the letter, and is somebody on shift for one of them? None asked for: anybody will do."""
        known = self.config.skills
        wanted = tuple(skills)
        return not wanted or (all(name in known for name in wanted) and any(known[name] for name in wanted))

    def mismatch(self, skills: Iterable[str]) -> str:
        """`unknown_skill` if one of these names is not known to the letter, else ""."""
        return "" if all(name in self.config.skills for name in skills) else "unknown_skill"

    # ------------------------------------------------------------ inside
    def _register(self, half: DialectHalf) -> None:
        self.halves[half.name] = half
        for path in half.upgrade_paths:
            self._paths[path] = half
        for route in half.routes():
            parts = tuple(route.template.split("/"))
            if "{" in route.template:
                self._holed.setdefault((route.method, len(parts)), []).append((parts, route))
            else:
                self._fixed.setdefault((route.method, route.template), []).append(route)

    def _find(self, exchange: Exchange) -> tuple[Route | None, bool]:
        method, path = exchange.method, exchange.path
        for route in self._fixed.get((method, path), ()):
            if route.claims is None or route.claims(exchange):
                return route, False
        parts = path.split("/")
        for template, route in self._holed.get((method, len(parts)), ()):
            if all(want == have or want[:1] == "{" for want, have in zip(template, parts, strict=True)):
                exchange.params = tuple(unquote(have) for want, have in zip(template, parts, strict=True) if want[:1] == "{")
                if route.claims is None or route.claims(exchange):
                    return route, False
        return None, any(known == path for _, known in self._fixed)

    def _caller(self, now: int, exchange: Exchange) -> Caller:
        grant = self.credentials.bearer(now, exchange.headers)
        client = grant.client if grant is not None else self.config.credentials.client_id
        return Caller(client, exchange.ip, grant.token if grant is not None else exchange.peer, "app")

    def _release(self, now: int, exchange: Exchange, response: HttpResponse) -> None:
        for fault in self.faults.on_answer:
            changed = fault.on_answer(self, now, exchange, response)
            if changed is None:
                return
            response = changed
        self.send(now, exchange, response)

    @staticmethod
    def _call_gone(now: int, exchange: Exchange) -> None:
        gone, exchange.on_gone = exchange.on_gone, None
        if gone is not None:
            gone(now)

    def _leave(self, now: int, conn: Conn, fault: str) -> bool:
        if not conn.usable:
            return False
        conn.ended = fault
        gate = conn.gate
        if gate is not None:
            self._open_gate(conn)
            self._drop_output(now, gate)
        self._unbind(now, conn)
        return True

    def _unbind(self, now: int, conn: Conn) -> None:
        conv = conn.conv
        if conv is not None and conv.bound is conn:
            conv.bound = None
            self.guest_left(now, conv)

    def _open_gate(self, conn: Conn) -> None:
        gate = conn.gate
        if gate is not None:
            self.timers.cancel(gate.timer)
            conn.gate = None
            self._gated.pop(conn.handle, None)

    @staticmethod
    def _drop_output(now: int, gate: Gate) -> None:
        while gate.output:
            _, _, done = gate.output.popleft()
            if done is not None:
                done(now, False)

    def _stall_over(self, now: int, conn: Conn, gate: Gate) -> None:
        if conn.gate is not gate:
            return
        if gate.deaf:
            if conn.gone:
                self._open_gate(conn)
            else:
                self.end(now, conn, gate.fault, how="reset")
            return
        while gate.intake and not conn.ended:  # what this makes the server say lines up behind what it has to say already
            conn.dialect.on_frame(now, conn, gate.intake.popleft())
        if conn.gate is not gate:
            return
        self._open_gate(conn)
        while gate.output:
            data, copy, done = gate.output.popleft()
            self.push(now, conn, data, copy, done)

    def _queue(self, now: int, conv: Conversation, why: str = "") -> None:
        if conv.routable:
            self.agents.enqueue(now, conv)
        else:
            self.truth.row(now, "stalled", conv.id, why=why or "nobody_on_shift")
            if self.config.routing_timeout > 0:
                self.timers.at(now + self.config.routing_timeout, self._unroutable, conv)

    def _unroutable(self, now: int, conv: Conversation) -> None:
        if conv.state == QUEUED and not conv.routable:
            conv.dialect.unroutable(now, conv)

    def _auto_close(self, now: int, conv: Conversation) -> None:
        conv.away = None
        if conv.bound is None:
            self.close(now, conv, by="absence")

    def _join(self, conv: Conversation, key: str) -> Stream:
        stream = conv.streams.get(key)
        if stream is None:
            stream = self.truth.stream(key)
            stream.users += 1
            conv.streams[key] = stream
        return stream

    def _forget(self, now: int, conv: Conversation) -> None:
        if self.conversations.get(conv.id) is conv:
            del self.conversations[conv.id]
        conv.dialect.forget(conv)
        conv.bound = None
        for stream in conv.streams.values():
            self.truth.release(now, stream)
        conv.streams.clear()
        conv.messages.clear()
        conv.stamps.clear()
        conv.copies.clear()
