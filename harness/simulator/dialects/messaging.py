"""messaging, the server's half: a registration for each socket, a token for one upgrade, acks in the order of the sends."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from harness.core.wire import HttpResponse
from harness.simulator import bodies, spelling
from harness.simulator.connections import Conn, Done, Exchange
from harness.simulator.conversations import CONNECTED, Conversation, Message
from harness.simulator.dialects import oauth
from harness.simulator.dialects.base import OVERSIZE, Route
from harness.simulator.dialects.chat import ChatHalf, ChatTable, Link, Session
from harness.simulator.spelling import SECOND
from harness.simulator.tables import MS, length, setting
from harness.simulator.tickets import Tickets

if TYPE_CHECKING:
    from harness.simulator.engine import Engine

READ, WRITE, SEND = "webchat:guest:read", "webchat:guest:write", "webchat:guest:send"
MOST = 1000
"""A priority beyond that is none."""


@dataclass(frozen=True, slots=True)
class MessagingTable(ChatTable):
    """What only the messaging half needs."""

    web_chat_token_life: int = setting(length, 60 * SECOND)
    """From the registration to the upgrade, at most."""
    late_acks: float = setting(spelling.share, 0.0)
    """Share of acks that let a frame of the agent's go first."""
    late_within: int = setting(spelling.duration, 5 * SECOND)
    """Such an ack waits no longer for one."""
    wrong_acked: bool = setting(spelling.flag, False)
    """Is a message with a wrong `conversationId` or `senderId` acknowledged? It is lost all the same."""


class Registration(Session):
    """A guest, for one socket and one conversation. `id` is the guest's."""

    __slots__ = ("entered",)

    def __init__(self, gid: str, name: str, expires: int) -> None:
        super().__init__(gid, name, expires)
        self.entered = False


class Answer:
    """An ack, or the error frame in its place, on its way out."""

    __slots__ = ("done", "due", "held", "text")

    def __init__(self, text: str, done: Done | None, due: int, *, held: bool) -> None:
        self.text, self.done, self.due = text, done, due
        self.held = held
        """Does it wait for a frame of the agent's?"""


class Line(Link):
    """A socket, and what is owed to the guest on it, in order."""

    __slots__ = ("due", "owed")

    def __init__(self, session: Registration) -> None:
        super().__init__(session)
        self.owed: deque[Answer] = deque()
        self.due = 0


class Messaging(ChatHalf):
    """The messaging server."""

    name = "messaging"
    table = MessagingTable
    settings: MessagingTable
    tells_copies = False
    upgrade_paths = ("/api/v2/conversations/messaging/guests/{guestId}/websocket",)
    farewell = '{"type":"conversationMetadata","event":"closed"}'

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._tickets = Tickets(self.rng, prefix="wct.")

    # ------------------------------------------------------------ REST
    def routes(self) -> list[Route]:
        """Token, introspection, registration."""
        return [
            Route("POST", "/oauth/token", self._token, "token", oauth.LIMITED, claims=_claims),
            Route("POST", "/oauth/introspect", self._introspect, "token", oauth.LIMITED),
            Route("POST", "/api/v2/conversations/messaging/guests", self._register, "guest"),
        ]

    def _token(self, now: int, exchange: Exchange) -> None:
        oauth.grant_token(self.engine, now, exchange, *oauth.basic(exchange.headers.get("authorization", "")))

    def _introspect(self, now: int, exchange: Exchange) -> None:
        engine = self.engine
        if not engine.credentials.known_client(*oauth.basic(exchange.headers.get("authorization", ""))):
            return engine.answer(now, exchange, 401, {"error": "invalid_client"}, headers={"www-authenticate": "Basic"})
        grant = engine.credentials.find(now, exchange.form.get("token", ""))
        if grant is None:
            return engine.answer(now, exchange, 200, {"active": False})
        body = {
            "active": True,
            "scope": oauth.scope_text(engine, grant),
            "client_id": grant.client,
            "exp": (engine.stamp_ms(now) + (grant.expires - now) // MS) // 1000,
            "token_type": "bearer",
        }
        return engine.answer(now, exchange, 200, body)

    def _register(self, now: int, exchange: Exchange) -> None:
        engine = self.engine
        grant = engine.credentials.bearer(now, exchange.headers)
        if grant is None or WRITE not in grant.scopes:
            return engine.answer(now, exchange, 401, {"code": "unauthorized"})
        if READ not in grant.scopes or SEND not in grant.scopes:
            return self._bad(now, exchange, "scopes are missing")
        given = bodies.table(exchange.body) or {}
        queue, routing, queues = given.get("queueId"), given.get("routingData", {}), engine.config.queues
        if not isinstance(queue, str) or not queue or (queues and queue not in queues):
            return self._bad(now, exchange, "no such queue")
        skills: Any = routing.get("skillRequirements", []) if isinstance(routing, dict) else None
        if not isinstance(skills, list) or not all(isinstance(name, str) for name in skills):
            return self._bad(now, exchange, "routingData is malformed")
        priority, name = routing.get("priority", 0), given.get("name")
        life = self.settings.web_chat_token_life
        session = Registration(engine.new_uuid(), name if isinstance(name, str) else "Guest", now + life)
        session.client = grant.client
        why = engine.mismatch(skills)
        session.conv = engine.open(
            now,
            self,
            engine.new_uuid(),
            routable=not why and engine.routable(skills),
            priority=priority if type(priority) is int and abs(priority) < MOST else 0,
            data=session,
            why=why,
        )
        self.sessions[session.id] = session
        session.expiry = engine.timers.at(session.expires, self._unused, session)
        token = self._tickets.issue(now, life, session, single_use=True)
        return engine.answer(now, exchange, 200, {"id": session.id, "conversationId": session.conv.id, "webChatToken": token})

    def _bad(self, now: int, exchange: Exchange, why: str) -> None:
        self.engine.answer(now, exchange, 400, {"code": "bad.request", "message": why})

    def _unused(self, now: int, session: Registration) -> None:
        """The token has run out; where nobody came with it, nobody will."""
        if not session.entered:
            self.run_out(now, session)

    # ------------------------------------------------------------ the socket's life
    def on_upgrade(self, now: int, conn: Conn, headers: dict[str, str]) -> HttpResponse | None:  # noqa: ARG002
        """In with the open socket, once for each token."""
        token = conn.query.get("webChatToken", "")
        ticket = self._tickets.look(now, token)
        session: Registration | None = ticket.data if ticket is not None else None
        if session is None or session.over or session.id != conn.params[0] or self._tickets.use(now, token) is None:
            return HttpResponse(403, {}, b'{"code":"forbidden"}')
        session.entered = True
        link = Line(session)
        self.attach(conn, link)
        conv = self.enter(now, conn, link)
        if conv.state == CONNECTED:  # the agent was there first
            self.engine.timers.at(now, self._joined, conv)
        self.engine.ready_at_once(conn)
        return None

    def on_gone(self, now: int, conn: Conn) -> None:
        """Nobody can come back to this conversation."""
        super().on_gone(now, conn)
        link: Line = conn.data
        link.owed.clear()
        session = link.session
        if not session.over:
            session.over = True
            self.engine.close(now, session.conv, by="gone" if conn.ended else "guest")

    # ------------------------------------------------------------ frames
    def on_frame(self, now: int, conn: Conn, data: str | bytes) -> None:
        """Messages and typing; the rest is lost without a word."""
        link: Line = conn.data
        frame = bodies.frame(data)
        if frame is None:
            return self.ignore(now, conn, "malformed")
        if link.session.over:
            return self.ignore(now, conn, "over")
        kind = frame.get("type")
        if kind == "message":
            return self._message(now, conn, link, frame)
        if kind == "typing":
            if frame.get("senderId") != link.session.id:
                return self.ignore(now, conn, "wrong_id")
            self.refused(now, conn, "typing")
            return None
        return self.ignore(now, conn, "unknown_type")

    def _message(self, now: int, conn: Conn, link: Line, frame: dict[str, Any]) -> None:
        engine, session = self.engine, link.session
        text = frame.get("text")
        if not isinstance(text, str) or frame.get("messageType", "text") != "text":
            return self.ignore(now, conn, "text")
        if self.refused(now, conn, "message"):
            return None
        right = frame.get("conversationId") == session.conv.id and frame.get("senderId") == session.id
        if not right:
            self.ignore(now, conn, "wrong_id")
            if not self.settings.wrong_acked:
                return None
        mid = engine.new_id("msg")
        taken = engine.take(now, session.conv, text, mid, session.id, session.name, store=right)
        if taken.confirm:
            self._owe(now, conn, _ack(mid), engine.phantom_done(taken.message) if taken.message.phantom else None)
        return None

    def overloaded(self, now: int, conn: Conn, data: str | bytes) -> None:  # noqa: ARG002
        """An error frame in the ack's place."""
        if conn.usable:
            self._owe(now, conn, '{"type":"error","code":"OVERLOADED","frame":"message"}', None)

    def tell_limited(self, now: int, conn: Conn, shown: dict[str, Any], done: Done) -> None:
        """An error frame, for a message in its ack's place."""
        text = json.dumps({"type": "error", "code": "RATE_LIMITED", **shown})
        if shown["frame"] == "message":
            self._owe(now, conn, text, done)
        else:
            self.engine.push(now, conn, text, done=done)

    # ------------------------------------------------------------ acks
    def _owe(self, now: int, conn: Conn, text: str, done: Done | None) -> None:
        """Push it when it is its turn."""
        link: Line = conn.data
        link.due = max(link.due, now + self.engine.latency(now, "echo"))
        late = self.settings.late_acks
        link.owed.append(Answer(text, done, link.due, held=late > 0 and self.rng.random() < late))
        self._pay(now, conn)

    def _pay(self, now: int, conn: Conn) -> None:
        """Push what is due, up to the first that has to wait."""
        link: Line = conn.data
        timers = self.engine.timers
        timers.cancel(link.timer)
        link.timer = None
        while link.owed and not link.owed[0].held and link.owed[0].due <= now:
            answer = link.owed.popleft()
            self.engine.push(now, conn, answer.text, done=answer.done)
        if link.owed:
            first = link.owed[0]
            due = first.due + (self.settings.late_within if first.held else 0)
            link.timer = timers.at(max(due, now), self._overtaken, conn)

    def _overtaken(self, now: int, conn: Conn) -> None:
        """A frame of the agent's has gone (or none came): the first need not wait for that any longer."""
        link: Line = conn.data
        if link.owed:
            link.owed[0].held = False
            self._pay(now, conn)

    # ------------------------------------------------------------ agents' side
    def tell(self, now: int, conv: Conversation, text: str) -> bool:
        """Acks that were to be overtaken follow."""
        told = super().tell(now, conv, text)
        self._agent_went(now, conv)
        return told

    def deliver(self, now: int, conv: Conversation, message: Message) -> bool:
        """The same of messages."""
        told = super().deliver(now, conv, message)
        self._agent_went(now, conv)
        return told

    def _agent_went(self, now: int, conv: Conversation) -> None:
        for conn in self.connections(conv):
            self._overtaken(now, conn)

    def accepted(self, now: int, conv: Conversation) -> None:
        """The queue is over."""
        self._joined(now, conv)

    def _joined(self, now: int, conv: Conversation) -> None:
        self.tell(now, conv, '{"type":"conversationMetadata","event":"agentJoined"}')

    def typing(self, now: int, conv: Conversation) -> None:
        """Tell that the agent types."""
        self.tell(now, conv, f'{{"type":"typing","senderId":{quoted(conv.agent_id)}}}')

    def frame(self, conv: Conversation, message: Message) -> str:  # noqa: ARG002
        """A message's frame: neither id nor time."""
        return f'{{"type":"message","senderId":{quoted(message.sender_id)},"text":{quoted(message.text)}}}'

    def odd_frame(self, conv: Conversation, message: Message, kind: str) -> str:  # noqa: ARG002
        """Frames that should not be."""
        if kind == "wrong_id":
            return json.dumps({"type": "message", "senderId": "agent_999", "text": "This was meant for somebody else."})
        if kind == "oversize":
            return json.dumps({"type": "typing", "senderId": conv.agent_id, "padding": "x" * OVERSIZE})
        return '{"type":"presence"}'

    def closed(self, now: int, conv: Conversation) -> None:
        """What is owed goes out first."""
        for conn in self.connections(conv):
            link: Line = conn.data
            while link.owed:
                answer = link.owed.popleft()
                self.engine.push(now, conn, answer.text, done=answer.done)
            self._pay(now, conn)
        super().closed(now, conv)


def _claims(exchange: Exchange) -> bool:
    """This dialect's token requests carry the secret in the header and name their scopes."""
    return oauth.uses_basic(exchange) and "scope" in exchange.form


def _ack(mid: str) -> str:
    return f'{{"type":"ack","messageId":"{mid}"}}'
