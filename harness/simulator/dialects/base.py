"""What a dialect's server half is, and what it may ask of the engine.

**Registering.** A half has a name, lists its `routes` (method, path with `{holes}`, handler) and its `upgrade_paths` (which may
have holes as well: `conn.params`, `conn.query`), and says by `table` what may be set under `[simulator.NAME]`: its `self.settings`.
Where several dialects share a path, a route says by `claims` which requests are its own. The engine has looked at faults and
limits before it calls a handler; it names both routes and upgrades by their templates.

**Answering HTTP.** A handler calls `engine.answer(now, exchange, status, body, handed=…)`, now or later: the latency of the
route's kind is added, then faults, then the shell. `handed(now)` runs only if the whole answer reached the guest: the place for
truth. A request that waits (a parked poll) keeps the exchange and sets `exchange.on_gone`; after that call nothing may be
answered.

**Sockets.** `on_upgrade` accepts or refuses; nothing can be pushed or ended in it, but `engine.timers.at(now, …)` runs right
after. The guest is in with the frame that was pushed with `done=engine.ready(now, conn)`; where an open socket is enough,
`on_upgrade` says `engine.ready_at_once(conn)`. `engine.bind(now, conn, conv)` makes a connection the newest of a conversation,
`engine.join` one of several. Frames are refused by `engine.frame_refusal(now, conn, "frame NAME")`, which is told in an error frame
pushed with `done=engine.refuse_frame(conn, "frame NAME")`. Pings of the protocol are answered by the engine.

**A guest's message.** `engine.take(now, conv, text, mid)` stores it and wakes the agent. Look at what it gives back: `confirm`
says if the guest may hear of it, `message` what was stored; with lose_ingest the message is a phantom, and
`engine.confirmed(now, taken)` is called once its confirmation was handed over (for echoes by `deliver`, the engine does that
itself).

**Capacity.** Where the server's capacity is limited (`intake.py`), messages reach `on_frame` and handlers after their turn in a
queue, then maybe over a connection that has ended meanwhile (pushes to it go nowhere, which is well). `Route.message` and
`arrival` say what a message is, `thread` what must keep its order, `overloaded` how a refusal is told; all have defaults.

**Deliveries.** `engine.deliver(now, conv, message, lag)` runs a message through the faults and ends in `half.deliver(now, conv,
message)`, any number of times. Socket halves inherit that: `frame` makes the text, `connections` says where it goes. A polling half
appends an event and wakes its poll, and calls `engine.handed_push(now, message, key, via)` for each event of an answer in its
`handed`. Listings call `engine.listed(now, messages, via)`.

**Agents.** `engine.open(...)` puts the conversation into the queue; then `accepted`, `typing`, `deliver` and `closed` are
called. `engine.close(now, conv)` ends it: what is under way goes out first, `closed` is the last call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.wire import HttpResponse
from harness.simulator import bodies, marker
from harness.simulator.connections import Conn, Exchange
from harness.simulator.conversations import Conversation, Message
from harness.simulator.credentials import Grant
from harness.simulator.dialects import oauth
from harness.simulator.intake import Arrival
from harness.simulator.limiters import Caller

if TYPE_CHECKING:
    from harness.simulator.engine import Engine

Handler = Callable[[int, Exchange], None]
OVERSIZE = 512 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `latency` is a key of the latency table ("" for none), `bad_limit` renders the body of a 429."""

    method: str
    template: str
    """Path with `{hole}` segments; their values are `exchange.params`, in order, percent-decoded."""
    handler: Handler
    latency: str = ""
    limited_body: str = '{"code":"too.many.requests"}'
    """`{wait}` in it becomes the value of `Retry-After`."""
    claims: Callable[[Exchange], bool] | None = None
    """Is this request, to a path that several halves have, for us? None: yes, where none of those that look at it wants it."""
    carries: bool | None = None
    """Does it bring a guest's message, which needs a server where capacity is limited? None: a POST whose latency is `send`."""

    @property
    def message(self) -> bool:
        """Does it bring a guest's message?"""
        return self.method == "POST" and self.latency == "send" if self.carries is None else self.carries

    @property
    def endpoint(self) -> str:
        """How limits, faults and rows name it."""
        return f"{self.method} {self.template}"

    def limited(self, wait: str) -> bytes:
        """The body of a 429."""
        return self.limited_body.replace("{wait}", wait).encode()


@dataclass(frozen=True, slots=True)
class NoTable:
    """Nothing can be set."""


class DialectHalf:
    """Base of the server halves."""

    name: ClassVar[str] = ""
    table: ClassVar[type] = NoTable
    """A frozen dataclass of `setting(…)` fields: what `[simulator.NAME]` may say."""
    lists: ClassVar[bool] = False
    """Is there a listing, so that a message that was not pushed can still be found?"""
    tells_copies: ClassVar[bool] = True
    """Do messages show an id or a time, so that a guest can tell one that was stored twice from one that was pushed twice?"""
    upgrade_paths: ClassVar[tuple[str, ...]] = ()
    limited_body: ClassVar[str] = '{"code":"too.many.requests"}'
    """Of the 429 that refuses an upgrade."""
    settings: Any
    """What was read into `table`; a half says its type."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.settings = engine.config.settings_of(type(self))

    @classmethod
    def limit_set(cls, settings: Any) -> list[dict[str, Any]]:  # noqa: ARG003
        """The dialect's own default limits, as `limits` has them: `limit_sets = ["NAME"]` switches them on."""
        return []

    @property
    def can_lose(self) -> bool:
        """May a push be left out? It is found in the listing or, where there is none, lost. A stream of events has to be whole."""
        return self.lists or bool(self.upgrade_paths)

    def caller(self, now: int, asks: Exchange | Conn) -> Caller:
        """Who asks, as limits count: a request, an upgrade (`conn.data` is None then), or a frame of an open socket."""
        credentials = self.engine.credentials
        if isinstance(asks, Conn):
            grant = self.grant_of(asks) if asks.data is not None else None
            return Caller(grant.client if grant is not None else credentials.client, asks.ip, asks.id, connection=asks.id)
        grant = credentials.bearer(now, asks.headers)
        if grant is not None:
            return Caller(grant.client, asks.ip, grant.token, connection=asks.peer)
        named = oauth.client_named(asks)
        return Caller(named if credentials.knows(named) else credentials.client, asks.ip, asks.peer, connection=asks.peer)

    def routes(self) -> list[Route]:
        """All endpoints."""
        return []

    # ------------------------------------------------------------ sockets
    def on_upgrade(self, now: int, conn: Conn, headers: dict[str, str]) -> HttpResponse | None:  # noqa: ARG002
        """None accepts the WebSocket. Nothing can be pushed or ended yet."""
        return None

    def on_frame(self, now: int, conn: Conn, data: str | bytes) -> None:
        """A frame of the guest's. Must not raise, whatever it is."""

    def on_gone(self, now: int, conn: Conn) -> None:
        """The socket has ended; `conn.conv` is unbound already."""

    # ------------------------------------------------------------ capacity
    def arrival(self, now: int, conn: Conn, data: str | bytes) -> Arrival:  # noqa: ARG002
        """What has come in, asked before `on_frame` where capacity is limited: nothing must change by it.

        Here: an object of the type `message`, or with a guest's marker in it, is a message; what keeps a connection alive is put
        aside. A half that says the name by which limits know a message has them asked before the queue.
        """
        frame = bodies.frame(data)
        kind = frame.get("type") if frame is not None else None
        return Arrival(kind == "message" or marker.within(data), aside=kind in ("ping", "pong", "auth"))

    def thread(self, conn: Conn) -> str:
        """What a connection is one of several to, over which messages must not overtake each other."""
        return conn.conv.id if conn.conv is not None else conn.id

    def overloaded(self, now: int, conn: Conn, data: str | bytes) -> None:  # noqa: ARG002
        """A message is not taken, for the server has too much to do: say so in an error frame."""
        self.engine.push(now, conn, '{"type":"error","code":"overloaded"}')

    # ------------------------------------------------------------ conversation
    def accepted(self, now: int, conv: Conversation) -> None:
        """An agent has taken the conversation (`conv.agent_id`, `conv.agent_name`)."""

    def typing(self, now: int, conv: Conversation) -> None:
        """The agent begins to type."""

    def frame(self, conv: Conversation, message: Message) -> str:  # noqa: ARG002
        """A message as a frame (socket halves)."""
        return ""

    def connections(self, conv: Conversation) -> tuple[Conn, ...]:
        """Where what is said in a conversation goes: its newest connection. Oldest first where there are several."""
        return () if conv.bound is None else (conv.bound,)

    def tell(self, now: int, conv: Conversation, text: str) -> bool:
        """Push a frame that is no message wherever messages go. False: there is no such place."""
        told = False
        for conn in self.connections(conv):
            if self.may_push(now, conn):
                self.engine.push(now, conn, text)
                told = True
        return told

    def deliver(self, now: int, conv: Conversation, message: Message) -> bool:
        """Push a message. False: there is no connection for it, it stays stored only."""
        engine, text, gone = self.engine, "", False
        for conn in self.connections(conv):
            if self.may_push(now, conn):
                text = text or self.frame(conv, message)
                engine.push(now, conn, text, message.copy, engine.phantom_done(message) if message.phantom else None)
                gone = True
        return gone

    def may_push(self, now: int, conn: Conn) -> bool:  # noqa: ARG002
        """May messages go to this connection?"""
        return True

    def garbled(self, now: int, conv: Conversation, message: Message) -> None:
        """Push something broken in a message's place: it can only be found in the listing."""
        for conn in self.connections(conv):
            text = self.frame(conv, message)
            self.engine.push(now, conn, text[: max(1, len(text) * 2 // 3)] + "\ufffd")

    def odd(self, now: int, conv: Conversation, message: Message, kind: str) -> None:
        """Push one frame that should not be, besides the message."""
        conns = self.connections(conv)
        if not conns:
            return
        data: str | bytes
        if kind == "binary":
            data = b"\x00\x01\xfe\xff" + message.id.encode()
        elif kind == "malformed":
            data = '{"type": "message", "conversationId": '
        elif kind == "oversize":
            data = self.odd_frame(conv, message, kind) or '{"type":"notice","padding":"' + "x" * OVERSIZE + '"}'
        else:
            data = self.odd_frame(conv, message, kind) or '{"type":"presence.changed"}'
        for conn in conns:
            self.engine.push(now, conn, data)

    def ripens_in(self, now: int, conv: Conversation) -> int:  # noqa: ARG002
        """How long a message that was stored just now has to wait before it may be pushed: its stamp must not lie in the future."""
        return 0

    def odd_frame(self, conv: Conversation, message: Message, kind: str) -> str:  # noqa: ARG002
        """Text for `wrong_id`, `unknown_type` and `oversize`; "" for the common one."""
        return ""

    def closed(self, now: int, conv: Conversation) -> None:
        """The conversation has ended: tell the guest. Nothing follows in it."""

    def forget(self, conv: Conversation) -> None:
        """A closed conversation leaves memory."""

    def unroutable(self, now: int, conv: Conversation) -> None:
        """`routing_timeout` has passed and no agent can ever come."""

    # ------------------------------------------------------------ credentials
    def grant_of(self, conn: Conn) -> Grant | None:  # noqa: ARG002
        """The grant under which a socket is open."""
        return None

    def revoked(self, now: int, grant: Grant) -> None:
        """A grant has been revoked early."""
