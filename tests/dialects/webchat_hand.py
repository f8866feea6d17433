"""A webchat guest driven by hand, with the steps that most tests share."""

from __future__ import annotations

from typing import Any

from harness.core import ops
from harness.core.pacing import Behaviour
from harness.core.spread import fixed
from harness.core.stamps import show_iso
from harness.dialects.webchat import WebchatSession
from harness.dialects.webchat_settings import WebchatSettings
from tests.dialects.hand import WALL, Hand, Rows, context

SKILLS = ("Tier1_Support", "Billing")
ATTRIBUTES = {"source": "custom_ui_v2", "userTier": "premium", "locale": "en-US"}
CONV = "conv_1"
CALM = Behaviour(
    think_time=fixed(8.0), typing=0.0, reload=0.0, attachments=0.0, session_length=fixed(300.0), between=fixed(5.0), conversations=1
)


class Webchat(Hand):
    """Guest of slot 1; its first conversation has label `1-1`."""

    session: WebchatSession

    def __init__(
        self, behaviour: Behaviour = CALM, settings: WebchatSettings | None = None, *, seed: str = "hand", **target: Any
    ) -> None:
        rows = Rows()
        target = {"skills": SKILLS, "attributes": ATTRIBUTES, **target}
        session = WebchatSession(context(rows, behaviour, seed=seed, **target), settings or WebchatSettings())
        super().__init__(session, rows)
        self.tokens = 0

    def iso(self, offset_ns: int = 0) -> str:
        """The server's clock."""
        return show_iso(self.now + WALL + offset_ns)

    # ------------------------------------------------------------ steps
    def grant(self, lifetime: object = 3600) -> None:
        self.tokens += 1
        request = next(r for r in self.requests if r.base == "login")
        self.answer({"access_token": f"token-{self.tokens}", "token_type": "bearer", "expires_in": lifetime}, request=request)

    def skills(self) -> None:
        self.answer({"entities": [{"id": str(n), "name": name} for n, name in enumerate(SKILLS)]})

    def authenticate(self) -> int:
        conn = self.open()
        assert [f["type"] for f in self.frames(conn)] == ["auth"]
        self.push(conn, {"type": "auth", "status": "success", "serverTime": self.iso()})
        return conn

    def bind(self, conn: int, status: str = "queued") -> dict[str, Any]:
        """Answer the routing frame; what it was."""
        (routing,) = self.frames(conn)
        assert routing["type"] == "routing"
        self.push(conn, {"type": "conversation", "conversationId": routing.get("conversationId", CONV), "status": status})
        return routing

    def queued(self, lifetime: object = 3600) -> int:
        """Up to the queue."""
        self.start()
        self.grant(lifetime)
        self.skills()
        conn = self.authenticate()
        self.bind(conn)
        assert self.session.state == "queued"
        return conn

    def chatting(self, lifetime: object = 3600) -> int:
        """Up to an agent."""
        conn = self.queued(lifetime)
        self.push(conn, {"type": "typing", "conversationId": CONV, "from": {"id": "agent_1", "name": "A"}})
        assert self.session.state == "chatting"
        return conn

    def said(self, conn: int) -> dict[str, Any]:
        """Let the guest send its next message; the frame."""
        for _ in range(50):
            found = [f for f in self.frames(conn) if f["type"] == "message"]
            if found:
                assert len(found) == 1
                return found[0]
            self.next_timer()
        raise AssertionError("the guest says nothing")

    def row(self, text: str, message_id: str, sender: str, stamp: str | None = None) -> dict[str, Any]:
        return {
            "conversationId": CONV,
            "messageId": message_id,
            "from": {"id": sender, "name": sender},
            "text": text,
            "timestamp": stamp or self.iso(),
        }

    def guest_row(self, frame: dict[str, Any], stamp: str | None = None) -> dict[str, Any]:
        return self.row(frame["text"], frame["messageId"], "guest", stamp)

    def agent_row(self, seq: int, re: int = 0, stamp: str | None = None) -> dict[str, Any]:
        tail = f" re {re}" if re else ""
        return self.row(f"Hello. [#run1.1-1.a.{seq}{tail}]", f"srv-{seq}", "agent_1", stamp)

    def echo(self, conn: int, frame: dict[str, Any]) -> None:
        self.push(conn, {"type": "message", **self.guest_row(frame)})

    def agent(self, conn: int, seq: int, re: int = 0, stamp: str | None = None) -> None:
        self.push(conn, {"type": "message", **self.agent_row(seq, re, stamp)})

    def listing(self, *rows: dict[str, Any]) -> str:
        """Answer the oldest listing request; its path."""
        return self.answer({"messages": list(rows)}).path

    def back(self, *rows: dict[str, Any]) -> int:
        """After a drop: reconnect up to and with the resync."""
        while not self.opens:
            self.next_timer()
        conn = self.authenticate()
        routing = self.bind(conn)
        assert routing["conversationId"] == CONV
        self.listing(*rows)
        return conn

    def states(self) -> list[str]:
        return [row.after for row in self.rows.of(ops.State)]
