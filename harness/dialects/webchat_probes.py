"""What of webchat can be limited: its token, its look-up and listing, the upgrade, and each kind of frame. Pure."""

from __future__ import annotations

from typing import Any

from harness.core.events import Delivered, QueueAccepted, RateLimited
from harness.core.probing import (
    Answer,
    FrameProbe,
    HoldProbe,
    Probes,
    RequestProbe,
    Seen,
    UpgradeProbe,
    built,
    refused_frame,
    token_request,
)
from harness.core.wire import HttpRequest
from harness.dialects.webchat_frames import decode, listing_query, message_frame, read_frame, routing_frame, typing_frame
from harness.dialects.webchat_settings import WebchatSettings

_TEXT = "Is anybody there?"
_NOBODY = frozenset({"credential"})
"""The upgrade carries no token: who comes is told by a frame on the open socket."""


def probes(settings: WebchatSettings) -> Probes:
    """All of them, with the paths of these settings."""
    upgrade = "GET " + settings.socket_path
    return Probes(
        ready=lambda session: session.phase == "live" and bool(session.conversation_id),
        settings={"ping_every": 0, "check_skills": False, "read_receipts": 0.0},
        probes=(
            RequestProbe("POST " + settings.token_path, token_request, prepared=False),
            RequestProbe("GET " + settings.skills_path, _skills),
            RequestProbe("GET " + settings.listing_path, _listing),
            UpgradeProbe(upgrade, anonymous=_NOBODY),
            HoldProbe(upgrade, anonymous=_NOBODY),
            FrameProbe("frame message", _message, _read_message, "named"),
            FrameProbe("frame typing", _typing, _read_silent, "silence"),
            FrameProbe("frame read", _seen, _read_silent, "silence"),
            FrameProbe("frame routing", _routing, _read_routing, "order", note="binds the socket to the conversation it has"),
        ),
    )


def _bearer(session: Any) -> list[tuple[str, str]]:
    return [("Authorization", "Bearer " + session.credential.value.reveal())] if session.credential is not None else []


def _skills(session: Any, _seen: Seen, number: int) -> HttpRequest | None:
    path = session.settings.skills_path
    return built(session, number, "GET " + path, "api", path, _bearer(session))


def _listing(session: Any, _made: Seen, number: int) -> HttpRequest | None:
    path = session.settings.listing_path
    if not session.conversation_id:
        return None
    return built(session, number, "GET " + path, "api", f"{path}?{listing_query(session.conversation_id, 0, 1)}", _bearer(session))


def _ident(session: Any, number: int) -> str:
    return f"{session.context.run}-probe-{number}"


def _number(session: Any, ident: str) -> int:
    """Of the probe that has this id; 0: it is none of ours."""
    head, _, tail = ident.rpartition("-")
    return int(tail) if head == f"{session.context.run}-probe" and tail.isdigit() else 0


def _message(session: Any, number: int) -> str:
    return message_frame(session.conversation_id, _ident(session, number), _TEXT)


def _typing(session: Any, number: int) -> str:  # noqa: ARG001
    return typing_frame(session.conversation_id)


def _seen(session: Any, number: int) -> str:
    return read_frame(session.conversation_id, _ident(session, number))


def _routing(session: Any, number: int) -> str:  # noqa: ARG001
    target = session.context.target
    return routing_frame(target.skills, target.attributes, session.settings.priority, session.conversation_id)


def _limited(session: Any, event: object) -> Answer | None:
    return refused_frame(event.retry_after_ns, _number(session, event.message_id)) if isinstance(event, RateLimited) else None


def _read_message(session: Any, data: str | bytes) -> Answer | None:
    event = decode(data, session.settings.max_frame_bytes)
    if isinstance(event, Delivered) and (number := _number(session, event.message_id)):
        return Answer(True, n=number)
    return _limited(session, event)


def _read_silent(session: Any, data: str | bytes) -> Answer | None:
    return _limited(session, decode(data, session.settings.max_frame_bytes))


def _read_routing(session: Any, data: str | bytes) -> Answer | None:
    event = decode(data, session.settings.max_frame_bytes)
    return Answer(True) if isinstance(event, QueueAccepted) else _limited(session, event)
