"""A half for the tests of the base: rooms, several connections each, no listing, no ids in its frames."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from harness.core.wire import HttpResponse
from harness.simulator import spelling
from harness.simulator.connections import Conn, Exchange
from harness.simulator.conversations import Conversation, Message
from harness.simulator.dialects.base import DialectHalf, Route
from harness.simulator.limiters import Caller
from harness.simulator.tables import positive, setting


@dataclass(frozen=True, slots=True)
class ToyTable:
    greeting: str = setting(spelling.text, "hello")
    most: int = setting(positive, 3)


class Toy(DialectHalf):
    name = "toy"
    table = ToyTable
    settings: ToyTable
    upgrade_paths = ("/toy/{room}/ws",)
    tells_copies = False

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.rooms: dict[str, list[Conn]] = {}

    @classmethod
    def limit_set(cls, settings: ToyTable) -> list[dict[str, Any]]:
        return [{"endpoint": "frame say", "rate": f"{settings.most}/h", "burst": settings.most, "scope": "connection"}]

    def routes(self) -> list[Route]:
        return [Route("POST", "/oauth/token", self._token, claims=lambda exchange: "toy" in exchange.form.get("scope", ""))]

    def _token(self, now: int, exchange: Exchange) -> None:
        self.engine.answer(now, exchange, 200, {"toy": self.settings.greeting})

    def caller(self, now: int, asks: Exchange | Conn) -> Caller:
        plain = super().caller(now, asks)
        if isinstance(asks, Conn):
            return Caller(plain.client, plain.ip, asks.params[0], connection=asks.id, deployment=asks.query.get("deployment", ""))
        return plain

    def on_upgrade(self, now: int, conn: Conn, headers: dict[str, str]) -> HttpResponse | None:
        self.engine.ready_at_once(conn)
        if conn.query.get("token") == "bad":
            return HttpResponse(401, {}, b"")
        self.engine.timers.at(now, self._enter, conn)
        return None

    def _enter(self, now: int, conn: Conn) -> None:
        room = conn.params[0]
        self.rooms.setdefault(room, []).append(conn)
        conv = self.engine.conversations.get(room)
        if conv is None:
            conv = self.engine.open(now, self, room, routable=True)
        self.engine.bind(now, conn, conv)

    def on_frame(self, now: int, conn: Conn, data: str | bytes) -> None:
        refusal = self.engine.frame_refusal(now, conn, "frame say")
        if refusal is not None:
            text = json.dumps({"type": "error", "retryAfter": self.engine.retry_seconds(refusal)})
            self.engine.push(now, conn, text, done=self.engine.refuse_frame(conn, "frame say"))
        elif conn.conv is not None:
            self.engine.take(now, conn.conv, str(data), self.engine.new_id("m"), "guest", "Guest")

    def on_gone(self, now: int, conn: Conn) -> None:
        self.rooms[conn.params[0]].remove(conn)

    def connections(self, conv: Conversation) -> tuple[Conn, ...]:
        return tuple(conn for conn in self.rooms.get(conv.id, ()) if conn.usable)

    def typing(self, now: int, conv: Conversation) -> None:
        self.tell(now, conv, '{"type":"typing"}')

    def frame(self, conv: Conversation, message: Message) -> str:
        return json.dumps({"type": "message", "text": message.text})
