"""engagements, the server's half: a guest token without a secret, a socket that shows it in its address, no confirmation."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from harness.core.wire import HttpResponse
from harness.simulator import bodies, instants, spelling
from harness.simulator.connections import Conn, Done, Exchange
from harness.simulator.conversations import Conversation, Message
from harness.simulator.dialects.base import OVERSIZE, Route
from harness.simulator.dialects.chat import ChatHalf, ChatTable, Link, Session
from harness.simulator.limiters import Caller
from harness.simulator.spelling import SECOND, Spread
from harness.simulator.tables import MINUTE, MS, setting

if TYPE_CHECKING:
    from harness.simulator.engine import Engine

WRITE = "chat:guest:write"
FIELDS = frozenset({"type", "content", "metadata", "reason"})
"""What a guest's frame may hold; one with anything else is lost."""
SPARED = ("id", "from", "to", "timestamp", "metadata")
"""What a message may lack."""


@dataclass(frozen=True, slots=True)
class EngagementsTable(ChatTable):
    """What only the engagements half needs."""

    public: bool = setting(spelling.flag, True)
    """Is the client a public one?"""
    enabled: bool = setting(spelling.flag, True)
    scopes: tuple[str, ...] = setting(spelling.texts, (WRITE, "chat:guest:read", "chat:session:write"))
    """The client's."""
    scopes_after: int = setting(spelling.duration, 0)
    """Scopes were changed just now: they count only so long after the first request."""
    token_life: Spread = setting(spelling.spread, Spread("uniform", 22 * MINUTE + 30 * SECOND, 1 / 3))
    refuse: str = setting(spelling.choice("upgrade", "close"), "upgrade")
    """How a bad token is met: no WebSocket, or one that is closed at once."""
    silent_expiry: bool = setting(spelling.flag, False)
    """Is no frame sent when a token runs out?"""
    expiry_grace: int = setting(spelling.duration, 10 * SECOND)
    """From there to the close."""
    cards: float = setting(spelling.share, 0.0)
    """Share of the agents' messages that are cards."""
    card_form: str = setting(spelling.choice("string", "object", "both"), "both")
    body: float = setting(spelling.share, 0.0)
    """Share of them with `body` for `content`."""
    missing: float = setting(spelling.share, 0.0)
    """Share of them that lack fields."""


class Engagement(Session):
    """A session and its token."""

    __slots__ = ("token",)

    def __init__(self, sid: str, name: str, expires: int, token: str) -> None:
        super().__init__(sid, name, expires)
        self.token = token


class Engagements(ChatHalf):
    """The engagements server."""

    name = "engagements"
    table = EngagementsTable
    settings: EngagementsTable
    upgrade_paths = ("/api/v2/engagements/guests/{sessionId}/ws",)
    limited_body = '{"message":"Too many requests"}'
    farewell = '{"type":"sessionEnded","reason":"agent_left"}'

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._first: int | None = None
        """When the first request came."""

    # ------------------------------------------------------------ REST
    def routes(self) -> list[Route]:
        """The token, which is all there is."""
        return [Route("POST", "/api/v2/engagements/guests", self._register, "guest", self.limited_body)]

    def _register(self, now: int, exchange: Exchange) -> None:
        engine, settings = self.engine, self.settings
        self._first = now if self._first is None else self._first
        given = bodies.table(exchange.body) or {}
        channel, client, metadata = given.get("channelId"), given.get("clientId"), given.get("metadata", {})
        if not isinstance(channel, str) or not channel or not isinstance(client, str) or not isinstance(metadata, dict):
            return self._refuse(now, exchange, 400, "channelId and clientId are needed, metadata is an object")
        if not engine.credentials.knows(client) or not settings.public or not settings.enabled:
            return self._refuse(now, exchange, 401, "Unknown or disabled client, or not a public one")
        if WRITE not in settings.scopes or now < self._first + settings.scopes_after:
            return self._refuse(now, exchange, 403, f"Missing scope {WRITE}")
        life = settings.token_life.sample(self.rng)
        shown = metadata.get("displayName")
        token = f"gt.{self.rng.getrandbits(128):032x}"
        session = Engagement(engine.new_uuid(), shown if isinstance(shown, str) else "Guest", now + life, token)
        session.client, session.channel = client, channel
        self.sessions[session.id] = session
        session.expiry = engine.timers.at(session.expires, self._expired, session)
        body = {
            "guestToken": session.token,
            "sessionId": session.id,
            "expiresAt": _whole_seconds(engine.stamp_ms(now) + life // MS),
        }
        truth = engine.truth
        return engine.answer(now, exchange, 200, body, handed=lambda at: truth.row(at, "tokens.client_credentials", exchange.id))

    def _refuse(self, now: int, exchange: Exchange, status: int, why: str) -> None:
        self.engine.answer(now, exchange, status, {"message": why})

    def caller(self, now: int, asks: Exchange | Conn) -> Caller:
        """A registration names client and channel in its body; the channel is what other dialects call a deployment."""
        made = super().caller(now, asks)
        if isinstance(asks, Conn):
            return made
        given = bodies.table(asks.body) or {}
        client = bodies.text(given, "clientId")
        return replace(
            made,
            client=client if self.engine.credentials.knows(client) else made.client,
            deployment=bodies.text(given, "channelId"),
        )

    # ------------------------------------------------------------ the socket's life
    def on_upgrade(self, now: int, conn: Conn, headers: dict[str, str]) -> HttpResponse | None:  # noqa: ARG002
        """In with the open socket, if the token is the session's."""
        session: Engagement | None = self.sessions.get(conn.params[0])
        good = session is not None and not session.over and now < session.expires
        if session is None or not good or conn.query.get("guestToken") != session.token:
            if self.settings.refuse == "upgrade":
                return HttpResponse(401, {}, b'{"message":"Invalid or expired guest token"}')
            self.engine.timers.at(now, self._turn_away, conn)
        else:
            link = Link(session)
            self.attach(conn, link)
            self.enter(now, conn, link)
        self.engine.ready_at_once(conn)
        return None

    def _turn_away(self, now: int, conn: Conn) -> None:
        self.engine.end(now, conn, "invalid_token", code=1008, reason="invalid token")

    def _expired(self, now: int, session: Engagement) -> None:
        if session.over:
            return
        if not self.settings.silent_expiry:
            for conn in list(session.conns.values()):
                self.engine.push(now, conn, '{"type":"error","error":"token_expired","message":"Guest token expired"}')
        session.expiry = self.engine.timers.at(now + self.settings.expiry_grace, self._expelled, session)

    def _expelled(self, now: int, session: Engagement) -> None:
        if session.over:
            return
        for conn in list(session.conns.values()):
            self.engine.end(now, conn, "expiry", code=1008, reason="token expired")
        self.run_out(now, session)

    # ------------------------------------------------------------ frames
    def on_frame(self, now: int, conn: Conn, data: str | bytes) -> None:
        """What is not to the letter is lost without a word."""
        link: Link | None = conn.data
        if link is None:
            return None
        frame = bodies.frame(data)
        if link.session.over:
            return self.ignore(now, conn, "over")
        if frame is None:
            return self.ignore(now, conn, "malformed")
        kind = frame.get("type")
        if not FIELDS.issuperset(frame):
            return self.ignore(now, conn, "extra_field")
        if kind == "message":
            return self._message(now, conn, link, frame)
        if kind == "typing":
            self.refused(now, conn, "typing")
            return None
        if kind == "sessionEnded":
            return self.leave(now, link.session)
        return self.ignore(now, conn, "unknown_type")

    def _message(self, now: int, conn: Conn, link: Link, frame: dict[str, Any]) -> None:
        text = frame.get("content")
        if not isinstance(text, str):
            return self.ignore(now, conn, "content")
        if not self.refused(now, conn, "message"):
            conv = self.heard_on(now, conn, link)
            self.engine.take(now, conv, text, self.engine.new_id("msg"), "guest", link.session.name)
        return None

    def overloaded(self, now: int, conn: Conn, data: str | bytes) -> None:  # noqa: ARG002
        """An `error` frame, as of a limit."""
        self.engine.push(now, conn, '{"type":"error","error":"overloaded","message":"Service overloaded","frame":"message"}')

    def tell_limited(self, now: int, conn: Conn, shown: dict[str, Any], done: Done) -> None:
        """An `error` frame; the seed speaks of 429 only."""
        body = {"type": "error", "error": "rate_limited", "message": "Too many requests", **shown}
        self.engine.push(now, conn, json.dumps(body), done=done)

    # ------------------------------------------------------------ agents' side
    def typing(self, now: int, conv: Conversation) -> None:
        """Tell that the agent types."""
        self.tell(now, conv, '{"type":"typing"}')

    def frame(self, conv: Conversation, message: Message) -> str:  # noqa: ARG002
        """A message's frame, the same each time it is pushed."""
        if message.data is None:
            message.data = self._render(message)
        return str(message.data)

    def _render(self, message: Message) -> str:
        settings, rng = self.settings, self.rng
        fields = {
            "type": '"message"',
            "id": quoted(message.id),
            "from": '"agent"',
            "to": '"guest"',
            "timestamp": f'"{_whole_seconds(message.stamp_ms)}"',
            "body" if settings.body and rng.random() < settings.body else "content": self._content(message),
            "metadata": "{}",
        }
        if settings.missing and rng.random() < settings.missing:
            for name in SPARED:
                # A guest tells two stored copies apart by their ids alone: where there may be two, both keep theirs.
                if rng.random() < 0.5 and (name != "id" or not self.engine.faults.on_agent):
                    del fields[name]
        return "{" + ",".join([f'"{name}":{value}' for name, value in fields.items()]) + "}"

    def _content(self, message: Message) -> str:
        settings, rng = self.settings, self.rng
        if not settings.cards or rng.random() >= settings.cards:
            return quoted(message.text)
        card = json.dumps({"type": "card", "title": "Your order", "text": message.text, "buttons": ["Yes", "No"]})
        form = settings.card_form
        whole = form == "object" or (form == "both" and rng.random() < 0.5)
        return card if whole else quoted(card)

    def odd_frame(self, conv: Conversation, message: Message, kind: str) -> str:  # noqa: ARG002
        """Frames that should not be."""
        if kind == "wrong_id":
            body = {
                "type": "message",
                "id": self.engine.new_id("msg"),
                "from": "agent",
                "to": "guest_999",
                "timestamp": _whole_seconds(message.stamp_ms),
                "content": "This was meant for somebody else.",
                "metadata": {},
            }
            return json.dumps(body)
        if kind == "oversize":
            return json.dumps({"type": "typing", "padding": "x" * OVERSIZE})
        return '{"type":"presence","from":"agent"}'


def _whole_seconds(ms: int) -> str:
    return instants.iso(ms)[:-5] + "Z"
