"""What of engagements can be limited: the registration, the upgrade, messages and typing. Pure."""

from __future__ import annotations

from typing import Any

from harness.core.events import RateLimited
from harness.core.probing import Answer, FrameProbe, HoldProbe, Probes, RequestProbe, UpgradeProbe, refused_frame, token_request
from harness.dialects.engagements_frames import decode, message_frame, typing_frame
from harness.dialects.engagements_settings import EngagementsSettings


def probes(settings: EngagementsSettings) -> Probes:
    """All of them, with the paths of these settings."""
    upgrade = f"GET {settings.guests_path}/{{id}}/ws"
    return Probes(
        ready=lambda session: session.phase == "live" and bool(session.conversation_id),
        settings={"ping_every": 0},
        dimensions=("credential", "address", "session", "deployment"),
        probes=(
            RequestProbe(
                "POST " + settings.guests_path, token_request, prepared=False, note="each makes a session that nobody uses"
            ),
            UpgradeProbe(upgrade),
            HoldProbe(upgrade),
            FrameProbe("frame message", _message, _read, "silence"),
            FrameProbe("frame typing", lambda _session, _number: typing_frame(), _read, "silence"),
        ),
    )


def _message(session: Any, number: int) -> str:  # noqa: ARG001
    return message_frame("Is anybody there?", session.settings.message_source)


def _read(session: Any, data: str | bytes) -> Answer | None:
    event = decode(data, session.settings.max_frame_bytes)
    return refused_frame(event.retry_after_ns) if isinstance(event, RateLimited) else None
