"""toy, the server's half. It shares no line with the guest's: both follow `toy.jsonl`."""

from __future__ import annotations

import json
from typing import Any

from harness.core.wire import HttpResponse
from harness.simulator.connections import Conn, Done, Exchange
from harness.simulator.conversations import Conversation, Message
from harness.simulator.dialects.base import Route
from harness.simulator.dialects.chat import ChatHalf, ChatTable, Link, Session
from harness.simulator.talks import Taken


class ToySession(Session):
    """A guest and its token."""

    __slots__ = ("token",)

    def __init__(self, sid: str, token: str) -> None:
        super().__init__(sid, "Guest", 0)
        self.token = token


class Toy(ChatHalf):
    """The toy server."""

    name = "toy"
    table = ChatTable
    upgrade_paths = ("/toy/guests/{guest}/socket",)
    limited_body = '{"error":"too many"}'
    farewell = '{"bye":true}'

    def routes(self) -> list[Route]:
        """One: become a guest."""
        return [Route("POST", "/toy/guests", self._register, "token", self.limited_body)]

    def _register(self, now: int, exchange: Exchange) -> None:
        engine, form = self.engine, exchange.form
        if not engine.credentials.known_client(form.get("client", ""), form.get("secret", "")):
            return engine.answer(now, exchange, 401, {"error": "unknown client"})
        session = ToySession(engine.new_uuid(), f"toy.{self.rng.getrandbits(128):032x}")
        self.sessions[session.id] = session
        body = {"guest": session.id, "token": session.token}
        truth = engine.truth
        return engine.answer(now, exchange, 200, body, handed=lambda at: truth.row(at, "tokens.client_credentials", exchange.id))

    def on_upgrade(self, now: int, conn: Conn, headers: dict[str, str]) -> HttpResponse | None:
        """In with the open socket, if the token is the guest's."""
        session: ToySession | None = self.sessions.get(conn.params[0])
        if session is None or session.over or conn.query.get("token") != session.token:
            return HttpResponse(401, {}, b'{"error":"no such guest"}')
        link = Link(session)
        self.attach(conn, link)
        self.enter(now, conn, link)
        self.engine.ready_at_once(conn)
        return None

    def on_frame(self, now: int, conn: Conn, data: str | bytes) -> None:
        """What is not to the letter is lost without a word."""
        link: Link | None = conn.data
        frame = _object(data)
        if link is None or link.session.over:
            return
        if "bye" in frame:
            self.leave(now, link.session)
            for one in link.session.conns.values():
                self.then_close(one)(now, True)
        elif isinstance(text := frame.get("say"), str) and isinstance(mid := frame.get("id"), str):
            self._message(now, conn, link, text, mid)

    def _message(self, now: int, conn: Conn, link: Link, text: str, mid: str) -> None:
        engine = self.engine
        refusal = engine.frame_refusal(now, conn, "frame message")
        if refusal is not None:
            shown = {"slow": engine.retry_seconds(refusal) or 1, "id": mid}
            engine.push(now, conn, json.dumps(shown), done=engine.refuse_frame(conn, "frame message"))
            return
        taken = engine.take(now, self.heard_on(now, conn, link), text, mid, "guest", "Guest")
        if taken.confirm:
            engine.push(now, conn, json.dumps({"ack": mid}), done=self._confirmed(taken))

    def _confirmed(self, taken: Taken) -> Done:
        def done(now: int, ok: bool) -> None:
            if ok:
                self.engine.confirmed(now, taken)

        return done

    def typing(self, now: int, conv: Conversation) -> None:
        """Tell that the agent writes."""
        self.tell(now, conv, '{"writes":true}')

    def frame(self, conv: Conversation, message: Message) -> str:
        """A message on the wire."""
        return json.dumps({"said": message.text, "id": message.id})


def _object(data: str | bytes) -> dict[str, Any]:
    """A frame's JSON object; empty where it is none."""
    try:
        value = json.loads(data) if isinstance(data, str) else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
