"""A webmessaging guest driven by hand, with the steps that most tests share."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from harness.core import ops
from harness.core.pacing import Behaviour
from harness.core.spread import fixed
from harness.core.stamps import show_iso
from harness.core.wire import HttpRequest
from harness.dialects.webmessaging import WebmessagingSession
from harness.dialects.webmessaging_settings import WebmessagingSettings
from tests.dialects.hand import WALL, Hand, Rows, context

DEPLOYMENT = "deployment-1"
ORIGIN = "https://shop.example.com"
BASES = {
    "api": "http://127.0.0.1:8080",
    "cdn": "http://127.0.0.1:8080",
    "files": "http://127.0.0.1:8080",
    "webmessaging": "http://127.0.0.1:8080",
}
CALM = Behaviour(
    think_time=fixed(8.0), typing=0.0, reload=0.0, attachments=0.0, session_length=fixed(300.0), between=fixed(5.0), conversations=1
)
PLAIN = WebmessagingSettings(fetch_configuration=False, authenticated=0.0, keep_token=0.0, health_every=0, ping_every=0)


def session_body(**changes: Any) -> dict[str, Any]:
    return {
        "connected": True,
        "newSession": True,
        "readOnly": False,
        "clearedExistingSession": False,
        "allowedMedia": {"inbound": {"fileTypes": [{"type": "*/*"}], "maxFileSizeKB": 10240}},
        "blockedExtensions": [".exe"],
        "maxCustomDataBytes": 2048,
        "durationSeconds": 259200,
        "expirationDate": 1_800_000_000,
        "autoStarted": False,
        **changes,
    }


class Webmessaging(Hand):
    """Guest of slot 1; its first conversation has label `1-1`."""

    session: WebmessagingSession

    def __init__(
        self, behaviour: Behaviour = CALM, settings: WebmessagingSettings | None = None, *, seed: str = "hand", **target: Any
    ) -> None:
        rows = Rows()
        target = {"deployment_id": DEPLOYMENT, "origin": ORIGIN, "bases": BASES, **target}
        session = WebmessagingSession(context(rows, behaviour, seed=seed, **target), settings or PLAIN)
        super().__init__(session, rows)
        self.jwts = 0

    def iso(self, offset_ns: int = 0) -> str:
        """The server's clock."""
        return show_iso(self.now + WALL + offset_ns)

    # ------------------------------------------------------------ frames
    def configured(self, **changes: Any) -> int:
        """Accept the upgrade and the configure request; the socket."""
        conn = self.open()
        self.configure(conn, **changes)
        return conn

    def configure(self, conn: int, **changes: Any) -> dict[str, Any]:
        """Answer the configure request of a socket; what it was."""
        frame = next(f for f in self.frames(conn) if f["action"].startswith("configure"))
        self.reply(conn, frame, "SessionResponse", session_body(**changes))
        return frame

    def reply(self, conn: int, frame: dict[str, Any], kind: str, body: Any, code: int = 200, form: str = "response") -> None:
        """Answer a request."""
        self.push(conn, {"type": form, "class": kind, "code": code, "body": body, "tracingId": frame["tracingId"]})

    def error(self, conn: int, frame: dict[str, Any], code: int, text: str = "no") -> None:
        self.reply(conn, frame, "string", text, code)

    def limited(self, conn: int, frame: dict[str, Any], wait: int) -> None:
        body = {"errorCode": 4029, "errorMessage": "m", "retryAfter": wait, "name": "n", "message": "m"}
        self.reply(conn, frame, "TooManyRequestsErrorMessage", body, 429)

    def notice(self, conn: int, kind: str, **body: Any) -> None:
        self.push(conn, {"type": "message", "class": kind, "code": 200, "body": body})

    def structured(self, conn: int, body: dict[str, Any], trace: str = "") -> None:
        frame = {"type": "message", "class": "StructuredMessage", "code": 200, "body": body}
        self.push(conn, {**frame, "tracingId": trace} if trace else frame)

    def guest_body(self, frame: dict[str, Any], stamp: str | None = None) -> dict[str, Any]:
        name = sha256(frame["tracingId"].encode()).hexdigest()[:32]
        channel = {"time": stamp or self.iso(), "type": "Private", "messageId": "c" + name, "from": {}}
        inner = {key: value for key, value in frame["message"].items() if key != "channel"}
        return {"id": name, "direction": "Inbound", "channel": channel, "metadata": {}, **inner}

    def agent_body(self, seq: int, re: int = 0, stamp: str | None = None, label: str = "1-1", **more: Any) -> dict[str, Any]:
        tail = f" re {re}" if re else ""
        channel = {"time": stamp or self.iso(), "type": "Private", "from": {"nickname": "A"}}
        return {
            "id": f"srv-{label}-{seq}",
            "type": "Text",
            "direction": "Outbound",
            "channel": channel,
            "text": f"Hello. [#run1.{label}.a.{seq}{tail}]",
            "metadata": {},
            "originatingEntity": "Human",
            **more,
        }

    def echo(self, conn: int, frame: dict[str, Any]) -> None:
        self.structured(conn, self.guest_body(frame), frame["tracingId"])

    def agent(self, conn: int, seq: int, re: int = 0, stamp: str | None = None, **more: Any) -> None:
        self.structured(conn, self.agent_body(seq, re, stamp, **more))

    def presence(self, conn: int, kind: str, **metadata: str) -> None:
        body = self.agent_body(1, type="Event", events=[{"eventType": "Presence", "presence": {"type": kind}}], metadata=metadata)
        del body["text"]
        self.structured(conn, body)

    # ------------------------------------------------------------ steps
    def chatting(self, **changes: Any) -> int:
        self.start()
        conn = self.configured(**changes)
        assert self.session.state == "chatting"
        return conn

    def say(self, conn: int, text: str = "Hi.") -> dict[str, Any]:
        """Let the guest say just that; the frame."""
        self.do(lambda now: self.session.say(now, text))
        return self.said(conn)

    def said(self, conn: int) -> dict[str, Any]:
        """Let the guest send its next message; the frame."""
        for _ in range(50):
            found = [f for f in self.frames(conn) if f["action"] == "onMessage" and f["message"]["type"] != "Event"]
            if found:
                assert len(found) == 1
                return found[0]
            self.next_timer()
        raise AssertionError("the guest says nothing")

    def asked(self, conn: int, action: str) -> dict[str, Any]:
        """The one frame that was sent, which has this action."""
        (frame,) = self.frames(conn)
        assert frame["action"] == action, frame
        return frame

    def grant(self, conn: int, life: int = 600) -> None:
        """Answer the request for the history's token."""
        self.jwts += 1
        exp = (self.now + WALL) // 10**9 + life
        self.reply(conn, self.asked(conn, "getJwt"), "JwtResponse", {"jwt": f"jwt-{self.jwts}", "exp": exp})

    def page(self, *entities: dict[str, Any], pages: int = 1) -> HttpRequest:
        """Answer the oldest history request; what it was."""
        body = {"entities": list(entities), "pageSize": 25, "pageNumber": 1, "total": len(entities), "pageCount": pages}
        return self.answer(body)

    def closed(self, conn: int) -> None:
        """Answer `closeSession`."""
        frame = self.asked(conn, "closeSession")
        self.reply(conn, frame, "SessionResponse", {"connected": False, "readOnly": True})

    def leave(self, conn: int, *entities: dict[str, Any]) -> None:
        """From the wish to leave to the read-back."""
        self.do(self.session.close)
        self.grant(conn)
        self.closed(conn)
        self.page(*entities)

    def back(self, *entities: dict[str, Any], **changes: Any) -> int:
        """After a drop: reconnect up to and with the resync."""
        while not self.opens:
            self.next_timer()
        conn = self.configured(newSession=False, **changes)
        if any('"getJwt"' in text for _, text in self.sent):
            self.grant(conn)
        self.page(*entities)
        return conn

    def states(self) -> list[str]:
        return [row.after for row in self.rows.of(ops.State)]
