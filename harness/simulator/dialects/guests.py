"""guests, the server's half: a guest with a JWT by REST, a handshake frame on the socket, profiles that are merged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from harness.core.wire import HttpResponse
from harness.simulator import bodies, instants, jwt, spelling
from harness.simulator.connections import Conn, Done, Exchange
from harness.simulator.conversations import Conversation, Message
from harness.simulator.dialects import oauth
from harness.simulator.dialects.base import OVERSIZE, Route
from harness.simulator.dialects.chat import ChatHalf, ChatTable, Link, Session, rate_text
from harness.simulator.spelling import SECOND
from harness.simulator.tables import MINUTE, length, positive, setting

if TYPE_CHECKING:
    from harness.simulator.engine import Engine

CREATE, READ, SEND, USER = "guest:create", "guest:read", "webchat:send", "user:read"
OURS = frozenset({CREATE, READ})
"""Scopes by which a request for a token is known to be this dialect's."""
FLAWS = ("no_hints", "expired", "malformed", "missing_claim")
DEEPEST = 32
"""Levels of nesting that attributes may have."""
CLAIMS = ("sub", "exp", "iat", "routing_hints")


@dataclass(frozen=True, slots=True)
class GuestsTable(ChatTable):
    """What only the guests half needs."""

    token_life: int = setting(length, 60 * MINUTE)
    """Of a guest's token; that of the client has its own."""
    handshake_within: int = setting(spelling.duration, 10 * SECOND)
    no_hints: float = setting(spelling.share, 0.0)
    """Share of tokens without routing hints."""
    expired: float = setting(spelling.share, 0.0)
    """Share of tokens that had run out before they were handed over."""
    malformed: float = setting(spelling.share, 0.0)
    """Share of tokens that are no JWT."""
    missing_claim: float = setting(spelling.share, 0.0)
    """Share of tokens that lack a claim."""
    attributes_limit: int = setting(positive, 10 * 1024)
    """Bytes of a guest's attributes as compact JSON."""
    unknown_guest: float = setting(spelling.share, 0.0)
    """Share of profile changes whose guest the server says it does not know."""
    unknown_as_400: bool = setting(spelling.flag, False)
    """Is an unknown guest told by 400 (and not 404)?"""
    user_read: bool = setting(spelling.flag, False)
    """Is the scope `user:read` demanded as well where a profile is changed?"""
    request_rate: str = setting(rate_text, "200/min")
    """Calls of each client, in the dialect's limit set."""
    request_burst: int = setting(positive, 200)


class Guest(Session):
    """A guest, its one session, and its profile. The conversation is named by the session, `id` is the guest's."""

    __slots__ = ("attributes", "language", "queue", "session_id", "skill", "sound", "token")

    def __init__(self, gid: str, session_id: str, name: str, expires: int) -> None:
        super().__init__(gid, name, expires)
        self.session_id = session_id
        self.attributes: dict[str, Any] = {}
        self.queue = self.skill = self.language = ""
        self.token = ""
        self.sound = True
        """Is there nothing wrong with the token?"""


class Guests(ChatHalf):
    """The guests server."""

    name = "guests"
    table = GuestsTable
    settings: GuestsTable
    upgrade_paths = ("/api/v2/guests/{guestId}/sessions/{sessionId}/ws",)
    farewell = '{"type":"sessionEnded","payload":{"reason":"agent_left"}}'

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._key = self.rng.randbytes(32)
        self._frames: dict[object, Callable[[int, Conn, Link, dict[str, Any]], None]] = {
            "message": self._message,
            "typing": self._typed,
            "sessionEnded": self._ended,
        }

    @classmethod
    def limit_set(cls, settings: Any) -> list[dict[str, Any]]:
        """One bucket for each client over all calls that are about guests."""
        return [
            {
                "endpoint": "POST /api/v2/guests|PUT /api/v2/guests/{guestId}",
                "kind": "token_bucket",
                "rate": settings.request_rate,
                "burst": settings.request_burst,
                "scope": "client",
            }
        ]

    # ------------------------------------------------------------ REST
    def routes(self) -> list[Route]:
        """Token, guest, profile."""
        return [
            Route("POST", "/oauth/token", self._token, "token", oauth.LIMITED, claims=_claims),
            Route("POST", "/api/v2/guests", self._create, "guest"),
            Route("PUT", "/api/v2/guests/{guestId}", self._profile, "send"),
        ]

    def _token(self, now: int, exchange: Exchange) -> None:
        form = exchange.form
        oauth.grant_token(self.engine, now, exchange, form.get("client_id", ""), form.get("client_secret", ""))

    def _allowed(self, now: int, exchange: Exchange, *scopes: str) -> bool:
        """Is there a live token with these scopes? Else the refusal is on its way."""
        grant = self.engine.credentials.bearer(now, exchange.headers)
        if grant is None:
            self.engine.answer(now, exchange, 401, {"code": "unauthorized"})
        elif not grant.scopes.issuperset(scopes):
            self.engine.answer(now, exchange, 403, {"code": "missing.permission"})
        else:
            return True
        return False

    def _create(self, now: int, exchange: Exchange) -> None:
        if not self._allowed(now, exchange, CREATE, SEND):
            return None
        engine, settings = self.engine, self.settings
        given = bodies.table(exchange.body) or {}
        name, attributes, routing = given.get("name"), given.get("attributes", {}), given.get("routing", {})
        if not isinstance(name, str) or not _plain(attributes) or not isinstance(routing, dict):
            return engine.answer(now, exchange, 400, {"code": "bad.request"})
        if _size(attributes) > settings.attributes_limit:
            return engine.answer(now, exchange, 400, {"code": "attributes.too.large"})
        guest = Guest(engine.new_uuid(), engine.new_uuid(), name, now + settings.token_life)
        grant = engine.credentials.bearer(now, exchange.headers)
        guest.client = grant.client if grant is not None else ""
        guest.attributes = attributes
        guest.queue, guest.skill, guest.language = _id(routing, "queue"), _id(routing, "skill"), bodies.text(routing, "language")
        self._sign(now, guest)
        self.sessions[guest.id] = guest
        guest.expiry = engine.timers.at(guest.expires, self._expired, guest)
        body = {
            "id": guest.id,
            "guestToken": guest.token,
            "sessions": [{"id": guest.session_id}],
            "attributes": attributes,
        }
        return engine.answer(now, exchange, 200, body)

    def _sign(self, now: int, guest: Guest) -> None:
        """Give the guest its token, with or without a flaw. Its times are the server's."""
        settings, rng = self.settings, self.rng
        begins, life = self.engine.stamp_ms(now) // 1000, settings.token_life // SECOND
        claims: dict[str, Any] = {
            "sub": guest.id,
            "exp": begins + life,
            "iat": begins,
            "routing_hints": {"queue": guest.queue, "skill": guest.skill, "language": guest.language},
            "attributes": guest.attributes,
        }
        flaw = next((name for name in FLAWS if getattr(settings, name) and rng.random() < getattr(settings, name)), "")
        if flaw == "no_hints":
            claims["routing_hints"] = {}
        elif flaw == "expired":
            claims["iat"], claims["exp"] = begins - 2 * life, begins - life
        elif flaw == "missing_claim":
            del claims[CLAIMS[rng.randrange(len(CLAIMS))]]
        guest.token = jwt.make(claims, self._key)
        if flaw == "malformed":
            head, body, signature = guest.token.split(".")
            guest.token = (f"{head}.{body}", f"{head}.!!!!.{signature}", f"{head}.bm90IEpTT04.{signature}")[rng.randrange(3)]
        if flaw:
            guest.sound = False
            self.engine.truth.row(now, "flawed_token", guest.id, why=flaw)

    def _profile(self, now: int, exchange: Exchange) -> None:
        engine, settings = self.engine, self.settings
        if not self._allowed(now, exchange, READ, *([USER] if settings.user_read else [])):
            return None
        guest: Guest | None = self.sessions.get(exchange.params[0])
        lost = bool(settings.unknown_guest) and self.rng.random() < settings.unknown_guest
        if guest is None or now >= guest.expires or lost:
            return engine.answer(now, exchange, 400 if settings.unknown_as_400 else 404, {"code": "not.found"})
        changes: Any = (bodies.table(exchange.body) or {}).get("attributes")
        if not _plain(changes):
            return engine.answer(now, exchange, 400, {"code": "bad.request"})
        merged = {**guest.attributes, **changes}
        if _size(merged) > settings.attributes_limit:
            return engine.answer(now, exchange, 400, {"code": "attributes.too.large"})
        guest.attributes = merged
        return engine.answer(now, exchange, 200, {"id": guest.id, "attributes": merged})

    # ------------------------------------------------------------ the socket's life
    def on_upgrade(self, now: int, conn: Conn, headers: dict[str, str]) -> HttpResponse | None:  # noqa: ARG002
        """Accept what is known; the token is looked at in the handshake only, and that has to come soon."""
        guest: Guest | None = self.sessions.get(conn.params[0])
        if guest is None or conn.params[1] != guest.session_id:
            return HttpResponse(404, {}, b'{"code":"not.found"}')
        link = Link(guest)
        self.attach(conn, link)
        link.timer = self.engine.timers.at(now + self.settings.handshake_within, self._too_late, conn)
        self.engine.ready_at_once(conn)
        return None

    def _too_late(self, now: int, conn: Conn) -> None:
        if conn.gate is not None:  # what it may have shown has not been looked at
            conn.data.timer = self.engine.timers.at(now + self.settings.handshake_within, self._too_late, conn)
        else:
            self._cut(now, conn, "no_handshake")

    def _cut(self, now: int, conn: Conn, why: str) -> None:
        """As the dialect refuses: no close frame, no word."""
        self.engine.end(now, conn, why, how="reset")

    def _expired(self, now: int, guest: Guest) -> None:
        if guest.over:
            return
        for conn in list(guest.conns.values()):
            self._cut(now, conn, "expiry")
        self.run_out(now, guest)

    def begin(self, now: int, session: Guest) -> Conversation:
        """Routed by the hints of the guest's creation."""
        engine, queues = self.engine, self.engine.config.queues
        skills = (session.skill,) if session.skill else ()
        why = engine.mismatch(skills)
        if queues and session.queue not in queues:
            why = "unknown_queue"
        return engine.open(now, self, session.session_id, routable=not why and engine.routable(skills), data=session, why=why)

    # ------------------------------------------------------------ frames
    def on_frame(self, now: int, conn: Conn, data: str | bytes) -> None:
        """The handshake before all else."""
        link: Link = conn.data
        frame = bodies.frame(data)
        if frame is None:
            return self.ignore(now, conn, "malformed")
        kind = frame.get("type")
        if kind == "handshake":
            return self._handshake(now, conn, link, frame)
        if not link.inside:
            return self.ignore(now, conn, "before_handshake")
        if link.session.over:
            return self.ignore(now, conn, "over")
        handler = self._frames.get(kind) if isinstance(kind, str) else None
        if handler is None:
            return self.ignore(now, conn, "unknown_type")
        return handler(now, conn, link, frame)

    def _handshake(self, now: int, conn: Conn, link: Link, frame: dict[str, Any]) -> None:
        guest: Guest = link.session
        if frame.get("token") != guest.token or not guest.sound or now >= guest.expires:
            return self._cut(now, conn, "handshake")
        self.engine.timers.cancel(link.timer)
        link.timer = None
        if guest.over:
            if not link.inside:  # it ended while nobody was there to be told
                link.inside = True
                self.engine.push(now, conn, self.farewell, done=self.then_close(conn))
        elif not link.inside:
            self.enter(now, conn, link)
        return None

    def _message(self, now: int, conn: Conn, link: Link, frame: dict[str, Any]) -> None:
        payload = frame.get("payload")
        text = payload.get("text") if isinstance(payload, dict) else None
        if not isinstance(text, str):
            return self.ignore(now, conn, "text")
        if not self.refused(now, conn, "message"):
            conv = self.heard_on(now, conn, link)
            self.engine.take(now, conv, text, self.engine.new_id("msg"), "guest", link.session.name)
        return None

    def _typed(self, now: int, conn: Conn, link: Link, frame: dict[str, Any]) -> None:  # noqa: ARG002
        self.refused(now, conn, "typing")

    def _ended(self, now: int, conn: Conn, link: Link, frame: dict[str, Any]) -> None:  # noqa: ARG002
        self.leave(now, link.session)

    def overloaded(self, now: int, conn: Conn, data: str | bytes) -> None:  # noqa: ARG002
        """An `error` frame, as of a limit."""
        self.engine.push(now, conn, '{"type":"error","payload":{"code":"overloaded","frame":"message"}}')

    def tell_limited(self, now: int, conn: Conn, shown: dict[str, Any], done: Done) -> None:
        """An `error` frame."""
        self.engine.push(now, conn, json.dumps({"type": "error", "payload": {"code": "rate_limited", **shown}}), done=done)

    # ------------------------------------------------------------ agents' side
    def typing(self, now: int, conv: Conversation) -> None:
        """Tell that the agent types."""
        self.tell(now, conv, '{"type":"typing"}')

    def frame(self, conv: Conversation, message: Message) -> str:  # noqa: ARG002
        """A message's frame."""
        return (
            f'{{"type":"message","payload":{{"id":{quoted(message.id)},"from":"agent","text":{quoted(message.text)},'
            f'"timestamp":"{instants.iso(message.stamp_ms)}"}}}}'
        )

    def odd_frame(self, conv: Conversation, message: Message, kind: str) -> str:  # noqa: ARG002
        """Frames that should not be."""
        if kind == "wrong_id":
            payload = {
                "id": self.engine.new_id("msg"),
                "from": "agent",
                "text": "This was meant for somebody else.",
                "timestamp": instants.iso(message.stamp_ms),
            }
            return json.dumps({"type": "message", "payload": payload})
        if kind == "oversize":
            return json.dumps({"type": "typing", "payload": {"padding": "x" * OVERSIZE}})
        return '{"type":"presence","payload":{}}'


def _claims(exchange: Exchange) -> bool:
    """This dialect's token requests carry the secret in the form, and ask for what is said about guests."""
    return not oauth.uses_basic(exchange) and not OURS.isdisjoint(exchange.form.get("scope", "").split())


def _size(attributes: dict[str, Any]) -> int:
    return len(json.dumps(attributes, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _plain(attributes: object) -> bool:
    """Is it an object, and none that is nested to absurdity?"""
    return isinstance(attributes, dict) and not _deeper(attributes, DEEPEST)


def _deeper(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels <= 0 or any(_deeper(item, levels - 1) for item in inner)


def _id(routing: dict[str, Any], name: str) -> str:
    """The id in `{name: {id}}`."""
    inner = routing.get(name)
    return bodies.text(inner, "id") if isinstance(inner, dict) else ""
