"""Every number of the guests dialect, with the source's value as default (`ours` where the source gives none)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.chat import ChatSettings
from harness.core.spread import Duration, Share, seconds


@dataclass(frozen=True, slots=True)
class GuestsSettings(ChatSettings):
    """The `[dialects.guests]` table of a scenario: these beside those of every chatting guest."""

    # the client's token
    token_path: str = "/oauth/token"  # noqa: S105
    scopes: tuple[str, ...] = ("guest:create", "guest:read", "webchat:send")
    """What is asked for; a profile sync is said to need `user:read` as well, which nobody requests."""
    token_attempts: int = 3
    proactive_refresh: bool = False
    """The client's token serves REST calls only, and those are rare: it is fetched when one needs it (ours)."""
    retry_base: Duration = seconds(2)
    """Pauses before another try: 2 s, 4 s, and so on."""
    retry_after_default: Duration = seconds(2)
    """Pause after a 429, or a rate-limit frame, that names none."""
    retry_refusals: bool = False
    """True, as written: a token refused with 401 or 403 is asked for again."""
    date_at_once: bool = False
    """True, as written: a `Retry-After` that is an HTTP date is not understood, and the guest returns at once."""

    # the guest
    guest_name: str = "Web Guest"
    source: str = "custom_widget"
    language: str = "en-US"
    user_agent: str = "Mozilla/5.0"
    skill_id: str = ""
    """Where the target names no skill; empty: none is asked for."""

    # its JWT
    check_jwt: bool = True
    naive_padding: bool = False
    """True, as written: the payload is padded wrongly, so that two lengths in three are taken for malformed."""
    clock_ahead: Duration = 0
    """How far the guest's clock is ahead of ours; it alone judges `exp`."""
    renew_ahead: Duration = seconds(300)
    """A session with less life than this is replaced: when it is loaded, and while it runs."""
    renew_jitter: Duration = seconds(30)
    """A running session is replaced up to so much earlier, so that guests who came together do not return together (ours)."""
    renew_patience: Duration = seconds(10)
    """How long the replacement waits for replies that are still due (ours)."""
    load_only_expiry: bool = False
    """True, as written: the life of a session is looked at when it is loaded and never again."""

    clock_tolerance: Duration = seconds(2)
    """A cut so shortly before `exp` counts as the token's end: clocks differ (ours)."""

    # socket
    handshake_grace: Duration = seconds(1)
    """Nothing answers the handshake: a socket that has lived so long after it, or on which the server speaks, is live (ours)."""
    rejections: int = 3
    """So many sockets in a row that were cut soon after the handshake: the session is given up (ours)."""

    # what the page stores
    store_corrupted: Share = 0.0
    """Share of page loads that find the stored session unreadable (ours)."""
    forget_created: bool = False
    """True, as written: a resumed session does not know when it began, so that its duration is not measured."""
    activity_limit: int = 200
    """Entries of the activity log; the oldest go first (ours)."""

    # profile
    profile_sync: Share = 0.3
    """Share of sessions whose profile is written, once after the start and after each resume (ours)."""
    provider_id: str = "idp-1"
    provider_email: str = "jane.doe@example.com"
    profile_bytes: int = 0
    """The address is padded until the attributes are about so large; servers take 10 KB for each guest."""
    profile_limit: int = 10 * 1024
    """Where a server's "bad request" does not say why: larger attributes than these are why."""
