"""What of guests can be limited: the client's token, the guest, its profile, the upgrade, messages and typing. Pure."""

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
from harness.core.stamps import show_iso
from harness.core.wire import HttpRequest
from harness.dialects.guests_frames import decode, guest_path, message_frame, profile_body, typing_frame
from harness.dialects.guests_settings import GuestsSettings

_CREATE = "POST /api/v2/guests"
_PROFILE = "PUT /api/v2/guests/{id}"
_UPGRADE = "GET /api/v2/guests/{id}/sessions/{id}/ws"


def probes(settings: GuestsSettings) -> Probes:
    """All of them, with the paths of these settings."""
    return Probes(
        ready=lambda session: session.phase == "live" and bool(session.conversation_id),
        settings={"ping_every": 0, "profile_sync": 0.0},
        probes=(
            RequestProbe("POST " + settings.token_path, token_request, prepared=False),
            RequestProbe(_CREATE, again(_CREATE), note="each makes a guest that nobody uses"),
            RequestProbe(_PROFILE, _profile),
            UpgradeProbe(_UPGRADE),
            HoldProbe(_UPGRADE),
            FrameProbe("frame message", lambda _session, _number: message_frame("Is anybody there?"), _read, "silence"),
            FrameProbe("frame typing", lambda _session, _number: typing_frame(), _read, "silence"),
        ),
    )


def _profile(session: Any, _seen: Seen, number: int) -> HttpRequest | None:
    """Merge the same attributes again and again."""
    guest, credential, settings = session._saved.guest_id, session.credential, session.settings
    if not guest or credential is None:
        return None
    body = profile_body(settings.provider_id, settings.provider_email, show_iso(session.context.wall_offset_ns), 0)
    headers = [("Authorization", "Bearer " + credential.value.reveal()), ("Content-Type", "application/json")]
    return built(session, number, _PROFILE, "org", guest_path(guest), headers, body)


def _read(session: Any, data: str | bytes) -> Answer | None:
    event = decode(data, session.settings.max_frame_bytes)
    return refused_frame(event.retry_after_ns) if isinstance(event, RateLimited) else None
