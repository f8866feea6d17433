"""Every number of the messaging dialect, with the source's value as default (`ours` where the source gives none)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.core.chat import ChatSettings
from harness.core.spread import Duration, Share, seconds


@dataclass(frozen=True, slots=True)
class MessagingSettings(ChatSettings):
    """The `[dialects.messaging]` table of a scenario: these beside those of every chatting guest.

    How long an ack and a reply may take are matters of behaviour: `confirm_timeout` and `reply_timeout`.
    """

    # the application's token
    token_path: str = "/oauth/token"  # noqa: S105
    scopes: tuple[str, ...] = ("webchat:guest:read", "webchat:guest:write", "webchat:guest:send")
    basic_base64: bool = True
    """False, as written: id and secret are percent-encoded and joined, but not base64."""
    introspect_path: str = "/oauth/introspect"
    introspect: Literal["never", "on_refusal", "always"] = "on_refusal"
    """Whether the server is asked what the token may do: never, once a registration was refused, or before each one (ours)."""

    # registration
    guests_path: str = "/api/v2/conversations/messaging/guests"
    guest_name: str = "Anonymous Guest"
    email: str = "guest-{slot}@example.com"
    """`{slot}` and `{run}` are filled in."""
    locale: str = "en-US"
    priority: int = 1
    register_anew: bool = True
    """False: a reconnect uses the single-use token once more."""
    socket_token_life: Duration = seconds(60)
    """How long the socket's token is thought to live; only to say why it was refused (ours)."""

    # conversation
    reply_restart: bool = True
    """Whether any frame lets the wait for a reply begin anew."""
    queue_timeout: Duration = seconds(120)
    queue_give_up: Share = 0.0
    """Share of guests that leave when the queue has stalled; the others chat on (ours)."""
    next_frame_is_ack: bool = False
    """True, as written: whatever comes first after a message is taken for its ack."""
    wrong_conversation_id: bool = False
    """True: messages name a conversation of the guest's own invention."""
