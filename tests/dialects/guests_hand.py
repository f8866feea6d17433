"""A guest of the guests dialect driven by hand, with the steps that most tests share."""

from __future__ import annotations

import base64
import json
from typing import Any

from harness.core import ops
from harness.core.pacing import Behaviour
from harness.core.spread import fixed
from harness.core.stamps import show_iso
from harness.dialects.guests import GuestsSession
from harness.dialects.guests_settings import GuestsSettings
from tests.dialects.hand import WALL, Hand, Rows, S, context

CALM = Behaviour(
    think_time=fixed(8.0),
    typing=0.0,
    reload=0.0,
    attachments=0.0,
    session_length=fixed(3000.0),
    between=fixed(5.0),
    conversations=1,
)
AGAIN = Behaviour(
    think_time=fixed(8.0),
    typing=0.0,
    reload=0.0,
    attachments=0.0,
    session_length=fixed(3000.0),
    between=fixed(5.0),
    conversations=0,
)
PLAIN = GuestsSettings(profile_sync=0.0)


def jwt(claims: Any, *, header: str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9") -> str:
    """A token with these claims and a signature that nobody can check."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"{header}.{payload}.c2lnbmF0dXJl"


class Guests(Hand):
    """Guest of slot 1; its first conversation has label `1-1`."""

    session: GuestsSession

    def __init__(self, behaviour: Behaviour = CALM, settings: GuestsSettings = PLAIN, *, seed: str = "hand", **target: Any) -> None:
        rows = Rows()
        target = {"queue_id": "routing-queue-id", **target}
        super().__init__(GuestsSession(context(rows, behaviour, seed=seed, **target), settings), rows)
        self.made = self.tokens = 0

    def wall(self) -> int:
        """The true clock."""
        return self.now + WALL

    def iso(self) -> str:
        """The server's clock."""
        return show_iso(self.wall())

    # ------------------------------------------------------------ steps
    def claims(self, life: float = 3600, **changes: Any) -> dict[str, Any]:
        """Claims of the newest guest's token; None takes one away."""
        issued = self.wall() // S
        claims = {
            "sub": f"guest-{self.made}",
            "iat": issued,
            "exp": issued + life,
            "routing_hints": {"queue": "q", "skill": "s", "language": "en-US"},
            "attributes": {},
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def grant(self, lifetime: object = 3600) -> None:
        self.tokens += 1
        request = next(r for r in self.requests if r.path == "/oauth/token")
        self.answer({"access_token": f"token-{self.tokens}", "token_type": "bearer", "expires_in": lifetime}, request=request)

    def create(self, life: float = 3600, token: str = "", **changes: Any) -> None:
        """Answer the request for a guest."""
        self.made += 1
        request = next(r for r in self.requests if r.path == "/api/v2/guests")
        body = {
            "id": f"guest-{self.made}",
            "guestToken": token or jwt(self.claims(life, **changes)),
            "sessions": [{"id": f"session-{self.made}"}],
            "attributes": {},
        }
        self.answer(body, 201, request=request)

    def shake(self) -> int:
        """Accept the upgrade and take the handshake; the socket."""
        conn = self.open()
        (frame,) = self.frames(conn)
        assert frame["type"] == "handshake"
        assert set(frame) == {"type", "token"}
        return conn

    def chatting(self, life: float = 3600) -> int:
        """Up to the first word."""
        self.start()
        self.grant()
        self.create(life)
        conn = self.shake()
        self.run(S)
        assert self.session.state == "chatting"
        return conn

    def said(self, conn: int) -> str:
        """Let the guest send its next message; its text."""
        for _ in range(50):
            found = [f for f in self.frames(conn) if f["type"] == "message"]
            if found:
                assert len(found) == 1
                return str(found[0]["payload"]["text"])
            self.next_timer()
        raise AssertionError("the guest says nothing")

    def agent(self, conn: int, seq: int, re: int = 0, **changes: Any) -> None:
        """An agent's message."""
        tail = f" re {re}" if re else ""
        label = self.session.label
        text = f"Hello. [#run1.{label}.a.{seq}{tail}]"
        payload = {"id": f"m-{seq}", "from": "agent", "text": text, "timestamp": self.iso(), **changes}
        payload = {name: value for name, value in payload.items() if value is not None}
        self.push(conn, {"type": "message", "payload": payload})

    def drain(self) -> None:
        """The server answers every close."""
        for close in self.closes:
            if close.conn in self.session.sockets:
                self.end(close.conn, close.code)

    def notes(self, what: str) -> list[str]:
        """Details of the notes of one name."""
        return [row.detail for row in self.rows.of(ops.Noted) if row.what == what]
