"""Server half of `longpoll`: REST sends, and a stream of events that is read by polls which are held until something happens."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.simulator import bodies, instants, spelling
from harness.simulator.connections import Exchange
from harness.simulator.conversations import CONNECTED, GUEST, QUEUED, Conversation, Message
from harness.simulator.credentials import Grant
from harness.simulator.dialects import multipart
from harness.simulator.dialects.base import OVERSIZE, DialectHalf, Route
from harness.simulator.spelling import SECOND
from harness.simulator.tables import MINUTE, length, positive, setting
from harness.simulator.timers import Timer

if TYPE_CHECKING:
    from harness.simulator.engine import Engine

ADMIN_PATHS = (
    "/api/v2/users",
    "/api/v2/users/me",
    "/api/v2/users/{userId}",
    "/api/v2/routing/queues",
    "/api/v2/routing/queues/{queueId}",
    "/api/v2/oauth/clients",
)
INLINE_KEYS = ("data", "content", "base64", "bytes")
MAX_ATTACHMENTS = 20
FILES_KEPT = 50_000
FILE_BYTES_KEPT = 64 * 1024 * 1024
STEP = 8
"""Event ids rise by 1 to this: nobody may count on their being consecutive."""
Event = tuple[int, dict[str, Any], Message | None]


@dataclass(frozen=True, slots=True)
class LongpollTable:
    """What only the longpoll half needs."""

    max_wait: int = setting(spelling.duration, 60 * SECOND)
    """Longest time that a poll is held, whatever it asks for."""
    mime_types: tuple[str, ...] = setting(
        spelling.texts, ("application/pdf", "image/png", "image/jpeg", "image/gif", "text/plain", "application/octet-stream")
    )
    max_upload: int = setting(positive, 10 * 1024 * 1024)
    file_life: int = setting(length, 10 * MINUTE)
    """An upload is forgotten then."""
    skill_required: bool = setting(spelling.flag, True)
    """Is the default routing strategy skill-based, so that a guest without a skill loops?"""
    evaluate_every: int = setting(length, 5 * SECOND)
    """How often a routing loop is evaluated again; each time costs credits."""
    max_message: int = setting(positive, 256 * 1024)
    """Bytes of a message's body; a larger one is answered 413."""


class Parked:
    """A poll that waits."""

    __slots__ = ("exchange", "since", "timer")

    def __init__(self, exchange: Exchange, since: int) -> None:
        self.exchange, self.since = exchange, since
        self.timer: Timer | None = None


class Talk:
    """What longpoll keeps with a conversation."""

    __slots__ = (
        "again",
        "ended",
        "events",
        "guest_id",
        "guest_name",
        "ids",
        "last",
        "loops",
        "parked",
        "queue",
        "spoilt",
        "timed_out",
    )

    def __init__(self, guest_id: str, guest_name: str, queue: str, *, loops: bool) -> None:
        self.guest_id, self.guest_name, self.queue, self.loops = guest_id, guest_name, queue, loops
        self.events: list[Event] = []
        self.ids: list[int] = []
        self.last: dict[str, Event] = {}
        """The event of each message id: what a repeat repeats."""
        self.again: list[Event] = []
        """Events that go out once more, whatever the cursor says."""
        self.spoilt: list[bytes] = []
        """Bodies that are no JSON, each for one answer."""
        self.parked: Parked | None = None
        self.ended = False
        """The last event is there."""
        self.timed_out = False


class File:
    """An upload."""

    __slots__ = ("content", "expires", "kind", "name", "size")

    def __init__(self, name: str, kind: str, content: bytes, expires: int) -> None:
        self.name, self.kind, self.size, self.expires = name, kind, len(content), expires
        self.content: bytes | None = content


class Longpoll(DialectHalf):
    """Token, guest, messages, events, files."""

    name = "longpoll"
    table = LongpollTable
    settings: LongpollTable

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._salt = engine.new_id("guest")
        self._files: OrderedDict[str, File] = OrderedDict()
        self._contents: OrderedDict[str, int] = OrderedDict()
        self._content_bytes = 0

    def routes(self) -> list[Route]:
        """All endpoints."""
        admin = [Route("GET", path, self._admin) for path in ADMIN_PATHS]
        talk = "/api/v2/conversations/{conversationId}"
        return [
            Route("POST", "/api/v2/oauth2/token", self._token, "token", '{"error":"rate_limited"}'),
            Route("POST", "/api/v2/conversations/messaging/guest", self._guest, "guest"),
            Route("POST", f"{talk}/messages", self._message, "send", claims=self._mine),
            Route("GET", f"{talk}/events", self._events, claims=self._mine),
            Route("PUT", talk, self._change, "send", claims=self._mine),
            Route("POST", "/api/v2/files/upload", self._upload, "upload"),
            Route("GET", "/api/v2/files/{fileId}/content", self._download, "list"),
            *admin,
        ]

    def _mine(self, exchange: Exchange) -> bool:
        conv = self.engine.conversations.get(exchange.params[0])
        return conv is None or conv.dialect is self

    # ------------------------------------------------------------ credentials
    def _token(self, now: int, exchange: Exchange) -> None:
        engine = self.engine
        credentials = engine.credentials
        if not credentials.origin_allowed(exchange.headers.get("origin")):
            engine.answer(now, exchange, 403, {"error": "origin_not_allowed"})
            return
        client, secret = bodies.basic(exchange.headers.get("authorization", ""))
        if not credentials.known_client(client, secret):
            engine.answer(now, exchange, 401, {"error": "invalid_client"}, headers={"www-authenticate": "Basic"})
            return
        kind = exchange.form.get("grant_type", "")
        if kind == "client_credentials":
            grant: Grant | None = credentials.grant(now, client)
        elif kind == "refresh_token":
            grant = credentials.refreshed(now, exchange.form.get("refresh_token", ""))
        else:
            engine.answer(now, exchange, 400, {"error": "unsupported_grant_type"})
            return
        if grant is None:
            engine.answer(now, exchange, 400, {"error": "invalid_grant"})
            return
        body = {
            "access_token": grant.token,
            "refresh_token": credentials.refresh_token(now, grant),
            "token_type": "bearer",
            "expires_in": (grant.expires - now) // SECOND,
        }
        engine.answer(now, exchange, 200, body, handed=lambda then: engine.truth.row(then, f"tokens.{kind}", exchange.id))

    def _allowed(self, now: int, exchange: Exchange, scope: str) -> bool:
        """Is there a live token with that scope? Else the refusal is on its way."""
        grant = self.engine.credentials.bearer(now, exchange.headers)
        if grant is None:
            self.engine.answer(now, exchange, 401, {"code": "unauthorized"})
        elif scope not in grant.scopes:
            self.engine.answer(now, exchange, 403, {"code": "missing.permission"})
        else:
            return True
        return False

    def _admin(self, now: int, exchange: Exchange) -> None:
        self._allowed(now, exchange, "admin")  # which no guest's token has

    # ------------------------------------------------------------ guest
    def _guest(self, now: int, exchange: Exchange) -> None:
        if not self._allowed(now, exchange, "guest:create"):
            return
        body = bodies.table(exchange.body) or {}
        email = bodies.text(body, "email")
        if not email:
            self._bad(now, exchange, "email is missing")
            return
        names = [name for name in (bodies.text(body, "firstName"), bodies.text(body, "lastName")) if name]
        routing = body.get("routing")
        queue, accepted, routable = self._route(routing if isinstance(routing, dict) else {})
        talk = Talk(self._guest_id(email), " ".join(names) or "Guest", queue, loops=not accepted)
        engine = self.engine
        skill = bodies.text(routing, "skill") if isinstance(routing, dict) else ""
        why = engine.mismatch((skill,) if skill else ()) if accepted else "routing_loop"
        conv = engine.open(now, self, engine.new_uuid(), routable=routable, data=talk, why=why)
        if accepted:
            self._queue_accepted(conv)
        else:
            self._evaluate(now, conv)
        ids = {"guestId": talk.guest_id, "conversationId": conv.id, "messageId": engine.new_uuid()}
        engine.answer(now, exchange, 200, ids)

    def _guest_id(self, email: str) -> str:
        """The same for the same address, for as long as this server runs, without remembering any."""
        digest = hashlib.sha256(f"{self._salt}/{email}".encode("utf-8", "surrogatepass")).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"

    def _route(self, routing: dict[str, Any]) -> tuple[str, bool, bool]:
        """Queue, whether a queue accepts it (else the default strategy goes round and round), and whether somebody can come."""
        engine = self.engine
        known = engine.config.queues
        given, skill = routing.get("queueId"), bodies.text(routing, "skill")
        staffed = engine.routable((skill,) if skill else ())
        if given is None:
            fits = bool(skill) or not self.settings.skill_required
            return "default", fits, fits and staffed
        if isinstance(given, str) and given and (not known or given in known):
            return given, True, staffed
        return "default", False, False

    def _evaluate(self, now: int, conv: Conversation) -> None:
        """The default strategy looks again, at a price, and finds nobody."""
        talk: Talk = conv.data
        if conv.state != QUEUED or not talk.loops or talk.timed_out:
            return
        self.engine.truth.row(now, "credits", conv.id)
        self.engine.timers.at(now + self.settings.evaluate_every, self._evaluate, conv)

    def unroutable(self, now: int, conv: Conversation) -> None:
        """Out of the loop: 409 from here on. In a queue without agents a guest waits on."""
        talk: Talk = conv.data
        if talk.loops:
            talk.timed_out = True
            self._wake(now, conv)

    # ------------------------------------------------------------ messages
    def _find(self, now: int, exchange: Exchange) -> Conversation | None:
        conv = self.engine.conversations.get(exchange.params[0])
        if conv is None or conv.dialect is not self:
            self.engine.answer(now, exchange, 404, {"code": "not.found"})
            return None
        return conv

    def _conflict(self, now: int, exchange: Exchange, why: str) -> None:
        self.engine.answer(now, exchange, 409, {"code": "conflict", "message": why})

    def _bad(self, now: int, exchange: Exchange, why: str, code: str = "bad.request") -> None:
        self.engine.answer(now, exchange, 400, {"code": code, "message": why})

    def _message(self, now: int, exchange: Exchange) -> None:
        if not self._allowed(now, exchange, "conversations:send"):
            return
        conv = self._find(now, exchange)
        if conv is None:
            return
        engine, talk = self.engine, conv.data
        if len(exchange.body) > self.settings.max_message:
            engine.answer(now, exchange, 413, {"code": "too.large"})
            return
        if talk.timed_out or conv.closed:
            self._conflict(now, exchange, "conversation closed" if conv.closed else "routing timed out")
            return
        body = bodies.table(exchange.body) or {}
        sender, to, text, attachments = body.get("from"), body.get("to"), body.get("text"), body.get("attachments")
        wrong = ""
        if not isinstance(text, str):
            wrong = "text is missing"
        elif not isinstance(sender, dict) or sender.get("id") != talk.guest_id or sender.get("type") != "guest":
            wrong = "from is not this guest"
        elif not isinstance(to, dict) or not isinstance(to.get("id"), str) or to.get("type") != "queue":
            wrong = "to is no queue"
        elif attachments is not None and not isinstance(attachments, list):
            wrong = "attachments is no list"
        elif attachments and len(attachments) > MAX_ATTACHMENTS:
            wrong = "too many attachments"
        elif attachments and any(_inline(item) for item in attachments):
            wrong = "files are uploaded, not embedded"
        if wrong:
            self._bad(now, exchange, wrong)
            return
        assert isinstance(text, str)
        assert isinstance(sender, dict)
        name = sender.get("name")
        mid = engine.new_uuid()
        taken = engine.take(now, conv, text, mid, talk.guest_id, name if isinstance(name, str) else talk.guest_name, attachments)
        if self._broken(attachments):
            engine.truth.row(now, "broken_attachment", taken.message.unit)
        if taken.store:
            engine.deliver(now, conv, taken.message, engine.latency(now, "echo"))
        if taken.confirm:
            exchange.told_by_status = True  # the 2xx confirms
            engine.answer(now, exchange, 200, {"messageId": mid}, handed=lambda then: engine.confirmed(then, taken))
        else:
            engine.cut(now, exchange)

    def _broken(self, attachments: list[Any] | None) -> bool:
        """Does something that should be an attachment lead nowhere? It is stored and shown as it came."""
        if attachments is None:
            return True
        return any(not isinstance(item, dict) or item.get("id") not in self._known(item) for item in attachments)

    def _known(self, item: dict[str, Any]) -> tuple[str, ...]:
        given = item.get("id")
        return (given,) if isinstance(given, str) and given in self._files else ()

    # ------------------------------------------------------------ events
    def _events(self, now: int, exchange: Exchange) -> None:
        if not self._allowed(now, exchange, "conversations:read"):
            return
        conv = self._find(now, exchange)
        if conv is None:
            return
        query = exchange.query
        wait, since = _number(query.get("wait", "0")), _number(query.get("since", "0"))
        if wait is None or since is None:
            self._bad(now, exchange, "wait and since are whole numbers")
            return
        talk: Talk = conv.data
        self.engine.guest_back(conv)
        self._supersede(now, conv)
        talk.parked = parked = Parked(exchange, since)
        exchange.on_gone = lambda then: self._gone(then, conv, parked)
        hold = min(wait * SECOND, self.settings.max_wait)
        if self._wake(now, conv):
            return
        if hold <= 0:
            self._give(now, conv, [])
        else:
            parked.timer = self.engine.timers.at(now + hold, self._held_out, conv, parked)

    def _supersede(self, now: int, conv: Conversation) -> None:
        """A newer poll came: the older one ends empty."""
        older = conv.data.parked
        if older is not None:
            conv.data.parked = None
            self.engine.timers.cancel(older.timer)
            self.engine.answer(now, older.exchange, 200, b"[]")

    def _held_out(self, now: int, conv: Conversation, parked: Parked) -> None:
        if conv.data.parked is parked:
            self._give(now, conv, [])

    def _gone(self, now: int, conv: Conversation, parked: Parked) -> None:
        self.engine.timers.cancel(parked.timer)
        if conv.data.parked is parked:
            conv.data.parked = None
            self.engine.guest_left(now, conv)

    def _wake(self, now: int, conv: Conversation) -> bool:
        """Answer the poll that waits, if there is something to say."""
        talk: Talk = conv.data
        parked = talk.parked
        if parked is None:
            return False
        if talk.timed_out and not conv.closed:
            self._unpark(now, conv)
            self._conflict(now, parked.exchange, "routing timed out")
            return True
        if talk.spoilt:
            self._unpark(now, conv)
            self.engine.answer(now, parked.exchange, 200, talk.spoilt.pop(0), headers={"content-type": "application/json"})
            return True
        fresh = talk.events[bisect_right(talk.ids, parked.since) :]
        if not fresh and not talk.again:
            return False
        self._give(now, conv, fresh)
        return True

    def _unpark(self, now: int, conv: Conversation) -> None:
        parked, conv.data.parked = conv.data.parked, None
        self.engine.timers.cancel(parked.timer)
        self.engine.guest_left(now, conv)

    def _give(self, now: int, conv: Conversation, fresh: list[Event]) -> None:
        """Answer the parked poll with these events and what is to go out again."""
        talk: Talk = conv.data
        exchange = talk.parked.exchange if talk.parked is not None else None
        assert exchange is not None
        self._unpark(now, conv)
        repeats, talk.again = talk.again, []
        last = len(fresh) - 1 if fresh and talk.ended else len(fresh)  # the end of the conversation stays the last event
        events = [*fresh[:last], *repeats, *fresh[last:]]
        engine = self.engine

        def handed(then: int) -> None:
            for _, _, message in events:
                if message is not None:
                    engine.handed_push(then, message, exchange.peer, exchange.id)

        engine.answer(now, exchange, 200, json.dumps([event for _, event, _ in events]).encode(), handed=handed)

    def _append(self, conv: Conversation, kind: str, fields: dict[str, Any], message: Message | None = None) -> None:
        talk: Talk = conv.data
        number = (talk.ids[-1] if talk.ids else 0) + 1 + self.engine.rng.randrange(STEP)
        event = (number, {"id": number, "type": kind, **fields}, message)
        talk.events.append(event)
        talk.ids.append(number)
        if message is not None:
            talk.last[message.id] = event

    def _queue_accepted(self, conv: Conversation) -> None:
        self._append(conv, "routing:queue:accepted", {"queueId": conv.data.queue})

    def accepted(self, now: int, conv: Conversation) -> None:
        """An agent is there."""
        agent = {"id": conv.agent_id, "name": conv.agent_name}
        self._append(conv, "participant:added", {"participant": {**agent, "type": "agent"}})
        self._append(conv, "routing:agent:accepted", {"agent": agent})
        self._wake(now, conv)

    def deliver(self, now: int, conv: Conversation, message: Message) -> bool:
        """Make an event of a message; of one that is an event already, a repeat that the cursor does not hold back."""
        talk: Talk = conv.data
        if talk.ended:
            return False
        earlier = talk.last.get(message.id)
        if earlier is not None:
            talk.again.append(earlier)
        else:
            fields = {
                "messageId": message.id,
                "from": {"id": message.sender_id, "type": message.direction, "name": message.sender_name},
                "text": message.text,
                "attachments": message.data if message.direction == GUEST else [],
                "timestamp": instants.iso(message.stamp_ms),
            }
            self._append(conv, "message", fields, message)
        self._wake(now, conv)
        return True

    def odd(self, now: int, conv: Conversation, message: Message, kind: str) -> None:
        """An event that should not be, or an answer that is no JSON."""
        talk: Talk = conv.data
        if talk.ended:
            return
        if kind == "binary":
            talk.spoilt.append(b"\x00\x01\xfe\xff" + message.id.encode())
        elif kind == "malformed":
            talk.spoilt.append(b'[{"id": 1, "type": ')
        elif kind == "oversize":
            self._append(conv, "notice", {"padding": "x" * OVERSIZE})
        elif kind == "wrong_id":
            sender = {"id": message.sender_id, "type": "agent", "name": message.sender_name}
            other = self.engine.new_uuid()
            fields = {"conversationId": other, "messageId": other, "from": sender, "text": "Not for you.", "attachments": []}
            self._append(conv, "message", fields)
        else:
            self._append(conv, "presence:changed", {"value": "away"})
        self._wake(now, conv)

    def closed(self, now: int, conv: Conversation) -> None:
        """The last event."""
        self._append(conv, "status:changed", {"value": "closed"})
        conv.data.ended = True
        self._wake(now, conv)

    def forget(self, conv: Conversation) -> None:
        """Nothing of it is kept."""
        talk: Talk = conv.data
        for kept in (talk.events, talk.ids, talk.again, talk.spoilt):
            kept.clear()
        talk.last.clear()

    # ------------------------------------------------------------ changes
    def _change(self, now: int, exchange: Exchange) -> None:
        if not self._allowed(now, exchange, "conversations:write"):
            return
        conv = self._find(now, exchange)
        if conv is None:
            return
        body, engine = bodies.table(exchange.body) or {}, self.engine
        routing, callback = body.get("routing"), body.get("callback")
        if body.get("status") == "closed" or (isinstance(callback, dict) and callback.get("requested") is True):
            engine.close(now, conv, by="callback" if isinstance(callback, dict) else "guest")
            engine.answer(now, exchange, 200, {"conversationId": conv.id, "status": "closed"})
        elif isinstance(routing, dict):
            self._late_routing(now, exchange, conv, routing)
        else:
            self._bad(now, exchange, "nothing that can be changed")

    def _late_routing(self, now: int, exchange: Exchange, conv: Conversation, routing: dict[str, Any]) -> None:
        talk: Talk = conv.data
        if conv.closed or talk.timed_out:
            self._conflict(now, exchange, "conversation closed" if conv.closed else "routing timed out")
            return
        queue, accepted, routable = self._route(routing)
        if not accepted:
            self._bad(now, exchange, "no such queue")
            return
        if conv.state == CONNECTED:  # too late: an agent of another pool has it
            self.engine.truth.row(now, "late_routing", conv.id, queue=queue)
        else:
            talk.queue, was_looping, talk.loops = queue, talk.loops, False
            if was_looping:
                self._queue_accepted(conv)
            self.engine.reroute(now, conv, routable=routable)
            self._wake(now, conv)
        self.engine.answer(now, exchange, 200, {"conversationId": conv.id, "queueId": queue})

    # ------------------------------------------------------------ files
    def _upload(self, now: int, exchange: Exchange) -> None:
        if not self._allowed(now, exchange, "files:upload"):
            return
        engine, table = self.engine, self.settings
        part = multipart.field(exchange.headers.get("content-type", ""), exchange.body, "file")
        if part is None:
            self._bad(now, exchange, "multipart/form-data with a field `file` is needed")
        elif len(part.content) > table.max_upload:
            engine.answer(now, exchange, 413, {"code": "too.large"})
        elif part.kind not in table.mime_types:
            engine.answer(now, exchange, 415, {"code": "unsupported.media.type"})
        else:
            number = engine.new_uuid()
            self._keep(now, number, File(part.filename, part.kind, part.content, now + table.file_life))
            scheme, host = exchange.headers.get(":scheme", "http"), exchange.headers.get("host", "localhost")
            url = f"{scheme}://{host}/api/v2/files/{number}/content"
            engine.answer(now, exchange, 200, {"fileId": number, "downloadUrl": url})

    def _keep(self, now: int, number: str, file: File) -> None:
        """Keep the upload, and let the oldest go: contents that are too many, and files that are too many or too old."""
        self._files[number] = file
        self._contents[number] = file.size
        self._content_bytes += file.size
        while self._content_bytes > FILE_BYTES_KEPT:
            oldest, size = self._contents.popitem(last=False)
            self._content_bytes -= size
            self._files[oldest].content = None
        while len(self._files) > FILES_KEPT or next(iter(self._files.values())).expires <= now:
            oldest, _ = self._files.popitem(last=False)
            self._content_bytes -= self._contents.pop(oldest, 0)

    def _download(self, now: int, exchange: Exchange) -> None:
        file = self._files.get(exchange.params[0])
        if file is None or file.content is None:
            self.engine.answer(now, exchange, 404, {"code": "not.found"})
        else:
            self.engine.answer(now, exchange, 200, file.content, headers={"content-type": file.kind})


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def _inline(item: Any) -> bool:
    """Is the file itself in the message?"""
    if not isinstance(item, dict):
        return False
    url = item.get("url")
    return any(isinstance(item.get(key), str) for key in INLINE_KEYS) or (isinstance(url, str) and url[:5].lower() == "data:")
