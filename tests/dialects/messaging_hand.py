"""A messaging guest driven by hand, with the steps that most tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.core import ops
from harness.core.pacing import Behaviour
from harness.core.spread import fixed
from harness.dialects.messaging import DIALECT, MessagingSession
from harness.dialects.messaging_settings import MessagingSettings
from tests.dialects.hand import Hand, Rows, context

CALM = Behaviour(
    think_time=fixed(8.0),
    typing=0.0,
    reload=0.0,
    attachments=0.0,
    session_length=fixed(3000.0),
    between=fixed(5.0),
    conversations=1,
)
ENDLESS = replace(CALM, conversations=0)
PLAIN = MessagingSettings(email="guest@example.com", reconnect_jitter=0)
SCOPES = "webchat:guest:read webchat:guest:write webchat:guest:send"
JOINED = {"type": "conversationMetadata", "event": "agentJoined"}


class Messaging(Hand):
    """Guest of slot 1; its first conversation has label `1-1`."""

    session: MessagingSession

    def __init__(
        self,
        behaviour: Behaviour = CALM,
        settings: MessagingSettings = PLAIN,
        *,
        faults: tuple[str, ...] = (),
        seed: str = "hand",
        scripted: bool = False,
        **target: Any,
    ) -> None:
        rows = Rows()
        fields = {"queue_id": "queue-1", **target}
        session = MessagingSession(context(rows, behaviour, seed=seed, **fields), DIALECT.settings_with(settings, faults))
        session.scripted = scripted
        super().__init__(session, rows)
        self.guests = self.tokens = 0
        self.pongs = True
        """Whether the server answers pings."""

    def pump(self) -> None:
        super().pump()
        while self.pongs and self.pings:
            conn = self.pings.pop()
            self.session.on_pong(self.now, conn)

    # ------------------------------------------------------------ steps
    def grant(self, life_s: int = 3600) -> None:
        self.tokens += 1
        self.answer({"access_token": f"secret-app-{self.tokens}", "token_type": "bearer", "expires_in": life_s, "scope": SCOPES})

    def register(self) -> None:
        self.guests += 1
        assert self.requests[0].path.endswith("/messaging/guests")
        self.answer(
            {"id": f"guest-{self.guests}", "conversationId": f"conv-{self.guests}", "webChatToken": f"secret-{self.guests}"}
        )

    def chatting(self, life_s: int = 3600) -> int:
        self.start()
        self.grant(life_s)
        self.register()
        conn = self.open()
        assert self.session.state == "chatting"
        return conn

    def back(self) -> int:
        """After a drop: registered anew and connected."""
        while not self.requests:
            self.next_timer()
        self.register()
        return self.open()

    def say(self, text: str = "Hello.") -> dict[str, Any]:
        self.do(lambda now: self.session.say(now, text))
        return self.frames()[-1]

    def ack(self, conn: int) -> None:
        self.push(conn, {"type": "ack", "messageId": "msg_1"})

    def limited(self, conn: int, frame: str = "message") -> None:
        self.push(conn, {"type": "error", "code": "RATE_LIMITED", "frame": frame, "retryAfter": 0})

    def agent(self, conn: int, seq: int, re: int = 0, *, label: str = "1-1") -> None:
        tail = f" re {re}" if re else ""
        self.push(conn, {"type": "message", "senderId": "agent-1", "text": f"Hello. [#run1.{label}.a.{seq}{tail}]"})

    # ------------------------------------------------------------ looks
    def outcomes(self) -> list[tuple[int, str, str, str]]:
        return [(row.seq, row.outcome, row.cause, row.via) for row in self.rows.of(ops.Closed)]

    def acks(self) -> list[tuple[str, str, str]]:
        return [(row.ref, row.outcome, row.cause) for row in self.rows.samples("ack")]

    def endings(self) -> list[tuple[str, str]]:
        return [(row.label, row.cause) for row in self.rows.of(ops.Ended)]

    def noted(self) -> list[tuple[str, str]]:
        return [(row.what, row.detail) for row in self.rows.of(ops.Noted)]
