"""What a dialect's server half is, and what it may ask of the engine.

**Registering.** A half lists its `routes` (method, path with `{holes}`, handler) and its `upgrade_paths`. Where several
dialects share a path, a route says by `claims` which requests are its own. The engine has looked at faults and limits before it
calls a handler.

**Answering HTTP.** A handler calls `engine.answer(now, exchange, status, body, handed=…)`, now or later: the latency of the
route's kind is added, then faults, then the shell. `handed(now)` runs only if the whole answer reached the guest: the place for
truth. A request that waits (a parked poll) keeps the exchange and sets `exchange.on_gone`; after that call nothing may be
answered.

**A guest's message.** `engine.take(now, conv, text, mid)` stores it and wakes the agent. Look at what it gives back: `confirm`
says if the guest may hear of it, `message` what was stored; with lose_ingest the message is a phantom, and
`engine.confirmed(now, taken)` is called once its confirmation was handed over (for echoes by `deliver`, the engine does that
itself).

**Deliveries.** `engine.deliver(now, conv, message, lag)` runs a message through the faults and ends in `half.deliver(now, conv,
message)`, any number of times. Socket halves inherit that (`frame` makes the text); a polling half appends an event and wakes
its poll, and calls `engine.handed_push(now, message, key, via)` for each event of an answer in its `handed`. Listings call
`engine.listed(now, messages, via)`.

**Agents.** `engine.open(...)` puts the conversation into the queue; then `accepted`, `typing`, `deliver` and `closed` are
called. `engine.close(now, conv)` ends it: what is under way goes out first, `closed` is the last call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.core.wire import HttpResponse
from harness.simulator.connections import Conn, Exchange
from harness.simulator.conversations import Conversation, Message
from harness.simulator.credentials import Grant

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
    claims: Callable[[Exchange], bool] | None = None

    @property
    def endpoint(self) -> str:
        """How limits, faults and rows name it."""
        return f"{self.method} {self.template}"


class DialectHalf:
    """Base of the server halves."""

    name: ClassVar[str] = ""
    lists: ClassVar[bool] = False
    """Is there a listing, so that a message that was not pushed can still be found?"""
    upgrade_paths: ClassVar[tuple[str, ...]] = ()

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def routes(self) -> list[Route]:
        """All endpoints."""
        return []

    # ------------------------------------------------------------ sockets
    def on_upgrade(self, now: int, conn: Conn, headers: dict[str, str]) -> HttpResponse | None:  # noqa: ARG002
        """None accepts the WebSocket. Nothing can be pushed yet."""
        return None

    def on_frame(self, now: int, conn: Conn, data: str | bytes) -> None:
        """A frame of the guest's. Must not raise, whatever it is."""

    def on_gone(self, now: int, conn: Conn) -> None:
        """The socket has ended; `conn.conv` is unbound already."""

    # ------------------------------------------------------------ conversation
    def accepted(self, now: int, conv: Conversation) -> None:
        """An agent has taken the conversation (`conv.agent_id`, `conv.agent_name`)."""

    def typing(self, now: int, conv: Conversation) -> None:
        """The agent begins to type."""

    def frame(self, conv: Conversation, message: Message) -> str:  # noqa: ARG002
        """A message as a frame (socket halves)."""
        return ""

    def deliver(self, now: int, conv: Conversation, message: Message) -> bool:
        """Push a message to the newest bound connection. False: there is none, it stays stored only."""
        conn = conv.bound
        if conn is None or not self.may_push(now, conn):
            return False
        engine = self.engine
        engine.push(now, conn, self.frame(conv, message), message.copy, engine.phantom_done(message) if message.phantom else None)
        return True

    def may_push(self, now: int, conn: Conn) -> bool:  # noqa: ARG002
        """May messages go to this connection?"""
        return True

    def garbled(self, now: int, conv: Conversation, message: Message) -> None:
        """Push something broken in a message's place: it can only be found in the listing."""
        conn = conv.bound
        if conn is not None:
            text = self.frame(conv, message)
            self.engine.push(now, conn, text[: max(1, len(text) * 2 // 3)] + "\ufffd")

    def odd(self, now: int, conv: Conversation, message: Message, kind: str) -> None:
        """Push one frame that should not be, besides the message."""
        conn = conv.bound
        if conn is None:
            return
        engine = self.engine
        if kind == "binary":
            engine.push(now, conn, b"\x00\x01\xfe\xff" + message.id.encode())
        elif kind == "malformed":
            engine.push(now, conn, '{"type": "message", "conversationId": ')
        elif kind == "oversize":
            engine.push(now, conn, self.odd_frame(conv, message, kind) or '{"type":"notice","padding":"' + "x" * OVERSIZE + '"}')
        else:
            engine.push(now, conn, self.odd_frame(conv, message, kind) or '{"type":"presence.changed"}')

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
