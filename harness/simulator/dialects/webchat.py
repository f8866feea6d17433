"""webchat, the server's half: `auth` before anything else, routing, mirrored messages, error frames, listing by REST."""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from harness.simulator import bodies, instants, spelling
from harness.simulator.connections import Conn, Exchange
from harness.simulator.conversations import CLOSED, Conversation, Message
from harness.simulator.credentials import Grant
from harness.simulator.dialects import oauth
from harness.simulator.dialects.base import OVERSIZE, DialectHalf, Route
from harness.simulator.intake import Arrival
from harness.simulator.spelling import SECOND
from harness.simulator.tables import positive, setting
from harness.simulator.timers import Timer

if TYPE_CHECKING:
    from harness.simulator.engine import Engine

SEND, READ, LIST = "webchat:send", "webchat:read", "conversation:read"
LONGEST_ID = 200


@dataclass(frozen=True, slots=True)
class WebchatTable:
    """What only the webchat half needs."""

    attributes: tuple[str, ...] = setting(spelling.texts, ("source", "userTier", "locale", "pageUrl", "userAgent"))
    """Attribute keys that routing knows, case-sensitive; another one stalls. Empty: all are known."""
    violations: int = setting(positive, 3)
    """Frames before `auth` until the socket is closed."""
    auth_within: int = setting(spelling.duration, 60 * SECOND)
    expiry_grace: int = setting(spelling.duration, 10 * SECOND)
    """From the TOKEN_EXPIRED frame to the close."""
    page: int = setting(positive, 50)
    page_cap: int = setting(positive, 500)


class Link:
    """What the half keeps for one socket."""

    __slots__ = ("expiry", "grant", "ping", "pong", "violations")

    def __init__(self) -> None:
        self.grant: Grant | None = None
        self.violations = 0
        self.expiry: Timer | None = None
        self.ping: Timer | None = None
        """Next ping, or the limit of `auth` before."""
        self.pong = ""
        """Payload that is waited for."""


class Webchat(DialectHalf):
    """The webchat server."""

    name = "webchat"
    table = WebchatTable
    settings: WebchatTable
    lists = True
    upgrade_paths = ("/webchat",)

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._known = frozenset(self.settings.attributes)
        self._skills = [{"id": engine.new_uuid(), "name": name} for name in engine.config.skills]
        self._by_grant: dict[str, dict[int, Conn]] = {}
        self._frames = {
            "message": self._message,
            "typing": self._typing_or_read,
            "read": self._typing_or_read,
            "routing": self._routing,
            "conversation": self._conversation,
            "auth": self._auth,
        }

    # ------------------------------------------------------------ REST
    def routes(self) -> list[Route]:
        """Token, skill groups, listing."""
        return [
            Route("POST", "/oauth/token", self._token, "token", oauth.LIMITED),
            Route("GET", "/api/v2/routing/skillgroups", self._skillgroups, "list"),
            Route("GET", "/api/v2/conversations/messages", self._listing, "list"),
        ]

    def _token(self, now: int, exchange: Exchange) -> None:
        form = exchange.form
        oauth.grant_token(self.engine, now, exchange, form.get("client_id", ""), form.get("client_secret", ""), tells_scope=False)

    def _skillgroups(self, now: int, exchange: Exchange) -> None:
        if self.engine.credentials.bearer(now, exchange.headers) is None:
            return self.engine.answer(now, exchange, 401, {"code": "unauthorized"})
        return self.engine.answer(now, exchange, 200, {"entities": self._skills})

    def _listing(self, now: int, exchange: Exchange) -> None:
        engine = self.engine
        grant = engine.credentials.bearer(now, exchange.headers)
        if grant is None:
            return engine.answer(now, exchange, 401, {"code": "unauthorized"})
        if LIST not in grant.scopes:
            return engine.answer(now, exchange, 403, {"code": "missing.scope"})
        query = exchange.query
        conv = engine.conversations.get(query.get("conversationId", ""))
        if conv is None or conv.dialect is not self:
            return engine.answer(now, exchange, 404, {"code": "not.found"})
        since: int | None = None
        if "since" in query:
            since = instants.parse(query["since"])
        limit = query.get("limit", str(self.settings.page))
        if ("since" in query and since is None) or not (
            limit.isascii() and limit.isdigit() and 0 < len(limit) < 10 and int(limit) > 0
        ):
            return engine.answer(now, exchange, 400, {"code": "bad.request"})
        page = conv.since(since, min(int(limit), self.settings.page_cap))
        body = ('{"messages":[' + ",".join([_row(conv, message) for message in page]) + "]}").encode()
        return engine.answer(now, exchange, 200, body, handed=lambda at: engine.listed(at, page, exchange.id))

    # ------------------------------------------------------------ the socket's life
    def on_upgrade(self, now: int, conn: Conn, headers: dict[str, str]) -> None:  # noqa: ARG002
        """Accept; the guest has a while to authenticate."""
        link = conn.data = Link()
        link.ping = self.engine.timers.at(now + self.settings.auth_within, self._too_late, conn)

    def on_gone(self, now: int, conn: Conn) -> None:  # noqa: ARG002
        """Forget the socket's timers."""
        link: Link = conn.data
        timers = self.engine.timers
        timers.cancel(link.expiry)
        timers.cancel(link.ping)
        link.expiry = link.ping = None
        if link.grant is not None:
            self._release_grant(conn, link.grant)

    def on_frame(self, now: int, conn: Conn, data: str | bytes) -> None:
        """One frame of the guest's."""
        frame = bodies.frame(data)
        kind = frame.get("type") if frame is not None else None
        link: Link = conn.data
        if link.grant is None and kind != "auth":
            return self._violation(now, conn, link)
        if frame is None or not isinstance(kind, str):
            return self._error(now, conn, "MALFORMED_FRAME")
        handler = self._frames.get(kind)
        if handler is not None:
            return handler(now, conn, frame)
        if kind == "ping":
            payload = frame.get("payload")
            return self._say(now, conn, {"type": "pong", **({"payload": payload} if payload is not None else {})})
        if kind == "pong":
            if link.pong and frame.get("payload") == link.pong:
                link.pong = ""
                self._ping_later(now, conn, link)
            return None
        return self._error(now, conn, "UNKNOWN_TYPE")

    def arrival(self, now: int, conn: Conn, data: str | bytes) -> Arrival:  # noqa: ARG002
        """Who has not authenticated sends no messages."""
        frame, grant = bodies.frame(data), conn.data.grant
        kind = frame.get("type") if frame is not None and grant is not None else None
        if kind != "message" or grant is None:
            return Arrival(False, aside=kind in ("ping", "pong", "auth"))
        return Arrival(True, "message" if SEND in grant.scopes else "")

    def overloaded(self, now: int, conn: Conn, data: str | bytes) -> None:
        """An error frame with the message's id, if it had one."""
        self._error(now, conn, "OVERLOADED", messageId=_short((bodies.frame(data) or {}).get("messageId")))

    def _violation(self, now: int, conn: Conn, link: Link) -> None:
        link.violations += 1
        if link.violations >= self.settings.violations:
            self.engine.end(now, conn, "violation", code=1008, reason="authenticate first")

    def _too_late(self, now: int, conn: Conn) -> None:
        self.engine.end(now, conn, "auth_timeout", code=1008, reason="not authenticated")

    def _auth(self, now: int, conn: Conn, frame: dict[str, Any]) -> None:
        engine, link = self.engine, conn.data
        token = frame.get("token")
        grant = engine.credentials.find(now, token) if isinstance(token, str) else None
        if grant is None:
            return self._say(now, conn, {"type": "auth", "status": "error", "code": "INVALID_TOKEN"})
        if not grant.scopes & {SEND, READ}:
            return None  # a token for something else altogether: silence, as the notes have it
        if link.grant is not None:
            self._release_grant(conn, link.grant)
        link.grant = grant
        self._by_grant.setdefault(grant.token, {})[conn.handle] = conn
        engine.timers.cancel(link.expiry)
        link.expiry = engine.timers.at(grant.expires, self._expired, conn)
        text = f'{{"type":"auth","status":"success","serverTime":"{instants.iso(engine.stamp_ms(now))}"}}'
        engine.push(now, conn, text, done=engine.ready(now, conn))
        link.pong = ""
        self._ping_later(now, conn, link)
        return None

    def _release_grant(self, conn: Conn, grant: Grant) -> None:
        conns = self._by_grant.get(grant.token)
        if conns is not None:
            conns.pop(conn.handle, None)
            if not conns:
                del self._by_grant[grant.token]

    def _expired(self, now: int, conn: Conn) -> None:
        link: Link = conn.data
        self._error(now, conn, "TOKEN_EXPIRED")
        link.expiry = self.engine.timers.at(now + self.settings.expiry_grace, self._expelled, conn)

    def _expelled(self, now: int, conn: Conn) -> None:
        self.engine.end(now, conn, "expiry", code=4001, reason="token expired")

    def grant_of(self, conn: Conn) -> Grant | None:
        """That of the latest `auth`."""
        link: Link = conn.data
        return link.grant

    def revoked(self, now: int, grant: Grant) -> None:
        """Sockets under that token learn it at once."""
        for conn in list(self._by_grant.get(grant.token, {}).values()):
            self.engine.timers.cancel(conn.data.expiry)
            self._expired(now, conn)

    # ------------------------------------------------------------ keep-alive
    def _ping_later(self, now: int, conn: Conn, link: Link) -> None:
        timers, every = self.engine.timers, self.engine.config.keepalive.ping_every
        timers.cancel(link.ping)
        link.ping = timers.at(now + every, self._ping, conn) if every > 0 else None

    def _ping(self, now: int, conn: Conn) -> None:
        engine, link = self.engine, conn.data
        if not conn.usable:
            return
        payload = link.pong = f"{engine.rng.getrandbits(32):08x}"

        def done(at: int, ok: bool) -> None:
            if ok:
                link.ping = engine.timers.at(at + engine.config.keepalive.pong_within, self._no_pong, conn)

        engine.push(now, conn, f'{{"type":"ping","payload":"{payload}"}}', done=done)

    def _no_pong(self, now: int, conn: Conn) -> None:
        link: Link = conn.data
        if conn.gate is not None:  # what it may have answered has not been looked at
            link.ping = self.engine.timers.at(now + self.engine.config.keepalive.pong_within, self._no_pong, conn)
        else:
            self.engine.end(now, conn, "keepalive", code=1011, reason="no pong")

    # ------------------------------------------------------------ frames
    def _routing(self, now: int, conn: Conn, frame: dict[str, Any]) -> None:
        engine = self.engine
        if self._refused(now, conn, frame, SEND):
            return None
        given = frame.get("conversationId")
        if given is not None:
            conv = self._find(given)
            if conv is None:
                return self._error(now, conn, "CONVERSATION_NOT_FOUND", conversationId=_short(given))
            engine.bind(now, conn, conv)
            return self._status(now, conn, conv)
        routing = frame.get("routing")
        if not isinstance(routing, dict):
            return self._error(now, conn, "MALFORMED_FRAME")
        groups, attributes, priority = routing.get("skillGroups", []), routing.get("attributes", {}), routing.get("priority", 0)
        why = ""
        if not isinstance(groups, list) or not all(isinstance(name, str) for name in groups) or not isinstance(attributes, dict):
            why = "malformed"
        elif self._known and not self._known.issuperset(attributes):
            why = "unknown_attribute"
        else:
            why = engine.mismatch(groups)
        level = priority if isinstance(priority, int) and abs(priority) < 1000 else 0
        self._open(now, conn, routable=not why and engine.routable(groups), priority=level, why=why)
        return None

    def _open(self, now: int, conn: Conn, *, routable: bool, priority: int = 0, why: str = "") -> Conversation:
        engine = self.engine
        conv = engine.open(now, self, f"conv_{engine.new_uuid()}", routable=routable, priority=priority, why=why)
        engine.bind(now, conn, conv)
        self._status(now, conn, conv)
        return conv

    def _message(self, now: int, conn: Conn, frame: dict[str, Any]) -> None:
        engine = self.engine
        if self._refused(now, conn, frame, SEND):
            return None
        text, given, mid = frame.get("text"), frame.get("conversationId"), frame.get("messageId")
        if not isinstance(text, str) or not (mid is None or (isinstance(mid, str) and 0 < len(mid) <= LONGEST_ID)):
            return self._error(now, conn, "MALFORMED_FRAME")
        if given is None:  # as after a reload: the gateway opens another conversation, and the context is split
            conv = self._open(now, conn, routable=True)
        else:
            found = self._find(given)
            if found is None:
                return self._error(now, conn, "CONVERSATION_NOT_FOUND", conversationId=_short(given), messageId=mid)
            conv = found
            if conv.closed:
                return self._error(now, conn, "CONVERSATION_CLOSED", conversationId=conv.id, messageId=mid)
            if conn.conv is not conv:
                engine.bind(now, conn, conv)
        taken = engine.take(now, conv, text, mid or engine.new_id("msg"), "guest", "Guest")
        if taken.confirm:
            engine.deliver(now, conv, taken.message, engine.latency(now, "echo"))
        return None

    def _typing_or_read(self, now: int, conn: Conn, frame: dict[str, Any]) -> None:
        if self._refused(now, conn, frame, READ if frame["type"] == "read" else SEND):
            return None
        given = frame.get("conversationId")
        conv = self._find(given)
        if conv is None:
            return self._error(now, conn, "CONVERSATION_NOT_FOUND", conversationId=_short(given))
        if conv.closed and frame["type"] == "typing":
            return self._error(now, conn, "CONVERSATION_CLOSED", conversationId=conv.id)
        return None

    def _conversation(self, now: int, conn: Conn, frame: dict[str, Any]) -> None:
        if frame.get("status") != CLOSED:
            return self._error(now, conn, "MALFORMED_FRAME")
        if self._refused(now, conn, frame, SEND):
            return None
        given = frame.get("conversationId")
        conv = self._find(given)
        if conv is None:
            return self._error(now, conn, "CONVERSATION_NOT_FOUND", conversationId=_short(given))
        if conv.closed:
            return self._status(now, conn, conv)
        if conv.bound is not conn:
            self.engine.bind(now, conn, conv)
        return self.engine.close(now, conv)

    # ------------------------------------------------------------ agents' side
    def accepted(self, now: int, conv: Conversation) -> None:
        """An agent who accepts is seen typing."""
        self.typing(now, conv)

    def typing(self, now: int, conv: Conversation) -> None:
        """Tell that the agent types."""
        who = f'{{"id":{quoted(conv.agent_id)},"name":{quoted(conv.agent_name)}}}'
        self.tell(now, conv, f'{{"type":"typing","conversationId":"{conv.id}","from":{who}}}')

    def may_push(self, now: int, conn: Conn) -> bool:  # noqa: ARG002
        """Only to tokens that may read."""
        grant = conn.data.grant
        return grant is not None and READ in grant.scopes

    def frame(self, conv: Conversation, message: Message) -> str:
        """A message's frame; an echo is one as well."""
        return '{"type":"message",' + _row(conv, message)[1:]

    def odd_frame(self, conv: Conversation, message: Message, kind: str) -> str:
        """Frames that should not be."""
        if kind == "wrong_id":
            body = {
                "type": "message",
                "conversationId": f"conv_{self.engine.new_uuid()}",
                "messageId": self.engine.new_id("msg"),
                "from": {"id": "agent_999", "name": "Support Agent"},
                "text": "This was meant for somebody else.",
                "timestamp": instants.iso(message.stamp_ms),
            }
            return json.dumps(body)
        if kind == "oversize":
            return json.dumps({"type": "typing", "conversationId": conv.id, "padding": "x" * OVERSIZE})
        return json.dumps({"type": "presence", "conversationId": conv.id})

    def closed(self, now: int, conv: Conversation) -> None:
        """The last frame of a conversation."""
        conn = conv.bound
        if conn is not None:
            self._status(now, conn, conv)

    # ------------------------------------------------------------ small
    def _find(self, given: object) -> Conversation | None:
        conv = self.engine.conversations.get(given) if isinstance(given, str) else None
        return conv if conv is not None and conv.dialect is self else None

    def _refused(self, now: int, conn: Conn, frame: dict[str, Any], scope: str) -> bool:
        """Scope first, then limits; both are told by an error frame."""
        engine, grant = self.engine, conn.data.grant
        if grant is None or scope not in grant.scopes:
            self._error(now, conn, "INSUFFICIENT_SCOPE")
            return True
        endpoint = f"frame {frame['type']}"
        refusal = engine.frame_refusal(now, conn, endpoint)
        if refusal is None:
            return False
        body: dict[str, Any] = {"type": "error", "code": "RATE_LIMITED"}
        wait = engine.retry_seconds(refusal)
        if wait is not None:
            body["retryAfter"] = wait
        if isinstance(frame.get("messageId"), str):
            body["messageId"] = _short(frame["messageId"])
        engine.push(now, conn, json.dumps(body), done=engine.refuse_frame(conn, endpoint))
        return True

    def _status(self, now: int, conn: Conn, conv: Conversation) -> None:
        self.engine.push(now, conn, f'{{"type":"conversation","conversationId":"{conv.id}","status":"{conv.state}"}}')

    def _error(self, now: int, conn: Conn, code: str, **fields: str | None) -> None:
        self._say(
            now, conn, {"type": "error", "code": code, **{name: value for name, value in fields.items() if value is not None}}
        )

    def _say(self, now: int, conn: Conn, body: dict[str, Any]) -> None:
        self.engine.push(now, conn, json.dumps(body))


def _row(conv: Conversation, message: Message) -> str:
    mid, sender = quoted(message.id), f'{{"id":{quoted(message.sender_id)},"name":{quoted(message.sender_name)}}}'
    return (
        f'{{"conversationId":"{conv.id}","messageId":{mid},"from":{sender},'
        f'"text":{quoted(message.text)},"timestamp":"{instants.iso(message.stamp_ms)}"}}'
    )


def _short(value: object) -> str | None:
    return value[:LONGEST_ID] if isinstance(value, str) else None
