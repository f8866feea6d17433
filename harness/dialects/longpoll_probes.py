"""What of longpoll can be limited: token, guest, messages, polls, uploads, routing. Pure."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import quote

import msgspec

from harness.core.probing import HoldProbe, Probes, RequestProbe, Seen, built, fresh
from harness.core.spread import seconds
from harness.core.wire import HttpRequest
from harness.dialects.longpoll_attachment import boundary, content, multipart
from harness.dialects.longpoll_auth import FORM, TOKEN_ENDPOINT, TOKEN_PATH
from harness.dialects.longpoll_poll import EVENTS
from harness.dialects.longpoll_send import CONVERSATION, JSON, UPLOAD_PATH, Phase
from harness.dialects.longpoll_settings import LongpollSettings

_GUEST = "POST /api/v2/conversations/messaging/guest"
_MESSAGES = f"POST {CONVERSATION}/messages"
_FILE_BYTES = 64


def probes(settings: LongpollSettings) -> Probes:  # noqa: ARG001
    """All of them."""
    return Probes(
        ready=lambda session: session._phase is Phase.LIVE and session._credential is not None,
        # Two polls of one conversation at a time put each other out, so that the guest itself leaves polling to the probes.
        settings={"naive_poll": True, "naive_interval": seconds(86_400), "queue_limit": seconds(86_400), "late_routing": False},
        probes=(
            RequestProbe(TOKEN_ENDPOINT, _token, prepared=False),
            RequestProbe(_GUEST, _guest, note="each begins a conversation that nobody goes on with"),
            RequestProbe(_MESSAGES, _message),
            RequestProbe(EVENTS, _poll, note="polls that ask for no hold"),
            RequestProbe("POST " + UPLOAD_PATH, _upload),
            RequestProbe(f"PUT {CONVERSATION}", _route, note="names the queue that the conversation is in already"),
            HoldProbe(EVENTS, settings={"naive_poll": False}),
        ),
    )


def _bearer(session: Any, *more: tuple[str, str]) -> list[tuple[str, str]]:
    return [("Authorization", "Bearer " + session._credential.value.reveal()), *more]


def _token(session: Any, _seen: Seen, number: int) -> HttpRequest:
    target = session.context.target
    basic = b64encode(f"{target.client_id}:{target.client_secret.reveal()}".encode()).decode()
    headers = [("Authorization", f"Basic {basic}"), ("Content-Type", FORM)]
    return built(session, number, TOKEN_ENDPOINT, "api", TOKEN_PATH, headers, b"grant_type=client_credentials")


def _guest(session: Any, seen: Seen, number: int) -> HttpRequest | None:
    made = seen.get(_GUEST)
    if made is None or session._credential is None:
        return None
    return fresh(
        session, made, number, headers=[("X-Request-Id", f"{made.id}.p{number}"), *_bearer(session, ("Content-Type", JSON))]
    )


def _conversation(session: Any) -> str:
    return f"/api/v2/conversations/{quote(session.conversation_id, safe='')}"


def _message(session: Any, _seen: Seen, number: int) -> HttpRequest | None:
    if session._credential is None:
        return None
    body = {
        "to": {"id": session._queue_id, "type": "queue"},
        "from": {"id": session._guest_id, "type": "guest", "name": session.settings.first_name},
        "text": "Is anybody there?",
        "attachments": [],
    }
    headers = _bearer(session, ("Content-Type", JSON))
    return built(session, number, _MESSAGES, "api", _conversation(session) + "/messages", headers, msgspec.json.encode(body))


def _poll(session: Any, _seen: Seen, number: int) -> HttpRequest | None:
    if session._credential is None:
        return None
    return built(session, number, EVENTS, "api", _conversation(session) + "/events?wait=0", _bearer(session))


def _upload(session: Any, _seen: Seen, number: int) -> HttpRequest | None:
    if session._credential is None:
        return None
    settings, mark = session.settings, boundary(session.rng)
    body = multipart(settings.attachment_name, settings.attachment_type, content(_FILE_BYTES), mark)
    headers = _bearer(session, ("Content-Type", f"multipart/form-data; boundary={mark}"))
    return built(session, number, "POST " + UPLOAD_PATH, "api", UPLOAD_PATH, headers, body)


def _route(session: Any, _seen: Seen, number: int) -> HttpRequest | None:
    if session._credential is None:
        return None
    body = msgspec.json.encode({"routing": {"queueId": session._queue_id}})
    headers = _bearer(session, ("Content-Type", JSON))
    return built(session, number, f"PUT {CONVERSATION}", "api", _conversation(session), headers, body)
