"""The bench with what the tests of the webchat server share."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from harness.conformance.bench import CALM, MS, SECOND, SECRET, WALL, faults
from harness.conformance.bench import Bench as Plain

__all__ = ["CALM", "MS", "SCOPE", "SECOND", "SECRET", "WALL", "Bench", "faults"]

SCOPE = "webchat:send webchat:read conversation:read"


class Bench(Plain):
    """A bench whose sockets are webchat's unless said otherwise."""

    def token(self, scope: str = SCOPE, **options: Any) -> str:
        form = f"grant_type=client_credentials&client_id=guestswarm&client_secret={SECRET}&scope={quote(scope)}"
        return str(self.answer(self.request("POST", "/oauth/token", form.encode(), **options))[1]["access_token"])

    def socket(self, peer: str = "127.0.0.1:3000", *, path: str = "/webchat", token: str | None = None, **headers: str) -> int:
        number = super().socket(peer, path=path, **headers)
        if token != "":
            self.say(number, type="auth", token=token or self.token())
        return number

    def routed(self, peer: str = "127.0.0.1:3000", **options: Any) -> tuple[int, str]:
        """A socket in a new conversation."""
        conn = self.socket(peer, **options)
        self.say(conn, type="routing", routing={"skillGroups": ["Billing"], "attributes": {"source": "test"}})
        return conn, str(self.last(conn, "conversation")["conversationId"])

    def message(self, conn: int, conv: str, seq: int, *, label: str = "1-1", mid: str = "") -> None:
        self.say(conn, type="message", conversationId=conv, messageId=mid or f"m{seq}", text=f"Hello [#run.{label}.g.{seq}]")

    def texts(self, conn: int) -> list[str]:
        """Markers of the message frames, in order."""
        return [frame["text"][frame["text"].rfind("#") + 1 : -1] for frame in self.frames(conn, "message")]

    def listing(self, conv: str, *, since: str = "", limit: int = 50, rid: str = "", token: str = "") -> list[dict[str, Any]]:
        query = f"conversationId={conv}&limit={limit}" + (f"&since={since}" if since else "")
        number = self.request("GET", f"/api/v2/conversations/messages?{query}", token=token or self.token(), rid=rid)
        status, body = self.answer(number)
        assert status == 200, body
        return list(body["messages"])
