"""Every number of the webchat dialect, with the source's value as default (`ours` where the source gives none)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.listed import ListedSettings
from harness.core.spread import Duration, Share, seconds


@dataclass(frozen=True, slots=True)
class WebchatSettings(ListedSettings):
    """The `[dialects.webchat]` table of a scenario: these beside those of every guest with a listing."""

    # credentials
    token_path: str = "/oauth/token"  # noqa: S105
    """Path of the token endpoint, or of the broker that hands tokens out, under base `login`."""
    scopes: tuple[str, ...] = ("webchat:send", "webchat:read", "conversation:read")
    refresh_patience: Duration = seconds(2)
    """How long a fresh token waits for outstanding echoes before the socket is changed (ours)."""

    # REST
    skills_path: str = "/api/v2/routing/skillgroups"
    check_skills: bool = True
    """Look the canonical names up before routing, and start with no others. False: a mismatch stalls, and is looked up then."""
    attribute_keys: tuple[str, ...] = ()
    """Canonical attribute keys: others are treated like unknown skill groups (ours; there is no look-up). Empty: not known."""
    listing_path: str = "/api/v2/conversations/messages"
    page_limit: int = 50
    page_limit_cap: int = 500

    # socket
    socket_path: str = "/webchat"
    routing_timeout: Duration = seconds(10)
    priority: int = 0
    """Sent in the routing frame where it is not 0."""

    # conversation
    queue_timeout: Duration = seconds(120)
    queue_give_up: Share = 0.5
    """Share of guests that leave when the queue has stalled; the others wait on (ours)."""
    read_receipts: Share = 1.0
    store_conversation: bool = True
    """False: the conversation's id is forgotten over a reconnect or a reload, so that the server opens another one."""
    early_frames: int = 0
    """Frames sent before `auth`."""
