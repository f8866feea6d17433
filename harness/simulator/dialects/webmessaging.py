"""webmessaging, the vendor's published protocol, server's half: a token that the guest has made is the session.

`webmessaging_settings.py`: what can be set; `_frames.py`: what goes over the wire; `_session.py`: sessions and their history;
`_door.py`: how connections come into a session and go; `_files.py`: attachments; `_rest.py`: everything else over HTTP.
Here: sockets, and the actions that come over them.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from harness.core.wire import HttpResponse
from harness.simulator import bodies
from harness.simulator.connections import Conn, Done, Exchange
from harness.simulator.conversations import Conversation, Message
from harness.simulator.dialects import webmessaging_frames as frames
from harness.simulator.dialects import webmessaging_settings as settings_of
from harness.simulator.dialects.base import OVERSIZE, DialectHalf, Route
from harness.simulator.dialects.webmessaging_door import Door
from harness.simulator.dialects.webmessaging_files import Files
from harness.simulator.dialects.webmessaging_frames import Body, Guests
from harness.simulator.dialects.webmessaging_rest import Rest
from harness.simulator.dialects.webmessaging_session import Link, Said, Session, Sessions, Talk
from harness.simulator.dialects.webmessaging_settings import OFF, READ_ONLY, WebmessagingTable
from harness.simulator.intake import Arrival
from harness.simulator.limiters import Caller
from harness.simulator.tables import MINUTE

if TYPE_CHECKING:
    from harness.simulator.engine import Engine

Action = Callable[[int, Conn, Session, Body, "str | None"], None]
READ_ONLY_TEXT = "Session is read-only, no new messages allowed"
NO_CLEAR_TEXT = "Presence events Conversation Clear are not supported"
FORBIDDEN = b'{"message":"Forbidden"}'


class Webmessaging(DialectHalf):
    """The webmessaging server."""

    name = "webmessaging"
    table = WebmessagingTable
    settings: WebmessagingTable
    lists = True
    upgrade_paths = ("/v1",)
    limited_body = '{"message":"Too Many Requests"}'

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.domains = settings_of.allowed_domains(self.settings, engine.config.credentials.origins)
        self.sessions = Sessions(engine, self.settings)
        self.files = Files(self)
        self.sessions.dropped = self.files.forget
        self.rest = Rest(self)
        self.door = Door(self)
        self._rng = Random(f"{engine.seed}/webmessaging/mishaps")
        self._actions: dict[str, Action] = {
            "onMessage": self._message,
            "echo": self._echo,
            "getJwt": self._jwt,
            "onAttachment": self.files.offer,
            "getAttachment": self.files.refresh,
            "deleteAttachment": self.files.delete,
            "closeSession": self.door.close,
        }

    @classmethod
    def limit_set(cls, settings: WebmessagingTable) -> list[dict[str, Any]]:
        """The vendor's."""
        return settings_of.limit_set(settings)

    def routes(self) -> list[Route]:
        """All endpoints."""
        return [*self.rest.routes(), *self.files.routes()]

    def caller(self, now: int, asks: Exchange | Conn) -> Caller:
        """A session is counted by its token, whatever it asks over; a connection by itself."""
        client = self.engine.credentials.client
        if isinstance(asks, Conn):
            link: Link | None = asks.data
            if link is None:
                return Caller(client, asks.ip, asks.id, connection=asks.id, deployment=asks.query.get("deploymentId", ""))
            return Caller(client, asks.ip, link.asking or asks.id, connection=asks.id, deployment=link.deployment)
        grant = self.engine.credentials.bearer(now, asks.headers)
        session = self.rest.session_of(now, asks)
        named = asks.route is not None and "{deploymentId}" in asks.route.template
        deployment = asks.params[0] if named else asks.query.get("deploymentId", "")
        if session is not None:
            deployment = deployment or next((conn.data.deployment for conn in session.conns), "")
        return Caller(
            grant.client if grant is not None else client,
            asks.ip,
            asks.peer if session is None else session.token,
            connection=asks.peer,
            deployment=deployment,
        )

    # ------------------------------------------------------------ the socket's life
    def exists(self, deployment: str) -> bool:
        """Is there such a deployment, active or not?"""
        settings = self.settings
        return bool(deployment) and (not settings.deployments or deployment in (*settings.deployments, *settings.inactive))

    @staticmethod
    def host_of(headers: dict[str, str]) -> str:
        """This server's base, as the guest knows it."""
        return f"{headers.get(':scheme', 'http')}://{headers.get('host', 'localhost')}"

    def on_upgrade(self, now: int, conn: Conn, headers: dict[str, str]) -> HttpResponse | None:  # noqa: ARG002
        """Only to a deployment that is active, from a page that may."""
        deployment = conn.query.get("deploymentId", "")
        if not self.exists(deployment) or deployment in self.settings.inactive or not self._welcome(headers.get("origin", "")):
            return HttpResponse(403, {}, FORBIDDEN)
        conn.data = Link(deployment, self.host_of(headers))
        return None

    def _welcome(self, origin: str) -> bool:
        if not self.domains:
            return self.settings.allow_all_domains
        return settings_of.origin_fits(origin, self.domains)

    def on_gone(self, now: int, conn: Conn) -> None:
        """One connection less."""
        link: Link = conn.data
        self.engine.timers.cancel(link.ending)
        link.ending = None
        self.sessions.part(now, link.session, conn)

    def on_frame(self, now: int, conn: Conn, data: str | bytes) -> None:
        """One request of the guest's."""
        frame = bodies.frame(data)
        action = frame.get("action") if frame is not None else None
        given = frame.get("tracingId") if frame is not None else None
        tracing = given if isinstance(given, str) else None
        link: Link = conn.data
        token = frames.short(frame.get("token")) if frame is not None else None
        link.asking = token or ""
        known = isinstance(action, str) and action in settings_of.ACTIONS
        endpoint = f"frame {action if known else settings_of.UNKNOWN}"
        refusal = self.engine.frame_refusal(now, conn, endpoint)
        if refusal is not None:
            text = frames.too_many(self.engine.retry_seconds(refusal), tracing)
            return self.engine.push(now, conn, text, done=self.engine.refuse_frame(conn, endpoint))
        if frame is None or not isinstance(action, str) or not known:
            return self.refuse(now, conn, 400, "the request is not understood", tracing)
        if token is None:
            code = 4020 if frame.get("token") is None else 400
            return self.refuse(now, conn, code, "token is missing or is none", tracing)
        if action in self._actions:
            session = link.session
            if session is None or token != link.token or session.forgotten:
                return self.refuse(now, conn, 4007, "there is no such session", tracing)
            if not session.alive:
                return self.refuse(now, conn, 4006, "the session has expired", tracing)
            if self.settings.mishaps and self._mishap(now, conn, tracing):
                return None
            return self._actions[action](now, conn, session, frame, tracing)
        deployment = frame.get("deploymentId")
        if deployment is None:
            return self.refuse(now, conn, 4020, "deploymentId is missing", tracing)
        if deployment != link.deployment:
            return self.refuse(now, conn, 400, "deploymentId is not that of the connection", tracing)
        if action == "getConfiguration":
            return self.respond(now, conn, "GetConfigurationResponse", frames.configuration_body(self.settings), tracing)
        return self.door.configure(now, conn, frame, token, tracing)

    def arrival(self, now: int, conn: Conn, data: str | bytes) -> Arrival:  # noqa: ARG002
        """What somebody says in a session; events are none, and the rest is about the connection or the session."""
        frame, link = bodies.frame(data), conn.data
        action = frame.get("action") if frame is not None else None
        if frame is None or action not in ("onMessage", "closeSession"):
            return Arrival(False, aside=True)
        given = frame.get("message")
        event = isinstance(given, dict) and given.get("type") == "Event"
        if action != "onMessage" or event or link.session is None or frame.get("token") != link.token:
            return Arrival(False)
        link.asking = link.token  # as whom limits count it
        return Arrival(True, "onMessage")

    def thread(self, conn: Conn) -> str:
        """The session, over all its connections."""
        link: Link = conn.data
        return link.session.digest if link.session is not None else conn.id

    def overloaded(self, now: int, conn: Conn, data: str | bytes) -> None:
        """The code of what was not expected."""
        tracing = (bodies.frame(data) or {}).get("tracingId")
        self.refuse(now, conn, 5000, "the service is overloaded", tracing if isinstance(tracing, str) else None)

    def _mishap(self, now: int, conn: Conn, tracing: str | None) -> bool:
        """Something is wrong with this request, as the settings want it."""
        at = self._rng.random()
        for code, part in self.settings.mishaps.items():
            if at < part:
                self.engine.truth.row(now, "mishap", conn.id, code=int(code))
                self.refuse(now, conn, int(code), "the request could not be carried out", tracing)
                return True
            at -= part
        return False

    # ------------------------------------------------------------ what is said
    def refuse(self, now: int, conn: Conn, code: int, text: str, tracing: str | None) -> None:
        """Answer with an error."""
        self.engine.push(now, conn, frames.refusal(code, text, tracing))

    def respond(self, now: int, conn: Conn, name: str, body: Body, tracing: str | None, done: Done | None = None) -> None:
        """Answer a request."""
        self.engine.push(now, conn, frames.envelope("response", name, 200, body, tracing), done=done)

    def broadcast(self, now: int, session: Session, text: str) -> None:
        """Push a frame that is no message to every connection of a session."""
        for conn in [conn for conn in session.conns if conn.usable]:
            self.engine.push(now, conn, text)

    # ------------------------------------------------------------ small actions
    def _jwt(self, now: int, conn: Conn, session: Session, frame: Body, tracing: str | None) -> None:  # noqa: ARG002
        self.respond(now, conn, "JwtResponse", self.rest.history_jwt(now, session), tracing)

    def _echo(self, now: int, conn: Conn, session: Session, frame: Body, tracing: str | None) -> None:
        """The health check: said to the caller alone, with the session's times."""
        given = self._understood(now, conn, frame, tracing)
        if given is None:
            return
        times = {"durationSeconds": str(self.sessions.lasts()), "expirationDate": str(self.sessions.expires_s(session))}
        body = self.sessions.guests(now, session, Guests(given.type, given.text, metadata=times))
        self.engine.push(now, conn, frames.structured(body, tracing, "response"))

    def _understood(self, now: int, conn: Conn, frame: Body, tracing: str | None) -> Guests | None:
        message = frame.get("message")
        if message is None:
            self.refuse(now, conn, 4020, "message is missing", tracing)
            return None
        given = frames.read_message(message) if isinstance(message, dict) else "message is no object"
        if isinstance(given, str):
            self.refuse(now, conn, 400, given, tracing)
            return None
        return given

    # ------------------------------------------------------------ messages
    def _message(self, now: int, conn: Conn, session: Session, frame: Body, tracing: str | None) -> None:
        engine, settings = self.engine, self.settings
        given = self._understood(now, conn, frame, tracing)
        if given is None:
            return None
        if session.read_only:
            return self.refuse(now, conn, 409, READ_ONLY_TEXT, tracing)
        custom = frames.custom_bytes(frame.get("channel"), frame["message"].get("channel"))
        if custom is None:
            return self.refuse(now, conn, 400, "customAttributes are no object", tracing)
        if custom > settings.max_custom_data_bytes:
            text = f"Custom attributes of {custom} bytes are larger than {settings.max_custom_data_bytes}"
            return self.refuse(now, conn, 4013, text, tracing)
        if given.events:
            return self._event(now, conn, session, given, tracing)
        size = frames.text_bytes(given.text or "")
        if size > settings.longest_text:
            return self.refuse(now, conn, 4011, f"The message of {size} bytes is longer than {settings.longest_text}", tracing)
        if given.attachment:
            refused = self.files.refused(now, session, given.attachment)
            if refused is not None:
                return self.refuse(now, conn, *refused, tracing)
            shown = self.files.sent(now, session, given.attachment)
            given.content = [
                {**item, "attachment": shown} if item.get("contentType") == "Attachment" else item for item in given.content or ()
            ]
        session.active = now
        conv = self.sessions.converse(now, self, session)
        talk: Talk = conv.data
        earlier = talk.traced.get(tracing) if tracing is not None else None
        if earlier is not None and not engine.config.server_stores_resend:
            return engine.deliver(now, conv, earlier, engine.latency(now, "echo"))
        body = self.sessions.guests(now, session, given)
        taken = engine.take(now, conv, given.text or "", body["id"], "guest", "Guest", Said(body, tracing))
        self.sessions.catch_up(conv)
        if tracing is not None and taken.store and not engine.config.server_stores_resend:
            talk.traced[tracing] = taken.message
        if taken.confirm:
            engine.deliver(now, conv, taken.message, engine.latency(now, "echo"))
        return None

    def _event(self, now: int, conn: Conn, session: Session, given: Guests, tracing: str | None) -> None:
        """Typing and presence are passed on; only presence is kept."""
        kind, detail = frames.event_of(given)
        if kind == "Typing":
            if not self.settings.user_typing:
                return self.refuse(now, conn, 403, "Typing events are not supported: the feature is off", tracing)
            body = self.sessions.guests(now, session, given)
            return self.broadcast(now, session, frames.structured(body, tracing))
        if (kind, detail) == ("Presence", "Clear"):
            return self._clear(now, conn, session, given, tracing)
        if (kind, detail) != ("Presence", "Join"):
            return self.refuse(now, conn, 400, "the event is not one that a guest may send", tracing)
        conv = self.sessions.converse(now, self, session)
        conv.data.auto_started = True
        body = self.sessions.guests(now, session, given)
        conv.data.entries.append((body, None))
        return self.broadcast(now, session, frames.structured(body, tracing))

    def _clear(self, now: int, conn: Conn, session: Session, given: Guests, tracing: str | None) -> None:
        """All of it is over, and what comes next under that token is another session."""
        if not self.settings.clear:
            return self.refuse(now, conn, 403, NO_CLEAR_TEXT, tracing)
        self.door.end_talk(now, session, "cleared")
        self.broadcast(now, session, frames.event("SessionClearedEvent"))
        self.broadcast(now, session, frames.structured(self.sessions.guests(now, session, given), tracing))
        for other in list(session.conns):
            self.door.dismiss(now, other, "ConnectionClosedEvent", why="cleared")
        self.sessions.clear(now, session)
        return None

    # ------------------------------------------------------------ agents' side
    def connections(self, conv: Conversation) -> tuple[Conn, ...]:
        """All of the token's, as long as its conversation is this one."""
        session: Session = conv.data.session
        return tuple(conn for conn in session.conns if conn.usable) if session.conv is conv else ()

    def frame(self, conv: Conversation, message: Message) -> str:
        """A message's frame; an echo is one as well."""
        return self.sessions.said(conv, message).text

    def ripens_in(self, now: int, conv: Conversation) -> int:
        """Until the time that was moved on for its stamp has come."""
        self.sessions.catch_up(conv)
        return self.sessions.ahead(now, conv.data.session)

    def odd_frame(self, conv: Conversation, message: Message, kind: str) -> str:
        """Frames that should not be."""
        if kind == "wrong_id":
            stamp = conv.data.session.next_stamp(message.stamp_ms)
            text = "This was meant for somebody else."
            body = frames.outbound(self.engine.new_uuid(), stamp, self.engine.new_uuid(), frames.HUMAN, "Agent", text=text)
            return frames.structured(body)
        return frames.event("Unknown", {"padding": "x" * OVERSIZE} if kind == "oversize" else {"what": "presence"})

    def typing(self, now: int, conv: Conversation) -> None:
        """Tell that the agent types, as often as that is allowed."""
        if not self.settings.agent_typing:
            return
        talk: Talk = conv.data
        talk.typed = [at for at in talk.typed if at > now - MINUTE]
        if len(talk.typed) < self.settings.agent_typing_per_minute:
            talk.typed.append(now)
            self.tell(now, conv, frames.structured(self.sessions.agents_event(now, conv, frames.typing_events())))

    def closed(self, now: int, conv: Conversation) -> None:
        """Where the deployment has it so, the guest hears that the agent has gone; then nothing follows."""
        talk: Talk = conv.data
        session = talk.session
        if not talk.ending and self.settings.disconnect != OFF:
            read_only = self.settings.disconnect == READ_ONLY
            metadata = {"readOnly": "true"} if read_only else {}
            body = self.sessions.agents_event(now, conv, frames.presence_events("Disconnect"), **metadata)
            talk.entries.append((body, None))
            self.tell(now, conv, frames.structured(body))
            session.read_only = read_only
        if session.conv is conv:
            session.conv = None
        self.sessions.over(now, session)

    def forget(self, conv: Conversation) -> None:
        """The session keeps what it held, as long as there may be somebody who goes on with it."""
        self.sessions.forget(conv)
