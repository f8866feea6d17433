"""An engagements guest driven by hand, with the steps that most tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.core import ops
from harness.core.pacing import Behaviour
from harness.core.spread import fixed
from harness.core.stamps import show_iso
from harness.dialects.engagements import DIALECT, EngagementsSession
from harness.dialects.engagements_settings import EngagementsSettings
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
ENDLESS = replace(CALM, conversations=0)
SEED = EngagementsSettings(display_name="John Doe", email="john.doe@example.com")


class Engagements(Hand):
    """Guest of slot 1; its first conversation has label `1-1`."""

    session: EngagementsSession

    def __init__(
        self,
        behaviour: Behaviour = CALM,
        settings: EngagementsSettings = SEED,
        *,
        faults: tuple[str, ...] = (),
        seed: str = "hand",
        scripted: bool = False,
        **target: Any,
    ) -> None:
        rows = Rows()
        fields = {"client_id": "your-public-client-id", "channel_id": "your-web-messaging-channel-id", **target}
        session = EngagementsSession(context(rows, behaviour, seed=seed, **fields), DIALECT.settings_with(settings, faults))
        session.scripted = scripted
        super().__init__(session, rows)
        self.sessions = 0
        self.pongs = True
        """Whether the server answers pings."""

    def pump(self) -> None:
        super().pump()
        while self.pongs and self.pings:
            conn = self.pings.pop()
            self.session.on_pong(self.now, conn)

    def iso(self, offset_ns: int = 0) -> str:
        """The server's clock, in whole seconds."""
        return show_iso(self.now + WALL + offset_ns)[:19] + "Z"

    # ------------------------------------------------------------ steps
    def register(self, life_s: int = 1800) -> str:
        """Answer the registration; the session's id."""
        self.sessions += 1
        self.answer(
            {"guestToken": f"secret/{self.sessions}", "sessionId": f"sess-{self.sessions}", "expiresAt": self.iso(life_s * S)}
        )
        return f"sess-{self.sessions}"

    def chatting(self, life_s: int = 1800) -> int:
        self.start()
        self.register(life_s)
        conn = self.open()
        assert self.session.state == "chatting"
        return conn

    def say(self, text: str = "Hello.") -> str:
        """Say that; the frame's content."""
        self.do(lambda now: self.session.say(now, text))
        frame = self.frames()[-1]
        assert frame["type"] == "message"
        return str(frame["content"])

    def agent(self, conn: int, seq: int, re: int = 0, *, label: str = "1-1", **fields: Any) -> None:
        tail = f" re {re}" if re else ""
        frame = {
            "type": "message",
            "id": f"msg_{seq}",
            "from": "agent",
            "to": "guest",
            "timestamp": self.iso(),
            "content": f"Hello. [#run1.{label}.a.{seq}{tail}]",
            "metadata": {},
            **fields,
        }
        self.push(conn, {key: value for key, value in frame.items() if value is not None})

    # ------------------------------------------------------------ looks
    def outcomes(self) -> list[tuple[int, str, str, str]]:
        return [(row.seq, row.outcome, row.cause, row.via) for row in self.rows.of(ops.Closed)]

    def endings(self) -> list[tuple[str, str]]:
        return [(row.label, row.cause) for row in self.rows.of(ops.Ended)]

    def noted(self) -> list[tuple[str, str]]:
        return [(row.what, row.detail) for row in self.rows.of(ops.Noted)]
