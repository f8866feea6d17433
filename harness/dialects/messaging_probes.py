"""What of messaging can be limited: token, introspection, registration, the upgrade, messages and typing. Pure."""

from __future__ import annotations

from typing import Any

from harness.core.events import RateLimited
from harness.core.probing import (
    Answer,
    FrameProbe,
    HoldProbe,
    Probes,
    RequestProbe,
    Seen,
    UpgradeProbe,
    again,
    built,
    refused_frame,
    token_request,
)
from harness.core.wire import HttpRequest
from harness.dialects.messaging_frames import Acked, Trouble, decode, introspect_form, message_frame, typing_frame
from harness.dialects.messaging_settings import MessagingSettings

_SPENT = frozenset({401, 403})


def probes(settings: MessagingSettings) -> Probes:
    """All of them, with the paths of these settings."""
    register = "POST " + settings.guests_path
    upgrade = f"GET {settings.guests_path}/{{id}}/websocket"
    return Probes(
        ready=lambda session: session.phase == "live" and bool(session.conversation_id),
        settings={"ping_every": 0},
        probes=(
            RequestProbe("POST " + settings.token_path, token_request, prepared=False),
            RequestProbe("POST " + settings.introspect_path, _introspect),
            RequestProbe(register, again(register), note="each takes a place in the queue until its token runs out"),
            UpgradeProbe(upgrade, passes=_SPENT, note="with a token that is spent: what the limit lets through is answered 403"),
            HoldProbe(upgrade),
            FrameProbe("frame message", _message, _read_message, "order"),
            FrameProbe("frame typing", _typing, _read_typing, "silence"),
        ),
    )


def _introspect(session: Any, _seen: Seen, number: int) -> HttpRequest | None:
    if session.credential is None:
        return None
    path = session.settings.introspect_path
    headers = [session._authorization(), ("Content-Type", "application/x-www-form-urlencoded")]
    return built(session, number, "POST " + path, "api", path, headers, introspect_form(session.credential.value.reveal()))


def _guest_id(session: Any) -> str:
    return session._guest.guest_id if session._guest is not None else ""


def _message(session: Any, number: int) -> str:  # noqa: ARG001
    return message_frame(session.conversation_id, _guest_id(session), "Is anybody there?")


def _typing(session: Any, number: int) -> str:  # noqa: ARG001
    return typing_frame(_guest_id(session))


def _read_message(session: Any, data: str | bytes) -> Answer | None:
    """Acks, and errors in their places, come in the order of the messages."""
    frame = decode(data, session.settings.max_frame_bytes)
    if isinstance(frame, Acked):
        return Answer(True)
    if isinstance(frame, RateLimited) and frame.frame != "typing":
        return refused_frame(frame.retry_after_ns)
    return Answer(None) if isinstance(frame, Trouble) and frame.frame == "message" else None


def _read_typing(session: Any, data: str | bytes) -> Answer | None:
    frame = decode(data, session.settings.max_frame_bytes)
    return refused_frame(frame.retry_after_ns) if isinstance(frame, RateLimited) and frame.frame != "message" else None
