"""What the webchat transcript does not say of its scenes: which one comes first, and what happens in between."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from harness.conformance.bench import SECRET
from harness.conformance.client_half import ClientPlayer
from harness.conformance.server_half import ServerPlayer
from harness.conformance.suite import Stage, Staging
from harness.core.credentials import Secret

TALK = ("token", "message")
HURT = {"conversationId": "conv_unknown"}


def say(text: str = "I need assistance with my invoice.") -> Any:
    return lambda player: player.say(text)


def announce(player: ClientPlayer) -> None:
    player.behave(typing=1.0)
    player.say("More.")


def narrow(player: ServerPlayer) -> None:
    """A token that may read only."""
    player.witness.names["token"] = _token(player.bench, "webchat:read")


def route(player: ServerPlayer) -> None:
    player.bench.say(player.conn, type="routing", routing={"skillGroups": ["Billing"], "attributes": {}})


def speak_again(player: ServerPlayer) -> None:
    conv = player.witness.names["conversationId"]
    player.bench.say(player.conn, type="message", conversationId=conv, messageId="mid-1", text="More. [#run1.1-1.g.2]")
    player.seen[player.conn] = len(player.bench.pushed[player.conn]) - 1


def away(player: ServerPlayer) -> None:
    player.bench.leave(player.conn)


def long_ago(player: ServerPlayer) -> None:
    player.witness.names["iso"] = "2020-01-01T00:00:00.000Z"


def rows(player: ServerPlayer, line: dict[str, Any], got: Any) -> Any:
    """The listing has more rows than the transcript shows; the first will do."""
    return {**got, "messages": got["messages"][:1]}


def wait(seconds: float) -> Any:
    return lambda player: player.bench.run(seconds)


def _token(bench: Any, scope: str) -> str:
    form = f"grant_type=client_credentials&client_id=guestswarm&client_secret={SECRET}&scope={quote(scope)}"
    return str(bench.answer(bench.request("POST", "/oauth/token", form.encode()))[1]["access_token"])


STAGING = Staging(
    target={
        "client_id": "YOUR_APP_ID",
        "skills": ("Tier1_Support", "Billing"),
        "attributes": {"source": "custom_ui_v2", "userTier": "premium", "locale": "en-US"},
    },
    settings={"check_skills": False},
    table={"skills": {"Tier1_Support": True, "Billing": True}, "keepalive": {"ping_every": 0}},
    client={
        "token refused": Stage(target={"client_secret": Secret("WRONG")}),
        "skill groups": Stage(after=("token",), settings={"check_skills": True}),
        "handshake": Stage(after=("token",)),
        "handshake refused": Stage(after=("token",), given={"token": "BAD"}),
        "too early": Stage(skip="what a guest must never do"),
        "routing": Stage(after=("token",)),
        "message": Stage(after=("token",)),
        "typing": Stage(after=TALK, begin=announce),
        "keep-alive, server": Stage(after=TALK, settings={"ping_every": 0}),
        "keep-alive, guest": Stage(after=TALK),
        "expiry": Stage(after=TALK),
        "reconnect": Stage(after=TALK, begin=ClientPlayer.drop),
        "reconnect, unknown": Stage(after=TALK, given=HURT, begin=ClientPlayer.drop),
        "resync, unknown": Stage(after=("token", "message", "leave"), given=HURT),
        "resync, expired token": Stage(after=("token", "message", "leave"), given={"token": "EXPIRED"}),
        "limited": Stage(after=TALK, begin=say("More.")),
        "scope": Stage(after=TALK),
        "leave": Stage(after=TALK, begin=ClientPlayer.leave),
    },
    server={
        "token limited": Stage(
            table={"limits": [{"endpoint": "POST /oauth/token", "rate": "1/h", "burst": 1, "scope": "app", "retry_after": "2s"}]},
            begin=lambda player: _token(player.bench, ""),
        ),
        "skill groups": Stage(after=("token",)),
        "handshake": Stage(after=("token",)),
        "routing": Stage(after=("token",)),
        "message": Stage(after=("token",), given={"messageId": "mid-1"}),
        "typing": Stage(after=TALK),
        "keep-alive, server": Stage(after=("token", "routing"), table={"keepalive": {"ping_every": "30s"}}),
        "keep-alive, guest": Stage(after=TALK),
        "expiry": Stage(after=("token", "handshake"), table={"token_life": "60s"}, begin=wait(60)),
        "reconnect": Stage(after=TALK, begin=away, before={5: long_ago}, gather=rows),
        "reconnect, unknown": Stage(after=("token",)),
        "resync, unknown": Stage(after=("token",)),
        "limited": Stage(
            after=TALK,
            given={"messageId": "mid-1"},
            table={"limits": [{"endpoint": "frame message", "rate": "1/min", "burst": 1, "scope": "session"}]},
            begin=speak_again,
        ),
        "scope": Stage(after=("handshake",), prepare=narrow, begin=route),
        "leave": Stage(after=TALK),
    },
)
