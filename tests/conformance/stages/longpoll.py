"""What the longpoll transcript does not say of its scenes."""

from __future__ import annotations

import base64
from typing import Any

from harness.conformance.client_half import ClientPlayer
from harness.conformance.server_half import ServerPlayer
from harness.conformance.suite import Stage, Staging

QUEUE = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
STARTED = ("token", "guest")
QUEUED = (*STARTED, "events, first")
TALK = (*QUEUED, "events, idle", "message")
BASIC = base64.b64encode(b"YOUR_APP_ID:YOUR_APP_SECRET").decode()
LIMIT = {"endpoint": "POST /api/v2/conversations/{conversationId}/messages", "rate": "1/h", "burst": 1, "retry_after": "2s"}


def gather(player: ServerPlayer, line: dict[str, Any], got: Any) -> Any:
    """Events may come in several answers: ask on until there are as many as the line has."""
    while isinstance(line["body"], list) and len(got) < len(line["body"]):
        since = f"&since={got[-1]['id']}" if got else ""
        player.guest({**player.line, "path": f"/api/v2/conversations/<conversationId>/events?wait=30{since}"})
        player.bench.run(31)
        got += player.bench.answer(player.request)[1]
    return got


def attach(what: str) -> Any:
    def begin(player: ClientPlayer) -> None:
        player.behave(attachments=1.0)
        player.say(f"Please review the attached {what}.")

    return begin


def unrouted(player: ClientPlayer) -> None:
    """The guest was made without a queue."""
    player.words.bound["conversationId"] = "C"
    player.answer({"guestId": "G", "conversationId": "C", "messageId": "m"})


def bare(player: ServerPlayer) -> None:
    """A guest without a queue: the default strategy loops."""
    body = {"email": "bare@example.com", "firstName": "Jane", "lastName": "Doe"}
    token = player.witness.names["token"]
    made = player.bench.request("POST", "/api/v2/conversations/messaging/guest", body, token=token)
    player.witness.names["conversationId"] = player.bench.answer(made)[1]["conversationId"]


def once(player: ServerPlayer) -> None:
    """The first message is within the limit."""
    player.guest(player.script.scenes["limited"][0])


STAGING = Staging(
    target={
        "client_id": "YOUR_APP_ID",
        "queue_id": QUEUE,
        "skills": ("WebMessaging_Support",),
        "attributes": {
            "source": "custom-widget",
            "pageUrl": "https://yourdomain.com/product-page",
            "userAgent": "Mozilla/5.0",
        },
    },
    settings={"email": "guest@example.com", "first_name": "Jane", "last_name": "Doe"},
    table={"credentials": {"origins": ["https://shop.example"]}},
    client={
        "token": Stage(given={"basic": BASIC}),
        "refresh": Stage(after=QUEUED, given={"basic": BASIC, "lifetime": 100}, forget=("token",)),
        "refresh refused": Stage(after=QUEUED, given={"basic": BASIC, "refresh": "OLD", "lifetime": 100}),
        "token, wrong origin": Stage(given={"basic": BASIC}, target={"origin": "https://evil.example"}),
        "token refused": Stage(given={"basic": BASIC}),
        "guest": Stage(after=("token",)),
        "guest, expired token": Stage(after=("token",), given={"token": "EXPIRED"}),
        "events, first": Stage(after=STARTED),
        "events, idle": Stage(after=QUEUED),
        "message": Stage(after=(*QUEUED, "events, idle")),
        "upload": Stage(after=TALK, begin=attach("invoice")),
        "upload, MIME refused": Stage(
            after=TALK,
            settings={"check_types": False, "forbidden_attachments": 1.0},
            begin=attach("file"),
        ),
        "limited": Stage(after=QUEUED),
        "routing loop": Stage(after=STARTED),
        "late routing": Stage(after=("token",), settings={"late_routing": True}, begin=unrouted),
        "callback": Stage(after=STARTED, settings={"stalled_callback": 1.0, "stalled_transfer": 0.0}),
        "leave": Stage(after=TALK, begin=ClientPlayer.leave),
        "unknown conversation": Stage(after=STARTED, given={"conversationId": "unknown"}),
        "admin": Stage(skip="what a guest never asks for"),
    },
    server={
        "refresh": Stage(after=("token",), forget=("token",)),
        "token, wrong origin": Stage(),
        "token refused": Stage(given={"basic": base64.b64encode(b"guestswarm:wrong").decode()}),
        "guest": Stage(after=("token",)),
        "events, first": Stage(after=STARTED, gather=gather),
        "events, idle": Stage(after=QUEUED),
        "message": Stage(after=(*QUEUED, "events, idle")),
        "upload": Stage(after=QUEUED, given={"size": 6}),
        "upload, MIME refused": Stage(after=("token",)),
        "limited": Stage(after=STARTED, table={"limits": [LIMIT]}, begin=once),
        "routing loop": Stage(after=("token",), table={"skills": {}, "routing_timeout": "20s"}, begin=bare),
        "late routing": Stage(after=STARTED),
        "callback": Stage(after=STARTED),
        "leave": Stage(after=TALK),
        "unknown conversation": Stage(after=("token",)),
        "admin": Stage(after=("token",)),
    },
)
