"""Every number of the engagements dialect, with the source's value as default (`ours` where the source gives none)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.chat import ChatSettings
from harness.core.spread import Duration, seconds


@dataclass(frozen=True, slots=True)
class EngagementsSettings(ChatSettings):
    """The `[dialects.engagements]` table of a scenario: these beside those of every chatting guest."""

    # registration
    guests_path: str = "/api/v2/engagements/guests"
    display_name: str = "Guest {slot}"
    """Shown to the agent; `{slot}` and `{run}` are filled in. Empty: not sent."""
    email: str = "guest-{slot}@example.com"
    """The same. What else goes into the registration's metadata are the target's attributes."""
    renew_patience: Duration = seconds(5)
    """How long a renewal waits for replies that are still due, since nothing of the old session comes later (ours)."""

    # messages
    message_source: str = "custom-ui"
    """`source` in the metadata of each message; empty: no metadata."""

    # socket
    reconnect_cap: Duration = seconds(40)
    """The fifth reconnect comes after 32 s and its jitter."""
    heed_refusals: bool = True
    """Whether a refused upgrade (401, 403) or a close with code 1008 is understood: such a token is not tried again.
    False, as written: a close is a close."""
    end_reason: str = "Guest ended"
    """What a guest that leaves gives as its reason."""
    end_wait: Duration = 0
    """How long a guest that has said good-bye leaves the close to the server; 0: it closes at once."""
    reconnect_after_end: bool = False
    """True, as written: every close is followed by reconnects, that of a session which is over as well."""
